"""The resolver completes futures, and nothing the user does there stops it."""
from __future__ import annotations

import base64
import pickle
import threading
import zlib
from concurrent.futures import Future
from dataclasses import replace

import pytest

from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.errors import (
    ResultNotReadable,
    ResultTooLarge,
)
from parsl.executors.globus_compute_multi.resolver import Resolver
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.serialize import serialize

pytestmark = pytest.mark.local


def message(value, outcome=Outcome.OK, text=""):
    return ResultMessage("uuid", "session", "1.1", outcome, value, text, 1.0, None, ())


@pytest.fixture
def resolver():
    resolver = Resolver()
    resolver.start()
    yield resolver
    resolver.finish()
    assert resolver.join(10)


def resolved(resolver, *args):
    future = Future()
    resolver.resolve(future, message(*args), "task 1 (app)")
    return future


def test_values_and_exceptions_are_delivered(resolver):
    assert resolved(resolver, serialize(42)).result(10) == 42
    wrapper = RemoteExceptionWrapper(KeyError, KeyError("k"), None)
    assert isinstance(resolved(resolver, serialize(wrapper), Outcome.RAISED).exception(10), KeyError)
    assert isinstance(resolved(resolver, serialize(wrapper), Outcome.APP_FAILED).result(10), RemoteExceptionWrapper)


def packed(messages):
    """Monitoring messages as the runner packs them."""
    return base64.b64encode(zlib.compress(pickle.dumps(messages))).decode()


@pytest.fixture
def monitored():
    """Resolves results with a resolver that passes monitoring messages on; returns the future, and what was passed on until it was done."""
    told = []
    resolver = Resolver(told.append)
    resolver.start()

    def resolve(**monitoring):
        future, before = Future(), []
        future.add_done_callback(lambda _: before.extend(told))
        result = replace(message(serialize(42)), **monitoring)
        resolver.resolve(future, result, "task 1 (app)")
        assert future.result(10) == 42
        return before
    yield resolve
    resolver.finish()
    assert resolver.join(10)


def test_monitoring_messages_are_passed_on_before_the_future_is_done(monitored, caplog):
    assert monitored(monitoring=packed(["one", "two"])) == ["one", "two"]
    assert monitored(monitoring=None) == ["one", "two"]
    assert not caplog.records


@pytest.mark.parametrize("monitoring", ["not base64!", "AAAA", 3, packed(3)])
def test_monitoring_messages_that_cannot_be_read_cost_nothing_but_themselves(monitored, caplog, monitoring):
    assert monitored(monitoring=monitoring) == []
    assert "task 1 (app) were lost: some or all, for they cannot be read" in caplog.text
    assert monitored(monitoring=packed(["next"])) == ["next"]


def test_monitoring_messages_that_end_the_thread_which_reads_them_do_not(monitored, caplog):
    assert monitored(monitoring=packed([Trap()])) == []
    assert "SystemExit" in caplog.text
    assert monitored(monitoring=packed(["next"])) == ["next"]


def test_which_monitoring_messages_are_missing_is_said(monitored, caplog):
    assert monitored(monitoring=packed(["one"]), monitoring_lost="2 of 3, for want of room") == ["one"]
    assert "Monitoring messages of task 1 (app) were lost: 2 of 3, for want of room" in caplog.text


def test_without_monitoring_nothing_is_read(resolver, caplog):
    future = Future()
    resolver.resolve(future, replace(message(serialize(42)), monitoring="not base64!"), "task 1 (app)")
    assert future.result(10) == 42
    assert not caplog.records


def not_an_exception():
    return str, ("x",)


class Odd(Exception):
    def __reduce__(self):
        return not_an_exception()


@pytest.mark.parametrize("value", [RemoteExceptionWrapper(Odd, Odd(), None), "no wrapper", None])
def test_a_raised_exception_that_unpickles_to_something_else_fails_its_task_alone(resolver, value):
    assert isinstance(resolved(resolver, serialize(value), Outcome.RAISED).exception(10), ResultNotReadable)


def test_a_value_too_large_for_a_result_is_named(resolver):
    error = resolved(resolver, None, Outcome.TOO_LARGE, "11 bytes of 10").exception(10)
    assert isinstance(error, ResultTooLarge) and "11 bytes of 10" in str(error) and "ProxyStore" in str(error)


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize("value", [serialize(Trap()), None, b"", b"02\nnot a pickle", b"no header"])
def test_what_cannot_be_unpickled_fails_its_task_alone_and_says_what_it_was(resolver, value):
    error = resolved(resolver, value, Outcome.APP_FAILED, "MyError: text of it").exception(10)
    assert isinstance(error, ResultNotReadable)
    assert "task 1 (app)" in str(error) and "MyError: text of it" in str(error)
    assert resolved(resolver, serialize(1)).result(10) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_harms_nobody(resolver, error):
    def callback(_):
        raise error

    future = Future()
    future.add_done_callback(callback)
    resolver.resolve(future, message(serialize(1)), "task 1")
    assert resolved(resolver, serialize(2)).result(10) == 2


def test_stopping_completes_what_is_queued():
    resolver = Resolver()
    futures = [Future() for _ in range(100)]
    for future in futures:
        resolver.fail(future, ValueError("x"), "task")
    resolver.start()
    resolver.finish()
    assert resolver.join(10)
    assert all(future.done() for future in futures)


def test_a_callback_that_hangs_is_named_in_the_log_and_the_futures_behind_it_are_completed(caplog):
    resolver, hanging, release = Resolver(), Future(), threading.Event()
    entered = threading.Event()

    def hang(future):
        entered.set()
        release.wait(60)

    hanging.add_done_callback(hang)
    resolver.start()
    resolver.resolve(hanging, message(serialize(1)), "task 7 (slow)")
    behind = [Future() for _ in range(3)]
    for future in behind:
        resolver.resolve(future, message(serialize(1)), "task 8 (quick)")
    resolver.finish()
    assert entered.wait(10)
    resolver.join(0.2)
    assert "task 7 (slow)" in caplog.text
    assert all(future.result(10) == 1 for future in behind)
    release.set()


def test_a_callback_may_stop_the_resolver():
    resolver, future, stopped = Resolver(), Future(), threading.Event()

    def stop(_):
        resolver.finish()
        resolver.join(10)
        stopped.set()

    future.add_done_callback(stop)
    resolver.start()
    resolver.fail(future, ValueError("x"), "task")
    assert stopped.wait(5)


class Untold(Exception):
    def __str__(self):
        raise SystemExit


class UntoldTrap:
    def __reduce__(self):
        return exec, (f"from {__name__} import Untold; raise Untold",)


def test_an_exception_whose_text_ends_threads_fails_its_task_alone(resolver):
    assert isinstance(resolved(resolver, serialize(UntoldTrap())).exception(10), ResultNotReadable)
    assert resolved(resolver, serialize(1)).result(10) == 1


def test_whatever_ends_the_reading_of_a_result_fails_its_task_alone(resolver, monkeypatch):
    def end(*_):
        raise SystemExit

    monkeypatch.setattr(Resolver, "_open", end)
    assert isinstance(resolved(resolver, serialize(1)).exception(10), ResultNotReadable)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_died_has_not_finished(monkeypatch):
    resolver, future, run = Resolver(), Future(), Resolver._run

    def die(self):
        monkeypatch.setattr(Resolver, "_run", run)
        raise RuntimeError("nobody knows why")

    monkeypatch.setattr(Resolver, "_run", die)
    resolver.start()
    resolver.fail(future, ValueError("x"), "task")
    resolver.finish()
    assert resolver.join(10)
    assert isinstance(future.exception(0), ValueError)


def test_slow_callbacks_are_waited_for_so_long_in_all_and_go_on_afterwards(caplog):
    resolver, go_on = Resolver(), threading.Event()
    futures = [Future() for _ in range(20)]
    for future in futures:
        future.add_done_callback(lambda _: go_on.wait(0.1))
        resolver.fail(future, ValueError("x"), "task")
    resolver.start()
    resolver.finish()
    assert not resolver.join(10, 0.35)
    said = [record.message for record in caplog.records]
    assert len(said) == 1 and 1 <= int(said[0].split()[0]) < 20 and "futures are not completed yet" in said[0]
    go_on.set()
    assert all(future.exception(10) for future in futures)
    assert resolver.join(10)


def test_a_callback_that_hangs_when_there_is_little_time_left_holds_up_no_future_either(caplog):
    resolver, futures, release = Resolver(), [Future() for _ in range(3)], threading.Event()
    futures[0].add_done_callback(lambda _: release.wait(60))
    resolver.start()
    for future in futures:
        resolver.fail(future, ValueError("x"), "task 7 (slow)")
    resolver.finish()
    resolver.join(60, 0.2)
    assert "task 7 (slow)" in caplog.text
    assert all(future.exception(10) for future in futures)
    release.set()
