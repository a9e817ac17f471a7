"""What happens between endpoint and future when broker or network fail: no result is lost, none counts twice."""
from __future__ import annotations

import json
import logging
import socket
import uuid
from contextlib import contextmanager
from urllib.parse import urlsplit

import pika
import pytest

from local_globus_compute import Limits, LocalEndpoint, LocalGlobusCompute
from local_globus_compute.service.admin import busiest_window
from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.globus_compute_multi import Endpoint
from parsl.executors.globus_compute_multi.compute import result_watch
from parsl.executors.globus_compute_multi.compute.service import Service
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.tests.test_globus_compute_multi.integration.common import (
    increment,
    run_tasks,
    until,
)
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    NO_REQUEST_LIMIT,
    THREADS,
    check_log,
    our_threads,
    portable,
    sockets,
)
from parsl.tests.test_globus_compute_multi.integration.relay import Relay

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def increment_after(seconds, x):
    import time
    time.sleep(seconds)
    return x + 1


def result_queue(compute):
    """Address of the broker, and prefix of the queues' names."""
    service = Service(compute.client())
    try:
        return service.result_queue()
    finally:
        service.close()


@contextmanager
def on_the_queue(compute, executor):
    """A channel to the broker, and the name of the executor's result queue."""
    url, prefix = result_queue(compute)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel(), f"{prefix}{executor._parts.stream._task_group_id}"
    finally:
        connection.close()


@pytest.fixture
def said(caplog):
    """Warnings of the executor so far that contain a text."""
    caplog.set_level(logging.DEBUG)
    yield lambda text: [record.message for record in caplog.records
                        if record.name.startswith("parsl") and record.levelno >= logging.WARNING and text in record.message]


@pytest.fixture(autouse=True)
def no_secrets(compute, caplog):
    """Whatever goes wrong, the broker's password is in no line of any log."""
    caplog.set_level(logging.DEBUG)
    password = urlsplit(result_queue(compute)[0]).password
    yield
    assert password and password not in caplog.text


@pytest.fixture
def soon(monkeypatch):
    """Results are asked for over HTTPS sooner, to save the test's time."""
    monkeypatch.setattr(result_watch, "PATIENCE", 1.0)
    monkeypatch.setattr(result_watch, "POLL_SECONDS", 1.0)


@pytest.fixture
def relayed(compute, make_executor, tmp_path):
    """``with relayed() as (relay, dfk, executor)``: a workflow whose results come through a relay; nothing is left in the end."""
    @contextmanager
    def load(**arguments):
        before = sockets()
        with Relay(urlsplit(result_queue(compute)[0]).port) as relay:
            executor = make_executor(amqp_port=relay.port, **arguments)
            with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"))) as dfk:
                yield relay, dfk, executor
            assert not our_threads()
        assert sockets() <= before
        check_log(executor)
    return load


def connected(executor):
    return executor._parts.stream._connected is True


def accepted(executor):
    """How many submissions the service has taken."""
    return sum(line["kind"] == "dispatch" and line["state"] == "accepted" for line in read_log(executor.log_file))


def test_without_amqp_from_the_start_results_come_over_https_and_that_is_said_once(workflow, said):
    with socket.socket() as closed:  # bound and not listening: nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        with workflow(amqp_port=closed.getsockname()[1]) as (dfk, _):
            app = python_app(increment, data_flow_kernel=dfk)
            assert app(app(app(0))).result(120) == 3
            run_tasks(dfk)
    assert len(said("Results are asked for over HTTPS")) == 1
    assert len(said("ConnectionRefusedError")) == 1


def test_a_failure_told_over_https_ends_the_attempt(workflow, soon, only_here):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with workflow(amqp_port=closed.getsockname()[1], failover_attempts=0) as (dfk, _):
            with pytest.raises(Exception, match="only_here"):
                python_app(only_here, data_flow_kernel=dfk)().result(60)
            run_tasks(dfk, 3)


def test_a_connection_that_is_reset_again_and_again(relayed):
    with relayed() as (relay, dfk, executor):
        app = python_app(increment_after, data_flow_kernel=dfk)
        futures = [app(0.3, i) for i in range(40)]
        for _ in range(3):
            until(lambda: connected(executor), "connected")
            relay.reset()
            until(lambda: not connected(executor), "noticed")
        assert [future.result(120) for future in futures] == list(range(1, 41))


def test_what_the_stream_has_missed_while_it_was_interrupted_is_asked_for(relayed, faults):
    with relayed() as (relay, dfk, executor):
        run_tasks(dfk, 3)
        until(lambda: connected(executor), "connected")
        faults.add_fault("lose_result", count=5)
        app = python_app(increment_after, data_flow_kernel=dfk)
        futures = [app(0.1, i) for i in range(5)]
        until(lambda: faults.faults()[0]["hits"] == 5, "lost")
        relay.reset()
        assert [future.result(60) for future in futures] == [1, 2, 3, 4, 5]


def test_a_connection_that_is_dead_without_a_word_is_noticed_and_made_again(relayed, said):
    with relayed() as (relay, dfk, executor):
        run_tasks(dfk, 3)
        until(lambda: connected(executor), "connected")
        relay.freeze()
        future = python_app(increment, data_flow_kernel=dfk)(1)
        until(lambda: not connected(executor), "noticed")
        assert said("AMQPHeartbeatTimeout")
        relay.thaw()
        assert future.result(120) == 2


def test_shutdown_does_not_wait_for_a_connection_that_is_dead_without_a_word(relayed):
    with relayed() as (relay, dfk, executor):
        run_tasks(dfk, 3)
        until(lambda: connected(executor), "connected")
        relay.freeze()


def test_shutdown_does_not_wait_for_a_broker_that_does_not_answer(relayed):
    with relayed() as (relay, dfk, executor):
        relay.freeze()
        future = python_app(increment, data_flow_kernel=dfk)(1)
        until(lambda: executor._parts.stream._consumer is not None, "connecting")
    assert future.exception() is not None


def test_no_result_is_left_in_the_queue(workflow, compute):
    with workflow() as (dfk, executor):
        run_tasks(dfk, 300)
        until(lambda: connected(executor), "connected")
        run_tasks(dfk, 300)
    with on_the_queue(compute, executor) as (channel, name):  # what was not acknowledged is back in it
        assert channel.queue_declare(name, passive=True).method.message_count == 0


def test_results_go_on_after_the_queue_was_deleted(workflow, compute, soon, said):
    with workflow() as (dfk, executor):
        run_tasks(dfk, 3)
        until(lambda: connected(executor), "connected")
        before = accepted(executor)
        future = python_app(increment_after, data_flow_kernel=dfk)(3, 1)
        until(lambda: accepted(executor) > before, "taken by the service")
        with on_the_queue(compute, executor) as (channel, name):
            channel.queue_delete(name)
            until(lambda: said("ConsumerCancelled"), "noticed")
            until(lambda: said("404"), "looked for again")
            assert future.result(60) == 2  # over HTTPS
            channel.queue_declare(name, durable=True)  # as the service does when tasks are submitted
        until(lambda: connected(executor), "connected again")
        run_tasks(dfk)
    assert len(said("Results come over AMQP again")) == 1


def test_credentials_of_the_broker_that_have_expired_are_replaced(workflow, monkeypatch, said):
    ask, expired = Service.result_queue, iter([True, True])

    def first_expired(self):
        url, prefix = ask(self)
        if next(expired, False):
            url = url.replace(urlsplit(url).password, "expired")
        return url, prefix

    monkeypatch.setattr(Service, "result_queue", first_expired)
    with workflow() as (dfk, _):
        run_tasks(dfk)
    assert len(said("connection lost or refused")) == 1


def test_messages_that_are_no_results_of_ours_harm_nothing(workflow, compute, said):
    with workflow() as (dfk, executor):
        run_tasks(dfk, 3)
        foreign = {"task_id": str(uuid.uuid4()), "data": "00\nx", "details": {"endpoint_id": 3}, "error_details": None, "task_statuses": None}
        broken = [b"", b"\x01", b"\x01{}", b"\xff" * 10_000, b"\x01" + b"[" * 200_000, b"\x02{}", b"\x80\x04N."]
        with on_the_queue(compute, executor) as (channel, name):
            for body in broken:
                channel.basic_publish("", name, body)
            for task_id in [str(uuid.uuid4()) for _ in range(100)]:
                message = {"message_type": "result", "data": {**foreign, "task_id": task_id}}
                channel.basic_publish("", name, b"\x01" + json.dumps(message).encode())
        run_tasks(dfk, 20)
        until(lambda: len(said("dropped a message")) == len(broken), "all dropped")
        assert connected(executor)
    assert check_log(executor).count("done") == 3 + 20


def test_a_result_that_never_reaches_amqp_is_found_when_it_is_asked_for(workflow, faults):
    with workflow() as (dfk, executor):
        run_tasks(dfk, 3)
        faults.add_fault("lose_result", count=1)
        future = python_app(increment, data_flow_kernel=dfk)(1)
        until(lambda: faults.faults()[0]["hits"] == 1, "lost")
        attempt_id = "4.1"
        until(lambda: executor._parts.owner._matcher.uuid_of(attempt_id) is not None, "accepted")
        executor._parts.fetcher.fetch([(attempt_id, executor._parts.owner._matcher.uuid_of(attempt_id))])
        assert future.result(60) == 2


def test_a_result_that_never_reaches_amqp_is_asked_for_when_it_is_late_and_its_task_runs_once(workflow, faults):
    with workflow(silence_seconds=3) as (dfk, executor):
        run_tasks(dfk, 10)
        faults.add_fault("lose_result", count=1)
        assert python_app(increment, data_flow_kernel=dfk)(1).result(120) == 2
        assert faults.faults()[0]["hits"] == 1
    attempts = {line["attempt"] for line in read_log(executor.log_file) if line["kind"] == "attempt"}
    assert len(attempts) == 11


def test_without_amqp_the_request_budget_is_kept(make_executor, faults, compute, soon):
    faults.set_limits(Limits())
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        executor = make_executor(amqp_port=closed.getsockname()[1], request_limit=(20, 10.0))
        last = max((request.number for request in faults.requests()), default=0)
        executor.start()
        futures = [executor.submit(increment_after, {}, 0.1, i) for i in range(100)]
        assert [future.result(120) for future in futures] == list(range(1, 101))
        executor.shutdown()
    requests = faults.requests(since=last)
    assert busiest_window(requests) <= 20
    assert "batch_status" in {request.route for request in requests}


def test_the_broker_restarts_in_the_middle_of_a_workflow(make_executor, tmp_path, tmp_path_factory):
    """On a service of its own: agents take a while to recover, and other tests must not wait for that."""
    endpoints = [LocalEndpoint(name, workers=threads) for name, threads in THREADS.items()]
    with LocalGlobusCompute(endpoints, limits=NO_REQUEST_LIMIT, working_dir=tmp_path_factory.mktemp("own")) as own:
        before = sockets()
        executor = make_executor(client=own.client(), endpoints=[
            Endpoint(own.endpoint_ids[name], name=name, threads=threads) for name, threads in THREADS.items()])
        with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"))) as dfk:
            run_tasks(dfk)
            app = python_app(increment_after, data_flow_kernel=dfk)
            futures = [app(0.5, i) for i in range(40)]
            until(lambda: any(future.done() for future in futures), "begun")
            own.restart_broker()
            assert [future.result(180) for future in futures] == list(range(1, 41))
        assert not our_threads()
        assert sockets() <= before
        check_log(executor)
