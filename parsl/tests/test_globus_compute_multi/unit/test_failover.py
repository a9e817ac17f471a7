"""Endpoints that die, refuse or fail: their tasks are tried elsewhere, and they are left alone for a while."""
from __future__ import annotations

import pytest

from parsl.executors.globus_compute_multi.scheduling.actions import FailureKind
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec
from parsl.tests.test_globus_compute_multi.unit.steering import (
    SILENCE,
    Steerable,
    child_dies,
    driver_with_one,
    only,
    outcomes,
    pool,
    put,
    threads,
    warm,
)

pytestmark = pytest.mark.local


class TestDeath:

    def test_what_a_dead_child_held_runs_elsewhere(self):
        d = pool()
        task = put(d, "a")
        child_dies(d, "a")
        assert outcomes(d)[f"{task}.1"] == "lost" and d.place() == {task: "b"}
        d.result(f"{task}.2")
        assert d.resolved[task].attempt_id == f"{task}.2"

    def test_offline_is_not_believed_of_a_child_that_has_just_sent_a_result(self):
        d = pool()
        task = put(d, "a")
        d.tick(9.0)
        d.status("a", False, child_id="child of a")
        assert f"{task}.1" not in outcomes(d) and d.scheduler.pool["a"].available

    def test_nor_is_it_news_of_one_that_has_not_begun_again(self):
        d = pool()
        child_dies(d, "a")
        d.tick(100.0)
        probe = put(d, "a")
        d.status("a", False, child_id="child of a")
        assert f"{probe}.1" not in outcomes(d)

    def test_workers_that_an_old_heartbeat_tells_of_do_not_bring_it_back(self):
        d = pool()
        put(d, "a")
        d.tick(11.0)
        d.status("a", False, child_id="child of a", workers=2)
        assert not d.scheduler.pool["a"].children[0].warm

    def test_what_an_offline_endpoint_held_runs_elsewhere_and_it_gets_nothing(self):
        d = pool()
        task = put(d, "a")
        d.tick(61.0)
        d.status("a", False)
        assert d.place() == {task: "b"} and not d.scheduler.pool["a"].available

    def test_a_result_that_comes_after_all_counts_and_the_other_attempt_is_dropped(self):
        d = pool()
        task = put(d, "a")
        child_dies(d, "a")
        d.turns()
        d.result(f"{task}.1")
        assert d.resolved[task].attempt_id == f"{task}.1"
        d.result(f"{task}.2")
        assert not d.scheduler.attempts

    def test_also_if_it_comes_while_the_task_is_pending_again(self):
        d = pool(b=1)
        put(d, "b")
        task = put(d, "a")
        child_dies(d, "a")
        d.result(f"{task}.1")
        assert task in d.resolved and task not in d.place()

    def test_attempts_that_ran_are_counted_and_the_error_says_what_happened(self):
        d = pool(failover_attempts=1)
        task = put(d, "a")
        child_dies(d, "a")
        assert d.place() == {task: "b"}
        child_dies(d, "b")
        assert d.failed[task].kind is FailureKind.ENDPOINTS_FAILED
        assert "2 attempts on a, b" in d.failed[task].message and "lost: its child process is offline" in d.failed[task].message

    def test_attempts_queued_ahead_are_not(self):
        d = pool(a=1, b=1, failover_attempts=0, prefetch=5)
        put(d, "b")
        ran, waited = [put(d, "a", seconds=1.0) for _ in range(2)]
        assert d.log.attempts[f"{waited}.1"].state == "queued_ahead"
        child_dies(d, "a")
        assert set(d.failed) == {ran} and d.place() == {waited: "b"}

    def test_a_task_that_must_not_run_twice_fails_and_says_so(self):
        d = pool(redispatch=False)
        task = put(d, "a")
        child_dies(d, "a")
        assert d.failed[task].kind is FailureKind.LOST and "lost on endpoint a" in d.failed[task].message

    @pytest.mark.parametrize("executor, task, kept", [(False, True, True), (True, False, False)])
    def test_a_task_may_say_otherwise_than_the_executor(self, executor, task, kept):
        d = pool(redispatch=executor)
        task = put(d, "a", redispatch=task)
        child_dies(d, "a")
        assert (task in d.failed) is not kept

    def test_a_process_that_was_started_anew_has_lost_what_the_one_before_it_had_taken(self):
        d = pool(a=9)
        lost = put(d, "a")
        d.tick()
        d.result(f"{put(d, 'a')}.1", child_id="child of a", process="one")
        d.tick()
        waited = put(d, "a")  # perhaps in the queue, as the process before has not been heard of since
        new = put(d, "a")
        d.result(f"{new}.1", child_id="child of a", process="two")
        assert outcomes(d)[f"{lost}.1"] == "lost" and f"{waited}.1" not in outcomes(d)
        d.result(f"{put(d, 'a')}.1", child_id="child of a", process="one")  # on its way for long
        assert f"{waited}.1" not in outcomes(d)

    def test_what_it_may_have_had_is_asked_for_as_soon_as_it_is_late(self):
        d = pool(a=3)
        d.result(f"{put(d, 'a')}.1", child_id="child of a", process="one")
        d.tick()
        first, second = put(d, "a", seconds=1.0), put(d, "a", seconds=1.0)
        d.result(f"{second}.1", child_id="child of a", process="two")
        d.tick(7.0)
        assert d.late == [] and f"{first}.1" not in outcomes(d)
        d.tick(2.0)
        assert d.late == [f"{first}.1"]

    def test_so_is_what_one_held_whose_count_of_tasks_begins_anew(self):
        d = pool()
        task = put(d, "a", seconds=1.0)
        d.status("a", True, child_id="child of a", taken=5)
        d.status("a", True, child_id="child of a", taken=1)
        d.tick(9.0)
        assert d.late == [f"{task}.1"]

    def test_a_known_child_that_does_not_start_again_is_asked_about_what_it_was_given_even_if_there_is_no_other(self):
        d = driver_with_one()
        child_dies(d, "a")
        d.tick(1.0)
        probe = put(d, "a", seconds=1.0)
        d.tick(SILENCE)
        d.status("a", False, child_id="child of a")
        assert d.late == []
        d.tick(5.0)
        d.status("a", False, child_id="child of a")
        assert d.late == [f"{probe}.1"]
        d.check_results()
        d.tick(2.0)
        assert d.place() == {probe: "a"}

    def test_one_that_has_nothing_to_do_for_long_is_asked_for_the_results(self):
        d = pool()
        task = put(d, "a")
        d.tick(25.0)
        young = put(d, "a")
        d.status("a", True, child_id="child of a", outstanding=0, heartbeat=5.0)
        assert d.late == [f"{task}.1"]
        d.check_results()
        assert outcomes(d)[f"{task}.1"] == "lost" and f"{young}.1" not in outcomes(d)


class TestProbing:

    def dead(self, **settings):
        d = pool(**settings)
        put(d, "a")
        child_dies(d, "a")
        return d

    def test_an_endpoint_that_has_failed_is_left_alone_and_then_gets_one_task(self):
        d = self.dead(a=5, b=1)
        d.turns()
        assert not d.scheduler.pool["a"].available and "left alone" in d.reports[-1]
        for _ in range(5):
            d.submit()
        assert set(d.place().values()) <= {"b"}
        d.tick(1.0)
        assert list(d.place().values()) == ["a"]
        d.tick(10.0)
        assert d.turn() is None

    def test_when_that_has_run_it_gets_as_many_as_before(self):
        d = self.dead(a=5, b=1)
        tasks = [d.submit() for _ in range(8)]
        d.tick(1.0)
        probe, = [task for task, endpoint in d.place().items() if endpoint == "a"]
        d.result(f"{probe}.1" if probe in tasks else f"{probe}.2", child_id="child of a")
        assert len([e for e in d.place().values() if e == "a"]) > 1

    def test_when_that_fails_it_is_left_alone_for_longer_and_longer(self):
        d = self.dead(b=1, failover_attempts=100)
        pauses = []
        for _ in range(9):
            while d.scheduler.pool["a"].paused_until is None or d.scheduler.pool["a"].paused_until <= d.now:
                d.submit(endpoints=only("a")) if not d.scheduler.pending else None
                dispatch = d.turn()
                d.result(dispatch.attempts[0][0], Outcome.TASK_FAILED, child_id=None)
            pauses.append(d.scheduler.pool["a"].paused_until - d.now)
            d.tick(pauses[-1])
        assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]

    def test_pauses_of_endpoints_that_failed_together_differ(self):
        endpoint = pool().scheduler.pool["a"]
        assert endpoint.pause(0.0, 0.0, "") == 1.0 and endpoint.pause(0.0, 1.0, "") == 1.0 and endpoint.pause(0.0, 0.5, "") == 3.0


class TestRefusal:

    def test_tasks_of_a_child_that_did_not_start_go_elsewhere_at_no_cost(self):
        d = pool(failover_attempts=0)
        tasks = [put(d, "a"), put(d, "a")]
        for task in tasks:
            d.result(f"{task}.1", Outcome.TASK_FAILED, None, "no module named parsl", child_id=None)
        assert d.place() == dict.fromkeys(tasks, "b")
        assert [line["seconds"] for line in d.lines if line["state"] == "paused"] == [1.0]
        assert "no module named parsl" in d.reports[-1]

    def test_a_failure_that_the_agent_tells_is_another_thing_though_it_does_not_name_itself(self):
        d = pool(failover_attempts=1)
        task = put(d, "a")
        d.result(f"{task}.1", Outcome.TASK_FAILED, None, "worker lost", child_id=None, by_service=False)
        assert d.scheduler.pool["a"].available and d.place() == {task: "b"}
        d.result(f"{task}.2", Outcome.TASK_FAILED, None, "worker lost", child_id=None, by_service=False)
        assert d.failed[task].kind is FailureKind.ENDPOINTS_FAILED

    def test_it_is_no_sign_of_life(self):
        d = Driver([spec("a")])
        d.submit()
        d.result(d.turn().attempts[0][0], Outcome.TASK_FAILED, None, child_id=None)
        assert not d.scheduler.pool["a"].children[0].warm

    def refusals(self, d, task):
        count = 0
        while task not in d.failed:
            d.result(d.turn().attempts[0][0], Outcome.TASK_FAILED, None, "no", child_id=None)
            count += 1
            d.tick(100.0)
        return count

    def test_if_there_is_no_other_endpoint_and_it_never_worked_they_fail(self):
        d = Driver([spec("a")], failover_attempts=2)
        assert self.refusals(d, d.submit()) == 3

    def test_one_that_has_worked_may_refuse_for_some_minutes(self):
        d = Driver([spec("a")], failover_attempts=2)
        warm(d, "a")
        assert self.refusals(d, d.submit()) == 11

    def test_not_with_a_configuration_with_which_nothing_has_run(self):
        d = Driver([spec("a", [ClassSpec(1, 1), ClassSpec(1, 1, "other")])], failover_attempts=2)
        d.submit()
        d.result(d.turn().attempts[0][0])
        assert self.refusals(d, d.submit(config="other")) == 3


class TestFailing:

    def failures(self, d, count, outcome=Outcome.TASK_FAILED, app="app"):
        for _ in range(count):
            d.result(f"{put(d, 'a', app=app)}.1", outcome, child_id="child of a")

    @pytest.mark.parametrize("outcome", [Outcome.TASK_FAILED, Outcome.NOT_UNPACKED])
    def test_an_endpoint_where_task_after_task_fails_outside_the_app_is_left_alone(self, outcome):
        d = pool()
        self.failures(d, 2, outcome)
        assert d.scheduler.pool["a"].available
        self.failures(d, 1, outcome)
        assert not d.scheduler.pool["a"].available and "3 tasks in a row have failed there" in d.reports[-1]

    def test_not_if_there_is_no_other(self):
        d = Steerable(spec("a"), failover_attempts=0)
        warm(d, "a")
        self.failures(d, 20)
        assert d.scheduler.pool["a"].available

    def test_an_endpoint_where_an_app_fails_that_runs_elsewhere_is_left_alone(self):
        d = pool()
        for _ in range(5):
            d.result(f"{put(d, 'b')}.1", child_id="child of b")
        self.failures(d, 4, Outcome.APP_FAILED)
        assert d.scheduler.pool["a"].available
        self.failures(d, 1, Outcome.APP_FAILED)
        assert not d.scheduler.pool["a"].available and "tasks of app fail there" in d.reports[-1]

    def test_not_if_it_fails_elsewhere_too(self):
        d = pool(failover_attempts=0)
        d.result(f"{put(d, 'b')}.1", Outcome.APP_FAILED, child_id="child of b")
        self.failures(d, 20, Outcome.APP_FAILED)
        assert d.scheduler.pool["a"].available

    def test_nor_if_it_has_not_run_elsewhere(self):
        d = pool(failover_attempts=0)
        self.failures(d, 20, Outcome.APP_FAILED, app="another")
        assert d.scheduler.pool["a"].available

    def test_nor_if_some_run_in_between(self):
        d = pool()
        for _ in range(20):
            d.result(f"{put(d, 'a')}.1", Outcome.APP_FAILED, child_id="child of a")
            d.result(f"{put(d, 'a')}.1", Outcome.OK, child_id="child of a")
            d.result(f"{put(d, 'b')}.1", child_id="child of b")
        assert d.scheduler.pool["a"].available

    def test_one_that_goes_on_failing_in_the_app_is_left_alone_for_longer_and_an_app_that_runs_ends_that(self):
        d = pool()
        for _ in range(5):
            d.result(f"{put(d, 'b')}.1", child_id="child of b")
        self.failures(d, 5, Outcome.APP_FAILED)
        for pause in (1.0, 2.0, 4.0):
            assert d.scheduler.pool["a"].paused_until == d.now + pause
            d.tick(pause)
            self.failures(d, 1, Outcome.APP_FAILED)
        d.tick(8.0)
        d.result(f"{put(d, 'a')}.1", child_id="child of a")
        assert not d.scheduler.pool["a"].probing and d.scheduler.pool["a"].strikes == 0


class TestRejections:

    def test_a_batch_refused_for_one_tasks_sake_is_split_until_that_is_alone(self):
        d = Driver([spec("a", 8)], failover_attempts=0)
        tasks = [d.submit() for _ in range(8)]
        bad = tasks[5]
        while d.scheduler.wants_turn:
            dispatch = d.turn()
            if any(task == bad for _, task in dispatch.attempts):
                d.reject(dispatch.dispatch_id, 422)
            else:
                d.accept(dispatch.dispatch_id)
        assert set(d.failed) == {bad} and len(d.scheduler.attempts) == 7
        assert d.scheduler.pool["a"].available
        assert len(d.dispatches) <= 8

    def test_a_dispatch_to_an_endpoint_that_is_not_there_costs_nothing_if_there_is_another(self):
        d = pool(failover_attempts=0)
        task = d.submit()
        dispatch = d.turn()
        d.reject(dispatch.dispatch_id, 404)
        assert d.place() == {task: {"a": "b", "b": "a"}[dispatch.endpoint]}
        assert d.scheduler.pool[dispatch.endpoint].probing

    def test_and_fails_its_tasks_if_there_is_not(self):
        d = Driver([spec("a")], failover_attempts=0)
        task = d.submit()
        d.reject(d.turn().dispatch_id, 404)
        assert task in d.failed

    def test_credentials_that_are_not_accepted_fail_what_is_not_dispatched_and_leave_the_rest(self):
        d = pool(a=1, b=1)
        runs = put(d, "a")
        sent, pending = d.submit(), d.submit()
        d.reject(d.turn().dispatch_id, 401)
        assert {task: d.failed[task].kind for task in (sent, pending)} == dict.fromkeys((sent, pending), FailureKind.CREDENTIALS)
        assert "Log in again" in d.failed[pending].message
        d.result(f"{runs}.1")
        assert runs in d.resolved

    @pytest.mark.parametrize("status, kept", [(None, False), (502, False), (429, True), (423, True)])
    def test_a_task_that_must_not_run_twice_is_not_sent_again_if_it_may_have_been_taken(self, status, kept):
        d = pool(redispatch=False)
        task = d.submit()
        d.reject(d.turn().dispatch_id, status)
        assert (task in d.failed) is not kept

    def test_tasks_that_must_not_run_twice_do_not_travel_with_others(self):
        d = Driver([spec("a", 4)])
        for redispatch in (True, False, True, False):
            d.submit(redispatch=redispatch)
        assert sorted((x.once, [task for _, task in x.attempts]) for x in d.turns()) == [(False, [1, 3]), (True, [2, 4])]


class TestCancelling:

    def test_a_pending_task_is_never_dispatched(self):
        d = pool(a=1, b=1)
        put(d, "a")
        put(d, "b")
        task, other = d.submit(), d.submit()
        d.cancel(task)
        assert d.failed[task].kind is FailureKind.CANCELLED
        child_dies(d, "a")
        d.tick()
        assert task not in d.place() and other not in d.failed

    def test_a_task_that_waits_for_a_thread_does_so_no_more(self):
        d = Driver([spec("slow", speed=1.0), spec("fast", speed=8.0)])
        for name in ("slow", "fast"):
            warm(d, name)
        d.put(seconds=8.0)
        task = d.submit(seconds=100.0)
        assert d.turn() is None and d.log.tasks[task] == "waiting"
        d.cancel(task)
        assert task in d.failed and not threads(d, "fast").awaited

    def test_the_result_of_one_that_ran_is_dropped_and_its_thread_free(self):
        d = pool()
        task = put(d, "a")
        d.cancel(task)
        assert task in d.failed and len(threads(d, "a").running) == 1
        d.result(f"{task}.1")
        assert task not in d.resolved and not threads(d, "a").running

    def test_a_finished_or_unknown_task_is_let_be(self):
        d = pool()
        d.cancel(1)
        d.cancel(1000)
        assert not d.failed
