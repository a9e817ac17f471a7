"""What becomes of submissions that the service does not take as it should, over HTTP on the loopback interface."""
from __future__ import annotations

import json
import logging
import queue
import socket
import ssl
import struct
import threading
import time
import uuid
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import globus_sdk
import pytest
import requests
from globus_compute_sdk import Client
from globus_sdk.authorizers import GlobusAuthorizer
from urllib3.exceptions import MaxRetryError, SSLError

from parsl.executors.globus_compute_multi.compute import backoff, service
from parsl.executors.globus_compute_multi.compute.dispatcher import (
    TRIES,
    Dispatcher,
    Submission,
)
from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.messages import (
    DispatchAnswered,
    DispatchRefused,
)
from parsl.executors.globus_compute_multi.compute.outage import Outage

pytestmark = pytest.mark.local

ENDPOINT, RUNNER, GROUP, OTHER = (str(uuid.UUID(int=number)) for number in range(1, 5))
TASKS = (("1.1", b"one"), ("2.1", b"two"), ("3.1", b"three"))
OUTAGES = "parsl.executors.globus_compute_multi.compute.outage"


class ScriptedService(ThreadingHTTPServer):
    """Answers submissions as ``script`` says, one entry each, then as it should.

    An entry is an HTTP status, ``(status, headers)``, a function of the request that returns the answer, or one of the two that have the
    handler to themselves, :func:`slow_reader` and :func:`reset_while_uploading`.
    """

    daemon_threads = True

    def __init__(self, *script, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.script = list(script)
        self.tokens = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def handle_error(self, *_):
        pass  # connections that a test breaks

    def end(self):
        self.shutdown()
        self._thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.tokens.append(self.headers["Authorization"])
        step = self.server.script.pop(0) if self.server.script else taken
        if step is reset_while_uploading:
            return step(self)
        body = step(self) if step is slow_reader else self.rfile.read(int(self.headers["Content-Length"]))
        if isinstance(step, (int, tuple)):
            status, headers = step if isinstance(step, tuple) else (step, {})
            answer = {"code": 0, "reason": "no such luck"}
        else:
            status, headers = 200, {}
            answer = (taken if step is slow_reader else step)(json.loads(body))
        self.reply(status, headers, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def taken(request):
    return {"task_group_id": request.get("task_group_id") or GROUP,
            "tasks": {function: [str(uuid.uuid4()) for _ in tasks] for function, tasks in request["tasks"].items()}}


def html(request):
    return b"<html><body>One moment, please.</body></html>"


def fewer_tasks(request):
    return {"task_group_id": GROUP, "tasks": {RUNNER: [str(uuid.uuid4()) for _ in request["tasks"][RUNNER]][1:]}}


def more_tasks(request):
    return {"task_group_id": GROUP, "tasks": {RUNNER: [str(uuid.uuid4()) for _ in request["tasks"][RUNNER] * 2]}}


def the_same_task_for_all(request):
    return {"task_group_id": GROUP, "tasks": {RUNNER: [OTHER for _ in request["tasks"][RUNNER]]}}


def another_function(request):
    return {"task_group_id": GROUP, "tasks": {OTHER: [str(uuid.uuid4()) for _ in request["tasks"][RUNNER]]}}


def tasks_that_have_no_ids(request):
    return {"task_group_id": GROUP, "tasks": {RUNNER: ["first", "second", "third"]}}


def nothing(request):
    return b""


def slow_reader(handler):
    """Takes a second for the body, whatever its length."""
    left = int(handler.headers["Content-Length"])
    step = left // 20 + 1
    body = b""
    while left:
        time.sleep(0.05)
        body += handler.rfile.read(min(step, left))
        left -= min(step, left)
    return body


def reset_while_uploading(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for part in (handler.rfile, handler.wfile, handler.connection):
        part.close()
    handler.close_connection = True


class Renewable(GlobusAuthorizer):
    """Gives a token until it is refused, then the next, as often as there is one."""

    def __init__(self, *tokens):
        self.tokens = list(tokens)
        self.refused = False

    def get_authorization_header(self):
        if self.refused:
            self.refused = False
            self.tokens.pop(0)
        if isinstance(self.tokens[0], Exception):
            raise self.tokens[0]
        return self.tokens[0]

    def handle_missing_authorization(self):
        self.refused = True
        return True


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.01)


@pytest.fixture
def servers():
    started = []
    yield started
    for server in started:
        server.end()


@pytest.fixture
def dispatch(servers):
    """``dispatch(*script)``: what the dispatcher says of a submission of three tasks; all permits come back."""
    messages, stopping, made = queue.SimpleQueue(), threading.Event(), []

    def start(port, authorizer=None, governor=None):
        client = Client(authorizer=authorizer or globus_sdk.AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
        client.web_service_address = f"http://127.0.0.1:{port}"
        governor = governor or Governor(None, 1.0)
        groups = []
        dispatcher = Dispatcher(client=client, runner_id=RUNNER, session="s", governor=governor, post=messages.put,
                                on_task_group=groups.append, stopping=stopping)
        made.append((dispatcher, governor))
        dispatcher.start()
        return dispatcher, governor, messages

    def dispatch(*script, tasks=TASKS, **arguments):
        servers.append(ScriptedService(*script))
        dispatcher, governor, messages = start(servers[-1].server_port, **arguments)
        send(dispatcher, governor, tasks)
        return messages.get(timeout=60)

    dispatch.start = start
    yield dispatch
    stopping.set()
    for dispatcher, governor in made:
        governor.wake()
        dispatcher.stop()
        assert dispatcher.join(30)
        assert governor._open == 0, "each permit is given back, once"


def send(dispatcher, governor, tasks=TASKS):
    while not governor.try_submission():
        time.sleep(0.01)
    dispatcher.send(Submission(7, ENDPOINT, tasks))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_submission_that_is_taken_is_answered_with_the_tasks_in_their_order(dispatch, servers):
    answer = dispatch()
    assert isinstance(answer, DispatchAnswered) and [attempt for _, attempt in answer.pairs] == ["1.1", "2.1", "3.1"]
    assert len(servers[0].tokens) == 1


@pytest.mark.parametrize("status", [400, 402, 403, 404, 409, 413, 422])
def test_a_submission_that_is_wrong_is_handed_back_at_once(dispatch, servers, status):
    answer = dispatch(status, 500)
    assert isinstance(answer, DispatchRefused) and answer.http_status == status and "no such luck" in answer.reason
    assert len(servers[0].tokens) == 1


@pytest.mark.parametrize("step", [500, 502, 503, 504, 408, (503, {"Retry-After": "0"}), reset_while_uploading])
def test_a_submission_of_unknown_fate_is_sent_again_a_few_times_and_then_handed_back(dispatch, servers, step):
    answer = dispatch(*[step] * TRIES)
    assert isinstance(answer, DispatchRefused)
    assert answer.http_status == (None if step is reset_while_uploading else step[0] if isinstance(step, tuple) else step)
    assert len(servers[0].tokens) == TRIES


@pytest.mark.parametrize("step", [500, 503, reset_while_uploading, 429])
def test_a_submission_that_is_taken_the_second_time_is_answered(dispatch, servers, step):
    assert isinstance(dispatch(step), DispatchAnswered)
    assert len(servers[0].tokens) == 2


def test_a_service_that_wants_to_be_left_alone_for_long_has_the_submission_handed_back(dispatch, servers):
    answer = dispatch((503, {"Retry-After": "3600"}))
    assert isinstance(answer, DispatchRefused) and answer.http_status == 503
    assert len(servers[0].tokens) == 1


def test_a_connection_that_is_reset_while_a_large_batch_is_uploaded(dispatch, servers):
    answer = dispatch(reset_while_uploading, tasks=(("1.1", b"x" * 5_000_000),))
    assert isinstance(answer, DispatchAnswered)


# too many requests

def test_a_refusal_for_too_many_requests_is_waited_out_however_often_it_comes(dispatch, servers):
    governor = Governor(20, 10.0)
    answer = dispatch(*[(429, {"Retry-After": "0"})] * 6, governor=governor)
    assert isinstance(answer, DispatchAnswered)
    assert governor.requests_per_second < 2.0, "and the budget is smaller"


@pytest.mark.parametrize("value, seconds", [("7", 7.0), ("0.5", 0.5), ("-5", 0.0), (None, None), ("soon", None), ("inf", None), ("nan", None),
                                            ("", None), ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0), ("1e400", None),
                                            ("Mon, 01 Jan 10000000 00:00:00 GMT", None),
                                            ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None)])
def test_what_the_service_says_of_when_to_come_back(value, seconds):
    error = SimpleNamespace(headers={} if value is None else {"Retry-After": value})
    assert service.retry_after(error) == seconds


def test_the_time_to_come_back_may_be_a_date():
    error = SimpleNamespace(headers={"Retry-After": formatdate(time.time() + 1000, usegmt=True)})
    assert 900 < service.retry_after(error) <= 1000


# answers that cannot be used

@pytest.mark.parametrize("step", [html, nothing, fewer_tasks, more_tasks, the_same_task_for_all, another_function, tasks_that_have_no_ids])
def test_an_answer_that_does_not_name_the_tasks_has_them_handed_back_at_once(dispatch, servers, step):
    answer = dispatch(step)
    assert isinstance(answer, DispatchRefused) and answer.http_status is None
    assert len(servers[0].tokens) == 1


def test_an_answer_for_another_task_group_is_no_answer(dispatch, servers):
    servers.append(ScriptedService(taken, lambda request: {**taken(request), "task_group_id": OTHER}))
    dispatcher, governor, messages = dispatch.start(servers[0].server_port)
    for kind in (DispatchAnswered, DispatchRefused):
        send(dispatcher, governor)
        assert isinstance(messages.get(timeout=60), kind)


# credentials

def test_a_token_that_the_service_refuses_is_renewed_once(dispatch, servers):
    assert isinstance(dispatch(401, authorizer=Renewable("old", "new")), DispatchAnswered)
    assert servers[0].tokens == ["old", "new"]


def test_a_fresh_token_that_is_refused_as_well_is_the_end(dispatch, servers):
    answer = dispatch(401, 401, authorizer=Renewable("old", "new", "newer"))
    assert isinstance(answer, DispatchRefused) and answer.http_status == 401
    assert servers[0].tokens == ["old", "new"]


def test_a_token_that_cannot_be_renewed_is_tried_once(dispatch, servers):
    answer = dispatch(401)
    assert isinstance(answer, DispatchRefused) and answer.http_status == 401
    assert len(servers[0].tokens) == 1


@pytest.fixture
def auth_refuses(servers):
    """The error of globus-sdk when Globus Auth gives no token, with this status."""
    def error(status):
        servers.append(ScriptedService(status))
        auth = globus_sdk.AuthClient(base_url=f"http://127.0.0.1:{servers[-1].server_port}",
                                     retry_config=globus_sdk.transport.RetryConfig(max_retries=0))
        with pytest.raises(globus_sdk.AuthAPIError) as caught:
            auth.post("/v2/oauth2/token", data={})
        return caught.value
    return error


@pytest.mark.parametrize("status, told", [(400, 401), (401, 401), (403, 401)])
def test_a_login_that_has_been_taken_back_is_told_as_a_refused_token(dispatch, auth_refuses, status, told):
    answer = dispatch(authorizer=Renewable(auth_refuses(status), "new"))
    assert isinstance(answer, DispatchAnswered), "once more with a fresh one"
    error = auth_refuses(status)
    answer = dispatch(authorizer=Renewable(error, error))
    assert isinstance(answer, DispatchRefused) and answer.http_status == told and "Globus Auth" in answer.reason


@pytest.mark.parametrize("status", [429, 500])
def test_a_failure_of_globus_auth_is_not_held_against_the_credentials(dispatch, auth_refuses, status):
    answer = dispatch(authorizer=Renewable(auth_refuses(status)))
    assert isinstance(answer, DispatchRefused) and answer.http_status == 503


# no service

def test_while_the_service_cannot_be_reached_tasks_are_kept_and_that_is_said_once_and_its_end_too(dispatch, servers, caplog):
    caplog.set_level(logging.WARNING, logger=OUTAGES)
    port = free_port()
    governor = Governor(None, 1.0)
    tries, ended = queue.SimpleQueue(), governor.ended
    governor.ended = lambda *kind: (tries.put(None), ended(*kind))
    dispatcher, _, messages = dispatch.start(port, governor=governor)
    send(dispatcher, governor)
    for _ in range(3 * TRIES):
        tries.get(timeout=60)
    assert messages.empty()
    servers.append(ScriptedService(port=port))
    assert isinstance(messages.get(timeout=60), DispatchAnswered)
    said = [record.message for record in caplog.records if record.name == OUTAGES]
    assert len(said) == 2 and "cannot be reached" in said[0] and "Connection refused" in said[0] and "reached again" in said[1]
    assert len(servers[0].tokens) == 1, "a submission that never left is not submitted twice"


def test_all_who_wait_for_the_service_go_on_when_one_has_reached_it(dispatch, servers, monkeypatch):
    servers.append(ScriptedService())
    port = servers[0].server_port
    dispatcher, governor, messages = dispatch.start(port)
    send(dispatcher, governor)
    messages.get(timeout=60)
    servers.pop().end()
    waits = iter([0.05, 3600.0, 3600.0, 3600.0])
    monkeypatch.setattr(backoff.Backoff, "next", lambda *_: next(waits, 0.05))
    for _ in range(4):
        send(dispatcher, governor)
    servers.append(ScriptedService(port=port))
    assert {type(messages.get(timeout=60)) for _ in range(4)} == {DispatchAnswered}


def test_shutdown_ends_the_wait_for_a_service_that_cannot_be_reached(dispatch, monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 3600.0)
    governor = Governor(None, 1.0)
    tried, ended = threading.Event(), governor.ended
    governor.ended = lambda *kind: (ended(*kind), tried.set())
    dispatcher, _, _ = dispatch.start(free_port(), governor=governor)
    send(dispatcher, governor)
    assert tried.wait(60)  # and the fixture's end joins the threads


# large batches

def test_a_large_batch_is_given_the_time_that_its_upload_takes(dispatch, servers, monkeypatch):
    monkeypatch.setattr(service, "ANSWER_TIMEOUT", 0.4)
    monkeypatch.setattr(service, "SLOWEST_UPLOAD", 2_000_000)
    answer = dispatch(slow_reader, tasks=tuple((f"{n}.1", b"x" * 2_000_000) for n in range(1, 4)))
    assert isinstance(answer, DispatchAnswered)
    assert len(servers[0].tokens) == 1


def test_a_failed_upload_leaves_the_time_for_the_next_request_as_it_was(dispatch, servers):
    servers.append(ScriptedService(500))
    client = Client(authorizer=globus_sdk.AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
    client.web_service_address = f"http://127.0.0.1:{servers[0].server_port}"
    api = service.Service(client)
    with pytest.raises(globus_sdk.GlobusAPIError):
        api.submit(ENDPOINT, RUNNER, None, [("s/1.1", "x" * 1_000_000, 1)])
    assert api._transport.http_timeout == service.ANSWER_TIMEOUT
    api.close()


@pytest.mark.parametrize("cause, sure", [(ssl.SSLCertVerificationError(1, "verify failed"), True), (ssl.SSLEOFError(8, "EOF"), False)])
def test_a_service_whose_certificate_is_refused_has_certainly_not_seen_the_request(cause, sure):
    error = requests.exceptions.SSLError(MaxRetryError(None, "/", SSLError(cause)))
    assert service.not_sent(globus_sdk.GlobusConnectionError("", error)) is sure


def test_an_outage_that_some_connections_do_not_see_is_not_said_again_and_again(caplog):
    outage = Outage(threading.Event())
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            outage.begin("no way")
            outage.end()
    assert [record.getMessage().partition(" (")[0].partition(",")[0] for record in caplog.records] == [
        "Globus Compute cannot be reached", "Globus Compute can be reached again"]
