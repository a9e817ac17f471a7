"""How much is queued ahead on an endpoint, and when."""
from __future__ import annotations

import pytest

from parsl.executors.globus_compute_multi.scheduling.policy import Policy, RoundRobin
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec
from parsl.tests.test_globus_compute_multi.unit.test_scheduler import one

pytestmark = pytest.mark.local


class TestQueueingAhead:

    def test_nothing_is_queued_ahead_on_an_endpoint_that_has_sent_no_result_yet(self):
        d = Driver([spec("warm", 2), spec("cold", 1)])
        d.warm("warm", run_seconds=0.01)
        for _ in range(200):
            d.submit()
        d.turns()
        assert d.log.endpoints["warm"].ahead and not d.log.endpoints["cold"].ahead

    def test_idle_threads_come_before_queues_that_run_low(self):
        class Full(Policy):
            def choose(self, task, candidates, outlook):
                return min(candidates, key=lambda threads: threads.free)

        d = Driver([spec("a", 1), spec("b", 1)], policy=Full())
        d.warm("a", run_seconds=0.1)
        d.submit()
        d.turn()
        for _ in range(50):
            d.submit()
        assert d.turn().endpoint == "b"

    def test_nothing_is_queued_ahead_while_run_times_are_unknown(self):
        d = one()
        for _ in range(3):
            d.submit()
        d.turn()
        assert not d.scheduler.wants_turn

    @pytest.mark.parametrize("tasks, ahead", [(11, 0), (16, 4), (23, 4), (32, 8), (1000, 8)])
    def test_one_or_two_for_each_thread_if_they_are_few_of_many(self, tasks, ahead):
        d = Driver([spec("a", 4)])
        d.warm("a", "another")
        for _ in range(4 + tasks):
            d.submit("unseen")
        d.turns()
        assert len(d.log.endpoints["a"].ahead) == ahead and not d.scheduler.wants_turn

    def test_threads_that_are_offline_count_for_what_is_many_too(self):
        d = Driver([spec("a", 4), spec("b", 12)])
        d.warm("a", "another")
        d.now += 100.0
        d.status("b", False)
        for _ in range(4 + 47):
            d.submit("unseen")
        d.turns()
        assert not d.log.endpoints["a"].ahead
        for _ in range(4):
            d.submit("unseen")
        d.turns()
        assert len(d.log.endpoints["a"].ahead) == 4

    def test_not_if_others_take_long_for_then_it_may_too(self):
        d = Driver([spec("a", 4)])
        d.warm("a", "another", run_seconds=60.0)
        for _ in range(100):
            d.submit("unseen")
        d.turns()
        assert not d.log.endpoints["a"].ahead

    @pytest.mark.parametrize("settings", [{}, {"prefetch": 0}])
    def test_not_on_a_cold_endpoint_nor_against_the_users_will(self, settings):
        d = Driver([spec("a", 4)], **settings)
        if settings:
            d.warm("a", "another")
        for _ in range(100):
            d.submit("unseen")
        d.turns()
        assert len(d.log.endpoints["a"].running) == 4 and not d.log.endpoints["a"].ahead

    def test_short_tasks_are_queued_ahead_up_to_the_horizon_and_no_further(self):
        d = one(threads=2, requests_per_second=2.0)
        d.warm("a", run_seconds=0.5)
        for _ in range(100):
            d.submit()
        d.turn()
        # horizon 2 s for one endpoint: 2 threads x 2 s / 0.5 s
        assert (len(d.log.endpoints["a"].running), len(d.log.endpoints["a"].ahead)) == (2, 8)

    def test_what_is_left_to_free_threads_of_others_is_not_shared_out(self):
        d = Driver([spec("a", 2, speed=2.0), spec("b", 8, speed=1.0)])
        d.warm("a", run_seconds=0.5)
        d.now += 10
        for seconds, tasks, priority in ((100.0, 2, -2), (100.0, 8, -1), (0.4, 20, 0)):
            for _ in range(tasks):
                d.submit(seconds=seconds, priority=priority, size=0)
        d.turns()
        # 20 tasks of 0.4 s for 12 threads of speed 1: less than a second each, of which 4 are on a
        assert len(d.log.endpoints["a"].ahead) == 7 and len(d.log.endpoints["b"].running) == 8

    def test_more_threads_may_be_free_than_tasks_are_left(self):
        d = Driver([spec("a", 2, speed=2.0), spec("b", 1000)])
        d.warm("a")
        for _ in range(700):
            d.submit(size=0)
        d.turns()
        assert len(d.scheduler.pending) == len(d.scheduler.placement.waiting)  # all others are on a thread
        assert len(d.log.endpoints["b"].running) > 600 and not d.log.endpoints["a"].ahead

    def test_queues_that_are_full_are_not_looked_at(self):
        d = Driver([spec(f"e{i}", 1) for i in range(20)], prefetch=2)
        for i in range(20):
            d.warm(f"e{i}")
        for _ in range(100):
            d.submit()
        d.turns()
        assert all(len(d.log.endpoints[f"e{i}"].ahead) == 2 for i in range(20))
        assert not list(d.scheduler.ahead.hungry())

    @pytest.mark.parametrize("more", [{"seconds": 3600.0}, {"app": "unseen"}])
    def test_tasks_that_go_nowhere_are_not_held_against_each_queue(self, more):
        d = Driver([spec(f"e{i}", 1, speed=1.0) for i in range(20)])
        for i in range(20):
            d.warm(f"e{i}", run_seconds=1.0)
        for _ in range(40):
            d.submit(**more)
        d.turns()
        asked = []
        d.scheduler.ahead.has_room = lambda *told: asked.append(told)
        d.submit(**more)
        assert not asked and not d.scheduler.wants_turn
        for _ in range(100):
            d.submit(seconds=0.1, priority=-1)
        assert asked

    def test_the_horizon_grows_with_the_number_of_endpoints_that_share_the_requests(self):
        d = Driver([spec(f"e{i}", 1) for i in range(8)], requests_per_second=2.0)
        d.warm("e0", run_seconds=0.5)
        for _ in range(1000):
            d.submit()
        dispatch = next(x for x in d.turns() if x.endpoint == "e0")
        assert len(dispatch.attempts) == 1 + 16  # 2 x 8 endpoints / 2 requests per second = 8 s of 0.5 s tasks

    def test_each_child_of_an_endpoint_has_requests_of_its_own_so_the_horizon_grows_with_their_number(self):
        d = Driver([spec("a", [ClassSpec(1, 1, config) for config in "wxyz"])], requests_per_second=2.0)
        for config in "wxyz":
            d.submit(config=config)
        for dispatch in d.turns():
            for attempt_id, _ in dispatch.attempts:
                d.result(attempt_id, run_seconds=0.25)
        for _ in range(1000):
            d.submit()
        # 2 x 4 children / 2 requests per second = 4 s of 0.25 s tasks
        assert [len(dispatch.attempts) for dispatch in d.turns()] == [1 + 16] * 4

    def test_it_grows_with_children_that_are_used_for_the_first_time_while_much_is_pending(self):
        d = Driver([spec(f"e{i}", [ClassSpec(1, 1, config) for config in "ab"]) for i in range(20)], requests_per_second=2.0)
        for i in range(4000):
            d.submit(config="ab"[i % 2], seconds=2.0)
        sizes = []
        for _ in range(100):
            dispatch = d.turn()
            sizes.append(len(dispatch.attempts))
            d.result(dispatch.attempts[0][0], run_seconds=2.0, child_id=f"child {dispatch.config} of {dispatch.endpoint}")
            d.tick(0.5)
        assert max(sizes) >= 20  # 2 x 40 children / 2 requests per second = 40 s of 2 s tasks; it was 20 s at first

    def test_the_horizon_grows_when_requests_are_granted_more_rarely_than_at_first(self):
        d = Driver([spec(f"e{i}", 1) for i in range(8)], requests_per_second=2.0)
        d.warm("e0", run_seconds=0.5)
        for _ in range(1000):
            d.submit()
        d.requests_per_second = 1.0  # the service has refused some
        dispatch = next(x for x in d.turns() if x.endpoint == "e0")
        assert len(dispatch.attempts) == 1 + 32

    def test_children_that_nobody_uses_do_not_make_the_horizon_longer(self):
        d = Driver([spec("a", [ClassSpec(1, 1, str(i)) for i in range(64)])], requests_per_second=2.0)
        for _ in range(2):
            d.submit(config="7")
            d.result(d.turn().attempts[0][0], run_seconds=0.25)
        for _ in range(20_000):
            d.submit(config="7")
        assert len(d.turn().attempts) == 1 + 8  # 2 s of 0.25 s tasks

    def test_long_tasks_are_bound_late(self):
        d = one(threads=2)
        d.warm("a", run_seconds=3600)
        for _ in range(10):
            d.submit()
        d.turn()
        assert not d.log.endpoints["a"].ahead

    def test_a_queue_is_topped_up_only_when_less_than_half_full(self):
        d = one(requests_per_second=2.0)
        d.warm("a", run_seconds=0.5, runs=1)
        for _ in range(100):
            d.submit()
        d.turn()
        assert len(d.log.endpoints["a"].ahead) == 4
        for attempt in ("2.1", "3.1"):
            d.result(attempt, run_seconds=0.5)
            assert not d.scheduler.wants_turn
        d.result("4.1", run_seconds=0.5)
        assert d.turn() is not None

    def test_where_requests_are_not_scarce_a_queue_is_topped_up_before_results_could_tell_that_it_is_empty(self):
        for requests_per_second, wants in ((None, True), (2.0, False)):
            d = one(requests_per_second=requests_per_second)
            d.warm("a", run_seconds=0.1)
            for _ in range(5):
                d.submit()
            d.turns()
            assert len(d.log.endpoints["a"].ahead) == 4
            for _ in range(2):
                d.submit()
            assert d.scheduler.wants_turn is wants

    def test_where_requests_are_not_scarce_a_queue_of_a_second_is_enough_for_now(self):
        d = one(requests_per_second=None)
        d.warm("a", run_seconds=0.1)
        for _ in range(12):
            d.submit()
        d.turns()
        assert len(d.log.endpoints["a"].ahead) == 11
        for _ in range(50):
            d.submit()
        assert not d.scheduler.wants_turn

    @pytest.mark.parametrize("requests_per_second", [None, 2.0])
    @pytest.mark.parametrize("threads", [(1, 2, 8), (1, 1, 64), (5, 5, 5)])
    @pytest.mark.parametrize("tasks", [300, 601])
    def test_the_last_of_short_tasks_are_all_queued_at_once_in_equal_parts(self, requests_per_second, threads, tasks):
        d = Driver([spec(f"e{i}", count) for i, count in enumerate(threads)], requests_per_second=requests_per_second)
        for i in range(3):
            d.warm(f"e{i}", run_seconds=0.0, runs=100)
        for _ in range(tasks):
            d.submit(size=0)
        while d.scheduler.wants_turn:
            d.turn()
            d.scheduler.ahead._share_uses = 0  # it is computed anew for each turn, as when results come in between
        assert not d.scheduler.pending
        queued = [len(endpoint.ahead) for endpoint in d.log.endpoints.values()]
        assert max(queued) < 1.1 * (tasks - sum(threads)) / 3 + 10

    def test_what_is_left_at_the_end_is_shared_and_not_hoarded(self):
        d = Driver([spec("a", 2), spec("b", 2)], requests_per_second=2.0)
        for _ in range(4):
            d.submit()
        for dispatch in d.turns():
            for attempt_id, _ in dispatch.attempts:
                d.result(attempt_id, run_seconds=0.1)
        for _ in range(12):
            d.submit()
        assert {x.endpoint: len(x.attempts) for x in d.turns()} == {"a": 6, "b": 6}

    def test_what_is_done_before_the_next_turn_is_not_worth_another_request(self):
        d = Driver([spec("a", 2), spec("b", 2)], requests_per_second=2.0)
        d.warm("a", run_seconds=0.1)
        d.next_turn = 0.5
        for _ in range(12):
            d.submit()
        assert [(x.endpoint, len(x.attempts)) for x in d.turns()] == [("a", 10), ("b", 2)]

    @pytest.mark.parametrize("next_turn", [0.5, float("inf")])  # infinite: nothing is known, so it is as far away as usual
    def test_those_whose_turn_comes_first_get_more_so_that_all_end_together(self, next_turn):
        d = Driver([spec(f"e{i}", 1) for i in range(8)], requests_per_second=2.0)
        for i in range(8):
            d.warm(f"e{i}", run_seconds=0.1)
        d.next_turn = next_turn
        for _ in range(80):
            d.submit()
        ends, begin = [], d.now
        while d.scheduler.wants_turn:
            ends.append(d.now - begin + 0.1 * len(d.turn().attempts))
            d.tick(0.5)
        # with the same share for each, the eighth would have ended 4.5 s after the beginning
        assert len(ends) == 6 and max(ends) < 2.9 and min(ends) > 2.4

    def test_a_small_endpoint_whose_turn_comes_first_gets_no_more_than_is_done_with_a_large_one(self):
        d = Driver([spec("large", 100), *(spec(f"small{i}", 1) for i in range(20))], requests_per_second=2.0)
        for endpoint in d.scheduler.pool:
            d.warm(endpoint.name, run_seconds=0.1)
        for i in range(20):
            d.submit(endpoints=frozenset({f"small{i}"}), priority=-1)  # so that their turns come first
        for _ in range(3000):  # three seconds for all
            d.submit()
        d.next_turn = 0.5
        assert d.turn().endpoint.startswith("small") and len(list(d.dispatches.values())[-1].attempts) <= 36

    def test_nothing_is_left_to_free_threads_of_others_that_is_done_before_they_have_their_turn(self):
        d = Driver([spec("a", 1), spec("b", 2), spec("c", 8)], requests_per_second=2.0)
        for endpoint in ("a", "b", "c"):
            d.warm(endpoint, run_seconds=0.1)
        d.next_turn = 2.0
        for _ in range(9):
            d.submit()
        dispatch, = d.turns()
        assert len(dispatch.attempts) == 9

    def test_the_gap_before_the_next_turn_is_filled_however_long_it_is(self):
        d = Driver([spec(f"e{i}", 1) for i in range(8)], requests_per_second=2.0)
        for i in range(8):
            d.warm(f"e{i}", run_seconds=0.1)
        d.next_turn = 5.0
        for _ in range(80):
            d.submit()
        assert [len(x.attempts) for x in d.turns()] == [64, 16]  # 6.4 s, and 1.6 s after another five

    def test_nothing_is_put_behind_a_task_of_which_only_a_guess_is_known_while_others_have_free_threads(self):
        d = Driver([spec("a", 4), spec("b", 8)], requests_per_second=2.0)
        for endpoint in ("a", "b"):
            d.warm(endpoint, "short", run_seconds=0.1)
        d.next_turn = 2.0
        for _ in range(8):
            d.submit("unseen", priority=-1)
        shorts = {d.submit("short") for _ in range(4)}
        assert {endpoint for task, endpoint in d.place().items() if task in shorts} == {"a"}

    def test_a_long_task_is_not_bound_to_a_slow_endpoint_because_half_of_it_may_stick_out(self):
        d = Driver([spec("slow", 32, speed=0.1), spec("b", 8, speed=1.0)], requests_per_second=2.0)
        for endpoint in ("slow", "b"):
            d.warm(endpoint, run_seconds=0.1)
        d.next_turn = 2.0
        for _ in range(32):
            d.submit(seconds=0.001, endpoints=frozenset({"slow"}))
        assert d.where(d.put(seconds=12.0))[0] == "b"

    def test_a_policy_of_the_users_has_its_say_for_what_may_be_done_before_the_next_turn(self):
        d = Driver([spec("a", 1), spec("b", 8)], requests_per_second=2.0, policy=RoundRobin())
        for endpoint in ("a", "b"):
            d.warm(endpoint, run_seconds=0.1)
        d.next_turn = 2.0
        d.submit(endpoints=frozenset({"a"}))
        tasks = [d.submit() for _ in range(8)]
        place = d.place()
        assert {place[task] for task in tasks} == {"b"}

    def test_what_takes_longer_is_left_to_them(self):
        d = Driver([spec("a", 1), spec("c", 8)], requests_per_second=2.0)
        for endpoint in ("a", "c"):
            d.warm(endpoint, run_seconds=3.0)
        d.next_turn = 2.0
        for _ in range(9):
            d.submit()
        assert {x.endpoint: len(x.attempts) for x in d.turns()} == {"a": 1, "c": 8}

    def test_nothing_is_queued_behind_a_long_task_because_the_next_turn_takes_a_while(self):
        d = Driver([spec("a", 1), spec("b", {1: 8, 2: 1})], requests_per_second=2.0)
        d.warm("a", run_seconds=0.2)
        d.submit(seconds=100.0, endpoints=frozenset({"a"}))
        for _ in range(8):
            d.submit(seconds=1.0, endpoints=frozenset({"b"}))
        d.submit(seconds=1.0, cores=2)
        d.next_turn = 0.5
        d.turns()
        task = d.submit()
        assert task not in d.place() and not d.scheduler.wants_turn

    def test_a_gap_before_the_next_turn_ends(self):
        d = Driver([spec("a", 2), spec("b", 2)], requests_per_second=2.0)
        d.warm("a", run_seconds=0.1)
        d.next_turn = 0.5
        d.put()
        d.now += 30.0
        d.next_turn = 0.0
        for _ in range(12):
            d.submit()
        assert max(len(x.attempts) for x in d.turns()) <= 7

    def test_a_bound_of_the_users_own_replaces_the_horizon(self):
        d = one(threads=2, prefetch=3)
        d.warm("a", run_seconds=3600)
        for _ in range(20):
            d.submit()
        d.turn()
        assert len(d.log.endpoints["a"].ahead) == 6

    def test_an_attempt_queued_ahead_takes_over_the_thread_of_a_finished_one(self):
        d = one(prefetch=1)
        d.warm("a", runs=1)
        d.submit(), d.submit()
        d.turn()
        assert (d.log.endpoints["a"].running, d.log.endpoints["a"].ahead) == ({"2.1"}, {"3.1"})
        d.result("2.1")
        assert (d.log.endpoints["a"].running, d.log.endpoints["a"].ahead) == ({"3.1"}, set())
