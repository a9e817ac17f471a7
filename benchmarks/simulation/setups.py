"""Set-ups: endpoints with threads, cores, speed, latencies and start-up, and the request budget, each read from a small JSON file.

A file is an object with

* ``endpoints``: a list of objects with ``name``, ``threads`` (a number of threads, or an object of cores and counts, ``{"1": 48, "16": 4}``)
  and, all optional, ``cores`` (of each thread, where ``threads`` is a number: 1), ``speed`` (1.0), ``start_latency`` (seconds from a dispatch
  to its arrival at the endpoint: 0), ``result_latency`` (seconds from the end of a run until its result is seen: 0), ``startup_seconds``
  (a number, or ``"never"``: 0), ``startup_medians`` (the same in median run times of the workflow), ``cost_per_core_hour`` (0);
* ``requests`` (optional): ``{"count": 20, "seconds": 10}``, at most so many dispatches in any window of so many seconds, and adaptive
  queueing ahead; without it there is no limit, and nothing is queued ahead;
* ``core_requirements`` (optional): ``"given"`` (as the workflow says; the default), ``"ignored"`` (one thread of any kind each), or
  ``"drawn"``: as the workflow says if any of its tasks needs more than one core, otherwise drawn for every task (:data:`DRAWN_CORES`), since
  generators know no cores; either way no more than the largest thread has;
* ``mean_seconds`` (optional): run times are scaled to this mean;
* ``description`` (optional).
"""
from __future__ import annotations

import json
import math
import random
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from simulation.workflows import Workflow

CORE_REQUIREMENTS = ("given", "ignored", "drawn")

#: Core requirements and how likely each is, for ``"core_requirements": "drawn"``.
DRAWN_CORES: Mapping[int, float] = {1: 4, 2: 2, 4: 1, 8: 1}

_ENDPOINT_KEYS = ("name", "threads", "cores", "speed", "start_latency", "result_latency", "startup_seconds", "startup_medians",
                  "cost_per_core_hour")
_SETUP_KEYS = ("description", "endpoints", "requests", "core_requirements", "mean_seconds")


class SetupError(ValueError):
    """A file is not a set-up; says which file, what is wrong, and where."""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of a set-up.

    Parameters
    ----------
    name : str
    threads : tuple of (int, int)
        Cores and count of each thread class, the least cores first.
    speed : float
        A task runs for its seconds divided by this.
    start_latency, result_latency : float
        Seconds from dispatch to arrival, and from the end of a run until its result is seen.
    startup_seconds : float
        When its threads begin to work; infinite if they never do.
    startup_medians : float
        The same in median run times of the workflow; the two add up.
    cost_per_core_hour : float
    """

    name: str
    threads: Tuple[Tuple[int, int], ...]
    speed: float = 1.0
    start_latency: float = 0.0
    result_latency: float = 0.0
    startup_seconds: float = 0.0
    startup_medians: float = 0.0
    cost_per_core_hour: float = 0.0

    @property
    def latency(self) -> float:
        """Seconds that a task on it takes beside its run time, at least."""
        return self.start_latency + self.result_latency

    @property
    def cores(self) -> int:
        """The most cores that a task may need."""
        return max(cores for cores, _ in self.threads)

    def count(self, cores: int) -> int:
        """Threads with at least ``cores`` cores."""
        return sum(count for thread_cores, count in self.threads if thread_cores >= cores)


@dataclass(frozen=True)
class Thread:
    """One thread of one endpoint: what the rivals and the lower bound schedule on."""

    endpoint: int
    cores: int


@dataclass(frozen=True)
class Setup:
    """A set-up, as this module describes the file.

    Parameters
    ----------
    name : str
    endpoints : tuple of Endpoint
    requests : tuple of (int, float) or None
        Most dispatches, and the seconds of the window.
    core_requirements : str
        One of :data:`CORE_REQUIREMENTS`.
    mean_seconds : float or None
    """

    name: str
    endpoints: Tuple[Endpoint, ...]
    requests: Optional[Tuple[int, float]] = None
    core_requirements: str = "given"
    mean_seconds: Optional[float] = None

    @property
    def cores(self) -> int:
        """The most cores that a task may need."""
        return max(endpoint.cores for endpoint in self.endpoints)

    def threads(self) -> List[Thread]:
        """All threads, endpoint by endpoint."""
        return [Thread(i, cores) for i, endpoint in enumerate(self.endpoints) for cores, count in endpoint.threads for _ in range(count)]


@dataclass(frozen=True)
class Case:
    """One workflow on one set-up: run times scaled, core requirements decided, start-ups in seconds."""

    workflow: Workflow
    setup: Setup


def misfit(workflow: Workflow, setup: Setup) -> Optional[str]:
    """Why ``workflow`` cannot run on ``setup``; None if it can."""
    if setup.core_requirements != "given":
        return None
    position, task = max(enumerate(workflow.tasks), key=lambda item: item[1].cores)
    if task.cores <= setup.cores:
        return None
    return (f"set-up {setup.name}: task {position} ({task.app}) of {workflow.name} needs {task.cores} cores, and the largest thread has "
            f'{setup.cores}; give the set-up larger threads, or "core_requirements": "drawn" (no more than there are) or "ignored"')


def make_case(workflow: Workflow, setup: Setup, seed: int) -> Case:
    """Fit ``workflow`` and ``setup`` to each other; ``seed`` decides the core requirements that are drawn.

    Raises
    ------
    SetupError
        If a task fits no thread (:func:`misfit`).
    """
    problem = misfit(workflow, setup)
    if problem is not None:
        raise SetupError(problem)
    tasks = workflow.tasks
    if setup.mean_seconds is not None:
        scale = setup.mean_seconds / statistics.fmean(task.seconds for task in tasks)
        tasks = tuple(replace(task, seconds=task.seconds * scale) for task in tasks)
    if setup.core_requirements == "ignored":
        tasks = tuple(replace(task, cores=1) for task in tasks)
    elif setup.core_requirements == "drawn":
        needs = [task.cores for task in tasks]
        if max(needs) == 1:
            rng = random.Random(f"{workflow.name} {seed}")
            needs = rng.choices(list(DRAWN_CORES), list(DRAWN_CORES.values()), k=len(tasks))
        tasks = tuple(replace(task, cores=min(cores, setup.cores)) for task, cores in zip(tasks, needs))
    median = statistics.median(task.seconds for task in tasks)
    endpoints = tuple(replace(e, startup_seconds=e.startup_seconds + e.startup_medians * median, startup_medians=0.0) for e in setup.endpoints)
    return Case(Workflow(workflow.name, tasks), replace(setup, endpoints=endpoints))


def read_setups(folder: Path) -> Dict[str, Setup]:
    """Read every ``*.json`` file in ``folder``: set-ups by name, which is that of the file.

    Raises
    ------
    SetupError
        If there is none, or one of them is not a set-up.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SetupError(f"{folder}: no *.json file there; give a folder of set-ups")
    return {file.stem: read_setup(file) for file in files}


def read_setup(file: Path) -> Setup:
    """Read one set-up.

    Raises
    ------
    SetupError
        If it cannot be used.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as e:
        raise SetupError(f"{file}: not JSON: {e}") from e
    try:
        return _setup(file.stem, content)
    except SetupError as e:
        raise SetupError(f"{file}: {e}") from e


def _setup(name: str, content: Any) -> Setup:
    _check_keys(content, _SETUP_KEYS, "the set-up")
    rows = content.get("endpoints")
    if not isinstance(rows, list) or not rows:
        raise SetupError('"endpoints" must be a list with at least one endpoint')
    endpoints = tuple(_endpoint(row, f"endpoint {i}") for i, row in enumerate(rows))
    if len({endpoint.name for endpoint in endpoints}) < len(endpoints):
        raise SetupError("two endpoints have the same name")
    requirements = content.get("core_requirements", "given")
    if requirements not in CORE_REQUIREMENTS:
        raise SetupError(f'"core_requirements" is {requirements!r}, and must be one of {", ".join(CORE_REQUIREMENTS)}')
    mean = _number(content, "mean_seconds", 0.0, "the set-up") or None
    return Setup(name, endpoints, _requests(content.get("requests")), requirements, mean)


def _endpoint(row: Any, where: str) -> Endpoint:
    _check_keys(row, _ENDPOINT_KEYS, where)
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise SetupError(f'{where}: "name" must be a text')
    numbers = {key: _number(row, key, 0.0, where) for key in ("start_latency", "result_latency", "startup_medians", "cost_per_core_hour")}
    startup = math.inf if row.get("startup_seconds") == "never" else _number(row, "startup_seconds", 0.0, where)
    speed = _number(row, "speed", 1.0, where)
    if speed <= 0:
        raise SetupError(f'{where}: "speed" must be more than 0')
    return Endpoint(name, _thread_classes(row, where), speed, startup_seconds=startup, **numbers)


def _thread_classes(row: Mapping[str, Any], where: str) -> Tuple[Tuple[int, int], ...]:
    threads = row.get("threads")
    if not isinstance(threads, dict):
        return ((_count(row.get("cores", 1), "cores", where), _count(threads, "threads", where)),)
    if not threads or "cores" in row:
        raise SetupError(f'{where}: "threads" must be a number, with or without "cores", or an object such as {{"1": 48, "16": 4}}')
    if not all(key.isdigit() for key in threads):
        raise SetupError(f'{where}: the keys of "threads" must be numbers of cores')
    return tuple(sorted((_count(int(cores), "threads", where), _count(count, "threads", where)) for cores, count in threads.items()))


def _requests(value: Any) -> Optional[Tuple[int, float]]:
    if value is None:
        return None
    _check_keys(value, ("count", "seconds"), '"requests"')
    seconds = _number(value, "seconds", 0.0, '"requests"')
    if seconds <= 0:
        raise SetupError('"requests": "seconds" must be more than 0')
    return _count(value.get("count"), "count", '"requests"'), seconds


def _check_keys(value: Any, known: Tuple[str, ...], where: str) -> None:
    if not isinstance(value, dict):
        raise SetupError(f"{where} is not an object")
    unknown = sorted(value.keys() - set(known))
    if unknown:
        raise SetupError(f'{where}: unknown key "{unknown[0]}"; known are {", ".join(known)}')


def _number(row: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = row.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise SetupError(f'{where}: "{key}" is {value!r}, and must be a number, 0 or more')
    return float(value)


def _count(value: Any, key: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SetupError(f'{where}: "{key}" is {value!r}, and must be a whole number, 1 or more')
    return int(value)
