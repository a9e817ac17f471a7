"""Shutdown from inside every fault: it returns soon, resolves every future, and leaves no thread and no connection."""
from __future__ import annotations

import os
import select
import signal
import socket
import socketserver
import threading
import time
from urllib.parse import urlsplit

import pytest

from local_globus_compute import LocalEndpoint
from local_globus_compute.agent_files import proxy_environment
from local_globus_compute.client import LocalClient
from parsl.executors.globus_compute_multi import EarliestFinish, Endpoint
from parsl.executors.globus_compute_multi.compute.service import ANSWER_TIMEOUT, Service
from parsl.executors.globus_compute_multi.errors import GlobusComputeMultiError
from parsl.tests.test_globus_compute_multi.integration.common import until
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    check_log,
    our_threads,
    portable,
    sockets,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]

#: Seconds that shutdown may take; it takes half of that at most.
MOST = 10

PATIENCE = 90


@portable
def nap(seconds):
    import time
    time.sleep(seconds)
    return seconds


class Gate(socketserver.ThreadingTCPServer):
    """Passes connections on to a port of this machine, until it is told to be silent, or closed."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.upstream = port
        self.port = self.server_address[1]
        self.silent, self.closed = threading.Event(), threading.Event()
        self.held_back = threading.Event()  # something was to pass while it is silent
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="gate")
        self._thread.start()

    def close(self):
        """Refuse what comes, and cut what there is."""
        self.closed.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):

    def handle(self):
        with socket.create_connection(("127.0.0.1", self.server.upstream)) as far:
            other = {self.request: far, far: self.request}
            while not self.server.closed.is_set():
                ready = [] if self.server.silent.wait(0) else select.select(list(other), [], [], 0.05)[0]
                if self.server.silent.is_set():
                    if any(end.recv(1, socket.MSG_PEEK) for end in select.select(list(other), [], [], 0.05)[0]):
                        self.server.held_back.set()
                    time.sleep(0.05)
                for end in ready:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)


@pytest.fixture
def gates():
    made = []

    def make(port):
        made.append(Gate(port))
        return made[-1]
    yield make
    for gate in made:
        if not gate.closed.is_set():
            gate.close()


@pytest.fixture
def ways(compute, gates, make_executor, monkeypatch):
    """An executor that reaches service and broker through gates: ``ways(...)`` gives it, started, and the two gates."""
    def make(**arguments):
        service = Service(compute.client())
        url, _ = service.result_queue()
        service.close()
        to_service, to_broker = gates(urlsplit(compute.address).port), gates(urlsplit(url).port)
        for name, value in proxy_environment(to_service.port).items():  # the service answers by way of a proxy, but not at another port
            monkeypatch.setenv(name, value)
        client = LocalClient("http://localhost:5000", compute.token)
        return make_executor(client=client, amqp_port=to_broker.port, **arguments), to_service, to_broker
    return make


def end(executor, futures, before, gates=(), *, after=lambda: None, later=1.0, log_is_whole=True):
    """Shut the executor down, check what is promised, and call ``after`` meanwhile; threads that are in a request have ``later`` seconds."""
    try:
        begin = time.monotonic()
        executor.shutdown()
        took = time.monotonic() - begin
        print(f"shutdown took {took:.2f} s")
        assert took < MOST
        undone = [future for future in futures if not future.done()]
        assert not undone
        for future in futures:
            assert future.exception(0) is None or isinstance(future.exception(0), GlobusComputeMultiError)
    finally:
        after()  # else threads are left for the tests to come
        for gate in gates:
            gate.close()
    deadline = time.monotonic() + later
    while our_threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not our_threads()
    until(lambda: sockets() <= before, "the end of all connections")
    if log_is_whole:
        check_log(executor)


def begin(executor):
    """Start, run a task so that all connections are there, then submit more than can run."""
    executor.start()
    assert executor.submit(nap, {}, 0).result(PATIENCE) == 0
    return [executor.submit(nap, {}, 1) for _ in range(40)]


@pytest.mark.parametrize("fault", [
    {"kind": "reply_status", "status": 429, "retry_after": 1000},
    *({"kind": "reply_status", "status": status} for status in (401, 403, 503)),
    {"kind": "drop_connection"},
    {"kind": "lose_answer"},
], ids=lambda fault: str(fault.get("status", fault["kind"])))
def test_while_the_service_refuses_or_fails(make_executor, faults, fault):
    before = sockets()
    executor = make_executor()
    executor.start()
    assert executor.submit(nap, {}, 0).result(PATIENCE) == 0
    faults.add_fault(**fault)
    futures = [executor.submit(nap, {}, 1) for _ in range(40)]
    until(lambda: faults.faults()[0]["hits"] > 0, "the fault")
    end(executor, futures, before)


@pytest.mark.parametrize("kind", ["delay_request", "delay_answer"])
def test_while_the_service_does_not_answer(make_executor, faults, kind):
    before = sockets()
    executor = make_executor()
    executor.start()
    assert executor.submit(nap, {}, 0).result(PATIENCE) == 0
    faults.add_fault(kind, seconds=60)
    futures = [executor.submit(nap, {}, 1) for _ in range(40)]
    until(lambda: faults.faults()[0]["hits"] > 0, "the fault")
    end(executor, futures, before, later=ANSWER_TIMEOUT + MOST)


@pytest.mark.parametrize("way", ["closed", "silent"])
def test_while_the_service_is_down(ways, way, caplog):
    before = sockets()
    executor, to_service, to_broker = ways()
    futures = begin(executor)
    if way == "closed":
        to_service.close()
    else:
        to_service.silent.set()
    futures += [executor.submit(nap, {}, 1) for _ in range(10)]
    until(lambda: to_service.held_back.is_set() or "Globus Compute cannot be reached" in caplog.text, "the outage")
    end(executor, futures, before, [to_broker] if way == "closed" else [to_service, to_broker], later=ANSWER_TIMEOUT + MOST)


@pytest.mark.parametrize("way", ["closed", "silent"])
@pytest.mark.parametrize("when", ["from the start", "later"])
def test_while_the_broker_is_down(ways, way, when):
    before = sockets()
    executor, to_service, to_broker = ways()

    def shut():
        if way == "closed":
            to_broker.close()
        else:
            to_broker.silent.set()

    if when == "later":
        futures = begin(executor)
        shut()
    else:
        shut()
        executor.start()
        futures = [executor.submit(nap, {}, 1) for _ in range(40)]
        until(lambda: executor._parts.dispatcher._task_group_id is not None, "the first submission")
    until(lambda: to_broker.held_back.is_set() or executor._parts.stream._connected is False, "the outage")
    end(executor, futures, before, [to_service] if way == "closed" else [to_service, to_broker])


@pytest.fixture
def extra(compute):
    """Name and ID of an endpoint that may be killed."""
    name = f"extra-{os.urandom(4).hex()}"
    yield name, compute.add_endpoint(LocalEndpoint(name, workers=2))
    compute.stop_endpoint(name)


@pytest.mark.parametrize("who", ["children", "parent"])
def test_after_an_endpoint_was_killed_with_tasks_in_flight(make_executor, compute, extra, who):
    before = sockets()
    name, endpoint_id = extra
    executor = make_executor(endpoints=[Endpoint(endpoint_id, name=name, threads=2)])
    futures = begin(executor)
    processes = compute.processes(name)
    for pid in processes.children if who == "children" else [processes.parent]:
        os.kill(pid, signal.SIGKILL)
    end(executor, futures, before)


def test_while_a_callback_hangs(make_executor):
    before = sockets()
    executor = make_executor()
    executor.start()
    entered, leave = threading.Event(), threading.Event()

    def hang(_):
        entered.set()
        leave.wait(PATIENCE)

    first = executor.submit(nap, {}, 0)
    first.add_done_callback(hang)
    futures = [executor.submit(nap, {}, 1) for _ in range(40)]
    assert entered.wait(PATIENCE)
    end(executor, [first, *futures], before, after=leave.set, later=MOST)


def test_while_three_callbacks_hang(make_executor):
    before = sockets()
    executor = make_executor()
    executor.start()
    leave = threading.Event()
    futures = [executor.submit(nap, {}, 0) for _ in range(20)]
    for future in futures[:3]:
        future.add_done_callback(lambda _: leave.wait(PATIENCE))
    until(lambda: any(future.done() for future in futures), "the first result")
    end(executor, futures, before, after=leave.set, later=MOST)


class Hangs(EarliestFinish):
    """A policy of the user's that does not return."""

    def __init__(self):
        super().__init__()
        self.asked, self.leave = threading.Event(), threading.Event()

    def choose(self, task, candidates, outlook):
        self.asked.set()
        self.leave.wait(PATIENCE)
        return super().choose(task, candidates, outlook)


def test_while_the_policy_hangs(make_executor):
    before = sockets()
    policy = Hangs()
    executor = make_executor(policy=policy)
    executor.start()
    futures = [executor.submit(nap, {}, 1) for _ in range(40)]
    assert policy.asked.wait(PATIENCE)
    end(executor, futures, before, after=policy.leave.set, later=MOST, log_is_whole=False)  # who writes it was in the policy


def test_while_another_thread_starts_it_and_the_service_does_not_answer(make_executor, faults):
    before = sockets()
    executor = make_executor()
    faults.add_fault("delay_request", seconds=60)
    errors = []

    def start():
        try:
            executor.start()
        except GlobusComputeMultiError as e:
            errors.append(e)

    starter = threading.Thread(target=start)
    starter.start()
    until(lambda: faults.faults()[0]["hits"] > 0, "the fault")
    begin = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - begin < MOST
    starter.join(ANSWER_TIMEOUT + MOST)
    assert not starter.is_alive() and errors
    errors.clear()  # its cause holds the answer, and with it a socket
    assert not our_threads()
    until(lambda: sockets() <= before, "the end of all connections")


def test_with_two_thousand_tasks_pending(make_executor):
    before = sockets()
    executor = make_executor()
    futures = begin(executor)
    futures += [executor.submit(nap, {}, 1) for _ in range(2_000)]
    end(executor, futures, before)
