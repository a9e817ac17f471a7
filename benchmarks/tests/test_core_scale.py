"""How the core is measured at scale; the times themselves are not judged here."""
from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import core_scale
import core_scale_run
from core_scale import Found, requirements
from simulation.core_speed import SCALED, CoreRun


def told(microseconds=20.0):
    return {"microseconds": microseconds, "steps": {"submit": microseconds}, "ticking": 0.01, "longest": 0.1, "longest_kind": "TaskSubmitted",
            "collection": 5.0, "longest_collection": 0.05}


def job(**fields):
    command = [sys.executable, str(Path(core_scale_run.__file__))]
    return json.loads(subprocess.run(command, input=json.dumps(fields), stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout)


@pytest.mark.parametrize("load", range(len(SCALED)), ids=lambda load: SCALED[load].text)
def test_each_task_is_announced_and_submitted_and_leaves_once(load):
    run = CoreRun(replace(SCALED[load], tasks=300, endpoints=3))
    timing = run.run()
    assert timing.tasks >= 300 and len(run._numbers) == 300
    assert len(run._scheduler.graph) == 0 and not run._scheduler.tasks
    assert set(timing.steps) == set(core_scale.STEPS) and all(seconds > 0 for seconds in timing.steps.values())


def test_a_task_of_a_graph_is_submitted_when_those_it_waits_for_are_done():
    run = CoreRun(replace(SCALED[1], tasks=300, endpoints=3))
    run.run()
    place = {number: place for place, number in enumerate(run._numbers)}
    assert len(place) == 300
    assert all(place[parent] < place[number] for number in range(300) for parent in run._parents(number))
    assert max(len(run._parents(number)) for number in range(300)) == 2


@pytest.mark.parametrize("log", [True, False])
def test_a_run_of_a_process_of_its_own_tells_its_times(log):
    found = job(kind="timing", load=0, tasks=200, endpoints=2, log=log)
    assert found["microseconds"] >= sum(found["steps"].values()) > 0
    assert 0 < found["ticking"] < 1 and found["longest"] > 0 and found["longest_kind"]


def test_the_bytes_of_a_pending_task_are_told_by_holder():
    found = job(kind="memory", tasks=20_000, endpoints=2)
    assert all(100 < found[holder] < 5000 for holder in ("core", "executor", "future"))


def test_the_most_tasks_on_the_most_endpoints_are_judged_and_their_growth():
    found = [Found(load, tasks, endpoints, told(microseconds)) for load in range(len(SCALED))
             for tasks, endpoints, microseconds in ((10, 1, 10.0), (10, 5, 30.0), (99, 5, 41.0))]
    must = requirements(found, {10: {"core": 9e9, "executor": 0.0}, 99: {"core": 1000.0, "executor": 501.0}})
    assert [m.figure for m in must] == [41.0, pytest.approx(41 / 30)] * len(SCALED) + [1501.0]
    assert [m.missed for m in must] == [True, False] * len(SCALED) + [True]


@pytest.mark.parametrize("microseconds, status", [(39.0, 0), (41.0, 1)])
def test_the_status_tells_whether_all_is_reached(microseconds, status, monkeypatch, capsys):
    jobs = []

    def run(**fields):
        jobs.append(fields)
        return told(microseconds) if fields["kind"] == "timing" else {"core": 700.0, "executor": 300.0, "future": 1600.0}

    monkeypatch.setattr(core_scale, "run", run)
    assert core_scale.main(["--tasks", "20", "10", "--endpoints", "3", "2"]) == status
    out = capsys.readouterr().out
    assert ("MISSED" in out) == bool(status) and "1000" in out
    timed = [(fields["load"], fields["tasks"], fields["endpoints"]) for fields in jobs if fields.get("log")]
    assert timed == [(0, 10, 2), (0, 20, 2), (0, 10, 3), (0, 20, 3), *((load, tasks, 3) for load in (1, 2) for tasks in (10, 20))]
    assert [(fields["tasks"], fields["endpoints"]) for fields in jobs if fields["kind"] == "memory"] == [(10, 3), (20, 3)]


@pytest.mark.parametrize("loads, expected", [(["bag"], [(0, True)] * 2), (["bare", "graph"], [(1, True), (1, True), (0, False)])])
def test_only_the_loads_that_are_asked_for_are_run_and_judged(loads, expected, monkeypatch, capsys):
    jobs = []
    monkeypatch.setattr(core_scale, "run", lambda **fields: jobs.append(fields) or (
        told() if fields["kind"] == "timing" else {"core": 700.0, "executor": 300.0, "future": 1600.0}))
    assert core_scale.main(["--tasks", "10", "20", "--endpoints", "3", "--memory", "7", "--loads", *loads]) == 0
    assert [(fields["load"], fields["log"]) for fields in jobs if fields["kind"] == "timing"] == expected
    assert [fields["tasks"] for fields in jobs if fields["kind"] == "memory"] == [7]
    assert capsys.readouterr().out.split("Must reach:")[1].count("microseconds a task") == 1
