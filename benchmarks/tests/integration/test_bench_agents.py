"""The benchmark's runs on real endpoint agents: that each system runs a small workflow to its end, not how long it takes."""
from __future__ import annotations

import pytest

import bench_lanes
from bench_lanes import Lane
from bench_workloads import PERF_SYSTEMS, SYSTEMS, Workload
from simulation.workflows import Task

THREADS = {"one": 1, "two": 2}

#: A diamond.
TASKS = (Task("first", 0.1), Task("left", 0.1, (0,)), Task("right", 0.2, (0,)), Task("last", 0.1, (1, 2)))


@pytest.fixture(scope="module")
def lane():
    lane = Lane(THREADS)
    with lane.compute:
        yield lane


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_runs_a_workflow_with_the_limits_on(lane, monkeypatch, system):
    monkeypatch.setattr(bench_lanes, "PAUSES", {})
    found = lane.measure(Workload("diamond", THREADS, False, lambda repeat: TASKS), system, 1)
    assert not found.error
    assert found.seconds is not None and found.seconds > 0.4  # on the path
    assert (found.workload, found.system, found.tasks) == ("diamond", system, 4)
    assert found.requests <= 20 and (found.requests > 0) == (system != "htex")


@pytest.mark.parametrize("system", PERF_SYSTEMS)
def test_parsl_perf_runs_without_limits(lane, monkeypatch, system):
    monkeypatch.setattr(bench_lanes, "PERF_TASKS", 50)
    found = lane.perf(system, 1)
    assert not found.error
    assert found.seconds is not None and found.seconds > 0
    assert found.tasks == 50


def test_what_is_to_stop_runs_nothing_more():
    lane = Lane(THREADS)
    lane.stop()
    with pytest.raises(bench_lanes.RunFailed, match="was not run"):
        lane.start_run({})
