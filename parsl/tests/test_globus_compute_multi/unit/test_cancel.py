"""Cancelling tasks: what the owner does, and what the executor makes of the futures it is given."""
from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer

from parsl.app.app import join_app, python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.globus_compute_multi import GlobusComputeMultiExecutor, cancelling
from parsl.executors.globus_compute_multi.compute import governor as governing
from parsl.executors.globus_compute_multi.compute.governor import Governor, Kind
from parsl.executors.globus_compute_multi.errors import (
    CannotCancel,
    SchedulerCrashed,
    TaskCancelled,
)
from parsl.executors.globus_compute_multi.messages import CancelRequested
from parsl.executors.globus_compute_multi.scheduling.events import (
    Outcome,
)
from parsl.executors.globus_compute_multi.scheduling.events import (
    TaskCancelled as TaskCancelledEvent,
)
from parsl.executors.globus_compute_multi.scheduling.policy import Policy
from parsl.executors.globus_compute_multi.workflow import Left
from parsl.executors.threads import ThreadPoolExecutor
from parsl.tests.test_globus_compute_multi.unit.owning import running

pytestmark = pytest.mark.local

NODE = 7


def ask(harness, node=None, future=None):
    reply = Future()
    harness.owner.post(CancelRequested(node, future, reply))
    return reply.result(10)


def states(harness, kind, key):
    return [(line[key], line["state"]) for line in harness.stop() if line["kind"] == kind]


@pytest.mark.parametrize("by_node", [True, False])
def test_a_pending_task_is_never_dispatched(tmp_path, by_node):
    with running(tmp_path / "log", accepts=False) as harness:
        future = harness.submit(1, NODE)
        assert ask(harness, NODE) if by_node else ask(harness, future=future)
        assert isinstance(future.exception(10), TaskCancelled) and f"task {NODE} (app)" in str(future.exception())
        harness.accepts = True
        other = harness.submit(2)
        harness.answer(harness.started(), "value")
        assert other.result(10) == "value" and [attempt for attempt, _ in harness.attempts] == ["2.1"]
        assert states(harness, "task", "task")[:2] == [(1, "pending"), (1, "failed")]


def test_a_dispatched_task_fails_at_once_and_its_result_is_dropped(tmp_path):
    with running(tmp_path / "log") as harness:
        future = harness.submit(1, NODE)
        attempt = harness.started()
        assert ask(harness, NODE)
        assert isinstance(future.exception(10), TaskCancelled)
        harness.answer(attempt, "too late")
        other = harness.submit(2)
        harness.answer(harness.started(), "value")
        assert other.result(10) == "value"
        assert (1, "done") not in states(harness, "task", "task")
    assert isinstance(future.exception(), TaskCancelled)


def test_an_executor_whose_last_pending_task_is_cancelled_is_not_in_the_line_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr(governing, "_WISH_SECONDS", 1000.0)
    governor = Governor(20, 10.0)
    with running(tmp_path / "log", governor=governor) as harness:
        futures = [harness.submit(task_id) for task_id in (1, 2)]
        harness.started()
        governor.ended()
        assert ask(harness, future=futures[1])  # there is a thread for it, too, but no permit yet
        deadline = time.monotonic() + 60
        while not governor.try_permit(Kind.SUBMISSION, "another"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_task_that_is_not_submitted_yet_fails_the_moment_it_is(tmp_path):
    with running(tmp_path / "log") as harness:
        assert ask(harness, NODE)
        assert isinstance(harness.submit(1, NODE).exception(10), TaskCancelled)
        assert not harness.attempts


def test_a_task_stays_cancelled_when_parsl_retries_it(tmp_path):
    with running(tmp_path / "log") as harness:
        first = harness.submit(1, NODE)
        harness.started()
        assert ask(harness, NODE)
        assert isinstance(first.exception(10), TaskCancelled)
        assert isinstance(harness.submit(2, NODE).exception(10), TaskCancelled)
        assert len(harness.attempts) == 1


def test_a_task_between_retries_is_not_run_again(tmp_path):
    with running(tmp_path / "log") as harness:
        first = harness.submit(1, NODE)
        harness.answer(harness.started(), "wrapped", Outcome.APP_FAILED)
        assert first.result(10) == "wrapped"
        assert ask(harness, NODE)
        assert isinstance(harness.submit(2, NODE).exception(10), TaskCancelled)


def test_a_task_that_has_its_value_cannot_be_cancelled(tmp_path):
    with running(tmp_path / "log") as harness:
        future = harness.submit(1, NODE)
        harness.answer(harness.started(), "value")
        assert future.result(10) == "value"
        assert not ask(harness, NODE) and not ask(harness, future=future)


def test_a_task_is_cancelled_once_by_what_submit_returned_and_any_number_of_times_by_its_number(tmp_path):
    with running(tmp_path / "log", accepts=False) as harness:
        future = harness.submit(1, NODE)
        assert ask(harness, future=future) and not ask(harness, future=future)
        assert ask(harness, NODE) and ask(harness, NODE)


@pytest.mark.parametrize("number", [None, 1, 2, "one"])
def test_a_future_of_somebody_elses_is_not_cancelled_whatever_its_number(tmp_path, number):
    with running(tmp_path / "log", accepts=False) as harness:
        ours, foreign = harness.submit(1), Future()
        foreign.parsl_executor_task_id = number
        assert not ask(harness, future=foreign) and not ask(harness, future=Future())
        assert not ours.done()


def test_a_request_that_nobody_waits_for_any_more_does_nothing(tmp_path):
    with running(tmp_path / "log", accepts=False) as harness:
        future, reply = harness.submit(1, NODE), Future()
        assert reply.cancel()
        harness.owner.post(CancelRequested(NODE, None, reply))
        assert not ask(harness, future=Future())  # the one before it is taken
        assert not future.done()


def test_nothing_is_kept_of_tasks_that_are_finished(tmp_path):
    with running(tmp_path / "log") as harness:
        for node in range(10):
            if node % 2:
                assert ask(harness, node)
            future = harness.submit(node + 1, node)
            if not node % 2:
                harness.answer(harness.started(), "value")
            future.exception(10)
        assert len(harness.owner._cancellations) == 10
        for node in range(10):
            harness.owner.post(Left(node))
        assert not ask(harness, future=Future())  # all before it is taken
        assert len(harness.owner._cancellations) == 0


def test_requests_at_shutdown_are_answered(tmp_path):
    with running(tmp_path / "log", accepts=False) as harness:
        harness.submit(1, NODE)
        replies = [Future() for _ in range(100)]
        for reply in replies:
            harness.owner.post(CancelRequested(NODE, None, reply))
        harness.stop()
        assert all(reply.result(0) in (True, False) for reply in replies)


class Sleeps(Policy):
    def __init__(self):
        self.asked, self.go_on = threading.Event(), threading.Event()

    def choose(self, task, candidates, outlook):
        self.asked.set()
        self.go_on.wait(60)
        return candidates[0]


def test_while_the_scheduler_is_busy_cancel_raises_and_the_request_is_withdrawn(tmp_path, monkeypatch):
    monkeypatch.setattr(cancelling, "PATIENCE", 0.1)
    policy = Sleeps()
    with running(tmp_path / "log", policy=policy) as harness:
        try:
            future, reply = harness.submit(1, NODE), Future()
            assert policy.asked.wait(10)
            harness.owner.post(CancelRequested(NODE, None, reply))
            with pytest.raises(CannotCancel, match="nothing was cancelled.*policy"):
                cancelling.wait_for(reply)
        finally:
            policy.go_on.set()
        harness.answer(harness.started(), "value")
        assert future.result(10) == "value"


def test_cancel_is_answered_though_the_scheduler_crashes_over_it(tmp_path):
    def crash(task):
        raise RuntimeError("a bug")

    with running(tmp_path / "log", accepts=False) as harness:
        future, reply = harness.submit(1), Future()
        harness.owner._scheduler._handlers[TaskCancelledEvent] = crash
        harness.owner.post(CancelRequested(None, future, reply))
        with pytest.raises(CannotCancel, match="crashed"):
            reply.result(10)
        assert isinstance(future.exception(10), SchedulerCrashed)


def test_a_scheduler_that_has_begun_and_does_not_end_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(cancelling, "PATIENCE", 0.05)
    reply = Future()
    reply.set_running_or_notify_cancel()
    with pytest.raises(CannotCancel, match="not known whether"):
        cancelling.wait_for(reply)


def test_a_task_whose_value_was_of_no_use_can_be_cancelled_when_it_is_submitted_again(tmp_path):
    with running(tmp_path / "log") as harness:
        first = harness.submit(1, NODE)
        harness.answer(harness.started(), "value")  # which does not unpickle, say
        assert first.result(10) == "value"
        harness.accepts = False
        second = harness.submit(2, NODE)
        assert ask(harness, NODE)
        assert isinstance(second.exception(10), TaskCancelled)


# the executor, on a real DataFlowKernel; the service is not asked


class Local(GlobusComputeMultiExecutor):
    """Has an owner of its own, which dispatches nothing."""

    def __init__(self, harness, label="multi"):
        client = Client(authorizer=AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
        super().__init__(["11111111-1111-1111-1111-111111111111"], client=client, label=label)
        self._parts = harness.owner  # of which only post() is used

    def start(self):
        self._state = "running"

    def shutdown(self):
        self._state = "shut down"


@pytest.fixture
def harness(tmp_path):
    with running(tmp_path / "log", accepts=False) as harness:
        yield harness


@pytest.fixture
def kernel(tmp_path):
    made = []

    def make(*executors, **settings):
        config = Config(executors=list(executors), run_dir=str(tmp_path / "runinfo"), initialize_logging=False, strategy="none", **settings)
        made.append(DataFlowKernel(config))
        return made[-1]

    yield make
    for dfk in made:
        dfk.cleanup()


def work(*args):
    return args


def wait(gate):
    assert gate.wait(60)


def app(dfk, function=work, executor="multi"):
    return python_app(function, data_flow_kernel=dfk, executors=[executor])


def test_an_app_future_of_this_executor_is_cancelled(kernel, harness):
    executor = Local(harness)
    future = app(kernel(executor))()
    assert executor.cancel(future)
    assert isinstance(future.exception(10), TaskCancelled)
    assert not executor.cancel(future)


def test_a_task_that_waits_for_its_parents_fails_when_they_are_done_and_they_do_not(kernel, harness):
    executor, gate = Local(harness), threading.Event()
    dfk = kernel(executor, ThreadPoolExecutor())
    parent = app(dfk, wait, "threads")(gate)
    child = app(dfk)(parent)
    assert executor.cancel(child)
    assert not child.done()
    gate.set()
    assert isinstance(child.exception(10), TaskCancelled)
    assert parent.result(10) is None


@pytest.mark.parametrize("handled", [True, False])
def test_a_cancelled_task_is_not_run_by_parsls_retries(kernel, harness, handled):
    tries = []

    def handler(exception, task_record):
        tries.append(type(exception))
        return float("inf") if handled and isinstance(exception, TaskCancelled) else 1

    executor = Local(harness)
    future = app(kernel(executor, retries=3, retry_handler=handler))()
    assert executor.cancel(future)
    assert isinstance(future.exception(10), TaskCancelled)
    assert tries == [TaskCancelled] * (1 if handled else 4)


def test_tasks_of_others_are_not_cancelled(kernel, harness, tmp_path):
    executor, gate = Local(harness), threading.Event()
    dfk, stranger = kernel(executor, ThreadPoolExecutor()), kernel(ThreadPoolExecutor(label="multi"))
    try:
        on_threads = app(dfk, wait, "threads")(gate)
        elsewhere = app(stranger, wait, "multi")(gate)  # the same label, and the same number as a task of ours may have
        joined = join_app(lambda: on_threads, data_flow_kernel=dfk)()
        assert not any(executor.cancel(future) for future in (on_threads, elsewhere, joined, Future()))
    finally:
        gate.set()
    for future in (on_threads, elsewhere, joined):
        assert future.result(10) is None


def test_a_callback_may_cancel_other_tasks(kernel, harness):
    executor = Local(harness)
    submit = app(kernel(executor))
    first, rest = submit(), [submit() for _ in range(20)]
    answers = []
    done = threading.Event()

    def cancel_the_rest(_):
        answers.extend(executor.cancel(future) for future in rest)
        done.set()

    first.add_done_callback(cancel_the_rest)
    assert executor.cancel(first)
    assert done.wait(30) and answers == [True] * 20
    assert all(isinstance(future.exception(10), TaskCancelled) for future in rest)


def test_many_threads_may_cancel_the_same_tasks_while_they_are_submitted(kernel, harness):
    executor = Local(harness)
    submit = app(kernel(executor))
    futures = [submit() for _ in range(100)]
    threads = [threading.Thread(target=lambda: [executor.cancel(future) for future in futures]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert all(isinstance(future.exception(10), TaskCancelled) for future in futures)


@pytest.mark.parametrize("state", ["not started", "shut down"])
def test_an_executor_that_does_not_run_has_nothing_to_cancel(kernel, harness, state):
    executor = Local(harness)
    future = app(kernel(executor))()
    executor._state = state
    assert not executor.cancel(future) and not executor.cancel(Future())
    executor._state = "running"
    assert executor.cancel(future)


@pytest.mark.parametrize("given", [None, 3, "future"])
def test_what_is_no_future_is_refused_by_name(harness, given):
    with pytest.raises(CannotCancel, match=repr(given)):
        Local(harness).cancel(given)


# Not upstream: begin
def test_without_hooks_an_app_future_cannot_be_cancelled_and_cancel_says_so(kernel, harness, monkeypatch):
    from parsl.executors.base import ParslExecutor
    executor = Local(harness)
    future = app(kernel(executor))()
    if hasattr(ParslExecutor, "task_submitting"):
        monkeypatch.delattr(ParslExecutor, "task_submitting")
    with pytest.raises(CannotCancel, match="no hooks"):
        executor.cancel(future)
    assert not executor.cancel(Future())
# Not upstream: end
