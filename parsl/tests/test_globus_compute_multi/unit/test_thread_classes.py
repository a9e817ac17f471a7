"""Which threads take which tasks: cores, configurations, MPI keys, and counts that turn out to be others."""
from __future__ import annotations

import pytest

from parsl.executors.globus_compute_multi.scheduling.actions import FailureKind
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.policy import Policy
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec

pytestmark = pytest.mark.local

TWO, THREE = '{"workers":2}', '{"workers":3}'


class Listening(Policy):
    """Takes the first candidate, and keeps the names of all."""

    def __init__(self):
        self.heard = []

    def choose(self, task, candidates, outlook):
        self.heard.append([threads.endpoint.name for threads in candidates])
        return candidates[0]


class TestCores:

    @pytest.mark.parametrize("needed, given", [(1, 1), (2, 4), (4, 4), (5, 8), (8, 8), (9, 16)])
    def test_a_task_goes_to_the_free_thread_of_the_whole_pool_with_the_closest_cores_not_below(self, needed, given):
        d = Driver([spec("a", {8: 1, 1: 1}), spec("b", {16: 1, 4: 1})])
        assert d.where(d.put(cores=needed)) == ("a" if given in (1, 8) else "b", given)

    def test_when_the_closest_threads_are_taken_the_next_closest_free_ones_serve(self):
        d = Driver([spec("a", {1: 1, 8: 1}), spec("b", {2: 1})])
        assert [d.where(d.put()) for _ in range(3)] == [("a", 1), ("b", 2), ("a", 8)]

    def test_a_small_task_takes_a_large_thread_rather_than_wait_and_a_large_one_waits_for_its_thread(self):
        d = Driver([spec("a", {1: 1, 8: 1})])
        small = [d.put(), d.put()]
        large = d.submit(cores=8)
        assert d.turn() is None
        d.result(f"{small[0]}.1")
        assert d.turn() is None
        d.result(f"{small[1]}.1")
        assert d.place() == {large: "a"}

    def test_ties_go_to_the_policy(self):
        policy = Listening()
        d = Driver([spec("a", {2: 1, 4: 1}), spec("b", {4: 1}), spec("c", {4: 1, 8: 1})], policy=policy)
        tasks = [d.put(cores=3) for _ in range(3)]
        for task in reversed(tasks):
            d.result(f"{task}.1")
        d.put(cores=3)
        assert policy.heard == [["a", "b", "c"], ["b", "c"], ["a", "b", "c"]], "and it is not asked where there is no choice"

    def test_one_dispatch_fills_threads_of_all_classes_of_a_child(self):
        d = Driver([spec("a", {1: 2, 4: 1})])
        tasks = [d.submit(cores=cores) for cores in (4, 1, 1)]
        assert [task for _, task in d.turn().attempts] == tasks


class TestQueueingAhead:

    def test_nothing_is_queued_ahead_where_classes_share_a_child(self):
        d = Driver([spec("a", {1: 1, 4: 1})], prefetch=5)
        d.warm("a", run_seconds=0.1)
        tasks = [d.submit() for _ in range(10)]
        assert list(d.place()) == tasks[:2]

    def test_it_is_where_each_class_has_a_child_of_its_own(self):
        d = Driver([spec("a", [ClassSpec(1, 1, TWO), ClassSpec(4, 1, THREE)])], prefetch=5)
        for config in (TWO, THREE):
            d.result(f"{d.put(config=config)}.1")
        for _ in range(20):
            d.submit()
        d.turns()
        assert [(len(c.running), len(c.ahead)) for c in d.log.endpoints["a"].classes] == [(1, 5), (1, 5)]

    def test_threads_closest_in_cores_are_queued_ahead_on_first(self):
        d = Driver([spec("large", cores=8), spec("small", cores=2)], prefetch=1)
        for endpoint in ("large", "small"):
            d.warm(endpoint)
        for _ in range(2):
            d.put()
        assert d.where(d.put()) == ("small", 2)
        assert d.where(d.put()) == ("large", 8)


class TestConfigurations:

    def pool(self):
        return Driver([spec("a", [ClassSpec(1, 2, TWO), ClassSpec(1, 3, THREE)]), spec("b", 1)])

    def test_a_dispatch_carries_one_configuration_only(self):
        d = self.pool()
        for _ in range(6):
            d.submit()
        assert sorted((x.endpoint, x.config, len(x.attempts)) for x in d.turns()) == [("a", TWO, 2), ("a", THREE, 3), ("b", None, 1)] \
            and d.turn() is None

    def test_a_dispatch_fills_its_child_however_many_tasks_for_others_come_before(self):
        d = Driver([spec("a", [ClassSpec(1, 4, "x"), ClassSpec(1, 200, "y")])])
        first = d.submit(config="x")
        for _ in range(150):
            d.submit(config="y")
        others = [d.submit(config="x") for _ in range(5)]
        assert [task_id for _, task_id in d.turn().attempts] == [first, *others[:3]]
        assert len(d.turn().attempts) == 100  # in one request, for its bytes

    def test_it_does_not_take_what_the_policy_would_give_to_others(self):
        d = Driver([spec("slow", 100, speed=0.1), spec("fast", 200, speed=1.0)])
        d.submit(endpoints=frozenset({"slow"}))
        for _ in range(100):
            d.submit()
        assert [(x.endpoint, len(x.attempts)) for x in d.turns()] == [("slow", 1), ("fast", 100)]

    def test_a_task_with_a_configuration_goes_to_its_class_only(self):
        d = self.pool()
        tasks = [d.submit(config=TWO) for _ in range(3)]
        assert [(x.config, len(x.attempts)) for x in d.turns()] == [(TWO, 2)]
        d.result(f"{tasks[0]}.1")
        assert d.turn().config == TWO

    def test_it_stays_with_its_class_after_a_failure(self):
        d = self.pool()
        d.result(f"{d.put(config=THREE)}.1", Outcome.TASK_FAILED)
        assert d.turn().config == THREE

    def test_one_child_is_warm_when_the_other_is_not(self):
        d = self.pool()
        d.result(f"{d.put(config=TWO)}.1")
        assert [child.warm for child in d.scheduler.pool["a"].children] == [True, False]


class TestImpossible:

    @pytest.mark.parametrize("needs, says", [
        ({"cores": 9}, "9 cores"),
        ({"cores": 3, "endpoints": frozenset({"b"})}, "3 cores on b"),
        ({"filesystem": "elsewhere"}, "file-system group 'elsewhere'"),
        ({"config": THREE}, THREE),
        ({"config": TWO, "endpoints": frozenset({"b"})}, TWO),
        ({"config": TWO, "cores": 2}, "2 cores"),
        ({"filesystem": "shared", "endpoints": frozenset({"b"})}, "'shared'"),
        ({"endpoints": frozenset()}, "a thread"),
    ])
    def test_what_no_thread_could_ever_run_fails_at_once_and_names_the_classes_there_are(self, needs, says):
        d = Driver([spec("a", [ClassSpec(8, 2), ClassSpec(1, 4, TWO)], filesystem="shared"), spec("b", 1)])
        d.status("a", False)
        failure = d.failed[d.submit(**needs)]
        assert failure.kind is FailureKind.IMPOSSIBLE and says in failure.message
        assert f"a: 2 x 8 cores and 4 x 1 core ({TWO}), b: 1 x 1 core" in failure.message
        d.put()

    def test_what_only_an_absent_endpoint_could_run_is_kept_for_it(self):
        d = Driver([spec("a", cores=8), spec("b")])
        d.status("a", False)
        task = d.submit(cores=8)
        assert not d.failed and d.turn() is None
        d.status("a", True)
        assert d.place() == {task: "a"}


class TestMpi:

    def test_a_dispatch_carries_only_tasks_with_the_same_keys(self):
        d = Driver([spec("a", 6)])
        keys = [(), (("num_nodes", 2),), (), (("num_nodes", 2),), (("num_nodes", 3),), (("num_nodes", 2),)]
        tasks = [d.submit(mpi=mpi) for mpi in keys]
        dispatches = d.turns()
        assert {task: x.mpi for x in dispatches for _, task in x.attempts} == dict(zip(tasks, keys))
        assert len(dispatches) == 3

    def test_tasks_queued_ahead_in_it_have_the_same_keys_too(self):
        d = Driver([spec("a")], prefetch=5)
        d.warm("a")
        keys = [(), (), (("num_nodes", 2),), (("num_nodes", 2),), ()]
        tasks = [d.submit(mpi=mpi) for mpi in keys]
        assert {task: x.mpi for x in d.turns() for _, task in x.attempts} == dict(zip(tasks, keys))

    def test_a_task_with_other_keys_that_comes_first_keeps_its_thread(self):
        d = Driver([spec("a", 2)])
        first, other, later = d.submit(mpi=(("num_nodes", 2),)), d.submit(mpi=(("num_nodes", 3),)), d.submit(mpi=(("num_nodes", 2),))
        assert set(d.place()) == {first, other}
        d.result(f"{first}.1")
        assert set(d.place()) == {later}


class TestGuessedCounts:

    def guess(self, threads=2, prefetch=0):
        d = Driver([spec("a", threads, count_is_given=False)], prefetch=prefetch)
        d.tick(0)
        return d

    def test_the_status_of_the_child_is_asked_for_at_the_first_tick_after_its_first_result(self):
        d = self.guess()
        d.result(f"{d.put()}.1")
        assert not d.queries
        d.tick()
        assert [(query.endpoint, query.child_id) for query in d.queries] == [("a", "child")]

    def test_it_is_asked_for_again_though_results_flow_since_only_a_status_tells_how_many_there_are(self):
        d = self.guess()
        for second in range(70):
            d.result(f"{d.put()}.1")
            d.tick()
            if second == 5:
                d.status("a", True, "child", 2)
        assert [query.child_id for query in d.queries] == ["child"] * 3

    def test_it_is_not_where_the_user_gave_the_count(self):
        d = Driver([spec("a")])
        d.tick(0)
        d.result(f"{d.put()}.1")
        d.tick()
        assert not d.queries

    def test_more_workers_than_guessed_are_all_used(self):
        d = self.guess()
        d.result(f"{d.put()}.1")
        d.status("a", True, "child", 5)
        for _ in range(6):
            d.submit()
        assert len(d.turn().attempts) == 5 and d.turn() is None

    def test_attempts_queued_ahead_run_when_there_are_more_workers(self):
        d = self.guess(1, prefetch=3)
        d.result(f"{d.put()}.1")
        tasks = [d.submit() for _ in range(4)]
        d.turns()
        d.status("a", True, "child", 3)
        assert d.log.endpoints["a"].running == {f"{task}.1" for task in tasks[:3]}
        assert d.log.endpoints["a"].ahead == {f"{tasks[3]}.1"}

    def test_attempts_that_turn_out_to_have_no_worker_are_queued_ahead_before_the_others_and_nothing_is_added(self):
        d = self.guess(3, prefetch=1)
        d.result(f"{d.put()}.1")
        tasks = [d.submit() for _ in range(8)]
        d.turns()
        d.status("a", True, "child", 1)
        assert d.log.endpoints["a"].running == {f"{tasks[0]}.1"}
        assert len(d.log.endpoints["a"].ahead) == 5 and d.turn() is None
        for task, successor in zip(tasks, tasks[1:6]):
            d.result(f"{task}.1")
            assert f"{successor}.1" in d.log.endpoints["a"].running

    @pytest.mark.parametrize("workers", [None, 0])
    def test_a_child_that_says_nothing_of_workers_or_has_none_yet_keeps_the_guess(self, workers):
        d = self.guess()
        d.result(f"{d.put()}.1")
        d.status("a", True, "child", workers)
        assert d.log.endpoints["a"].threads == 2

    def test_only_the_last_child_counts(self):
        d = self.guess()
        d.result(f"{d.put()}.1", child_id="old")
        d.result(f"{d.put()}.1", child_id="new")
        d.status("a", True, "old", 7)
        assert d.log.endpoints["a"].threads == 2
        d.status("a", True, "new", 4)
        assert d.log.endpoints["a"].threads == 4

    @pytest.mark.parametrize("endpoint", [spec("a", 2), spec("a", {1: 2, 4: 1}, count_is_given=False)], ids=["given", "several classes"])
    def test_counts_that_were_given_or_of_several_classes_stay(self, endpoint):
        d = Driver([endpoint])
        d.result(f"{d.put()}.1")
        d.status("a", True, "child", 9)
        assert d.log.endpoints["a"].classes[0].count == 2

    def test_the_count_of_an_endpoint_that_is_away_changes_and_brings_no_turn(self):
        d = self.guess(1)
        d.result(f"{d.put()}.1")
        d.now += 100
        d.status("a", False)
        d.status("a", True, "child", 4)
        d.submit()
        assert d.turn() is None
        d.status("a", True)
        assert d.turn() is not None
