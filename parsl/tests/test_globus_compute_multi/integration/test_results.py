"""Results as they come: readers, the response queue and aggregated values of a workflow on real endpoints."""
from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from concurrent.futures import as_completed

import pytest

from parsl.app.app import python_app
from parsl.executors.globus_compute_multi.errors import TaskCancelled, ValuesNotKept
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.tests.test_globus_compute_multi.integration.common import DEADLINE
from parsl.tests.test_globus_compute_multi.integration.conftest import portable

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def square(x):
    return x * x


@portable
def fail(x):
    raise ZeroDivisionError(f"no {x}")


@portable
def work_when_tried_again(marker):
    import os
    if not os.path.exists(marker):
        open(marker, "w").close()
        raise OSError("not yet")
    return "at last"


def names(records):
    return [(record.task_id, record.attempt, record.outcome, record.final) for record in records]


def test_results_are_seen_with_their_context_while_the_workflow_runs(workflow):
    with workflow() as (dfk, executor):
        with executor.results() as reader:
            future = python_app(square, data_flow_kernel=dfk)(7)
            record = reader.get(DEADLINE)
            assert record.ok and record.final and record.value == 49 == future.result(DEADLINE)
            assert (record.app, record.node, record.try_id, record.attempt) == ("square", 0, 0, f"{record.task_id}.1")
            assert record.endpoint in {endpoint.name for endpoint in executor.endpoints}
            assert record.submitted <= record.dispatched <= record.started <= record.finished <= record.received <= time.time()
            assert record.host and record.run_seconds >= 0 and record.queue_seconds > 0 and record.cores == 1
            assert {"python", "parsl", "dill", "sdk"} == set(record.versions)
            error = python_app(fail, data_flow_kernel=dfk)(1).exception(DEADLINE)
            record = reader.get(DEADLINE)
            assert not record.ok and type(record.exception) is type(error) is ZeroDivisionError and record.error == "ZeroDivisionError"


def test_a_failed_attempt_is_seen_before_the_retry_and_the_value_takes_its_place(workflow, tmp_path):
    with workflow(retries=1, aggregate_results=True) as (dfk, executor):
        reader = executor.results()
        again = python_app(work_when_tried_again, data_flow_kernel=dfk)
        first = again(str(tmp_path / "marker"))
        failed = reader.get(DEADLINE)
        assert not failed.ok and isinstance(failed.exception, OSError) and failed.final and failed.try_id == 0
        assert first.result(DEADLINE) == "at last"
        record = reader.get(DEADLINE)
        assert record.ok and record.node == failed.node and record.try_id == 1 and record.task_id != failed.task_id
        futures = [python_app(square, data_flow_kernel=dfk)(i) for i in range(20)]
        assert [future.result(DEADLINE) for future in futures] == executor.values("square")
        broken = python_app(fail, data_flow_kernel=dfk)(1)
        error = broken.exception(DEADLINE)
        values = executor.values()
        assert values[:-1] == ["at last", *(i * i for i in range(20))]
        assert type(values[-1].exception) is type(error) and executor.values(python_app(fail, data_flow_kernel=dfk)) == values[-1:]


def test_readers_from_any_moment_see_the_same_as_the_log(workflow):
    with workflow() as (dfk, executor):
        app = python_app(square, data_flow_kernel=dfk)
        first = executor.results()
        readers = []
        futures = []
        for i in range(60):
            futures.append(app(i))
            readers.append(executor.results())
            time.sleep(0.01)
        cancelled = python_app(square, data_flow_kernel=dfk)(1)
        executor.cancel(cancelled)
        assert isinstance(cancelled.exception(DEADLINE), TaskCancelled)
        for future in futures:
            future.result(DEADLINE)
            readers.append(executor.results())
    seen = list(first)
    assert sorted(record.value for record in seen if record.ok and record.final) == sorted(i * i for i in range(60))
    assert any(record.outcome == "cancelled" and record.attempt is None for record in seen)
    for reader in [*readers, executor.results()]:
        assert names(reader) == names(seen)
    assert first.get() is None
    finished = [line["attempt"] for line in read_log(executor.log_file)
                if line["kind"] == "attempt" and line["state"] == "finished" and line["outcome"] != "abandoned"]
    assert [record.attempt for record in seen if record.attempt is not None] == finished


def test_a_loop_over_results_on_another_thread_ends_with_the_executor(workflow):
    seen = []
    with workflow() as (dfk, executor):
        reading = threading.Thread(target=lambda: seen.extend(executor.results()))
        reading.start()
        futures = [python_app(square, data_flow_kernel=dfk)(i) for i in range(10)]
        for future in futures:
            future.result(DEADLINE)
        with pytest.raises(ValuesNotKept, match="aggregate_results=True"):
            executor.values()
    reading.join(DEADLINE)
    assert not reading.is_alive() and sorted(record.value for record in seen) == sorted(i * i for i in range(10))


def test_when_the_last_future_is_done_all_records_were_available(workflow):
    with workflow() as (dfk, executor):
        results, seen = executor.results(), []
        app = python_app(square, data_flow_kernel=dfk)
        futures = [app(app(i)) for i in range(30)] + [python_app(fail, data_flow_kernel=dfk)(i) for i in range(3)]
        for done, _ in enumerate(as_completed(futures, DEADLINE), 1):
            seen += results.available()
            assert len(seen) >= done
        assert sorted(record.value for record in seen if record.ok) == sorted([i ** 2 for i in range(30)] + [i ** 4 for i in range(30)])
        assert sum(not record.ok for record in seen) == 3


def add_up(source, answer):
    total = 0
    while True:
        record = source.get()
        if record == "end":
            answer.put(total)
            return
        total += record.value


def test_another_process_gets_the_records_as_they_come(workflow):
    context = multiprocessing.get_context("spawn")
    target, answer = context.Queue(), context.Queue()
    process = context.Process(target=add_up, args=(target, answer))
    process.start()
    try:
        with workflow(response_queue=target) as (dfk, executor):
            futures = [python_app(square, data_flow_kernel=dfk)(i) for i in range(30)]
            total = sum(future.result(DEADLINE) for future in futures)
        target.put("end")
        assert answer.get(timeout=DEADLINE) == total
    finally:
        process.join(DEADLINE)
        process.kill()


def test_a_response_queue_that_nobody_reads_holds_up_neither_results_nor_the_shutdown(workflow, caplog):
    target = queue.Queue(5)
    with workflow(response_queue=target) as (dfk, executor):
        futures = [python_app(square, data_flow_kernel=dfk)(i) for i in range(30)]
        assert [future.result(DEADLINE) for future in futures] == [i * i for i in range(30)]
    assert target.qsize() == 5
    assert "response_queue lacks 25 result records in all" in caplog.text
