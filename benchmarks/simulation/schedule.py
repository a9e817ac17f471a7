"""What a schedule is, and the check that every one of a rival has to pass."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Sequence

from simulation.setups import Case


@dataclass(frozen=True)
class Run:
    """Where and when a task ran.

    Parameters
    ----------
    thread : int
        Position in ``case.setup.threads()``.
    start, end : float
    seen : float
        When its result was seen.
    """

    thread: int
    start: float
    end: float
    seen: float


def makespan(runs: Sequence[Run]) -> float:
    """When the last result is seen."""
    return max(run.seen for run in runs)


def run_seconds(case: Case, task: int, endpoint: int) -> float:
    """Seconds that a task takes on an endpoint."""
    return case.workflow.tasks[task].seconds / case.setup.endpoints[endpoint].speed


def check(case: Case, runs: Sequence[Run]) -> None:
    """Check that a schedule is possible.

    Raises
    ------
    AssertionError
        If a task has not run, ran before its parents' results could reach it, on a thread with too few cores, before the endpoint had started or
        not for its run time, or if a thread ran two tasks at once.
    """
    tasks, threads, endpoints = case.workflow.tasks, case.setup.threads(), case.setup.endpoints
    assert len(runs) == len(tasks), f"{len(runs)} of {len(tasks)} tasks have run"
    for position, (task, run) in enumerate(zip(tasks, runs)):
        thread = threads[run.thread]
        endpoint = endpoints[thread.endpoint]
        assert thread.cores >= task.cores, f"task {position} ran on a thread with too few cores"
        assert run.start >= endpoint.startup_seconds, f"task {position} ran before {endpoint.name} had started"
        assert _alike(run.end, run.start + task.seconds / endpoint.speed), f"task {position} did not run for its run time"
        assert _alike(run.seen, run.end + endpoint.result_latency), f"the result of task {position} was not seen when it could be"
        earliest = max((runs[parent].seen for parent in task.parents), default=0.0) + endpoint.start_latency
        assert run.start >= earliest or _alike(run.start, earliest), f"task {position} ran before its parents' results could reach it"
    last: Dict[int, float] = {}
    for run in sorted(runs, key=lambda r: (r.start, r.end)):
        before = last.get(run.thread, 0.0)
        assert run.start >= before or _alike(run.start, before), f"thread {run.thread} ran two tasks at once"
        last[run.thread] = run.end


def _alike(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def upward_ranks(case: Case, weights: Sequence[float]) -> List[float]:
    """For every task, the weight of the heaviest path from it (included) to the end of the workflow."""
    ranks = [0.0] * len(weights)
    below = [0.0] * len(weights)  # the highest rank among a task's children
    for position in range(len(weights) - 1, -1, -1):
        ranks[position] = weights[position] + below[position]
        for parent in case.workflow.tasks[position].parents:
            below[parent] = max(below[parent], ranks[position])
    return ranks
