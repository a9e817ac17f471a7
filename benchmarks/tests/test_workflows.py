"""Reading WfFormat files, of whatever schema, and the workflows that come with the repository."""
from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from generate_workflows import RECIPES
from simulation.adversarial import build
from simulation.workflows import (
    Task,
    Workflow,
    WorkflowError,
    read_workflow,
    read_workflows,
    write_workflow,
)

OURS = Path(__file__).parents[1] / "workflows"

NEW = {"name": "w", "schemaVersion": "1.5", "workflow": {
    "specification": {"tasks": [
        {"name": "join", "id": "c", "parents": ["a", "b"], "children": []},
        {"name": "split", "id": "a", "parents": [], "children": ["c"]},
        {"name": "split", "id": "b", "parents": [], "children": ["c"]}]},
    "execution": {"makespanInSeconds": 9, "executedAt": "2024-01-01T00:00:00Z", "tasks": [
        {"id": "a", "runtimeInSeconds": 1.5, "coreCount": 2},
        {"id": "b", "runtimeInSeconds": 2},
        {"id": "c", "runtimeInSeconds": 0, "coreCount": 1.5}]}}}

OLD = {"name": "w", "schemaVersion": "1.3", "workflow": {"makespanInSeconds": 9, "tasks": [
    {"name": "split_00000001", "category": "split", "type": "compute", "runtimeInSeconds": 1.5, "cores": 2,
     "parents": [], "children": ["join_00000003"]},
    {"name": "split_00000002", "category": "split", "type": "compute", "runtimeInSeconds": 2, "parents": []},
    {"name": "join_00000003", "category": "join", "type": "compute", "runtimeInSeconds": 0, "cores": 1.5, "parents": ["split_00000002"]}]}}

OLDEST = {"name": "w", "schemaVersion": "1.0", "workflow": {"makespan": 9, "jobs": [
    {"name": "split_ID0000001", "type": "compute", "runtime": 1.5, "cores": 2, "parents": []},
    {"name": "split_ID0000002", "type": "compute", "runtime": 2, "parents": []},
    {"name": "join_ID0000003", "type": "auxiliary", "cores": 2, "parents": ["split_ID0000001", "split_ID0000002"]}]}}

EXPECTED = (Task("split", 1.5, (), 2), Task("split", 2.0), Task("join", 0.0, (0, 1), 2))


def write(folder: Path, content: object) -> Path:
    file = folder / "w.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.mark.parametrize("content", [NEW, OLD, OLDEST], ids=["specification and execution", "tasks", "jobs"])
def test_every_layout_gives_the_same_tasks_parents_first(tmp_path, content):
    assert read_workflow(write(tmp_path, content)) == Workflow("w", EXPECTED)


def test_parents_are_found_by_name_where_tasks_have_ids_of_another_kind(tmp_path):
    content = {"workflow": {"tasks": [{"name": "first", "id": "1", "runtime": 1},
                                      {"name": "second", "id": "2", "runtime": 1, "parents": ["first"]}]}}
    assert read_workflow(write(tmp_path, content)).tasks[1].parents == (0,)


@pytest.mark.parametrize("names", [("FASTQC (S1)", "FASTQC (S2)"), ("task_1", "task_12"), ("T1", "T12"), ("sort.1.2", "sort.1.3"), ("7", "8"),
                                   ("split_ID0000001", "split_ID0000002")])
def test_names_with_numbers_are_of_one_app(tmp_path, names):
    content = {"workflow": {"tasks": [{"name": name, "id": str(i), "runtime": 1} for i, name in enumerate(names)]}}
    assert len({task.app for task in read_workflow(write(tmp_path, content)).tasks}) == 1


@pytest.mark.parametrize("row, app", [
    ({"category": "fastqc", "command": {"program": "bash"}}, "fastqc"),
    ({"command": {"program": "bwa_mem2"}}, "bwa_mem2"),
    ({"command": {"arguments": []}}, "FASTQC"),
    ({"command": None}, "FASTQC"),
])
def test_the_app_is_the_category_else_the_program_else_the_name(tmp_path, row, app):
    content = {"workflow": {"tasks": [{"name": "FASTQC (S1)", "runtime": 1, **row}]}}
    assert read_workflow(write(tmp_path, content)).tasks[0].app == app


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = write(tmp_path, NEW)
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert read_workflow(file) == Workflow("w", EXPECTED)


def test_what_is_written_is_read_back(tmp_path):
    workflow = Workflow("w", EXPECTED)
    write_workflow(tmp_path / "w.json", workflow, "a test")
    assert read_workflow(tmp_path / "w.json") == workflow


def changed(where: str, **changes: object) -> object:
    content = json.loads(json.dumps(NEW))
    for row in content["workflow"][where]["tasks"]:
        if row["id"] == "a":
            row.update(changes)
    return content


@pytest.mark.parametrize("content, said", [
    ("{", "not JSON"),
    ([], 'no object "workflow"'),
    ({"workflow": {"tasks": []}}, "no tasks"),
    ({"workflow": {"tasks": [{"runtime": 1}]}}, '"id" or a "name"'),
    ({"workflow": {"tasks": [{"name": "a", "runtime": 1}, {"name": "a", "runtime": 1}]}}, 'two tasks have the name "a"'),
    ({"workflow": {"tasks": [{"name": "a", "runtime": 0}]}}, "all run times are 0"),
    ({"workflow": {"tasks": [{"name": "a"}]}}, 'task "a": its run time .* is None'),
    (changed("specification", id="c"), 'two tasks have the id "c"'),
    (changed("specification", parents=["z"]), 'task "a": "parents" names "z"'),
    (changed("specification", parents="b"), 'task "a": "parents" is not a list'),
    (changed("specification", parents=["c"]), "cycle"),
    (changed("execution", runtimeInSeconds=-1), 'task "a": its run time .* is -1'),
    (changed("execution", runtimeInSeconds=math.nan), "its run time .* is nan"),
    (changed("execution", runtimeInSeconds="1"), "its run time .* is '1'"),
    (changed("execution", coreCount=True), 'task "a": its cores .* are True'),
])
def test_a_bad_file_is_refused_by_name_saying_what_is_wrong_where(tmp_path, content, said):
    with pytest.raises(WorkflowError, match=rf"w\.json: .*{said}"):
        read_workflow(write(tmp_path, content))


def test_a_folder_without_workflows_is_refused(tmp_path):
    with pytest.raises(WorkflowError, match=r"no \*\.json file there"):
        read_workflows(tmp_path)


def test_ours_are_three_instances_of_each_recipe_and_what_the_code_builds():
    ours = {workflow.name: workflow for workflow in read_workflows(OURS)}
    adversarial = {workflow.name: workflow for workflow in build().values()}
    assert set(ours) == {f"{recipe.lower()}-{i}" for recipe in RECIPES for i in (1, 2, 3)} | set(adversarial)
    assert all(ours[name] == workflow for name, workflow in adversarial.items())
    assert all(285 <= len(workflow.tasks) <= 300 for name, workflow in ours.items() if not name.startswith("adversarial-bag-"))
    assert [len(ours[f"adversarial-bag-{tasks}"].tasks) for tasks in (40, 64)] == [40, 64]
    assert all(any(task.parents for task in workflow.tasks) for workflow in ours.values() if not workflow.adversarial)
