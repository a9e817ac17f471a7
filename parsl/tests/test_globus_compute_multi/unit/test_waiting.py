"""When a task waits for threads that are busy though others are free, and how that ends."""
from __future__ import annotations

import pytest

from parsl.executors.globus_compute_multi.scheduling.actions import FailureKind
from parsl.executors.globus_compute_multi.scheduling.placement import MOST_WAITS
from parsl.executors.globus_compute_multi.scheduling.policy import (
    Cheapest,
    EarliestFinish,
)
from parsl.executors.globus_compute_multi.scheduling.pool import (
    DOUBT_OFFLINE_SECONDS,
)
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec

pytestmark = pytest.mark.local


def unequal(*more, slow=1, fast=1, policy=None) -> Driver:
    """Slow and fast threads, all warm, and nothing heard for so long that they may be offline."""
    d = Driver([spec("slow", slow, speed=1.0), spec("fast", fast, speed=4.0), *more], prefetch=0, policy=policy)
    for endpoint in d.scheduler.pool.endpoints:
        d.warm(endpoint, runs=1)
    d.tick(DOUBT_OFFLINE_SECONDS + 1)
    return d


def only(*endpoints):
    return frozenset(endpoints)


def busy(seconds=1.0, **pool) -> Driver:
    """The same, with each fast thread busy for so many seconds more."""
    d = unequal(**pool)
    for _ in range(d.scheduler.pool["fast"].classes[0].count):
        d.put(seconds=4 * seconds, endpoints=only("fast"))
    return d


class TestWhoWaits:

    def test_a_long_task_waits_for_a_fast_thread_that_is_free_soon_and_the_log_says_for_which_and_how_long(self):
        d = busy(1.0)
        task = d.submit(seconds=10.0)
        assert d.turn() is None
        # 10 s on the slow thread, 2.5 s on the fast one: it may begin there 7.5 s from now
        assert d.waits == [(task, "fast", 7.5)] and d.log.tasks[task] == "waiting"
        assert d.scheduler.wakes_at == d.now + 7.5

    def test_a_short_task_does_not(self):
        d = busy(1.0)
        task = d.submit(seconds=1.0)
        assert d.place() == {task: "slow"} and not d.waits

    def test_nor_does_a_task_whose_run_time_is_shorter_than_the_wait(self):
        d = busy(100.0)
        task = d.submit(seconds=10.0)
        assert d.place() == {task: "slow"}

    def test_equal_speeds_are_never_waited_for(self):
        d = Driver([spec("a", speed=1.0), spec("b", speed=1.2)], prefetch=0)
        for endpoint in ("a", "b"):
            d.warm(endpoint, runs=1)
        d.put(seconds=0.1, endpoints=only("b"))
        task = d.submit(seconds=1000.0)
        assert d.place() == {task: "a"} and not d.waits

    def test_speeds_that_were_learned_are_waited_for_when_they_differ_for_certain(self):
        d = Driver([spec("slow"), spec("fast")], prefetch=0)
        for _ in range(10):
            d.warm("slow", run_seconds=4.0, runs=1)
            d.warm("fast", run_seconds=1.0, runs=1)
        d.put(endpoints=only("fast"))
        task = d.submit()
        assert d.turn() is None and d.log.tasks[task] == "waiting"

    def test_tasks_that_wait_are_counted_so_that_at_some_point_the_slow_thread_pays(self):
        d = busy(1.0)
        tasks = [d.submit(seconds=10.0) for _ in range(5)]
        # they are finished on the fast thread after 3.5, 6, 8.5, and 11 s
        assert d.place() == {tasks[3]: "slow"}
        assert [task for task, _, _ in d.waits] == tasks[:3]

    def ahead(self, count):
        """The fast thread has been busy for 100 s, the next task there has just begun, and so many are queued ahead; each takes 20 s."""
        d = Driver([spec("slow", speed=1.0), spec("fast", speed=4.0)], prefetch=count + 1)
        for endpoint in ("slow", "fast"):
            d.warm(endpoint, runs=1)
        first, *_ = [d.put(seconds=80.0, endpoints=only("fast")) for _ in range(count + 2)]
        d.tick(100.0)
        d.result(f"{first}.1", run_seconds=100.0)
        return d

    def test_a_task_that_was_queued_ahead_is_expected_to_run_from_when_it_was_given_the_thread(self):
        d = self.ahead(0)
        task = d.submit(seconds=30.0)  # 20 s and 7.5 s on the fast thread
        assert d.place() == {task: "fast"}

    def test_what_is_queued_ahead_counts(self):
        d = self.ahead(1)
        task = d.submit(seconds=30.0)  # 40 s and 7.5 s on the fast thread
        assert d.place() == {task: "slow"}

    def test_no_task_waits_for_threads_with_more_cores_than_those_that_are_free(self):
        d = Driver([spec("slow", speed=1.0), spec("fast", cores=8, speed=4.0)], prefetch=0)
        for endpoint in ("slow", "fast"):
            d.warm(endpoint, runs=1)
        d.put(seconds=4.0, cores=8)
        task = d.submit(seconds=10.0)
        assert d.place() == {task: "slow"}

    def test_no_task_waits_for_threads_that_it_may_not_have(self):
        d = busy(1.0)
        task = d.submit(seconds=10.0, endpoints=only("slow"))
        assert d.place() == {task: "slow"}

    def test_a_task_waits_for_an_overdue_thread_no_longer_than_another_that_asks_for_the_first_time(self):
        places = []
        for asks_early in (True, False):
            d = busy(10.0, slow=2)
            if asks_early:
                d.put(seconds=1.0)
            d.tick(50.0)
            # what ought to have ended after 10 s is expected to go on for a quarter of its 50 s
            places.append((d.submit(seconds=13.0), d.place()))
        assert [list(place.values()) for _, place in places] == [["slow"], ["slow"]]

    def test_a_thread_kept_for_a_task_in_the_next_request_is_not_taken_for_one_that_is_free_at_once(self):
        d = unequal(slow=2)
        first = d.submit(seconds=1.0, endpoints=only("slow"))
        long = d.submit(seconds=1000.0)
        short = d.submit(seconds=1.0)
        assert d.place() == {first: "slow", long: "fast", short: "slow"} and not d.waits

    def test_a_task_that_comes_first_is_not_deterred_by_those_behind_it_that_wait_already(self):
        d = busy(1.0)
        later = [d.submit(seconds=10.0) for _ in range(3)]
        urgent = d.submit(seconds=10.0, priority=-1.0)
        assert (urgent, "fast") in [(task, endpoint) for task, endpoint, _ in d.waits], "it would be finished there after 3.5 s"
        d.now += 1.0
        d.result("3.1")
        assert d.place()[urgent] == "fast" and d.log.tasks[later[0]] != "dispatched"

    def test_a_patient_cheapest_pays_at_once_where_the_wait_would_be_longer_than_it_was_told(self):
        d = Driver([spec("dear", cost_per_core_hour=2.0), spec("cheap", cost_per_core_hour=1.0)], prefetch=0, policy=Cheapest(30.0))
        d.put(seconds=100.0)
        task = d.submit(seconds=5.0)
        assert d.place() == {task: "dear"} and not d.waits

    def test_a_patient_cheapest_waits_for_as_long_as_it_was_told_each_time_and_then_pays(self):
        d = Driver([spec("dear", cost_per_core_hour=2.0), spec("cheap", cost_per_core_hour=1.0)], prefetch=0, policy=Cheapest(30.0))
        for endpoint in ("dear", "cheap"):
            d.warm(endpoint, runs=1)
        d.put(seconds=20.0)
        task = d.submit(seconds=5.0)
        assert d.turn() is None and d.waits == [(task, "cheap", 30.0)]
        for _ in range(MOST_WAITS):
            assert d.scheduler.wakes_at == d.now + 30.0
            d.tick(30.0)
        assert d.place() == {task: "dear"} and len(d.waits) == MOST_WAITS


class TestHowItEnds:

    def waiting(self, **pool):
        d = busy(1.0, **pool)
        return d, d.submit(seconds=10.0)

    def test_with_the_thread(self):
        d, task = self.waiting()
        d.tick()
        d.result("3.1")
        assert d.place() == {task: "fast"} and not d.scheduler.placement.waiting

    def test_with_another_thread_as_fast(self):
        d = unequal(spec("twin", speed=4.0))
        running = {endpoint: d.put(seconds=4.0, endpoints=only(endpoint)) for endpoint in ("fast", "twin")}
        task = d.submit(seconds=10.0)
        assert [endpoint for _, endpoint, _ in d.waits] == ["fast"]
        d.result(f"{running['twin']}.1")
        assert d.place() == {task: "twin"}

    def test_with_the_thread_though_another_would_be_better_still_by_now(self):
        d = unequal(spec("fastest", speed=16.0))
        running = {endpoint: d.put(seconds=seconds, endpoints=only(endpoint)) for endpoint, seconds in (("fast", 4.0), ("fastest", 160.0))}
        task = d.submit(seconds=10.0)
        assert [endpoint for _, endpoint, _ in d.waits] == ["fast"]
        d.result(f"{running['fastest']}.1")
        d.put(seconds=0.016, endpoints=only("fastest"), priority=-1.0)
        d.result(f"{running['fast']}.1")
        assert d.place() == {task: "fast"}

    def test_after_so_many_times_that_it_has_waited_whatever_the_policy_says(self):
        class Stubborn(EarliestFinish):
            def choose(self, task, candidates, outlook):
                return candidates[-1]

        d = busy(1.0, policy=Stubborn())
        task = d.submit(seconds=10.0)
        for _ in range(MOST_WAITS):
            assert d.turn() is None
            d.tick(10.0)
        assert d.place() == {task: "slow"} and len(d.waits) == MOST_WAITS

    def test_at_its_deadline_it_is_weighed_again_and_in_the_end_the_task_goes_to_the_free_thread(self):
        d, task = self.waiting()
        placed = {}
        while not placed:
            d.tick(d.scheduler.wakes_at - d.now)
            placed = d.place()
        assert placed == {task: "slow"} and len(d.waits) <= MOST_WAITS

    def test_before_its_deadline_a_tick_changes_nothing(self):
        d, task = self.waiting()
        d.tick(7.4)
        assert d.log.tasks[task] == "waiting" and d.turn() is None

    def test_when_the_endpoint_goes_offline(self):
        d, task = self.waiting()
        d.status("fast", False)
        assert d.place() == {task: "slow"}

    def test_when_the_endpoint_is_left_alone_after_a_rejection(self):
        d = unequal()
        first = d.submit(seconds=4.0, endpoints=only("fast"))
        dispatch = d.turn()
        task = d.submit(seconds=10.0)
        assert d.log.tasks[task] == "waiting"
        d.reject(dispatch.dispatch_id, 503)
        assert d.place() == {task: "slow"}
        d.tick(1.0)
        assert d.place() == {first: "fast"}

    def test_when_many_wait_and_the_endpoint_goes_none_is_lost_and_they_keep_their_order(self):
        d = busy(1.0)
        tasks = [d.submit(seconds=10.0) for _ in range(3)]
        d.status("fast", False)
        assert not d.scheduler.placement.waiting
        assert d.in_order()[:3] == tasks

    def test_when_an_attempt_that_was_given_up_brings_its_result_after_all(self):
        d = unequal(spec("twin", speed=4.0))
        d.put(seconds=4.0, endpoints=only("twin"))
        task = d.submit(seconds=10.0)
        dispatch = d.turn()
        assert dispatch.endpoint == "fast"
        d.reject(dispatch.dispatch_id, None)
        assert d.log.tasks[task] == "waiting"
        d.result(f"{task}.1")
        assert task in d.resolved and not d.scheduler.placement.waiting and not d.scheduler.pending

    def test_at_shutdown(self):
        d, task = self.waiting()
        d.shutdown()
        assert d.failed[task].kind is FailureKind.SHUTDOWN and not d.scheduler.placement.waiting

    def test_when_the_fast_threads_turn_out_to_be_no_faster(self):
        d = Driver([spec("slow", 2), spec("fast")], prefetch=0)
        for _ in range(10):
            d.warm("slow", run_seconds=4.0, runs=1)
            d.warm("fast", runs=1)
        d.put(endpoints=only("fast"))
        task = d.submit("other", seconds=100.0)
        assert d.log.tasks[task] == "waiting"
        d.warm("slow", runs=100)
        assert d.where(task) == ("slow", 1)


def test_a_task_that_waits_is_in_nobodys_way():
    d = busy(1.0)
    d.submit(seconds=10.0)
    assert d.where(d.put(seconds=1.0)) == ("slow", 1) and len(d.waits) == 1
