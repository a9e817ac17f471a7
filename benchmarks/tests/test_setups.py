"""Reading set-ups, and fitting workflows to them."""
from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest

from simulation.run import MAIN_SETUPS
from simulation.setups import (
    Endpoint,
    Setup,
    SetupError,
    make_case,
    read_setup,
    read_setups,
)
from simulation.workflows import Task, Workflow

OURS = Path(__file__).parents[1] / "setups"

WORKFLOW = Workflow("w", (Task("a", 2.0), Task("b", 4.0, (0,)), Task("b", 12.0, (0,))))
MIXED = (Endpoint("e", ((1, 2), (8, 1))),)


def test_ours_are_those_that_are_judged_and_the_first_three_have_neither_latency_nor_budget():
    setups = read_setups(OURS)
    assert {*MAIN_SETUPS, "latency", "cold", "cold-never", "cold-without"} <= set(setups)
    for name in MAIN_SETUPS:
        assert setups[name].requests is None and setups[name].mean_seconds is None
        assert all(endpoint.latency == endpoint.startup_seconds == endpoint.startup_medians == 0 for endpoint in setups[name].endpoints)
    assert setups["cold-never"].endpoints[3].startup_seconds == math.inf
    assert setups["cold-never"].endpoints[:3] == setups["cold-without"].endpoints


def test_an_endpoint_has_what_the_file_says(tmp_path):
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"requests": {"count": 20, "seconds": 10}, "mean_seconds": 2, "endpoints": [
        {"name": "one", "threads": {"16": 4, "1": 48}, "speed": 2, "start_latency": 0.1, "result_latency": 0.5, "startup_seconds": 30},
        {"name": "two", "threads": 8, "cores": 2}]}))
    one = Endpoint("one", ((1, 48), (16, 4)), speed=2.0, start_latency=0.1, result_latency=0.5, startup_seconds=30.0)
    expected = Setup("s", (one, Endpoint("two", ((2, 8),))), (20, 10.0), "given", 2.0)
    assert read_setup(file) == expected
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert read_setup(file) == expected


@pytest.mark.parametrize("content, said", [
    ("{", "not JSON"),
    ([], "the set-up is not an object"),
    ({}, '"endpoints" must be a list'),
    ({"endpoint": []}, 'unknown key "endpoint"; known are'),
    ({"endpoints": [{"name": "a", "threads": 1}, {"name": "a", "threads": 1}]}, "two endpoints have the same name"),
    ({"endpoints": [{"threads": 1}]}, 'endpoint 0: "name"'),
    ({"endpoints": [{"name": "a"}]}, 'endpoint 0: "threads" is None'),
    ({"endpoints": [{"name": "a", "threads": True}]}, '"threads" is True'),
    ({"endpoints": [{"name": "a", "threads": {"one": 1}}]}, "numbers of cores"),
    ({"endpoints": [{"name": "a", "threads": {"1": 0}}]}, "1 or more"),
    ({"endpoints": [{"name": "a", "threads": {"1": 1}, "cores": 2}]}, 'with or without "cores"'),
    ({"endpoints": [{"name": "a", "threads": 1, "speed": 0}]}, '"speed" must be more than 0'),
    ({"endpoints": [{"name": "a", "threads": 1, "result_latency": -1}]}, '"result_latency" is -1'),
    ({"endpoints": [{"name": "a", "threads": 1}], "core_requirements": "none"}, "must be one of given, ignored, drawn"),
    ({"endpoints": [{"name": "a", "threads": 1}], "requests": {"count": 20}}, '"seconds" must be more than 0'),
])
def test_a_bad_file_is_refused_by_name_saying_what_is_wrong_where(tmp_path, content, said):
    file = tmp_path / "s.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SetupError, match=rf"s\.json: .*{said}"):
        read_setup(file)


def test_run_times_are_scaled_to_the_mean_of_the_set_up():
    case = make_case(WORKFLOW, Setup("s", MIXED, mean_seconds=0.5), 0)
    assert statistics.fmean(task.seconds for task in case.workflow.tasks) == pytest.approx(0.5)


def test_a_start_up_in_medians_is_one_of_the_workflow():
    case = make_case(WORKFLOW, Setup("s", (Endpoint("e", ((1, 1),), startup_medians=10),)), 0)
    assert case.setup.endpoints[0].startup_seconds == 40.0


def test_core_requirements_are_drawn_the_same_again_for_the_same_seed_only():
    workflow = Workflow("w", tuple(Task("a", 1.0) for _ in range(100)))
    setup = Setup("s", MIXED, core_requirements="drawn")
    first, again, other = (make_case(workflow, setup, seed).workflow.tasks for seed in (1, 1, 2))
    assert first == again != other
    assert {task.cores for task in first} == {1, 2, 4, 8}


def test_core_requirements_of_the_workflow_stay_where_others_would_be_drawn():
    workflow = Workflow("w", (Task("a", 1.0), Task("a", 1.0, cores=8)))
    assert make_case(workflow, Setup("s", MIXED, core_requirements="drawn"), 0).workflow == workflow
    assert [task.cores for task in make_case(workflow, Setup("s", MIXED, core_requirements="ignored"), 0).workflow.tasks] == [1, 1]


@pytest.mark.parametrize("given", [1, 16])
def test_drawn_core_requirements_are_no_more_than_the_largest_thread_has(given):
    workflow = Workflow("w", tuple(Task("a", 1.0, cores=given) for _ in range(100)))
    small = Setup("s", (Endpoint("e", ((1, 2), (4, 1))),), core_requirements="drawn")
    assert max(task.cores for task in make_case(workflow, small, 0).workflow.tasks) == 4


def test_a_task_that_fits_no_thread_is_refused():
    with pytest.raises(SetupError, match=r"task 0 \(a\) of w needs 16 cores, and the largest thread has 8"):
        make_case(Workflow("w", (Task("a", 1.0, cores=16),)), Setup("s", MIXED), 0)
