"""Start and shutdown, from any state."""
from __future__ import annotations

import socket
import threading
import uuid

import globus_sdk
import pytest
from globus_compute_sdk import Client

from local_globus_compute.client import LocalClient
from parsl.executors.globus_compute_multi import Endpoint
from parsl.executors.globus_compute_multi.errors import (
    CredentialsMissing,
    ExecutorNotRunning,
    ServiceUnavailable,
    TaskNotCompleted,
    UnknownEndpoint,
)
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    check_log,
    our_threads,
    portable,
    sockets,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def nap(seconds):
    import time
    time.sleep(seconds)
    return seconds


def test_shutdown_with_tasks_pending_and_running_resolves_every_future_and_leaves_nothing(make_executor):
    before = sockets()
    executor = make_executor()
    executor.start()
    executor.submit(nap, {}, 0).result(60)
    futures = [executor.submit(nap, {}, 2) for _ in range(40)]
    executor.shutdown()
    for future in futures:
        assert isinstance(future.exception(0), TaskNotCompleted)
    assert not our_threads()
    assert sockets() <= before
    assert check_log(executor).count("failed") == 40


def test_shutdown_before_the_first_task_and_before_start_and_twice(make_executor):
    executor = make_executor()
    executor.start()
    executor.shutdown()
    executor.shutdown()
    assert not our_threads()
    make_executor(label="never started").shutdown()


def test_submit_after_shutdown_is_refused(make_executor):
    executor = make_executor()
    executor.start()
    executor.shutdown()
    with pytest.raises(ExecutorNotRunning, match="shut down"):
        executor.submit(nap, {}, 0)


def test_tasks_submitted_while_another_thread_shuts_down_are_refused_or_resolved(make_executor):
    executor = make_executor()
    executor.start()
    futures, refused = [], threading.Event()

    def submit():
        try:
            while True:
                futures.append(executor.submit(nap, {}, 0))
        except ExecutorNotRunning:
            refused.set()

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    executor.shutdown()
    for thread in threads:
        thread.join(60)
    assert refused.is_set()
    assert all(future.done() for future in futures)


def test_a_callback_may_shut_the_executor_down(make_executor):
    executor = make_executor()
    executor.start()
    done = threading.Event()

    def end(_):
        executor.shutdown()
        done.set()

    executor.submit(nap, {}, 0).add_done_callback(end)
    assert done.wait(60)


def test_a_callback_that_hangs_does_not_hold_up_shutdown(make_executor, caplog):
    executor = make_executor()
    executor.start()
    entered, leave = threading.Event(), threading.Event()

    def hang(_):
        entered.set()
        leave.wait(120)

    executor.submit(nap, {}, 0).add_done_callback(hang)
    assert entered.wait(60)
    try:
        executor.shutdown()
        assert "task 1 (nap)" in caplog.text
    finally:
        leave.set()
    for thread in our_threads():
        thread.join(10)


def test_an_executor_is_started_once(make_executor):
    executor = make_executor()
    executor.start()
    with pytest.raises(ExecutorNotRunning, match="it is running"):
        executor.start()
    assert executor.submit(nap, {}, 0).result(60) == 0
    executor.shutdown()
    with pytest.raises(ExecutorNotRunning, match="it is shut down"):
        executor.start()
    assert not our_threads()


class TestStart:

    def refused(self, executor, error, message):
        before = sockets()
        with pytest.raises(error, match=message) as raised:
            executor.start()
        del raised  # its cause holds the HTTP response, and with it a socket
        assert not our_threads()
        assert sockets() <= before
        executor.shutdown()

    def test_an_endpoint_that_the_service_does_not_know_is_named(self, make_executor):
        unknown = str(uuid.uuid4())
        self.refused(make_executor(endpoints=[Endpoint(unknown, name="typo")]), UnknownEndpoint, f"typo \\({unknown}\\)")

    def test_a_service_that_cannot_be_reached(self, make_executor):
        with socket.socket() as closed:  # bound and not listening: nobody else gets the port
            closed.bind(("127.0.0.1", 0))
            client = LocalClient(f"http://127.0.0.1:{closed.getsockname()[1]}", "token")
            self.refused(make_executor(client=client), ServiceUnavailable, "cannot register the runner function: GlobusConnectionError")

    def test_credentials_that_the_service_does_not_accept(self, make_executor, compute):
        client = LocalClient(compute.address, "not the token")
        self.refused(make_executor(client=client), CredentialsMissing, "HTTP 401.*globus-compute-endpoint login")

    def test_credentials_in_the_environment_that_the_service_does_not_accept(self, make_executor, compute, monkeypatch):
        client = LocalClient(compute.address, "not the token")
        for name in ("GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET"):
            monkeypatch.setenv(name, "wrong")
        self.refused(make_executor(client=client), CredentialsMissing, "HTTP 401.*GLOBUS_COMPUTE_CLIENT_SECRET are not accepted: correct them")

    def test_no_login(self, make_executor, monkeypatch, tmp_path):
        for name in ("GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GLOBUS_COMPUTE_USER_DIR", str(tmp_path / "no-login"))
        monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("nobody may be asked to log in"))
        self.refused(make_executor(client=None), CredentialsMissing, "there is no login")

    def test_an_endpoint_that_the_user_may_not_use_is_named(self, make_executor, faults, compute):
        faults.add_fault("reply_status", endpoint_id=compute.endpoint_ids["medium"], status=403)
        self.refused(make_executor(), UnknownEndpoint, "medium")

    def test_an_error_of_the_service(self, make_executor, faults):
        faults.add_fault("reply_status", route="register_function", status=500)
        self.refused(make_executor(), ServiceUnavailable, "HTTP 500")

    def test_too_many_requests_by_others_are_waited_out(self, make_executor, faults):
        faults.add_fault("reply_status", route="register_function", count=2, status=429, retry_after=0.1)
        executor = make_executor()
        executor.start()
        assert executor.submit(nap, {}, 0).result(60) == 0
        executor.shutdown()

    def test_a_log_file_that_cannot_be_written(self, make_executor, tmp_path):
        (tmp_path / "file").write_text("")
        self.refused(make_executor(log_file=str(tmp_path / "file" / "log.jsonl")), OSError, "file")

    def test_a_registered_runner_is_used_as_it_is(self, make_executor, faults):
        first = make_executor(label="first")
        first.start()
        runner_id = first._parts.dispatcher._runner_id
        first.shutdown()
        last = faults.requests()[-1].number
        second = make_executor(label="second", runner_id=runner_id)
        second.start()
        assert second.submit(nap, {}, 0).result(60) == 0
        second.shutdown()
        assert "register_function" not in {request.route for request in faults.requests(since=last)}


def test_a_stored_login_is_used_without_asking(monkeypatch):
    """The SDK's client with a client identity needs no login; only its construction is checked here, no request is sent."""
    monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_ID", str(uuid.uuid4()))
    monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_SECRET", "secret")
    from parsl.executors.globus_compute_multi.compute.startup import stored_login
    client = stored_login()
    assert isinstance(client, Client) and isinstance(client.app, globus_sdk.ClientApp)
