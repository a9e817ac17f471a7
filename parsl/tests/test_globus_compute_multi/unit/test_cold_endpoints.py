"""Endpoints whose child has not shown that it runs: it may wait in a batch queue for hours, and what it holds cannot be cancelled."""
from __future__ import annotations

import pytest

from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec

pytestmark = pytest.mark.local

HOUR = 3600.0

#: When the tasks of TestStartingAgain.held are late: 5 s of start-up, 3 s of run time with a margin of half of that, and 2 s for the way.
LATE = 11.5


def only(*endpoints):
    return frozenset(endpoints)


def warm_and_cold(warm=1, cold=1, startup=None, **settings) -> Driver:
    d = Driver([spec("warm", warm, speed=1.0), spec("cold", cold, speed=1.0, startup_seconds=startup)], **settings)
    d.warm("warm", runs=1)
    return d


class TestWhatTheyGet:

    @pytest.mark.parametrize("prefetch", [None, 5])
    def test_one_task_for_each_thread_and_nothing_ahead(self, prefetch):
        d = Driver([spec("a", 3)], prefetch=prefetch)
        tasks = [d.submit(seconds=0.1) for _ in range(50)]
        assert list(d.place()) == tasks[:3]
        d.result(f"{tasks[0]}.1", run_seconds=0.1)
        d.turns()
        assert d.log.endpoints["a"].ahead

    def test_a_failure_that_the_endpoint_reports_warms_it_too(self):
        d = Driver([spec("a")])
        d.result(f"{d.put()}.1", Outcome.TASK_FAILED, run_seconds=None)
        assert d.scheduler.pool["a"].children[0].warm

    def test_a_task_waits_for_a_warm_thread_rather_than_go_where_it_starts_in_an_hour(self):
        d = warm_and_cold(startup=HOUR)
        d.put(seconds=100.0, endpoints=only("warm"))
        task = d.submit(seconds=10.0)
        assert d.turn() is None and [(t, endpoint) for t, endpoint, _ in d.waits] == [(task, "warm")]

    def test_it_goes_there_when_that_starts_sooner_than_the_warm_thread_is_free(self):
        d = warm_and_cold(startup=50.0)
        d.put(seconds=100.0, endpoints=only("warm"))
        task = d.submit(seconds=10.0)
        assert d.place() == {task: "cold"} and not d.waits

    def test_a_free_warm_thread_comes_before_a_faster_one_that_has_yet_to_start(self):
        d = Driver([spec("warm", speed=1.0), spec("cold", speed=4.0, startup_seconds=HOUR)])
        d.warm("warm", runs=1)
        assert d.where(d.put(seconds=10.0)) == ("warm", 1)

    def test_of_a_start_up_that_is_under_way_only_what_is_left_counts(self):
        d = warm_and_cold(cold=2, startup=100.0)
        d.put(endpoints=only("cold"))
        d.tick(90.0)
        d.put(seconds=50.0, endpoints=only("warm"))
        task = d.submit(seconds=10.0)
        assert d.place() == {task: "cold"}

    def test_its_busy_threads_are_not_waited_for_however_fast(self):
        d = Driver([spec("warm", speed=1.0), spec("cold", speed=8.0, startup_seconds=0.0)], redispatch=False)
        d.warm("warm", runs=1)
        d.put(seconds=8.0)
        task = d.submit(seconds=100.0)
        assert d.place() == {task: "warm"} and not d.waits

    def test_a_task_that_would_rather_wait_than_go_there_goes_there_once_it_is_warm(self):
        d = warm_and_cold(cold=2, startup=HOUR)
        first = d.put(endpoints=only("cold"))
        d.put(seconds=100.0, endpoints=only("warm"))
        task = d.submit(seconds=10.0)
        assert d.log.tasks[task] == "waiting"
        d.result(f"{first}.1")
        assert d.place() == {task: "cold"}

    def test_what_it_held_is_taken_to_have_begun_when_it_showed_that_it_runs(self):
        d = Driver([spec("slow", speed=1.0), spec("fast", 2, speed=4.0)], prefetch=0, redispatch=False)
        d.warm("slow", runs=1)
        first, second = [d.put(seconds=200.0, endpoints=only("fast")) for _ in range(2)]
        d.tick(1000.0)
        d.result(f"{first}.1", run_seconds=10.0)
        d.put(seconds=1600.0, endpoints=only("fast"))
        task = d.submit(seconds=100.0)  # 25 s on the fast thread that is free in 40 s; not in a quarter of 1000 s
        assert d.turn() is None and d.log.tasks[task] == "waiting" and d.log.tasks[second] == "dispatched"

    def test_of_a_start_up_of_which_nothing_is_known_as_much_again_is_expected_as_has_gone_by(self):
        d = warm_and_cold(cold=2)
        d.put(endpoints=only("cold"))
        d.put(seconds=100.0, endpoints=only("warm"))
        early = d.submit(seconds=10.0)
        assert d.place() == {early: "cold"}
        d = warm_and_cold(cold=2, redispatch=False)
        d.put(endpoints=only("cold"))
        d.tick(HOUR)
        d.put(seconds=100.0, endpoints=only("warm"))
        d.submit(seconds=10.0)
        assert d.turn() is None and d.waits


class TestStartUp:

    def start_up(self, d):
        return d.scheduler.pool["a"].startup_seconds

    def test_it_is_learned_from_the_first_result_less_its_run_time(self):
        d = Driver([spec("a", startup_seconds=5.0)])
        d.tick(1000.0)
        task = d.put()
        d.tick(100.0)
        d.result(f"{task}.1", run_seconds=30.0)
        assert self.start_up(d) == 70.0

    def test_later_results_do_not_change_it(self):
        d = Driver([spec("a", 2)])
        tasks = [d.put(), d.put()]
        for task in tasks:
            d.tick(50.0)
            d.result(f"{task}.1", run_seconds=0.0)
        assert self.start_up(d) == 50.0

    @pytest.mark.parametrize("run_seconds, start_up", [(1e5, 0.0), (1.1e10, 10.0), (-1.0, 10.0), (None, 10.0)])
    def test_an_impossible_or_unknown_run_time_does_no_harm(self, run_seconds, start_up):
        d = Driver([spec("a")])
        task = d.put()
        d.tick(10.0)
        d.result(f"{task}.1", run_seconds=run_seconds)
        assert self.start_up(d) == start_up

    def test_it_is_counted_from_the_dispatch_that_was_taken_not_from_one_that_was_rejected(self):
        d = Driver([spec("a")])
        d.submit()
        d.reject(d.turn().dispatch_id, 503)
        d.tick(HOUR)
        task, = d.place()
        d.tick(10.0)
        d.result(f"{task}.2", run_seconds=0.0)
        assert self.start_up(d) == 10.0

    def test_nor_from_now_because_a_later_one_was_rejected(self):
        d = Driver([spec("a", 2)])
        task = d.put()
        d.tick(100.0)
        d.submit()
        d.reject(d.turn().dispatch_id, 503)
        d.tick(10.0)
        d.result(f"{task}.1", run_seconds=0.0)
        assert self.start_up(d) == 110.0

    def test_a_child_that_holds_nothing_since_its_dispatch_was_rejected_is_not_taken_to_start_later_and_later(self):
        d = warm_and_cold(failover_attempts=0)
        d.submit(endpoints=only("cold"))
        d.reject(d.turn().dispatch_id, 404)
        d.tick(HOUR)
        d.put(seconds=100.0, endpoints=only("warm"))
        task = d.submit(seconds=10.0)
        assert d.place() == {task: "cold"} and not d.waits


class TestStartingAgain:

    def held(self, warm=1, cold=1, startup=5.0, more=(), **settings):
        """A driver and the tasks that a cold endpoint holds, one for each of its threads, while the warm endpoint is idle again."""
        d = Driver([spec("warm", warm, speed=1.0), spec("cold", cold, speed=1.0, startup_seconds=startup), *more], **settings)
        d.warm("warm", runs=1)
        busy = [d.put(seconds=100.0, endpoints=only("warm")) for _ in range(warm)]
        held = [d.put(seconds=3.0, endpoints=only("warm", "cold")) for _ in range(cold)]
        assert [d.where(task) for task in held] == [("cold", 1)] * cold
        for task in busy:
            d.result(f"{task}.1", run_seconds=100.0)
        return d, held

    def late(self, d):
        """When it wants a turn, if it is told the time whenever it asks for that."""
        while not d.scheduler.wants_turn:
            assert d.scheduler.wakes_at > d.now
            d.tick(d.scheduler.wakes_at - d.now)
        return d.now

    def test_a_task_is_started_elsewhere_too_when_its_result_is_late_after_the_start_up_that_is_known(self):
        d, (task,) = self.held()
        assert d.turn() is None and self.late(d) == LATE
        assert (d.turn().attempts, d.where(task)) == (((f"{task}.2", task),), ("warm", 1))
        assert [line["attempt"] for line in d.lines if line.get("again")] == [f"{task}.2"]

    def test_where_nothing_is_known_of_any_start_up_it_is_late_when_the_task_itself_could_have_run(self):
        d, (task,) = self.held(startup=None)
        assert d.turn() is None and self.late(d) == LATE - 5.0
        assert d.place() == {task: "warm"}

    def test_and_where_nothing_is_known_of_this_one_after_the_longest_elsewhere(self):
        d, _ = self.held(startup=None, more=[spec("other", startup_seconds=50.0)])
        assert d.turn() is None and self.late(d) == 50.0 + LATE - 5.0

    def test_not_if_the_user_does_not_want_that(self):
        d, _ = self.held(redispatch=False)
        d.tick(HOUR)
        assert d.turn() is None and d.scheduler.wakes_at is None

    def test_not_before_the_tasks_that_are_pending(self):
        d, (task,) = self.held(prefetch=0)
        pending = [d.submit(seconds=1.0), d.submit(seconds=1.0)]
        d.tick(LATE)
        for other in pending:
            assert d.place() == {other: "warm"}
            d.result(f"{other}.1")
        assert d.place() == {task: "warm"}

    def test_not_when_the_endpoint_has_become_warm(self):
        d, (task, _) = self.held(cold=2)
        d.result(f"{task}.1")
        d.tick(HOUR)
        assert d.turn() is None

    def test_not_where_it_may_not_run(self):
        d, (task,) = self.held(more=[spec("other", 1)])
        d.warm("other", runs=1)
        d.put(endpoints=only("warm"))
        d.tick(LATE)
        assert d.turn() is None and d.scheduler.wakes_at is None and d.scheduler.pool["other"].classes[0].free

    def test_not_on_another_cold_endpoint(self):
        d = Driver([spec("a", startup_seconds=5.0), spec("b")])
        d.put()
        d.tick(HOUR)
        assert d.turn() is None

    def test_the_first_in_order_is_started_first_and_each_once(self):
        d, (first, second) = self.held(cold=2)
        d.tick(LATE)
        assert d.place() == {first: "warm"}
        d.result(f"{first}.2")
        assert d.place() == {second: "warm"}
        d.result(f"{second}.2")
        assert d.turn() is None

    def test_all_that_there_are_threads_for_travel_in_one_request(self):
        d, held = self.held(warm=3, cold=2)
        d.tick(LATE)
        assert [task for _, task in d.turn().attempts] == held

    def test_the_first_goes_to_the_fastest_and_those_for_another_endpoint_travel_in_another_request(self):
        d = Driver([spec("warm", speed=1.0), spec("cold", 2, startup_seconds=5.0), spec("fast", speed=4.0)])
        for endpoint in ("warm", "fast"):
            d.status(endpoint, False)
        first, second = d.put(seconds=1.0), d.put(seconds=1.0)
        for endpoint in ("warm", "fast"):
            d.status(endpoint, True)
            d.warm(endpoint, runs=1)
        d.tick(LATE)
        assert [(x.endpoint, [task for _, task in x.attempts]) for x in d.turns()] == [("fast", [first]), ("warm", [second])]

    def test_a_task_is_not_started_a_third_time_whatever_becomes_free(self):
        d, (task,) = self.held(warm=3)
        d.tick(LATE)
        assert d.place() == {task: "warm"}
        d.tick(HOUR)
        assert d.turn() is None

    def test_the_first_result_wins_and_the_late_one_is_dropped_and_frees_its_thread(self):
        for winner, loser in ((1, 2), (2, 1)):
            d, (task,) = self.held()
            d.tick(LATE)
            d.turns()
            d.result(f"{task}.{winner}")
            assert d.resolved[task].attempt_id == f"{task}.{winner}" and d.turn() is None
            d.result(f"{task}.{loser}", Outcome.RAISED)
            assert not d.scheduler.attempts and d.resolved[task].outcome is Outcome.OK
            assert len(d.scheduler.pool["warm"].classes[0].running) == 0

    def test_a_task_that_is_finished_is_not_started_again(self):
        d, (task,) = self.held()
        d.tick(LATE)
        d.turns()
        d.result(f"{task}.2")
        d.tick(HOUR)
        assert d.turn() is None

    def test_nor_one_that_an_attempt_given_up_before_has_finished(self):
        d = Driver([spec("gone"), spec("cold", startup_seconds=5.0), spec("warm")])
        d.status("warm", False)
        task = d.submit(seconds=1.0, endpoints=only("gone", "cold", "warm"))
        dispatch = d.turn()
        assert dispatch.endpoint == "gone"
        d.reject(dispatch.dispatch_id, None)
        assert d.place() == {task: "cold"}
        d.result(f"{task}.1")
        d.status("warm", True)
        d.warm("warm", runs=1)
        d.tick(HOUR)
        assert task in d.resolved and d.turn() is None

    def test_one_that_fails_is_repeated_as_often_as_other_failures_and_the_first_still_counts(self):
        d, (task,) = self.held(failover_attempts=2)
        d.tick(LATE)
        for attempt in (2, 3):
            assert d.turn().attempts == ((f"{task}.{attempt}", task),)
            d.result(f"{task}.{attempt}", Outcome.TASK_FAILED)
        d.tick(HOUR)
        assert d.turn() is None and not d.failed
        d.result(f"{task}.1")
        assert d.resolved[task].attempt_id == f"{task}.1"

    def test_not_if_the_user_wants_no_failure_repeated(self):
        d, (task,) = self.held(failover_attempts=0)
        d.tick(LATE)
        d.turns()
        d.result(f"{task}.2", Outcome.TASK_FAILED)
        d.tick(HOUR)
        assert d.turn() is None and not d.failed

    def test_one_that_is_rejected_is_repeated_too(self):
        d, (task,) = self.held(failover_attempts=2)
        d.tick(LATE)
        d.reject(d.turn().dispatch_id, 404)
        d.tick(HOUR)
        assert d.place() == {task: "warm"}
        d.result(f"{task}.3")
        assert d.resolved[task].attempt_id == f"{task}.3"

    def test_a_task_is_started_on_another_child_of_the_same_endpoint_too(self):
        two, three = '{"workers":2}', '{"workers":3}'
        d = Driver([spec("a", [ClassSpec(1, 1, two), ClassSpec(1, 1, three)], speed=1.0, startup_seconds=5.0)])
        d.result(f"{d.put(config=two)}.1", run_seconds=1.0)
        busy = d.put(config=two, seconds=100.0)
        task = d.put(seconds=3.0)
        d.result(f"{busy}.1", run_seconds=100.0)
        assert d.turn() is None
        d.tick(LATE)
        again = d.turn()
        assert (again.config, again.attempts) == (two, ((f"{task}.2", task),))

    def test_when_both_have_failed_the_task_is_tried_again_as_any_other(self):
        d, (task,) = self.held(failover_attempts=2)
        d.tick(LATE)
        d.turns()
        for attempt in (2, 1):
            d.result(f"{task}.{attempt}", Outcome.TASK_FAILED)
        assert set(d.place()) == {task}
        d.result(f"{task}.3")
        assert task in d.resolved

    def test_shutdown_fails_it_once(self):
        d, (task,) = self.held()
        d.tick(LATE)
        d.turns()
        d.shutdown()
        assert set(d.failed) == {task} and d.turn() is None
