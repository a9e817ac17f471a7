"""What the scheduler makes of a whole workflow, on real endpoints."""
from __future__ import annotations

import logging
import time

import pytest

from parsl.app.app import python_app
from parsl.executors.base import ParslExecutor
from parsl.executors.globus_compute_multi import Endpoint, Policy
from parsl.executors.globus_compute_multi.errors import PolicyFailed
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    THREADS,
    portable,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def nap(seconds, *after, parsl_resource_specification={}):
    import time
    time.sleep(seconds)


@portable
def fragile():
    pass


def only(compute, name):
    """The arguments of an executor that has one endpoint."""
    return {"endpoints": [Endpoint(compute.endpoint_ids[name], name=name, threads=THREADS[name])], "prefetch": 0}


def in_order_of_start(executor):
    """The DataFlowKernel's numbers of the tasks, as they were dispatched."""
    nodes = {}
    for line in read_log(executor.log_file):
        if line["kind"] == "task" and "node" in line:
            nodes[line["task"]] = line["node"]
        elif line["kind"] == "attempt" and line["state"] == "running" and "task" in line:
            yield nodes[line["task"]]


def test_the_task_that_the_rest_of_the_workflow_waits_for_goes_first(workflow, compute):
    with workflow(**only(compute, "small")) as (dfk, executor):
        app = python_app(nap, data_flow_kernel=dfk)
        begun = app(1.0)
        while begun.tid not in in_order_of_start(executor):  # the others are to find the thread busy
            time.sleep(0.05)
        short, long = ({"estimated_seconds": seconds} for seconds in (1, 5))
        bag = [app(0.0, parsl_resource_specification=short) for _ in range(5)]
        first = app(0.0, parsl_resource_specification=short)
        last = app(0.0, app(0.0, first, parsl_resource_specification=long), parsl_resource_specification=long)
        urgent = app(0.0, parsl_resource_specification={"priority": -1})
        for future in [*bag, last, urgent]:
            future.result()
    order = list(in_order_of_start(executor))
    assert order[:5] == [begun.tid, urgent.tid, first.tid, first.tid + 1, last.tid]
    assert order[5:] == [future.tid for future in bag]


def test_the_workers_that_a_child_reports_are_its_threads_if_none_are_given(workflow, compute):
    with workflow(endpoints=[Endpoint(compute.endpoint_ids["large"], name="large")], threads_per_endpoint=1) as (dfk, executor):
        app = python_app(nap, data_flow_kernel=dfk)
        app(0.0).result()
        deadline = time.monotonic() + 60
        while not any(line["kind"] == "endpoint" and line["state"] == "threads" for line in read_log(executor.log_file)):
            assert time.monotonic() < deadline, "the number of workers was never learned"
            time.sleep(0.1)
        for future in [app(0.1) for _ in range(12)]:
            future.result()
    counts = [line["count"] for line in read_log(executor.log_file) if line["kind"] == "endpoint" and line["state"] == "threads"]
    assert counts == [THREADS["large"]]


def test_a_policy_that_fails_for_a_task_fails_that_task_alone(workflow):
    class Picky(Policy):
        def choose(self, task, candidates, outlook):
            if task.app == "fragile":
                raise KeyError("not this one")
            return candidates[0]

    with workflow(policy=Picky()) as (dfk, _):
        app = python_app(nap, data_flow_kernel=dfk)
        assert [app(0.0).exception() for _ in range(3)] == [None] * 3
        # nothing else is running, so all endpoints have free threads, and the policy has a choice
        error = python_app(fragile, data_flow_kernel=dfk)().exception()
        assert isinstance(error, PolicyFailed) and "not this one" in str(error) and "fragile" in str(error)
        assert [app(0.0).exception() for _ in range(3)] == [None] * 3


# Not upstream: begin
def test_on_a_parsl_without_hooks_tasks_are_first_come_first_served_and_the_log_says_why(make_executor, tmp_path, monkeypatch, caplog):
    monkeypatch.delattr(ParslExecutor, "task_submitting")
    executor = make_executor()
    executor.run_dir = str(tmp_path)
    with caplog.at_level(logging.INFO, logger="parsl.executors.globus_compute_multi"):
        executor.start()
    try:
        for future in [executor.submit(nap, {}, 0.0) for _ in range(10)]:
            future.result(60)
    finally:
        executor.shutdown()
    told = [record.levelname for record in caplog.records if "no hooks" in record.getMessage()]
    assert told == ["INFO", "WARNING"]  # the warning: several file systems
# Not upstream: end
