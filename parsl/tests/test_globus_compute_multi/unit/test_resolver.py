"""The resolver publishes records and completes futures, and nothing the user does there stops it."""
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
from parsl.executors.globus_compute_multi.messages import TaskInfo
from parsl.executors.globus_compute_multi.observe.records import Ended
from parsl.executors.globus_compute_multi.resolver import Resolver
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.monitoring.message_type import MessageType
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


def ended(result=None, error=None, *, task_id=1, app="app", final=True):
    """An attempt with this result has ended, or the executor has given its task up with this error."""
    task = TaskInfo(task_id, app)
    if result is None:
        return Ended(task, None, None, None, None, 0.0, None, 2.0, "cancelled", "", None, error, final, 1)
    return Ended(task, f"{task_id}.1", "site", 0, 1, 0.0, 1.0, 2.0, result.outcome.value, result.message, result, None, final, 1)


def resolve(resolver, future, result, task_id=1, app="app"):
    resolver.ended(ended(result, task_id=task_id, app=app), future)


def fail(resolver, future, app="app"):
    resolver.ended(ended(error=ValueError("x"), app=app), future)


def resolved(resolver, *args):
    future = Future()
    resolve(resolver, future, message(*args))
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

    def run(**monitoring):
        future, before = Future(), []
        future.add_done_callback(lambda _: before.extend(told))
        result = replace(message(serialize(42)), **monitoring)
        resolve(resolver, future, result)
        assert future.result(10) == 42
        return before
    yield run
    resolver.finish()
    assert resolver.join(10)


def sent(number, block, becomes):
    """A message that says that a task begins, and what becomes of it."""
    said = {"task_id": number, "block_id": block, "hostname": "node"}
    return (MessageType.WORKER_TASK_INFO, said), (MessageType.WORKER_TASK_INFO, {**said, "block_id": becomes})


ONE, ONE_HERE = sent(1, None, "site")
TWO, TWO_HERE = sent(2, "0", "site/0")
USAGE = (MessageType.RESOURCE_INFO, {"task_id": 1})


def test_monitoring_messages_are_passed_on_with_the_endpoint_before_the_future_is_done(monitored, caplog):
    assert monitored(monitoring=packed([ONE, USAGE, TWO])) == [ONE_HERE, USAGE, TWO_HERE]
    assert monitored(monitoring=None) == [ONE_HERE, USAGE, TWO_HERE]
    assert not caplog.records


@pytest.mark.parametrize("monitoring", ["not base64!", "AAAA", 3, packed(3), packed([3])])
def test_monitoring_messages_that_cannot_be_read_cost_nothing_but_themselves(monitored, caplog, monitoring):
    assert monitored(monitoring=monitoring) == []
    assert "task 1 (app) were lost: some or all, for they cannot be read" in caplog.text
    assert monitored(monitoring=packed([ONE])) == [ONE_HERE]


def test_monitoring_messages_that_end_the_thread_which_reads_them_do_not(monitored, caplog):
    assert monitored(monitoring=packed([Trap()])) == []
    assert "SystemExit" in caplog.text
    assert monitored(monitoring=packed([ONE])) == [ONE_HERE]


def test_which_monitoring_messages_are_missing_is_said(monitored, caplog):
    assert monitored(monitoring=packed([ONE]), monitoring_lost="2 of 3, for want of room") == [ONE_HERE]
    assert "Monitoring messages of task 1 (app) were lost: 2 of 3, for want of room" in caplog.text


def test_without_monitoring_nothing_is_read(resolver, caplog):
    future = Future()
    resolve(resolver, future, replace(message(serialize(42)), monitoring="not base64!"))
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
    resolve(resolver, future, message(serialize(1)))
    assert resolved(resolver, serialize(2)).result(10) == 2


def test_stopping_completes_what_is_queued():
    resolver = Resolver()
    futures = [Future() for _ in range(100)]
    for future in futures:
        fail(resolver, future)
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
    resolve(resolver, hanging, message(serialize(1)), 7, "slow")
    behind = [Future() for _ in range(3)]
    for future in behind:
        resolve(resolver, future, message(serialize(1)), 8, "quick")
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
    fail(resolver, future)
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
    fail(resolver, future)
    resolver.finish()
    assert resolver.join(10)
    assert isinstance(future.exception(0), ValueError)


def test_slow_callbacks_are_waited_for_so_long_in_all_and_go_on_afterwards(caplog):
    resolver, go_on = Resolver(), threading.Event()
    futures = [Future() for _ in range(20)]
    for future in futures:
        future.add_done_callback(lambda _: go_on.wait(0.1))
        fail(resolver, future)
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
        fail(resolver, future, "slow")
    resolver.finish()
    resolver.join(60, 0.2)
    assert "task 1 (slow)" in caplog.text
    assert all(future.exception(10) for future in futures)
    release.set()


@pytest.mark.parametrize("patience, timeout", [(2.0, 4.0), (60.0, 3.0)])
def test_callbacks_that_hang_after_others_have_come_to_an_end_hold_up_no_future_behind_them(patience, timeout):
    resolver, futures, release = Resolver(), [Future() for _ in range(20)], threading.Event()
    futures[0].add_done_callback(lambda _: release.wait(0.2))
    for future in futures[1:4]:
        future.add_done_callback(lambda _: release.wait(60))
    resolver.start()
    for future in futures:
        fail(resolver, future)
    resolver.finish()
    assert not resolver.join(patience, timeout)
    assert all(future.done() for future in futures)
    release.set()
    assert resolver.join(10)
