"""Copies of records for the user's response queue, whatever that does."""
from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import queue
import subprocess
import sys
import threading
import types

import pytest

from parsl.executors.globus_compute_multi.errors import (
    EndpointConfigurationError,
    ResultNotReadable,
)
from parsl.executors.globus_compute_multi.observe import sink as sink_module
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.executors.globus_compute_multi.observe.records import ResultRecord
from parsl.tests.test_globus_compute_multi.unit.test_records import ended

pytestmark = pytest.mark.local


def publish(records, numbers):
    for number in numbers:
        records.publish(ended(number), number, None)


def values_in(target):
    values = []
    while not target.empty():
        values.append(target.get().value)
    return values


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue, queue.LifoQueue])
def test_a_queue_gets_every_record_and_the_value_itself(kind):
    target = kind()
    records = Records(response_queue=target)
    value = [1]
    records.publish(ended(), value, None)
    assert target.get(timeout=10).value is value
    publish(records, range(100))
    assert records.close()
    assert sorted(values_in(target)) == list(range(100))


class Target:
    """Does with each record what ``act`` does."""

    def __init__(self, act):
        self.put = act


def test_a_full_queue_costs_what_does_not_fit_alone_and_that_is_counted(caplog):
    target = queue.Queue(10)
    records = Records(response_queue=target)
    publish(records, range(100))
    assert records.close(0.1), "the thread ends though there is no room"
    assert values_in(target) == list(range(10))
    assert [record.message for record in caplog.records] == [
        "response_queue lacks 90 result records in all: 90 that it did not take in time. The run log tells of them, and results() gives all."]


def test_a_slow_reader_of_a_bounded_queue_gets_all():
    target, got = queue.Queue(2), []

    def read():
        while len(got) < 100:
            got.append(target.get(timeout=10).value)

    reading = threading.Thread(target=read)
    records = Records(response_queue=target)
    reading.start()
    publish(records, range(100))
    reading.join(30)
    assert got == list(range(100)) and records.close()


def test_a_put_that_never_returns_holds_up_nothing_and_is_left_alone(caplog, monkeypatch):
    monkeypatch.setattr(sink_module, "_MOST_RECORDS", 20)
    entered, release, aggregated = threading.Event(), threading.Event(), []

    def hang(record):
        entered.set()
        release.wait(60)

    records = Records(response_queue=Target(hang), aggregate=True)
    publish(records, [1])
    assert entered.wait(10)
    publish(records, range(2, 101))
    aggregated += records.values()
    assert not records.close(0.05)
    assert aggregated == list(range(1, 101))
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and "lacks 1 result records so far: 1 that it did not take in time" in said[0]
    assert "lacks 100 result records in all: 100 that it did not take in time" in said[1]
    release.set()


def test_much_that_waits_is_limited_by_its_size_too(monkeypatch, caplog):
    monkeypatch.setattr(sink_module, "_MOST_BYTES", 60)  # of six bytes each
    entered, release, got = threading.Event(), threading.Event(), []

    def put(record):
        entered.set()
        release.wait(60)
        got.append(record.value)

    records = Records(response_queue=Target(put))
    publish(records, [0])
    assert entered.wait(10)
    publish(records, range(1, 21))
    release.set()
    assert records.close(10)
    assert got == list(range(11)) and "lacks 10 result records in all" in caplog.text


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(), queue.Full()])
def test_a_put_that_raises_is_said_and_costs_its_record_alone(caplog, error):
    got = []

    def put(record):
        if record.value % 2:
            raise error
        got.append(record.value)

    records = Records(response_queue=Target(put))
    publish(records, range(10))
    assert records.close(10)
    assert got == [0, 2, 4, 6, 8]
    assert "lacks 5 result records in all: 5 for which its put() raised " + type(error).__name__ in caplog.text


def test_what_is_dropped_is_said_at_first_then_seldom_and_in_the_end(caplog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(sink_module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    tried = threading.Semaphore(0)

    def put(record):
        tried.release()
        raise ValueError("no")

    records = Records(response_queue=Target(put))

    def said_after(numbers):
        for number in numbers:
            publish(records, [number])
            assert tried.acquire(timeout=10)
        return len(caplog.records)

    while not said_after([1]):
        pass
    assert said_after(range(50)) == 1
    now[0] += 61
    assert said_after(range(50)) == 2
    assert records.close(10) and len(caplog.records) == 3


def test_without_records_there_is_no_thread_and_nothing_to_say(caplog):
    before = threading.active_count()
    records = Records(response_queue=Target(print))
    assert records.close() and threading.active_count() == before and not caplog.records


def test_after_the_end_nothing_is_put():
    target = queue.Queue()
    records = Records(response_queue=target)
    publish(records, [1])
    assert records.close()
    publish(records, [2])
    assert values_in(target) == [1]


@pytest.mark.parametrize("target, why", [(3, "has none"), (object(), "has none"), (asyncio.Queue(), "is to be awaited")])
def test_what_takes_no_records_is_refused(target, why):
    with pytest.raises(EndpointConfigurationError, match=f"response_queue.*{why}"):
        Records(response_queue=target)


# other processes

def refuse():
    raise TypeError("not here")


class OddError(Exception):
    """Pickles, and cannot be unpickled, not even with what tblib adds to the pickling of exceptions when it is imported."""

    def __init__(self, one, two):
        super().__init__(one)

    def __reduce__(self):
        return refuse, ()


class Telling:
    """Says in which process it was unpickled."""

    def __setstate__(self, state):
        self.process = multiprocessing.current_process().name

    def __getstate__(self):
        return {"some": "state"}


def read_on(source, answers, count):
    """In another process: what the records say, as text."""
    for _ in range(count):
        record = source.get()
        answers.put((type(record).__name__, record.task_id, repr(record), record.has_value, getattr(record.value, "process", None)))


@pytest.fixture(params=["fork", "spawn"])
def context(request):
    return multiprocessing.get_context(request.param)


@pytest.mark.parametrize("managed", [False, True])
def test_another_process_reads_records_whatever_their_values(context, managed):
    unpicklable = threading.Lock()
    error = OddError(1, 2)
    published = [(ended(1), [1], None), (ended(2), unpicklable, None), (ended(3, "app_failed"), None, KeyError("k")),
                 (ended(4, "app_failed"), None, error), (ended(5), Telling(), None)]
    manager = context.Manager() if managed else None
    target = manager.Queue() if manager is not None else context.Queue()
    answers = context.Queue()
    process = context.Process(target=read_on, args=[target, answers, len(published)], name="reader")
    process.start()
    try:
        records = Records(response_queue=target)
        for item in published:
            records.publish(*item)
        assert records.close(30)
        got = [answers.get(timeout=60) for _ in published]
    finally:
        process.join(30)
        process.kill()
        if manager is not None:
            manager.shutdown()
    assert [name for name, *_ in got] == ["ResultRecord"] * 5 and [task_id for _, task_id, *_ in got] == [1, 2, 3, 4, 5]
    texts = [text for _, _, text, *_ in got]
    assert "value [1]" in texts[0] and "KeyError('k')" in texts[2]
    assert got[1][3] is False and got[0][3] is True
    assert "ResultNotReadable" in texts[3] and "OddError(1)" in texts[3] and "cannot be pickled" in texts[3]
    assert got[4][4] == "reader", "nobody on the way has unpickled the value"


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_a_value_that_does_not_pickle_is_its_text(kind):
    context = multiprocessing.get_context()
    target = getattr(context, kind)()
    records = Records(response_queue=target)
    lock = threading.Lock()
    records.publish(ended(1), lock, None)
    record = target.get()
    assert type(record) is ResultRecord and record.value == repr(lock) and not record.has_value and record.ok
    records.close()


def test_an_exception_that_does_not_pickle_is_an_exception_with_its_text():
    target = multiprocessing.Queue()
    records = Records(response_queue=target)
    records.publish(ended(1, "app_failed"), None, OddError("x", "y"))
    record = target.get(timeout=10)
    assert type(record.exception) is ResultNotReadable and "OddError('x')" in str(record.exception) and not record.ok
    records.close()


def test_a_full_queue_of_another_process_is_given_up_at_the_end(caplog):
    target = multiprocessing.Queue(5)
    records = Records(response_queue=target)
    publish(records, range(20))
    assert records.close(0.1)
    assert [target.get(timeout=10).value for _ in range(5)] == list(range(5))
    assert "lacks 15 result records in all" in caplog.text
    target.close()


def test_records_in_this_process_are_not_pickled():
    target = queue.SimpleQueue()
    records = Records(response_queue=target)
    lock = threading.Lock()
    records.publish(ended(), lock, None)
    assert target.get(timeout=10).value is lock
    records.close()
    with pytest.raises(TypeError):
        pickle.dumps(lock)


def test_a_queue_that_nobody_in_another_process_reads_is_not_filled_without_end(monkeypatch, caplog):
    monkeypatch.setattr(sink_module, "_MOST_RECORDS", 20)
    target = multiprocessing.Queue()
    records = Records(response_queue=target)
    publish(records, range(20))
    while target.qsize() < 20:
        threading.Event().wait(0.01)
    publish(records, range(20, 100))
    assert records.close(0.1)
    assert target.qsize() == 20 and "lacks 80 result records in all" in caplog.text
    assert [target.get(timeout=10).value for _ in range(20)] == list(range(20))


def test_much_that_is_unread_in_another_process_is_limited_by_its_size_too(monkeypatch, caplog):
    monkeypatch.setattr(sink_module, "_MOST_BYTES", 8_000)
    target = multiprocessing.Queue()
    records = Records(response_queue=target)
    for number in range(10):
        records.publish(ended(number), "x" * 3000, None)
    assert records.close(0.1)
    assert [target.get(timeout=10).task_id for _ in range(target.qsize())] == [0, 1]
    assert "lacks 8 result records in all" in caplog.text


def test_a_slow_reader_in_another_process_gets_all(monkeypatch, caplog):
    monkeypatch.setattr(sink_module, "_MOST_RECORDS", 200)
    target, got = multiprocessing.Queue(), []
    monkeypatch.setattr(sink_module._Unread, "has_room", lambda self, size: (self._look(), len(self._sizes) < 3)[1])
    records = Records(response_queue=target)
    publish(records, range(100))
    while len(got) < 100:
        got.append(target.get(timeout=10).value)
    assert got == list(range(100)) and records.close(10) and not caplog.records


def test_what_is_in_the_pipe_at_the_end_is_neither_waited_for_nor_said_to_be_lost(caplog):
    target = multiprocessing.Queue()
    records = Records(response_queue=target)
    publish(records, range(10))
    assert records.close(60) and not caplog.records
    assert [target.get(timeout=10).value for _ in range(10)] == list(range(10))


PROGRAM = """
import logging, multiprocessing
logging.basicConfig()
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.tests.test_globus_compute_multi.unit.test_records import ended
records = Records(response_queue=multiprocessing.Queue())
for number in range(3000):
    records.publish(ended(number), "x" * 1000, None)
records.close(2)
"""


def test_a_process_ends_though_nobody_has_read_its_queue_and_says_what_may_be_lost():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "The last 3000 result records in response_queue have not been read yet" in ran.stderr
