"""Parsl's monitoring: what tasks on an endpoint report is in the database."""
from __future__ import annotations

import sqlite3

import pytest

from local_globus_compute import LocalEndpoint
from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.globus_compute_multi import Endpoint
from parsl.monitoring import MonitoringHub
from parsl.tests.test_globus_compute_multi.integration.conftest import portable

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]

ENGINE = LocalEndpoint("engine", workers=2, engine="GlobusComputeEngine")


@pytest.fixture(scope="module")
def engine(compute):
    """An endpoint whose tasks have a process each, as resource monitoring wants it."""
    compute.add_endpoint(ENGINE)
    yield Endpoint(compute.endpoint_ids[ENGINE.name], name=ENGINE.name, threads=ENGINE.workers)
    compute.stop_endpoint(ENGINE.name)


@portable
def work(seconds):
    from time import process_time, sleep
    end = process_time() + seconds / 2
    while process_time() < end:
        pass
    sleep(seconds / 2)
    return "worked"


@portable
def fail():
    raise ValueError("as asked")


@pytest.fixture
def monitored(make_executor, tmp_path):
    """Run apps with monitoring on; returns a function that queries the database afterwards."""
    def run(calls, **arguments):
        hub = MonitoringHub(resource_monitoring_interval=1, logging_endpoint=f"sqlite:///{tmp_path}/monitoring.db")
        config = Config(executors=[make_executor(**arguments)], run_dir=str(tmp_path / "runinfo"), monitoring=hub)
        with DataFlowKernel(config) as dfk:
            futures = [python_app(function, data_flow_kernel=dfk)(*args) for function, *args in calls]
            outcomes = [future.exception() or future.result() for future in futures]

        def query(sql):
            with sqlite3.connect(tmp_path / "monitoring.db") as database:
                return database.execute(sql).fetchall()
        return outcomes, query
    return run


def test_resource_records_of_tasks_arrive_with_their_results(engine, monitored):
    outcomes, query = monitored([(work, 4), (work, 0.2), (fail,)], endpoints=[engine])
    assert outcomes[:2] == ["worked", "worked"]
    assert type(outcomes[2]) is ValueError
    assert query("SELECT task_id, task_status_name FROM status WHERE task_status_name IN ('running_ended', 'exec_done', 'failed') "
                 "ORDER BY task_id, timestamp") == [
        (0, "running_ended"), (0, "exec_done"), (1, "running_ended"), (1, "exec_done"), (2, "running_ended"), (2, "failed")]
    assert query("SELECT task_id, COUNT(*) >= 1, MIN(psutil_process_memory_resident) > 1e6 FROM resource GROUP BY task_id ORDER BY task_id") == [
        (0, 1, 1), (1, 1, 1), (2, 1, 1)]
    assert query("SELECT COUNT(*) >= 3, MAX(psutil_process_time_user) > 0.5 FROM resource WHERE task_id = 0") == [(1, 1)]
    assert query("SELECT COUNT(*) FROM try WHERE hostname IS NULL OR task_try_time_running IS NULL") == [(0,)]
    assert query("SELECT task_id, block_id FROM try ORDER BY task_id") == [(task, f"{ENGINE.name}/0") for task in range(3)]
