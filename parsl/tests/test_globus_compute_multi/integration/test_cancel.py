"""Cancelling tasks of a real workflow, on real endpoints."""
from __future__ import annotations

import threading
import time

import pytest

from parsl.app.app import bash_app, python_app
from parsl.dataflow.errors import DependencyError
from parsl.executors.globus_compute_multi.errors import TaskCancelled
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    THREADS,
    check_log,
    portable,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def write_when(path, begun, go_on):
    """Say that it has begun, wait for ``go_on`` to be there, and write ``path``."""
    import pathlib
    import time
    pathlib.Path(begun).touch()
    deadline = time.monotonic() + 60
    while not pathlib.Path(go_on).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pathlib.Path(path).touch()


@portable
def touch(path, *_):
    import pathlib
    pathlib.Path(path).touch()


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.05)


@pytest.fixture
def busy(tmp_path):
    """``busy(dfk)`` fills all threads until ``release()``, or the end of the test: what is cancelled may run, and must not be in others' way."""
    class Busy:
        gate = str(tmp_path / "go_on")

        def arguments(self, number):
            return str(tmp_path / f"done{number}"), str(tmp_path / f"begun{number}"), self.gate

        def __call__(self, dfk):
            app = python_app(write_when, data_flow_kernel=dfk)
            futures = [app(*self.arguments(number)) for number in range(sum(THREADS.values()))]
            for number in range(len(futures)):
                wait_for(tmp_path / f"begun{number}")
            return futures

        def release(self):
            (tmp_path / "go_on").touch()

    busy = Busy()
    yield busy
    busy.release()


def test_pending_tasks_are_cancelled_for_certain_and_those_that_run_at_once(workflow, busy, tmp_path):
    with workflow(prefetch=0) as (dfk, executor):
        running = busy(dfk)
        app = python_app(touch, data_flow_kernel=dfk)
        cancelled, kept = [app(str(tmp_path / f"cancelled{i}")) for i in range(10)], app(str(tmp_path / "kept"))
        assert all(executor.cancel(future) for future in cancelled)
        assert executor.cancel(running[0])
        for future in [*cancelled, running[0]]:
            assert isinstance(future.exception(10), TaskCancelled)
        busy.release()
        assert kept.result(60) is None and all(future.result(60) is None for future in running[1:])
        wait_for(tmp_path / "done0")  # it ran to its end all the same
        assert not executor.cancel(kept)
    assert not list(tmp_path.glob("cancelled*"))
    state = check_log(executor)
    assert (state.count("done"), state.count("failed")) == (len(running), 11)


@pytest.mark.parametrize("handled", [True, False])
def test_children_of_a_cancelled_task_do_not_run_nor_is_it_retried(workflow, busy, tmp_path, handled):
    with workflow(retries=3) as (dfk, executor):
        if handled:
            dfk.config.retry_handler = lambda error, record: float("inf") if isinstance(error, TaskCancelled) else 1
        running = busy(dfk)
        app = python_app(touch, data_flow_kernel=dfk)
        child = app(str(tmp_path / "child"), running[0])
        assert executor.cancel(running[0])
        assert isinstance(running[0].exception(30), TaskCancelled)
        assert isinstance(child.exception(30), DependencyError)
        assert running[0].task_record["fail_count"] == (1 if handled else 4)
        busy.release()
        assert all(future.result(60) is None for future in running[1:])
    assert not (tmp_path / "child").exists()


def test_a_task_that_waits_for_its_parents_is_cancelled_before_it_is_submitted(workflow, busy, tmp_path):
    with workflow() as (dfk, executor):
        running = busy(dfk)
        child = python_app(touch, data_flow_kernel=dfk)(str(tmp_path / "child"), running[0])
        assert executor.cancel(child)
        busy.release()
        assert isinstance(child.exception(60), TaskCancelled)
        assert all(future.result(60) is None for future in running)
    assert not (tmp_path / "child").exists()


def test_the_first_to_find_something_cancels_the_others_in_a_callback(workflow, busy, tmp_path):
    with workflow() as (dfk, executor):
        search = python_app(write_when, data_flow_kernel=dfk)
        first = python_app(touch, data_flow_kernel=dfk)(str(tmp_path / "found"))
        others, answers, done = [search(*busy.arguments(number)) for number in range(40)], [], threading.Event()

        def found(_):
            answers.extend(executor.cancel(future) for future in others)
            done.set()

        first.add_done_callback(found)
        assert done.wait(60) and answers == [True] * 40
        assert all(isinstance(future.exception(10), TaskCancelled) for future in others)
        busy.release()


def test_what_submit_returned_is_cancelled_without_a_workflow(make_executor, busy, tmp_path):
    executor = make_executor()
    executor.run_dir = str(tmp_path)
    executor.start()
    try:
        futures = [executor.submit(write_when, {}, *busy.arguments(number)) for number in range(20)]
        assert all(executor.cancel(future) for future in futures)
        assert all(isinstance(future.exception(10), TaskCancelled) for future in futures)
        assert not executor.cancel(futures[0])
    finally:
        busy.release()
        executor.shutdown()


def test_bash_apps_are_cancelled_alike(workflow, busy):
    with workflow() as (dfk, executor):
        def wait_for_it(gate):
            return f"for i in $(seq 600); do test -e {gate} && exit; sleep 0.1; done"

        future = bash_app(portable(wait_for_it), data_flow_kernel=dfk)(busy.gate)
        assert executor.cancel(future)
        assert isinstance(future.exception(10), TaskCancelled)
        busy.release()
