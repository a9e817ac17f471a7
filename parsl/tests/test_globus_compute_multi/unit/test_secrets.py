"""No credential shows where people or programs look, and run logs are for the user's eyes only."""
from __future__ import annotations

import logging
import os
import queue
import socket
import stat
import threading
import traceback

import pytest
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer

from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi.compute.dispatcher import (
    Dispatcher,
    Submission,
)
from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.result_stream import ResultStream
from parsl.executors.globus_compute_multi.compute.service import Service
from parsl.executors.globus_compute_multi.errors import ServiceUnavailable
from parsl.executors.globus_compute_multi.observe.runlog import RunLog

pytestmark = pytest.mark.local

A = "4b116d3c-1703-4f8f-9f6f-39921e5864df"
PLANTED = "planted-Qx7"


@pytest.fixture
def client():
    return Client(authorizer=AccessTokenAuthorizer(PLANTED), do_version_check=False, local_compute_services=True)


@pytest.fixture
def said(caplog):
    """All that any logger says, at any level, with its tracebacks."""
    caplog.set_level(logging.DEBUG)
    yield lambda: caplog.text


@pytest.fixture
def closed_port():
    with socket.socket() as bound:  # and not listening: nobody else gets the port, and nobody answers
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_no_text_of_the_executor_has_the_token(client):
    executor = GlobusComputeMultiExecutor([Endpoint(A, name="a")], client=client)
    assert PLANTED not in repr(executor) + str(executor) + repr(executor.client) + repr(executor.endpoints)


def test_no_text_of_the_service_has_the_token(client):
    service = Service(client)
    assert PLANTED not in repr(service) + str(vars(service))
    service.close()


def test_a_start_that_fails_says_nothing_of_the_token(client, said, closed_port, tmp_path):
    client.web_service_address = f"http://127.0.0.1:{closed_port}"
    executor = GlobusComputeMultiExecutor([A], client=client, request_limit=None, log_file=tmp_path / "log.jsonl")
    with pytest.raises(Exception) as failed:
        executor.start()
    assert failed.value.__cause__ is not None
    assert PLANTED not in "".join(traceback.format_exception(failed.value)) + repr(failed.value) + said()
    executor.shutdown()


@pytest.mark.parametrize("token", [f"{PLANTED}\n", f" {PLANTED}\r\nX: y", f"{PLANTED}\u20ac"])
def test_a_start_with_a_token_that_cannot_be_one_says_nothing_of_it(said, closed_port, tmp_path, token):
    client = Client(authorizer=AccessTokenAuthorizer(token), do_version_check=False, local_compute_services=True)
    client.web_service_address = f"http://127.0.0.1:{closed_port}"
    executor = GlobusComputeMultiExecutor([A], client=client, request_limit=None, log_file=tmp_path / "log.jsonl")
    with pytest.raises(ServiceUnavailable) as failed:
        executor.start()
    assert PLANTED not in "".join(traceback.format_exception(failed.value)) + repr(failed.value) + said()
    executor.shutdown()


@pytest.mark.parametrize("proxy", [
    f"http://user:{PLANTED}@[127.0.0.1", f"http://user:{PLANTED}@127.0.0.1:port", f"odd://user:{PLANTED}@127.0.0.1:9",
    f"http://user:{PLANTED}@127.0.0.1:{{port}}", f"http://user:{PLANTED}@no.such.host.invalid:9", f"socks5://user:{PLANTED}@127.0.0.1:9"])
def test_a_start_through_a_proxy_that_does_not_work_says_nothing_of_its_password(client, said, closed_port, tmp_path, monkeypatch, proxy):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.format(port=closed_port))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    client.web_service_address = "http://service.invalid:9"
    executor = GlobusComputeMultiExecutor([A], client=client, request_limit=None, log_file=tmp_path / "log.jsonl")
    with pytest.raises(ServiceUnavailable) as failed:
        executor.start()
    assert PLANTED not in "".join(traceback.format_exception(failed.value)) + repr(failed.value) + said()
    executor.shutdown()


def test_a_submission_that_ends_with_an_unexpected_error_says_nothing_of_its_text(client, said, monkeypatch):
    def submit(*_):
        raise RuntimeError(PLANTED)

    monkeypatch.setattr(Service, "submit", submit)
    messages, stopping, governor = queue.SimpleQueue(), threading.Event(), Governor(None, 1.0)
    dispatcher = Dispatcher(client=client, runner_id="", session="s", governor=governor, post=messages.put, on_task_group=None,
                            stopping=stopping)
    dispatcher.start()
    assert governor.try_submission()
    dispatcher.send(Submission(1, "id", ()))
    refused = messages.get(timeout=30)
    stopping.set()
    dispatcher.stop()
    assert dispatcher.join(30)
    assert "Submission 1 ended with an unexpected error, RuntimeError" in said() and "in submit" in said()
    assert PLANTED not in said() + repr(refused)


@pytest.mark.parametrize("url", [
    f"amqp://user:{PLANTED}@127.0.0.1:{{port}}/vhost", f"amqps://user:{PLANTED}@127.0.0.1:{{port}}/vhost",
    f"amqp://{PLANTED}:{PLANTED}@127.0.0.1:{{port}}/{PLANTED}", f"amqp://user:{PLANTED}@127.0.0.1:port/", f"amqp://user:{PLANTED}@[127.0.0.1/",
    f"{PLANTED}://127.0.0.1", f"amqp://user:{PLANTED}@127.0.0.1:{{port}}/?heartbeat={PLANTED}", f"amqp://user:{PLANTED}@no.such.host.invalid/"])
def test_a_result_stream_that_cannot_connect_says_nothing_of_the_address(client, said, closed_port, monkeypatch, url):
    tried, stopping = threading.Semaphore(0), threading.Event()

    def result_queue(self):
        tried.release()
        return url.format(port=closed_port), "prefix"

    def looked_up(host, *args, getaddrinfo=socket.getaddrinfo, **more):  # no name server is asked
        if not host.startswith("127."):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return getaddrinfo(host, *args, **more)

    monkeypatch.setattr(Service, "result_queue", result_queue)
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    stream = ResultStream(client=client, governor=Governor(None, 1.0), post=lambda message: None, stopping=stopping)
    stream.start()
    stream.consume("group")
    assert tried.acquire(timeout=30) and tried.acquire(timeout=30)  # so the first try has failed, and that was logged
    stopping.set()
    stream.stop()
    assert stream.join(30)
    assert "Results: " in said()
    assert PLANTED not in said()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_run_log_is_for_the_user_alone_where_there_was_none(tmp_path, umask):
    before = os.umask(umask)
    try:
        RunLog(tmp_path / "log.jsonl").stop(10)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log.jsonl").stat().st_mode) == 0o600


def test_a_run_log_is_for_the_user_alone_where_there_was_one_that_all_could_read(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("of an earlier run")
    path.chmod(0o666)
    RunLog(path).stop(10)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_text() == ""
    assert path.with_name("log.jsonl.1").read_text() == "of an earlier run"


def test_a_run_log_is_not_written_through_a_link_to_another_file(tmp_path):
    other = tmp_path / "other"
    other.write_text("another's")
    other.chmod(0o666)
    (tmp_path / "log.jsonl").symlink_to(other)
    RunLog(tmp_path / "log.jsonl").stop(10)
    assert other.read_text() == "another's"
    assert stat.S_IMODE((tmp_path / "log.jsonl").stat().st_mode) == 0o600 and not (tmp_path / "log.jsonl").is_symlink()


def test_a_run_log_in_place_of_a_folder_is_refused_and_the_folder_stays(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("x")
    with pytest.raises(OSError, match="folder"):
        RunLog(folder)
    assert (folder / "file").read_text() == "x" and [path.name for path in tmp_path.iterdir()] == ["folder"]
