"""What the DataFlowKernel tells an executor that observes tasks."""
from __future__ import annotations

import logging
import threading

import pytest

from parsl.app.app import join_app, python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError
from parsl.executors.base import ParslExecutor
from parsl.executors.threads import ThreadPoolExecutor

pytestmark = pytest.mark.local


class Quiet(ThreadPoolExecutor):
    """Notes what it is told, and does not observe tasks."""

    def __init__(self, label="quiet"):
        super().__init__(label=label)
        self.told = []

    def task_state_changed(self, task_record, new_state):
        assert task_record["status"] is new_state
        self.told.append((task_record["id"], new_state.name))

    def task_submitting(self, task_record, try_id):
        self.told.append((task_record["id"], f"submitting {try_id}"))

    def story(self, node):
        return [what for task, what in self.told if task == node]


class Observer(Quiet):
    observes_tasks = True

    def __init__(self, label="observer"):
        super().__init__(label)


class Raising(Observer):
    """Fails in every call."""

    def task_state_changed(self, task_record, new_state):
        super().task_state_changed(task_record, new_state)
        raise ValueError("state")

    def task_submitting(self, task_record, try_id):
        super().task_submitting(task_record, try_id)
        raise ValueError("submitting")


class Apps:
    """Apps of one DataFlowKernel."""

    def __init__(self, dfk, executors="all"):
        self.dfk = dfk

        @python_app(data_flow_kernel=dfk, executors=executors)
        def value(x=None, *more):
            return x

        @python_app(data_flow_kernel=dfk, executors=executors, cache=True)
        def remembered(x):
            return x

        @python_app(data_flow_kernel=dfk, executors=executors)
        def fail_first(failures):
            if failures:
                raise KeyError(failures.pop())
            return "done"

        @join_app(data_flow_kernel=dfk)
        def join(x):
            return [value(x), value(x)]

        self.value, self.remembered, self.fail_first, self.join = value, remembered, fail_first, join


@pytest.fixture
def kernel(tmp_path):
    """Makes DataFlowKernels."""
    made = []

    def make(*executors, **settings):
        made.append(DataFlowKernel(Config(executors=list(executors), run_dir=str(tmp_path), initialize_logging=False, strategy="none",
                                          **settings)))
        return made[-1]

    yield make
    for dfk in made:
        dfk.cleanup()


def run_one_of_each(apps):
    """Run a task of each fate, one after the other, and give their numbers and what became of them."""
    futures = {"success": apps.value("a"), "failure": apps.fail_first([1, 2, 3]), "retry": apps.fail_first([1])}
    futures["failed parent"] = apps.value(futures["failure"])
    futures["first"] = apps.remembered("b")
    futures["first"].result()
    futures["memo"] = apps.remembered("b")
    futures["join"] = apps.join("c")
    outcomes = {what: type(future.exception()) if future.exception() else future.result() for what, future in futures.items()}
    return {what: future.tid for what, future in futures.items()}, outcomes


OUTCOMES = {"success": "a", "failure": KeyError, "retry": "done", "failed parent": DependencyError, "first": "b", "memo": "b",
            "join": ["c", "c"]}


def test_an_observer_is_told_every_change_of_state_in_order_and_of_each_submit(kernel):
    observer = Observer()
    numbers, outcomes = run_one_of_each(Apps(kernel(observer, retries=1)))
    assert outcomes == OUTCOMES
    assert {what: observer.story(number) for what, number in numbers.items()} == {
        "success": ["pending", "submitting 0", "launched", "exec_done"],
        "failure": ["pending", "submitting 0", "launched", "fail_retryable", "pending", "submitting 1", "launched", "failed"],
        "retry": ["pending", "submitting 0", "launched", "fail_retryable", "pending", "submitting 1", "launched", "exec_done"],
        "failed parent": ["pending", "dep_fail"],
        "first": ["pending", "submitting 0", "launched", "exec_done"],
        "memo": ["pending", "memo_done"],
        "join": ["pending", "launched", "joining", "exec_done"],  # its body runs on another executor
    }


def test_what_makes_a_graph_is_there_when_a_task_becomes_pending(kernel):
    records = []

    class Looking(Observer):
        def task_state_changed(self, task_record, new_state):
            records.append((task_record["id"], new_state.name, task_record["func_name"], task_record["executor"], list(task_record["depends"])))

    apps = Apps(kernel(Looking()))
    parent = apps.value(1)
    child = apps.value(parent)
    assert child.result() == 1
    assert (child.tid, "pending", "value", "observer", [parent]) in records


def test_submit_follows_at_once_on_the_same_thread_and_under_the_same_lock(kernel):
    calls = []

    class Locked(Observer):
        def task_submitting(self, task_record, try_id):
            calls.append(("submitting", threading.get_ident(), task_record["dfk"].submitter_lock.locked()))

        def submit(self, func, resource_specification, *args, **kwargs):
            calls.append(("submit", threading.get_ident(), dfk.submitter_lock.locked()))
            return super().submit(func, resource_specification, *args, **kwargs)

    dfk = kernel(Locked())
    apps = Apps(dfk)
    for future in [apps.value(i) for i in range(20)]:
        future.result()
    assert [what for what, _, _ in calls] == ["submitting", "submit"] * 20
    assert len({thread for _, thread, _ in calls}) == 1 and all(locked for _, _, locked in calls)


def test_an_observer_that_raises_in_every_call_harms_no_task_and_is_logged(kernel, caplog):
    raising = Raising()
    with caplog.at_level(logging.ERROR, logger="parsl.dataflow.dflow"):
        numbers, outcomes = run_one_of_each(Apps(kernel(raising, retries=1)))
    assert outcomes == OUTCOMES
    assert raising.story(numbers["success"]) == ["pending", "submitting 0", "launched", "exec_done"]
    logged = [r for r in caplog.records if "failed to observe" in r.getMessage()]
    assert len(logged) == len(raising.told)
    assert {str(r.exc_info[1]) for r in logged} == {"state", "submitting"}
    assert all("observer" in r.getMessage() for r in logged)


def test_an_observer_that_raises_does_not_keep_another_from_being_told(kernel):
    raising, observer = Raising("raising"), Observer()
    dfk = kernel(raising, observer)
    future = Apps(dfk, executors=["observer"]).value(1)
    assert future.result() == 1
    assert observer.story(future.tid) == ["pending", "submitting 0", "launched", "exec_done"]
    assert raising.story(future.tid) == ["pending", "launched", "exec_done"]


def test_an_observer_is_told_the_states_of_tasks_of_other_executors_but_not_their_submits(kernel):
    observer, other = Observer(), Quiet()
    dfk = kernel(observer, other)
    future = Apps(dfk, executors=["quiet"]).value(1)
    assert future.result() == 1
    assert observer.story(future.tid) == ["pending", "launched", "exec_done"]


def test_an_executor_that_does_not_observe_is_told_nothing(kernel):
    quiet = Quiet()
    _, outcomes = run_one_of_each(Apps(kernel(quiet, retries=1)))
    assert outcomes == OUTCOMES
    assert quiet.told == []


def test_executors_do_not_observe_unless_they_say_so():
    assert not ParslExecutor.observes_tasks
    with ThreadPoolExecutor() as executor:
        executor.start()
        executor.task_state_changed(None, None)
        executor.task_submitting(None, 0)


def test_an_executor_added_later_is_told_from_then_on(kernel):
    dfk = kernel(Quiet())
    apps = Apps(dfk, executors=["quiet"])
    before = apps.value(1)
    before.result()
    observer = Observer()
    dfk.add_executors([observer])
    after = apps.value(before)
    assert after.result() == 1
    assert observer.story(before.tid) == [] and observer.story(after.tid) == ["pending", "launched", "exec_done"]


def test_executors_may_be_added_while_observers_are_told(kernel):
    class Adding(Observer):
        def task_state_changed(self, task_record, new_state):
            super().task_state_changed(task_record, new_state)
            task_record["dfk"].add_executors([Quiet(f"added{len(self.told)}")])

    dfk = kernel(Adding())
    future = Apps(dfk, executors=["observer"]).value(1)
    assert future.result() == 1
    assert len([e for e in dfk.executors if e.startswith("added")]) == len(["pending", "launched", "exec_done"])


def test_an_observer_is_told_nothing_of_another_dataflowkernel(kernel):
    mine, others = Observer(), Observer()
    first, second = Apps(kernel(mine)), Apps(kernel(others))
    future = first.value(1)
    assert second.value(future).result() == 1  # depends on a task of the first
    assert second.value(2).result() == 2
    assert {task for task, _ in mine.told} == {future.tid} == {0}
    assert {task for task, _ in others.told} == {0, 1}
