"""Workflows: tasks with run times and parents, read from and written to WfFormat JSON (https://github.com/wfcommons/WfFormat).

Read are the layouts of schema 1.4 and later (``workflow.specification.tasks`` for the graph, ``workflow.execution.tasks`` for run times and
cores) and of older ones (``workflow.tasks`` or ``workflow.jobs``, with everything in one place and parents given by name).
"""
from __future__ import annotations

import heapq
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

#: Files whose name begins so were built to be hard for some scheduler, and are judged apart.
ADVERSARIAL = "adversarial-"

#: What makes the name of one task differ from those of others of its app: ``_ID0000001``, ``12``, `` (S1)``.
_NUMBERS_AT_END = re.compile(r"(\s*\([^()]*\)|\d*([\s_.:-]+(ID)?\d+)*)$")


class WorkflowError(ValueError):
    """A file is not a workflow that can be simulated; says which file, what is wrong, and where."""


@dataclass(frozen=True)
class Task:
    """A task of a workflow.

    Parameters
    ----------
    app : str
        The function that is called; tasks of one app have similar run times.
    seconds : float
        Run time on a thread of speed 1.
    parents : tuple of int
        Positions of its parents in the workflow, all of them before it.
    cores : int
        Core requirement.
    """

    app: str
    seconds: float
    parents: Tuple[int, ...] = ()
    cores: int = 1


@dataclass(frozen=True)
class Workflow:
    """A workflow.

    Parameters
    ----------
    name : str
    tasks : tuple of Task
        In the order in which the program calls the apps: every task after its parents.
    """

    name: str
    tasks: Tuple[Task, ...]

    @property
    def adversarial(self) -> bool:
        """Whether it was built to be hard, by its name."""
        return self.name.startswith(ADVERSARIAL)

    def children(self) -> List[List[int]]:
        """For every task, the positions of its children."""
        children: List[List[int]] = [[] for _ in self.tasks]
        for position, task in enumerate(self.tasks):
            for parent in task.parents:
                children[parent].append(position)
        return children


def read_workflows(folder: Path) -> List[Workflow]:
    """Read every ``*.json`` file in ``folder``, in the order of their names.

    Raises
    ------
    WorkflowError
        If there is none, or one of them cannot be used.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise WorkflowError(f"{folder}: no *.json file there; give a folder of WfFormat files")
    return [read_workflow(file) for file in files]


def read_workflow(file: Path) -> Workflow:
    """Read one WfFormat file; the workflow is named after the file.

    Raises
    ------
    WorkflowError
        If it cannot be used.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as e:
        raise WorkflowError(f"{file}: not JSON: {e}") from e
    try:
        return Workflow(file.stem, _tasks(content))
    except WorkflowError as e:
        raise WorkflowError(f"{file}: {e}") from e


def write_workflow(file: Path, workflow: Workflow, description: str) -> None:
    """Write ``workflow`` as WfFormat 1.5, one line a task: no files, no machines, and short IDs, since such files are kept in git."""
    children = workflow.children()
    specification = [{"name": task.app, "id": f"t{i}", "parents": [f"t{p}" for p in task.parents], "children": [f"t{c}" for c in children[i]]}
                     for i, task in enumerate(workflow.tasks)]
    execution = [{"id": f"t{i}", "runtimeInSeconds": task.seconds, "coreCount": task.cores, "command": {"program": task.app}}
                 for i, task in enumerate(workflow.tasks)]
    # the schema wants a makespan and a date, which a workflow that never ran has not
    head = {"name": workflow.name, "description": description, "schemaVersion": "1.5"}
    file.write_text("".join([
        json.dumps(head)[:-1], ', "workflow": {\n',
        '"specification": {"tasks": [\n', _lines(specification), "\n]},\n",
        '"execution": {"makespanInSeconds": 0, "executedAt": "2000-01-01T00:00:00Z", "tasks": [\n', _lines(execution), "\n]}}}\n",
    ]), encoding="utf-8")


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)


def _tasks(content: Any) -> Tuple[Task, ...]:
    rows = _rows(content)
    positions = _positions(rows)
    parents: List[List[int]] = [[] for _ in rows]
    for position, row in enumerate(rows):
        for parent in _references(row, "parents", positions):
            parents[position].append(parent)
        for child in _references(row, "children", positions):
            parents[child].append(position)
    order = _topological_order([sorted(set(p)) for p in parents], rows)
    place = {position: i for i, position in enumerate(order)}
    tasks = tuple(Task(_app(rows[p]), _seconds(rows[p]), tuple(sorted({place[q] for q in parents[p]})), _cores(rows[p])) for p in order)
    if not any(task.seconds for task in tasks):
        raise WorkflowError("all run times are 0: there is nothing to schedule")
    return tasks


def _rows(content: Any) -> List[Dict[str, Any]]:
    """One dictionary for each task, with what the file says of it in whatever place."""
    workflow = content.get("workflow") if isinstance(content, dict) else None
    if not isinstance(workflow, dict):
        raise WorkflowError('no object "workflow": not a WfFormat file')
    specification = workflow.get("specification")
    rows = specification.get("tasks") if isinstance(specification, dict) else workflow.get("tasks", workflow.get("jobs"))
    if not isinstance(rows, list) or not rows:
        raise WorkflowError('no tasks: none of "workflow.specification.tasks", "workflow.tasks" and "workflow.jobs" is a list with tasks in it')
    if not all(isinstance(row, dict) and (row.get("id") or row.get("name")) for row in rows):
        raise WorkflowError('a task is not an object with an "id" or a "name"')
    execution = workflow.get("execution")
    measured = execution.get("tasks") if isinstance(execution, dict) else None
    by_id = {row["id"]: row for row in measured if isinstance(row, dict) and "id" in row} if isinstance(measured, list) else {}
    return [{**row, **by_id.get(row.get("id"), {})} for row in rows]


def _label(row: Mapping[str, Any]) -> str:
    return str(row.get("id") or row["name"])


def _positions(rows: Sequence[Mapping[str, Any]]) -> Dict[str, int]:
    """Where the task of an ID or a name is; a name that several tasks share means none of them."""
    by_name: Dict[str, List[int]] = {}
    by_id: Dict[str, int] = {}
    for position, row in enumerate(rows):
        if "id" in row:
            if str(row["id"]) in by_id:
                raise WorkflowError(f'two tasks have the id "{row["id"]}"')
            by_id[str(row["id"])] = position
        if "name" in row:
            by_name.setdefault(str(row["name"]), []).append(position)
    for name, places in by_name.items():
        if len(places) > 1 and not all("id" in rows[place] for place in places):
            raise WorkflowError(f'two tasks have the name "{name}", and no id')
    return {**{name: places[0] for name, places in by_name.items() if len(places) == 1}, **by_id}


def _references(row: Mapping[str, Any], key: str, positions: Mapping[str, int]) -> List[int]:
    names = row.get(key) or []
    if not isinstance(names, list):
        raise WorkflowError(f'task "{_label(row)}": "{key}" is not a list')
    unknown = [name for name in names if str(name) not in positions]
    if unknown:
        raise WorkflowError(f'task "{_label(row)}": "{key}" names "{unknown[0]}", which is no task of this workflow')
    return [positions[str(name)] for name in names]


def _topological_order(parents: Sequence[Sequence[int]], rows: Sequence[Mapping[str, Any]]) -> List[int]:
    """Positions with parents first, otherwise in the order of the file."""
    waiting = [len(p) for p in parents]
    children: List[List[int]] = [[] for _ in parents]
    for position, ps in enumerate(parents):
        for parent in ps:
            children[parent].append(position)
    ready = [position for position, count in enumerate(waiting) if count == 0]
    order: List[int] = []
    while ready:
        position = heapq.heappop(ready)
        order.append(position)
        for child in children[position]:
            waiting[child] -= 1
            if waiting[child] == 0:
                heapq.heappush(ready, child)
    if len(order) < len(parents):
        stuck = next(position for position, count in enumerate(waiting) if count > 0)
        raise WorkflowError(f'the dependencies have a cycle, at or before task "{_label(rows[stuck])}"')
    return order


def _app(row: Mapping[str, Any]) -> str:
    """The function: a category (older schemas) or a program where there is one, else the name without its numbers."""
    command = row.get("command")
    program = command.get("program") if isinstance(command, dict) else None
    return str(row.get("category") or program or _NUMBERS_AT_END.sub("", str(row.get("name") or row["id"]), count=1) or "task")


def _seconds(row: Mapping[str, Any]) -> float:
    # transfers and clean-ups of older schemas often have no run time
    seconds = row.get("runtimeInSeconds", row.get("runtime", None if row.get("type", "compute") == "compute" else 0.0))
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds < 0:
        raise WorkflowError(f'task "{_label(row)}": its run time ("runtimeInSeconds" or "runtime") is {seconds!r}, '
                            "and must be a number of seconds, 0 or more")
    return float(seconds)


def _cores(row: Mapping[str, Any]) -> int:
    cores = row.get("coreCount", row.get("cores"))
    if cores is None:
        return 1
    if isinstance(cores, bool) or not isinstance(cores, (int, float)) or not math.isfinite(cores) or cores < 0:
        raise WorkflowError(f'task "{_label(row)}": its cores ("coreCount" or "cores") are {cores!r}, and must be a number')
    return max(1, math.ceil(cores))
