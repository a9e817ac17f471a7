"""What the service and the broker do wrong, and what the executor makes of it: no task is lost, none is resolved twice."""
from __future__ import annotations

import time

import pytest

from parsl.app.app import python_app
from parsl.executors.globus_compute_multi.compute.service import Service
from parsl.executors.globus_compute_multi.errors import (
    CredentialsMissing,
    EndpointsFailed,
)
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.tests.test_globus_compute_multi.integration.common import (
    increment,
    run_tasks,
    states,
)
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    THREADS,
    check_log,
    portable,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@pytest.mark.parametrize("fault", [
    {"kind": "reply_status", "status": 429, "retry_after": 0.1},
    {"kind": "reply_status", "status": 500},
    {"kind": "reply_status", "status": 503},
    {"kind": "drop_connection"},
])
def test_a_submission_that_was_not_taken_is_sent_again(workflow, faults, fault):
    with workflow() as (dfk, executor):
        faults.add_fault(route="submit", count=2, **fault)
        run_tasks(dfk)
        assert [rule["hits"] for rule in faults.faults()] == [2]
    assert "rejected" not in states(executor, "dispatch")


def test_a_lost_answer_runs_tasks_twice_and_completes_them_once(workflow, faults):
    with workflow() as (dfk, executor):
        faults.add_fault("lose_answer", route="submit", count=2)
        run_tasks(dfk)
        assert [rule["hits"] for rule in faults.faults()] == [2]
    assert check_log(executor).count("done") == 30


def test_a_lost_answer_to_a_later_submission_brings_duplicates_that_are_dropped(workflow, faults):
    with workflow() as (dfk, executor):
        run_tasks(dfk, 1)
        faults.add_fault("lose_answer", route="submit", count=1)
        run_tasks(dfk)
        deadline = time.monotonic() + 60
        while "duplicate" not in states(executor, "attempt"):
            assert time.monotonic() < deadline, "the second results never came"
            time.sleep(0.1)
    assert check_log(executor).count("done") == 31


@pytest.mark.parametrize("fault", [{"kind": "result_before_answer"}, {"kind": "delay_answer", "seconds": 3}])
def test_a_result_before_the_answer_to_its_submission(workflow, faults, fault):
    with workflow() as (dfk, executor):
        run_tasks(dfk, 1)
        faults.add_fault(route="submit", count=3, **fault)
        run_tasks(dfk)
        assert faults.faults()[0]["hits"] > 0
    if fault["kind"] == "delay_answer":  # which leaves time enough to be sure of the order
        assert dispatches_with_early_results(executor)


def dispatches_with_early_results(executor):
    """Dispatches of which a result was there before their answer."""
    early, accepted, dispatch_of = set(), set(), {}
    for line in read_log(executor.log_file):
        if line["kind"] == "dispatch" and line["state"] == "accepted":
            accepted.add(line["dispatch"])
        elif line["kind"] == "attempt" and "dispatch" in line:
            dispatch_of[line["attempt"]] = line["dispatch"]
        elif line["kind"] == "attempt" and line["state"] == "finished" and dispatch_of[line["attempt"]] not in accepted:
            early.add(dispatch_of[line["attempt"]])
    return early


def test_duplicate_late_and_reordered_results(workflow, faults):
    with workflow() as (dfk, executor):
        faults.add_fault("duplicate_result", copies=3, probability=0.5, seed=1)
        faults.add_fault("late_result", seconds=1.5, probability=0.2, seed=2)
        faults.add_fault("reorder_results", size=3, probability=0.2, seed=3)
        run_tasks(dfk, 60)
    state = check_log(executor)
    assert state.count("done") == 60 and state.duplicates > 0


def test_a_submission_that_is_refused_for_good_fails_its_tasks_with_the_services_reason(workflow, faults):
    with workflow(failover_attempts=1) as (dfk, executor):
        run_tasks(dfk, 1)
        faults.add_fault("reply_status", route="submit", status=400, reason="no such luck")
        future = python_app(increment, data_flow_kernel=dfk)(1)
        with pytest.raises(EndpointsFailed, match="2 attempts .*no such luck"):
            future.result(60)
        faults.clear_faults()
        run_tasks(dfk, 3)
    assert states(executor, "dispatch").count("rejected") == 2


def test_one_endpoint_that_refuses_leaves_its_tasks_to_the_others(workflow, faults, compute):
    with workflow() as (dfk, executor):
        faults.add_fault("reply_status", route="submit", status=403, endpoint_id=compute.endpoint_ids["large"])
        run_tasks(dfk)
    state = check_log(executor)
    assert state.endpoints["large"].done == 0 and state.count("done") == 30


@pytest.mark.parametrize("first", [True, False])
def test_one_endpoint_at_which_submissions_fail_does_not_hold_up_the_others(workflow, faults, compute, first):
    with workflow() as (dfk, executor):
        if not first:
            run_tasks(dfk, 10)
        faults.add_fault("reply_status", route="submit", status=500, endpoint_id=compute.endpoint_ids["large"])
        run_tasks(dfk)
    assert not check_log(executor).count("failed")


def test_credentials_that_are_not_accepted_any_more_fail_what_is_not_dispatched_and_say_what_to_do(workflow, faults):
    with workflow() as (dfk, executor):
        run_tasks(dfk, 3)
        faults.add_fault("reply_status", route="submit", status=401, count=1)
        with pytest.raises(CredentialsMissing, match="Log in again"):
            python_app(increment, data_flow_kernel=dfk)(1).result(60)
        run_tasks(dfk)


def test_an_unexpected_error_of_a_sender_loses_no_task(workflow, monkeypatch):
    submit, crashes = Service.submit, iter([True, True])

    def crash_twice(self, *args):
        if next(crashes, False):
            raise RuntimeError("odd")
        return submit(self, *args)

    with workflow() as (dfk, _):
        monkeypatch.setattr(Service, "submit", crash_twice)
        run_tasks(dfk)


def test_an_endpoint_said_to_be_offline_at_start_gets_no_tasks(workflow, faults, compute):
    faults.add_fault("force_status", endpoint_id=compute.endpoint_ids["large"], status="offline")
    with workflow() as (dfk, executor):
        run_tasks(dfk)
    assert check_log(executor).endpoints["large"].done == 0


def test_a_wrong_offline_while_results_flow_changes_nothing(workflow, faults):
    def nap():
        import time
        time.sleep(0.3)

    with workflow(status_interval=0.2) as (dfk, executor):
        # one for each thread of the pool, so that results have come from each endpoint
        [future.result(60) for future in [python_app(portable(nap), data_flow_kernel=dfk)() for _ in range(sum(THREADS.values()))]]
        faults.add_fault("force_status", status="offline")
        run_tasks(dfk, 60)
    assert "offline" not in states(executor, "endpoint")


def test_the_service_restarts_under_a_workflow(workflow, compute):
    with workflow() as (dfk, executor):
        app = python_app(increment, data_flow_kernel=dfk)
        before = [app(i) for i in range(20)]
        compute.restart_service()
        after = [app(i) for i in range(20)]
        assert [f.result(120) for f in before + after] == [*range(1, 21)] * 2


def test_parents_and_children_that_are_silent_are_asked_for_their_status(workflow):
    with workflow(status_interval=0.1) as (dfk, executor):
        run_tasks(dfk, 3)
        deadline = time.monotonic() + 60
        asked = set()
        while asked != {True, False}:
            assert time.monotonic() < deadline, asked
            time.sleep(0.2)
            asked = {"child" in line for line in read_log(executor.log_file) if line["kind"] == "endpoint" and line["state"] == "status"}
