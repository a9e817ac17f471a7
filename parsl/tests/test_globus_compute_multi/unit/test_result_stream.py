"""The result stream where there is no broker that works; with a real one, see integration/test_result_path.py."""
from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from parsl.executors.globus_compute_multi.compute.consumer import (
    HEARTBEAT_SECONDS,
    Consumer,
    connection_parameters,
)
from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.messages import StreamChanged
from parsl.executors.globus_compute_multi.compute.result_stream import ResultStream
from parsl.tests.test_globus_compute_multi.unit.answering import answering

pytestmark = pytest.mark.local

PASSWORD = "a-secret-of-the-broker"


@contextmanager
def refusing():
    """A port that refuses connections, and that nobody else gets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def silent():
    """A port that accepts connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def not_answering():
    """A port that does not answer at all, since its queue of connections is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        others = []
        try:
            for _ in range(3):
                other = socket.socket()
                others.append(other)
                other.setblocking(False)
                other.connect_ex(server.getsockname())
            yield server.getsockname()[1]
        finally:
            for other in others:
                other.close()


@contextmanager
def babbling():
    """A port that says what is not AMQP, and hangs up."""
    def serve():
        try:
            while True:
                peer, _ = server.accept()
                with peer:
                    peer.recv(8)
                    peer.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        except OSError:
            return  # closed

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


class Bench:
    """A stream, its messages, and the service that tells it the broker's address."""

    def __init__(self, port):
        self.asked, self.messages, self.stopping, self.governor = [], queue.SimpleQueue(), threading.Event(), Governor(None, 1.0)
        self.address = 200, {"connection_url": f"amqp://user:{PASSWORD}@127.0.0.1:{port}/%2F", "queue_prefix": "prefix."}

    def answer(self, path, _):
        assert path.endswith("/get_amqp_result_connection_url")
        self.asked.append(path)
        return self.address

    def until_asked(self, times):
        deadline = time.monotonic() + 60
        while len(self.asked) < times:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self):
        self.stopping.set()
        self.governor.wake()
        self.stream.stop()
        return self.stream.join(10)


@contextmanager
def streaming(port):
    bench = Bench(port)
    with answering(bench.answer) as client:
        bench.stream = ResultStream(client=client, governor=bench.governor, post=bench.messages.put, stopping=bench.stopping)
        bench.stream.start()
        yield bench
        assert bench.stop()


@pytest.mark.parametrize("broker", [refusing, babbling])
def test_a_broker_that_cannot_be_used_is_tried_again_with_a_fresh_address_and_said_once_without_its_password(broker, caplog):
    caplog.set_level(logging.DEBUG)
    with broker() as port, streaming(port) as bench:
        bench.stream.consume("group")
        bench.until_asked(4)
        assert bench.messages.get(timeout=10) == StreamChanged(False)
        assert bench.messages.empty()
    said = [record.getMessage() for record in caplog.records if record.name.startswith("parsl") and record.levelno >= logging.WARNING]
    assert len(said) == 1 and "connection lost or refused" in said[0]
    assert PASSWORD not in caplog.text


def test_why_the_broker_cannot_be_reached_is_said(caplog):
    with refusing() as port, streaming(port) as bench:
        bench.stream.consume("group")
        assert bench.messages.get(timeout=30) == StreamChanged(False)
        bench.until_asked(2)
    assert "ConnectionRefusedError" in caplog.text


@pytest.mark.parametrize("broker", [refusing, silent, not_answering])
def test_it_can_be_stopped_while_it_connects(broker):
    with broker() as port, streaming(port) as bench:
        bench.stream.consume("group")
        bench.until_asked(1)
        time.sleep(0.2)  # until it connects
        assert bench.stop()


def test_it_can_be_stopped_before_there_is_anything_to_consume():
    with streaming(1) as bench:
        assert bench.stop()
    assert not bench.asked


@pytest.mark.parametrize("address", [
    (200, {}), (200, []), (200, b"odd"), (200, {"connection_url": None, "queue_prefix": None}), (500, {"reason": "no"}), (429, {}),
    (200, {"connection_url": f"amqp://user:{PASSWORD}@[odd:port/", "queue_prefix": "p"}),
    (200, {"connection_url": f"http://user:{PASSWORD}@host:99999999/", "queue_prefix": "p"}),
], ids=range(8))
def test_an_odd_answer_of_the_service_about_the_address_is_no_end(address, caplog):
    caplog.set_level(logging.DEBUG)
    with streaming(1) as bench:
        bench.address = address
        bench.stream.consume("group")
        bench.until_asked(3)
    assert PASSWORD not in caplog.text


def test_the_port_can_be_replaced_connecting_has_an_end_and_a_dead_broker_is_noticed():
    parameters = connection_parameters("amqps://user:secret@host:5671/vhost?heartbeat=600", 443)
    assert (parameters.host, parameters.port) == ("host", 443)
    assert parameters.socket_timeout and parameters.stack_timeout
    for proposed, agreed in ((60, HEARTBEAT_SECONDS), (0, HEARTBEAT_SECONDS), (HEARTBEAT_SECONDS // 2, HEARTBEAT_SECONDS // 2)):
        assert parameters.heartbeat(None, proposed) == agreed
    assert connection_parameters("amqps://user:secret@host:5671/vhost", None).port == 5671


class Channel:
    """Notes what is acknowledged."""

    def __init__(self):
        self.acknowledged, self.is_open = [], True

    def basic_ack(self, tag, multiple):
        assert self.is_open
        self.acknowledged.append((tag, multiple))


@pytest.fixture
def consumer():
    taken = []
    consumer = Consumer(connection_parameters("amqp://user:secret@host/", None), "queue", lambda: None, taken.append)
    yield consumer, lambda channel, tag: consumer._on_delivery(channel, SimpleNamespace(delivery_tag=tag), None, b"body"), taken
    consumer.close()


def test_messages_that_come_together_are_acknowledged_together_after_they_were_taken(consumer):
    consumer, deliver, taken = consumer
    channel = Channel()
    for tags, last in (((1, 2, 3), 3), ((4,), 4)):
        for tag in tags:
            deliver(channel, tag)
        assert len(taken) == last and (last, True) not in channel.acknowledged
        consumer._loop.process_timeouts()
        assert channel.acknowledged[-1] == (last, True)
    consumer._loop.process_timeouts()
    assert len(channel.acknowledged) == 2


def test_messages_of_a_channel_that_was_closed_meanwhile_are_left_to_the_broker(consumer):
    consumer, deliver, taken = consumer
    channel = Channel()
    deliver(channel, 1)
    channel.is_open = False
    consumer._loop.process_timeouts()
    assert not channel.acknowledged and len(taken) == 1


def test_what_was_taken_is_acknowledged_before_the_connection_is_closed(consumer):
    consumer, deliver, _ = consumer
    channel, closed = Channel(), []
    consumer._connection = SimpleNamespace(is_open=True, close=lambda: closed.append(list(channel.acknowledged)))
    deliver(channel, 1)
    consumer._stop()
    assert closed == [[(1, True)]]
