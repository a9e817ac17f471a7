"""The resolver publishes records of all that ends, before it completes futures, and whatever comes to its end."""
from __future__ import annotations

import queue
import threading
from concurrent.futures import Future

import pytest

from parsl.app.app import python_app
from parsl.app.errors import RemoteExceptionWrapper
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.base import ParslExecutor
from parsl.executors.globus_compute_multi import resolver as resolver_module
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.executors.globus_compute_multi.resolver import Resolver
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.serialize import serialize
from parsl.tests.test_globus_compute_multi.unit.test_resolver import (
    Trap,
    ended,
    fail,
    message,
    resolve,
    resolved,
)

pytestmark = pytest.mark.local


@pytest.fixture
def watched():
    """A resolver, and a reader of its records."""
    records = Records()
    resolver = Resolver(records=records)
    resolver.start()
    yield resolver, records.reader()
    resolver.finish()
    assert resolver.join(10)


def test_the_record_of_a_result_is_there_before_its_future_is_done(watched):
    resolver, reader = watched
    future, seen = Future(), []
    future.add_done_callback(lambda _: seen.extend(reader.available()))
    resolve(resolver, future, message(serialize([1])))
    value = future.result(10)
    resolver.finish()
    assert resolver.join(10)
    assert len(seen) == 1 and seen[0].ok and seen[0].value is value


@pytest.mark.parametrize("outcome", [Outcome.APP_FAILED, Outcome.RAISED])
def test_records_have_what_the_app_raised_and_not_what_it_is_wrapped_in(watched, outcome):
    resolver, reader = watched
    resolved(resolver, serialize(RemoteExceptionWrapper(KeyError, KeyError("k"), None)), outcome, "KeyError: 'k'")
    record = reader.get(10)
    assert not record.ok and not record.has_value and record.value is None
    assert type(record.exception) is KeyError and record.exception.args == ("k",)


def test_the_record_of_what_cannot_be_read_says_so(watched):
    resolver, reader = watched
    error = resolved(resolver, serialize(Trap())).exception(10)
    record = reader.get(10)
    assert record.exception is error and not record.ok and not record.has_value


def test_attempts_that_complete_no_future_have_records_too(watched):
    resolver, reader = watched
    resolver.ended(ended(message(None, Outcome.TASK_FAILED, "worker lost"), final=False), None)
    resolver.ended(ended(message(serialize("late")), final=False), None)
    failed, late = reader.get(10), reader.get(10)
    assert (failed.outcome, failed.exception, failed.message, failed.final) == ("task_failed", None, "worker lost", False)
    assert late.ok and late.value == "late" and not late.final


def test_what_completes_no_future_is_not_unpickled_if_nobody_looks():
    records, future = Records(), Future()
    resolver = Resolver(records=records)
    told = ended(message(serialize(TellsWhenOpened())), final=False)
    resolver.start()
    resolver.ended(told, None)
    fail(resolver, future)
    assert future.exception(10) and not TellsWhenOpened.opened
    with records.reader() as reader:
        resolver.ended(told._replace(log_lines=2), None)
        assert reader.get(10) is not None
    assert TellsWhenOpened.opened.pop()
    resolver.finish()
    assert resolver.join(10)


class TellsWhenOpened:
    opened: list = []

    def __setstate__(self, state):
        self.opened.append(True)

    def __getstate__(self):
        return {"some": "state"}


def test_whatever_goes_wrong_in_publishing_harms_no_future(watched, monkeypatch, caplog):
    def end(*_):
        raise SystemExit

    monkeypatch.setattr(Records, "publish", end)
    assert resolved(watched[0], serialize(1)).result(10) == 1
    assert "record of task 1 (app) may be lost" in caplog.text


def test_records_of_all_that_has_come_are_seen_before_the_next_future_is_completed(watched):
    resolver, reader = watched
    entered, release, futures = threading.Event(), threading.Event(), [Future() for _ in range(3)]

    def wait(_):
        entered.set()
        release.wait(60)

    futures[0].add_done_callback(wait)
    futures[1].add_done_callback(lambda _: seen.extend(reader.available()))
    seen = []
    resolve(resolver, futures[0], message(serialize(1)))
    assert entered.wait(10)
    for future in futures[1:]:
        resolve(resolver, future, message(serialize(2)))
    release.set()
    assert [future.result(10) for future in futures] == [1, 2, 2]
    assert [record.value for record in seen] == [1, 2, 2]


def test_what_callbacks_raise_and_apps_have_raised_has_no_context_of_the_resolvers(tmp_path):
    class AppFails(ParslExecutor):
        """Hands the failure of each app to a resolver."""

        label = "resolving"

        def start(self):
            self.resolver = Resolver()
            self.resolver.start()

        def submit(self, func, resource_specification, *args, **kwargs):
            future = Future()
            resolve(self.resolver, future, message(serialize(func(*args, **kwargs)), Outcome.APP_FAILED))
            return future

        def shutdown(self):
            self.resolver.finish()
            assert self.resolver.join(10)

    def fail_app():
        raise ValueError("mine")

    config = Config(executors=[AppFails()], strategy="none", run_dir=str(tmp_path), initialize_logging=False)
    with DataFlowKernel(config) as dfk:
        error = python_app(fail_app, data_flow_kernel=dfk)().exception(10)
    assert type(error) is ValueError and error.__context__ is None


class SlowToOpen:
    """Another future can be completed only when this has been unpickled."""

    entered: "queue.SimpleQueue[bool]" = queue.SimpleQueue()

    def __setstate__(self, state):
        self.entered.put(True)

    def __getstate__(self):
        return {"some": "state"}


def test_a_future_does_not_wait_for_many_others_to_be_unpickled(monkeypatch):
    monkeypatch.setattr(resolver_module, "_LONGEST_AHEAD", 0.0)
    resolver, opened, futures = Resolver(), [], [Future() for _ in range(20)]
    for future in futures:
        future.add_done_callback(lambda _: opened.append(SlowToOpen.entered.qsize()))
        resolve(resolver, future, message(serialize(SlowToOpen())))
    resolver.start()
    resolver.finish()
    assert resolver.join(10)
    while not SlowToOpen.entered.empty():
        SlowToOpen.entered.get()
    assert opened == list(range(1, 21))


def test_what_was_not_unpickled_since_nobody_looked_has_no_value_for_who_begins_to_look_just_then(monkeypatch):
    records, readers, unpack = Records(), [], Resolver._open
    resolver = Resolver(records=records)

    def begin_to_look(*args):
        opened = unpack(*args)
        readers.append(records.reader())
        return opened

    monkeypatch.setattr(Resolver, "_open", begin_to_look)
    resolver.ended(ended(message(serialize(42)), final=False), None)
    resolver.start()
    resolver.finish()
    assert resolver.join(10)
    record = readers[0].get(0)
    assert record.outcome == "ok" and not record.has_value and record.value is None


def test_all_records_are_published_when_a_callback_shuts_down_and_the_futures_are_completed_afterwards():
    target, futures, joined = queue.SimpleQueue(), [Future() for _ in range(10)], queue.SimpleQueue()
    records = Records(response_queue=target)
    resolver, reader, first = Resolver(records=records), records.reader(), Future()

    def shut_down(_):
        for future in futures:
            fail(resolver, future)
        resolver.finish()
        joined.put((resolver.join(10), records.close(10)))

    first.add_done_callback(shut_down)
    resolver.start()
    fail(resolver, first)
    assert joined.get(timeout=10) == (False, True)
    assert all(future.exception(10) for future in futures)
    assert target.qsize() == len(list(reader)) == 11
    assert resolver.join(10)


class Hangs:
    release = threading.Event()

    def __setstate__(self, state):
        self.release.wait(60)

    def __getstate__(self):
        return {"some": "state"}


def test_an_unpickling_that_hangs_is_named_and_not_taken_for_completed_and_its_record_is_missed_aloud(caplog):
    records = Records()
    resolver, reader, futures = Resolver(records=records), records.reader(), [Future() for _ in range(3)]
    Hangs.release.clear()
    resolver.start()
    resolve(resolver, futures[0], message(serialize(Hangs())), 7, "big")
    for future in futures[1:]:
        fail(resolver, future)
    resolver.finish()
    try:
        assert not resolver.join(0.2)
        assert [future.done() for future in futures] == [False, True, True]
        assert "The unpickling of the result of task 7 (big) has not come to an end" in caplog.text
        assert records.close() and len(list(reader)) == 2
    finally:
        Hangs.release.set()
    assert type(futures[0].result(10)) is Hangs
    assert "came after the end of results() and the response queue, first of all the result of task 7 (big)" in caplog.text
    assert resolver.join(10)
