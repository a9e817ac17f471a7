"""Endpoints that die while they run tasks."""
from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import pytest

from local_globus_compute import LocalEndpoint
from parsl.app.app import python_app
from parsl.executors.globus_compute_multi import Endpoint
from parsl.executors.globus_compute_multi.errors import TaskLost
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.tests.test_globus_compute_multi.integration.common import DEADLINE, until
from parsl.tests.test_globus_compute_multi.integration.conftest import portable

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def square(x, seconds=0.0, mark=None, parsl_resource_specification={}):
    """Leave a mark when it runs."""
    import time
    if mark is not None:
        open(f"{mark}/{x}", "w").close()
    time.sleep(seconds)
    return x * x


def lines(executor, **wanted):
    return [line for line in read_log(executor.log_file) if wanted.items() <= line.items()]


@pytest.fixture(scope="module")
def victim(compute):
    compute.add_endpoint(LocalEndpoint("victim", workers=4))
    yield "victim"
    compute.stop_endpoint("victim")


@contextmanager
def pool(workflow, compute, victim, **arguments):
    """A workflow on an endpoint that will die, known to run tasks, and one that will not."""
    compute.start_endpoint(victim)
    endpoints = [Endpoint(compute.endpoint_ids["small"], name="safe", threads=1), Endpoint(compute.endpoint_ids[victim], name=victim, threads=4)]
    with workflow(endpoints=endpoints, **arguments) as (dfk, executor):
        app = python_app(square, data_flow_kernel=dfk)
        assert app(2, parsl_resource_specification={"endpoints": victim}).result(DEADLINE) == 4
        yield app, executor


@pytest.mark.parametrize("whom, seconds", [("child", 6.0), ("parent", 15.0)])  # a child goes on until it misses its parent
def test_tasks_of_an_endpoint_that_is_killed_finish_elsewhere_and_it_is_used_again_when_it_is_back(
        workflow, compute, victim, whom, seconds, tmp_path):
    with pool(workflow, compute, victim) as (app, executor):
        (tmp_path / "marks").mkdir()
        known = {"estimated_seconds": seconds}  # else the fifth may be queued ahead, behind four that are taken to be as short as the first was
        futures = [app(i, seconds, str(tmp_path / "marks"), parsl_resource_specification=known) for i in range(5)]
        until(lambda: len(os.listdir(tmp_path / "marks")) == 5, "tasks that run")  # one on the other endpoint; none of them is done
        processes = compute.processes(victim)
        os.kill(processes.children[0] if whom == "child" else processes.parent, signal.SIGKILL)
        assert [future.result(DEADLINE) for future in futures] == [i * i for i in range(5)]
        # a child that misses its parent fails what it runs, or finishes it, or is gone: that depends on when it notices
        tried_again = {line["attempt"].partition(".")[0] for line in lines(executor, kind="attempt", state="finished")
                       if line["outcome"] in ("lost", "task_failed")}
        assert len(tried_again) == 4 if whom == "child" else tried_again
        compute.start_endpoint(victim)
        again = [app(i, 0.5) for i in range(3)]
        assert app(7, parsl_resource_specification={"endpoints": victim}).result(DEADLINE) == 49
        assert [future.result(DEADLINE) for future in again] == [0, 1, 4]


def test_a_task_that_must_not_run_twice_fails_with_a_named_error(workflow, compute, victim, tmp_path):
    with pool(workflow, compute, victim) as (app, executor):
        future = app(3, 30.0, str(tmp_path), parsl_resource_specification={"endpoints": victim, "redispatch": False})
        until((tmp_path / "3").exists, "the task to run")
        os.kill(compute.processes(victim).children[0], signal.SIGKILL)
        with pytest.raises(TaskLost, match="lost on endpoint victim: its child process is offline"):
            future.result(DEADLINE)
