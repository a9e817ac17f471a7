"""The scheduler, driven by events alone."""
from __future__ import annotations

import pytest

from parsl.executors.globus_compute_multi.scheduling.actions import FailureKind
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.policy import Policy
from parsl.executors.globus_compute_multi.scheduling.pool import (
    DOUBT_OFFLINE_SECONDS,
)
from parsl.tests.test_globus_compute_multi.unit.driver import (
    BATCH_BYTES,
    Driver,
    spec,
)

pytestmark = pytest.mark.local


def one(threads: int = 1, **settings) -> Driver:
    return Driver([spec("a", threads)], **settings)


def tasks_of(dispatch):
    return [task_id for _, task_id in dispatch.attempts]


def test_a_task_is_dispatched_when_a_turn_is_granted_and_resolved_by_its_result():
    d = one()
    task = d.submit()
    assert not d.dispatches
    dispatch = d.turn()
    assert (dispatch.endpoint, dispatch.attempts) == ("a", ((f"{task}.1", task),))
    d.accept(dispatch.dispatch_id)
    d.result(f"{task}.1")
    assert d.resolved[task].payload == f"value of {task}.1"
    assert d.log.tasks == {task: "done"}


def test_no_turn_is_wanted_when_nothing_is_pending_or_no_thread_is_free():
    d = one(threads=2)
    assert not d.scheduler.wants_turn
    for _ in range(3):
        d.submit()
    d.turn()
    assert len(d.scheduler.pending) == 1
    assert not d.scheduler.wants_turn


def test_one_dispatch_fills_all_free_threads_in_order_of_submission():
    d = one(threads=3)
    tasks = [d.submit() for _ in range(5)]
    assert tasks_of(d.turn()) == tasks[:3]


def test_lower_priority_numbers_run_first_and_equal_ones_in_order():
    d = one(prefetch=0)
    late, first, second = d.submit(priority=5), d.submit(priority=-1), d.submit(priority=-1)
    order = []
    for _ in range(3):
        dispatch = d.turn()
        order += tasks_of(dispatch)
        d.result(dispatch.attempts[0][0])
    assert order == [first, second, late]


def test_the_endpoint_with_the_larger_share_of_free_threads_is_served_first():
    d = Driver([spec("small", 1), spec("large", 8)])
    for _ in range(4):
        d.submit()
    assert d.turn().endpoint == "large"  # all threads of both are free; more are on this one
    d.submit()
    assert d.turn().endpoint == "small"


def test_a_policy_of_the_users_own_chooses_among_candidates():
    class Last(Policy):
        def choose(self, task, candidates, outlook):
            return candidates[-1]

    d = Driver([spec("a", 8), spec("b", 1)], policy=Last())
    d.submit()
    assert d.turn().endpoint == "b"


def test_tasks_larger_than_a_batch_together_go_in_several_dispatches():
    d = one(threads=4)
    for _ in range(4):
        d.submit(size=BATCH_BYTES // 2)
    assert [len(dispatch.attempts) for dispatch in d.turns()] == [2, 2]


class TestCores:

    def test_a_task_goes_only_where_a_thread_has_the_cores(self):
        d = Driver([spec("narrow", 8, cores=1), spec("wide", 1, cores=16)])
        big, small = d.submit(cores=16), d.submit()
        placed = {task_id: x.endpoint for x in d.turns() for task_id in tasks_of(x)}
        assert placed == {big: "wide", small: "narrow"}

    def test_a_task_that_fits_no_thread_fails_at_once_and_the_classes_are_named(self):
        d = Driver([spec("a", 2, cores=4)])
        task = d.submit(cores=5)
        assert d.failed[task].kind is FailureKind.IMPOSSIBLE
        assert "5 cores" in d.failed[task].message and "a: 2 x 4 cores" in d.failed[task].message

    def test_a_task_that_waits_for_a_wide_thread_is_not_in_the_way_of_others(self):
        d = Driver([spec("narrow", 1, cores=1), spec("wide", 1, cores=2)])
        d.submit(cores=2), d.submit(cores=2)
        small = d.submit()
        assert small in [task_id for x in d.turns() for task_id in tasks_of(x)]


class TestFailures:

    @pytest.mark.parametrize("outcome", [Outcome.APP_FAILED, Outcome.RAISED])
    def test_a_failure_of_the_app_is_its_result_and_is_not_tried_again(self, outcome):
        d = one()
        task = d.submit()
        d.turn()
        d.result("1.1", outcome)
        assert d.resolved[task].outcome is outcome and not d.scheduler.pending

    def test_a_failure_of_the_endpoint_is_tried_again_elsewhere(self):
        d = Driver([spec("a", 1), spec("b", 1)])
        task = d.submit()
        first = d.turn().endpoint
        d.result("1.1", Outcome.TASK_FAILED, message="WorkerLost")
        assert d.turn().endpoint != first
        d.result("1.2")
        assert task in d.resolved

    def test_it_is_tried_again_on_the_same_endpoint_when_the_busy_other_one_goes_away(self):
        d = Driver([spec("a", 1), spec("b", 1)], prefetch=0)
        other, task = (d.submit(endpoints=frozenset({name})) for name in "ba")
        assert d.place() == {other: "b", task: "a"}
        again = d.submit()
        d.result(f"{task}.1")
        assert d.place() == {again: "a"}
        d.result(f"{again}.1", Outcome.TASK_FAILED)
        assert d.turn() is None  # it waits for the other one
        d.status("b", False)
        assert d.place() == {again: "a"}

    def test_it_is_tried_again_on_the_same_endpoint_if_there_is_no_other(self):
        d = one()
        d.submit()
        d.turn()
        d.result("1.1", Outcome.TASK_FAILED)
        assert d.turn().endpoint == "a"

    def test_after_the_last_attempt_the_task_fails_and_says_where_and_why(self):
        d = one(failover_attempts=1)
        task = d.submit()
        for attempt in ("1.1", "1.2"):
            d.turn()
            d.result(attempt, Outcome.NOT_UNPACKED, message="No module named 'mine'")
        assert d.failed[task].kind is FailureKind.ENDPOINTS_FAILED
        assert "2 attempts on a" in d.failed[task].message and "No module named 'mine'" in d.failed[task].message

    def test_a_task_that_comes_back_keeps_its_place_before_later_ones(self):
        d = one()
        first = d.submit()
        d.turn()
        d.submit()
        d.result("1.1", Outcome.TASK_FAILED)
        assert tasks_of(d.turn()) == [first]

    def test_a_rejected_dispatch_goes_elsewhere_and_the_endpoint_is_left_alone_for_a_while(self):
        d = Driver([spec("a", 1), spec("b", 2)])
        first = d.submit()
        dispatch = d.turn()
        assert dispatch.endpoint == "a"
        d.reject(dispatch.dispatch_id)
        assert d.place() == {first: "b"}
        others = [d.submit(), d.submit()]
        assert d.place() == {others[0]: "b"}
        assert d.scheduler.wakes_at == d.now + 1.0
        d.tick(1.0)
        assert d.place() == {others[1]: "a"}

    def test_a_duplicate_result_is_dropped(self):
        d = one()
        d.submit()
        d.turn()
        d.result("1.1")
        d.result("1.1")
        assert d.log.duplicates == 1

    def test_a_result_before_the_answer_to_its_dispatch_counts(self):
        d = one()
        task = d.submit()
        dispatch = d.turn()
        d.result("1.1")
        assert task in d.resolved
        d.accept(dispatch.dispatch_id)

    def test_a_rejection_after_the_result_changes_nothing(self):
        d = one()
        task = d.submit()
        dispatch = d.turn()
        d.result("1.1")
        d.reject(dispatch.dispatch_id)
        assert task in d.resolved and not d.failed

    @pytest.mark.parametrize("status", [None, 500, 503])
    def test_a_dispatch_not_taken_for_no_fault_of_its_tasks_costs_them_no_attempt(self, status):
        d = one(failover_attempts=0)
        d.submit()
        for _ in range(10):
            d.reject(d.turn().dispatch_id, status)
            d.tick(100)
        assert d.turn() is not None and not d.failed

    def test_an_endpoint_is_left_alone_longer_each_time_and_a_result_ends_that(self):
        d = one(failover_attempts=100)
        d.submit()
        pauses = []
        for _ in range(8):
            d.reject(d.turn().dispatch_id)
            paused_at = d.now
            while not d.scheduler.wants_turn:
                d.tick(0.5)
            pauses.append(d.now - paused_at)
        assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        dispatch = d.turn()
        d.result(dispatch.attempts[0][0])
        d.submit()
        d.reject(d.turn().dispatch_id)
        d.tick(1.0)
        assert d.turn() is not None

    def test_the_result_of_an_attempt_that_was_given_up_and_ran_all_the_same_completes_the_task(self):
        d = one()
        task = d.submit()
        other = d.submit()
        d.reject(d.turn().dispatch_id, None)
        d.result("1.1")
        assert d.resolved[task].attempt_id == "1.1"
        d.tick(100)
        assert tasks_of(d.turn()) == [other]

    def test_it_does_so_while_another_attempt_runs_whose_result_is_then_dropped(self):
        d = one()
        task = d.submit()
        d.reject(d.turn().dispatch_id, None)
        d.tick(100)
        d.turn()
        d.result("1.1")
        assert d.resolved[task].attempt_id == "1.1"
        d.result("1.2")
        assert not d.scheduler.attempts


class TestAvailability:

    def test_an_offline_endpoint_gets_nothing_until_it_is_online_again(self):
        d = one()
        d.status("a", False)
        d.submit()
        assert d.turn() is None
        d.status("a", True)
        assert d.turn() is not None

    def test_an_offline_status_is_not_believed_while_results_flow(self):
        d = one()
        d.warm("a")
        d.status("a", False)
        d.submit()
        assert d.turn() is not None

    def test_an_offline_status_is_believed_when_results_have_stopped(self):
        d = one()
        d.warm("a")
        d.now += DOUBT_OFFLINE_SECONDS + 1
        d.status("a", False)
        d.submit()
        assert d.turn() is None

    def test_a_result_brings_an_offline_endpoint_back(self):
        d = one(threads=2)
        d.submit()
        d.turn()
        d.status("a", False)
        d.result("1.1")
        d.submit()
        assert d.turn() is not None

    def test_the_log_says_that_an_endpoint_is_taken_back_whatever_comes_first_when_it_is(self):
        d = one()
        d.submit()
        d.reject(d.turn().dispatch_id, 500)
        d.now += 1000
        d.status("a", True)
        assert d.lines[-2]["state"] == "resumed"

    def test_a_status_that_could_not_be_asked_for_or_is_of_a_child_changes_nothing(self):
        d = one()
        d.status("a", None)
        d.status("a", False, child_id="child")
        d.submit()
        assert d.turn() is not None


class TestStatusQueries:

    def test_a_silent_endpoint_is_asked_about_and_one_with_results_is_not(self):
        d = Driver([spec("busy", 1), spec("silent", 2)])
        d.tick(0)
        for _ in range(40):
            d.submit()
            dispatch = d.turn()
            assert dispatch.endpoint == "busy"
            d.result(dispatch.attempts[0][0], child_id=None)
            d.tick()
        assert {query.endpoint for query in d.queries} == {"silent"}

    def test_children_are_asked_about_too_once_a_result_has_told_their_id(self):
        d = one()
        d.tick(0)
        d.warm("a")
        for _ in range(70):
            d.tick()
        assert {query.child_id for query in d.queries} == {None, "child"}

    def test_queries_keep_their_distance_whatever_the_number_of_endpoints(self):
        d = Driver([spec(f"e{i}", 1) for i in range(100)])
        d.tick(0)
        d.tick(31)
        for _ in range(100):
            d.tick(0.1)
        assert len(d.queries) == 5  # one each 2.5 s

    @pytest.mark.parametrize("held, offline, queries", [(False, False, 1), (True, False, 4), (False, True, 4)])
    def test_while_tasks_need_the_requests_those_that_are_well_and_hold_nothing_are_asked_about_seldom(self, held, offline, queries):
        d = Driver([spec("a", 1), *(spec(f"e{i}", 1) for i in range(20))])
        d.tick(0)
        d.tick(31)
        for i in range(20):
            if held:
                d.submit(endpoints=frozenset({f"e{i}"}))
                d.turn()
            elif offline:
                d.status(f"e{i}", False)
        d.tick(100)
        d.submit(endpoints=frozenset({"a"}))
        assert d.scheduler.wants_turn
        d.queries.clear()
        for _ in range(125):
            d.tick(0.1)
        assert len(d.queries) in (queries, queries + 1)

    def test_so_are_they_if_each_task_comes_after_the_last_look_whether_there_is_one(self):
        d = Driver([spec("a", 1), *(spec(f"e{i}", 1) for i in range(30))])
        d.tick(0)
        d.warm("a")
        d.together = True
        for _ in range(120):
            d.submit(endpoints=frozenset({"a"}))
            d.tick(1.0)
            dispatch = d.turn()
            d.accept(dispatch.dispatch_id)
            d.result(dispatch.attempts[0][0])
        assert 5 < len(d.queries) < 20

    def test_nor_are_those_forgotten_if_others_are_always_asked_about_first(self):
        d = Driver([spec("a", 1), *(spec(f"e{i}", 1) for i in range(40))])
        d.tick(0)
        for i in range(20):
            d.submit(endpoints=frozenset({f"e{i}"}), redispatch=False)
            d.turn()
        d.submit(endpoints=frozenset({"a"}))
        assert d.scheduler.wants_turn
        for _ in range(200):
            d.tick(1.0)
            for query in d.queries:
                d.status(query.endpoint, True, query.child_id)
            idle = [query.endpoint for query in d.queries if query.endpoint in {f"e{i}" for i in range(20, 40)}]
            if idle:
                break
            d.queries.clear()
        assert idle

    def test_a_child_that_was_idle_is_asked_about_if_its_first_tasks_do_not_show_soon_that_it_lives(self):
        d = Driver([spec("a", 1), *(spec(f"e{i}", 1) for i in range(20))])
        d.tick(0)
        d.warm("a")
        d.submit(endpoints=frozenset({"e0"}))
        d.tick(60)
        for name in ("a", *(f"e{i}" for i in range(20))):
            d.status(name, True)
        d.submit(endpoints=frozenset({"a"}), seconds=60.0)
        d.submit(endpoints=frozenset({"e1"}))
        assert [d.turn().endpoint for _ in range(2)] == ["e0", "a"]
        assert d.scheduler.wants_turn
        began = d.now
        while not any(query.child_id for query in d.queries):
            d.tick(0.1)
        assert 5 <= d.now - began < 8

    def test_how_many_workers_a_new_child_has_is_asked_at_once_though_it_is_busy(self):
        d = Driver([spec("a", 1, count_is_given=False)])
        d.tick(0)
        tasks = [d.submit(seconds=60.0) for _ in range(3)]
        dispatch = d.turn()
        d.accept(dispatch.dispatch_id)
        d.tick(1)
        d.result(dispatch.attempts[0][0])
        assert d.turn() is not None and len(d.resolved) < len(tasks)
        while not any(query.child_id for query in d.queries):
            d.tick(0.1)
        assert d.now < 4

    def test_a_query_without_answer_is_repeated(self):
        d = one()
        d.tick(0)
        for _ in range(100):
            d.tick()
        assert len(d.queries) == 3


class TestShutdown:

    def test_pending_and_running_tasks_fail_and_late_results_are_dropped(self):
        d = one()
        running, pending = d.submit(), d.submit()
        d.turn()
        d.shutdown()
        assert {d.failed[t].kind for t in (running, pending)} == {FailureKind.SHUTDOWN}
        d.result("1.1")
        assert not d.resolved

    def test_a_task_submitted_afterwards_fails(self):
        d = one()
        d.shutdown()
        assert d.failed[d.submit()].kind is FailureKind.SHUTDOWN

    def test_shutdown_twice_fails_each_task_once(self):
        d = one()
        d.submit()
        d.shutdown()
        d.shutdown()
        assert len(d.failed) == 1
