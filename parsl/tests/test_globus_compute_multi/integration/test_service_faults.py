"""What the service does wrong, or does not do at all, while real endpoint agents work for a workflow: every future comes right, once."""
from __future__ import annotations

import threading
import time

import globus_sdk
import pytest

from parsl.app.app import python_app
from parsl.executors.globus_compute_multi.compute import service
from parsl.executors.globus_compute_multi.errors import (
    CredentialsMissing,
    ServiceUnavailable,
    TaskNotCompleted,
)
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.tests.test_globus_compute_multi.integration.common import increment
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    check_log,
    portable,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def length(text):
    return len(text)


@portable
def doze(x):
    import time
    time.sleep(0.2)
    return x


def submit(dfk, count=30):
    app = python_app(increment, data_flow_kernel=dfk)
    return [app(i) for i in range(count)]


def check(futures):
    assert [future.result(180) for future in futures] == list(range(1, len(futures) + 1))


def wait_for_hits(faults, count=1):
    deadline = time.monotonic() + 60
    while sum(rule["hits"] for rule in faults.faults()) < count:
        assert time.monotonic() < deadline, "the fault never struck"
        time.sleep(0.05)


def dispatches(executor):
    return [line["state"] for line in read_log(executor.log_file) if line["kind"] == "dispatch"]


@pytest.fixture
def without_service(compute):
    """Stop the service; afterwards it runs again."""
    stopped = threading.Event()

    def stop():
        compute.stop_service()
        stopped.set()

    def start():
        if stopped.is_set():
            compute.start_service()
            stopped.clear()

    yield stop, start
    start()


@pytest.fixture
def renewing_client(compute):
    """A client whose tokens come from the service's token route, as those of a stored login do, and are renewed there."""
    credentials = compute.environment
    app = globus_sdk.ConfidentialAppAuthClient(credentials["GLOBUS_COMPUTE_CLIENT_ID"], credentials["GLOBUS_COMPUTE_CLIENT_SECRET"],
                                               base_url=compute.address)
    app.transport.headers["Connection"] = "close"  # it is the user's: the executor does not close its connections, and tests look for open ones
    client = compute.client()
    client.authorizer = globus_sdk.ClientCredentialsAuthorizer(app, globus_sdk.ComputeClientV2.scopes.all)
    yield client
    compute.admin.renew_static_tokens()


# answers

@pytest.mark.parametrize("fault", [
    {"kind": "partial_answer", "missing": 1},
    {"kind": "partial_answer", "missing": 1000},
    {"kind": "bad_answer"},
    {"kind": "reply_status", "status": 502},
    {"kind": "reply_status", "status": 504},
    {"kind": "reply_status", "status": 403},
    {"kind": "reply_status", "status": 404},
    {"kind": "reply_status", "status": 413},
    {"kind": "reply_status", "status": 422},
    {"kind": "reply_status", "status": 429},
])
@pytest.mark.parametrize("first", [True, False])
def test_tasks_of_a_submission_that_was_not_answered_as_it_should_be_are_run_once_more(workflow, faults, fault, first):
    with workflow() as (dfk, executor):
        if not first:
            check(submit(dfk, 3))
        faults.add_fault(route="submit", count=1, **fault)
        check(submit(dfk))
        assert [rule["hits"] for rule in faults.faults()] == [1]
    assert check_log(executor).count("failed") == 0


def test_a_service_that_answers_too_late_is_asked_again(workflow, faults, monkeypatch):
    monkeypatch.setattr(service, "ANSWER_TIMEOUT", 2.0)
    with workflow() as (dfk, executor):
        check(submit(dfk, 3))
        faults.add_fault("delay_request", route="submit", count=2, seconds=4)
        check(submit(dfk))
        assert [rule["hits"] for rule in faults.faults()] == [2]
    assert check_log(executor).count("failed") == 0


def test_a_connection_that_breaks_while_a_large_batch_is_uploaded(workflow, faults):
    with workflow() as (dfk, executor):
        check(submit(dfk, 3))
        faults.add_fault("drop_connection", route="submit", count=2)
        app = python_app(length, data_flow_kernel=dfk)
        assert [future.result(180) for future in [app("x" * 3_000_000) for _ in range(6)]] == [3_000_000] * 6
        assert [rule["hits"] for rule in faults.faults()] == [2]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_statuses_that_are_not_to_be_had_hold_up_nothing(workflow, faults, status):
    with workflow(status_interval=0.2) as (dfk, executor):
        check(submit(dfk, 3))
        faults.add_fault("reply_status", route="endpoint_status", count=4, status=status, retry_after=1)
        wait_for_hits(faults)
        check(submit(dfk))
    assert check_log(executor).count("failed") == 0


# credentials

def test_expired_tokens_are_renewed_and_the_workflow_does_not_notice(workflow, compute, faults, renewing_client):
    with workflow(client=renewing_client, status_interval=0.5) as (dfk, executor):
        check(submit(dfk, 3))
        for _ in range(3):
            since = max(request.number for request in faults.requests())
            compute.admin.expire_tokens(compute.client_id)
            check(submit(dfk))
            refused = [request for request in faults.requests(since) if request.status == 401]
            assert any(request.route == "submit" for request in refused)
    state = check_log(executor)
    assert state.count("failed") == 0 and "rejected" not in dispatches(executor)


def test_tokens_that_have_expired_before_start_are_renewed_there(workflow, compute, renewing_client):
    compute.admin.expire_tokens(compute.client_id)
    with workflow(client=renewing_client) as (dfk, _):
        check(submit(dfk, 3))


def test_a_token_that_cannot_be_renewed_is_an_error_at_start_that_says_what_to_do(make_executor, compute, tmp_path):
    executor = make_executor()
    executor.run_dir = str(tmp_path)
    compute.admin.expire_tokens(compute.client_id)
    try:
        with pytest.raises(CredentialsMissing, match="register the runner.*401.*login"):
            executor.start()
    finally:
        compute.admin.renew_static_tokens()
    executor.start()
    executor.shutdown()


# start

@pytest.mark.parametrize("fault, told", [
    ({"kind": "reply_status", "status": 500, "reason": "no such luck"}, "register the runner.*500: no such luck"),
    ({"kind": "bad_answer"}, "register the runner.*MalformedAnswer"),
    ({"kind": "drop_connection"}, "register the runner.*network"),
])
def test_a_service_that_does_not_work_at_start_is_an_error_that_says_so(make_executor, faults, tmp_path, fault, told):
    executor = make_executor()
    executor.run_dir = str(tmp_path)
    faults.add_fault(route="register_function", count=1, **fault)
    with pytest.raises(ServiceUnavailable, match=told):
        executor.start()
    executor.shutdown()


def test_a_service_that_is_not_there_at_start_is_an_error_that_says_so(make_executor, without_service, tmp_path):
    executor = make_executor()
    executor.run_dir = str(tmp_path)
    without_service[0]()
    with pytest.raises(ServiceUnavailable, match="Connection refused.*status.globus.org"):
        executor.start()
    executor.shutdown()


# no service

def test_tasks_wait_for_a_service_that_is_away_and_are_neither_lost_nor_failed(workflow, without_service, faults):
    stop, start = without_service
    with workflow(failover_attempts=0, status_interval=1.0) as (dfk, executor):
        check(submit(dfk, 3))
        stop()
        futures = submit(dfk, 40)
        time.sleep(8)  # more than the tries that a submission of unknown fate has
        assert not any(future.done() for future in futures)
        start()
        check(futures)
    state = check_log(executor)
    assert state.count("failed") == 0
    assert "rejected" not in dispatches(executor), "nothing was handed back: it could have gone nowhere else"


def test_tasks_that_run_while_the_service_goes_away_come_back(workflow, without_service):
    stop, start = without_service
    with workflow() as (dfk, executor):
        check(submit(dfk, 3))
        app = python_app(doze, data_flow_kernel=dfk)
        futures = [app(i) for i in range(60)]
        futures[0].result(60)
        stop()
        time.sleep(3)
        start()
        assert [future.result(180) for future in futures] == list(range(60))
    assert check_log(executor).count("failed") == 0


def test_a_service_that_restarts_again_and_again(workflow, compute):
    with workflow() as (dfk, executor):
        app = python_app(doze, data_flow_kernel=dfk)
        futures = []
        for _ in range(3):
            futures += [app(i) for i in range(20)]
            compute.restart_service()
        assert [future.result(180) for future in futures] == [*range(20)] * 3
    assert check_log(executor).count("failed") == 0


def test_shutdown_while_the_service_is_away_completes_every_future(workflow, without_service):
    with workflow() as (dfk, _):
        check(submit(dfk, 3))
        without_service[0]()
        app = python_app(increment, data_flow_kernel=dfk)
        futures = [app(i) for i in range(20)]
        time.sleep(1)
    for future in futures:
        assert isinstance(future.exception(0), TaskNotCompleted)
