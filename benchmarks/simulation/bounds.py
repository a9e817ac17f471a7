"""A makespan that no schedule can beat."""
from __future__ import annotations

from typing import List, Tuple

from simulation.setups import Case


def lower_bound(case: Case) -> float:
    """The longest chain on the fastest threads, or, if that is more, the time in which all fitting threads together could do the work.

    The work is taken for each core requirement apart: what needs at least c cores must be done by threads with at least c. Latencies count for
    both, start-ups for the work only, and tasks may travel meanwhile; the request budget counts for nothing.

    Returns
    -------
    float
        Seconds, more than 0.
    """
    return max(_critical_path(case), *(_work(case, cores) for cores in {task.cores for task in case.workflow.tasks}))


def _critical_path(case: Case) -> float:
    finish: List[float] = []
    endpoints = case.setup.endpoints
    for task in case.workflow.tasks:
        shortest = min(task.seconds / e.speed + e.latency for e in endpoints if e.cores >= task.cores)
        finish.append(max((finish[parent] for parent in task.parents), default=0.0) + shortest)
    return max(finish)


def _work(case: Case, cores: int) -> float:
    """When the last result is seen of the work that needs at least ``cores`` cores, if all threads that have them begin as soon as they can."""
    left = sum(task.seconds for task in case.workflow.tasks if task.cores >= cores)
    able = [e for e in case.setup.endpoints if e.cores >= cores]
    # capacity grows when an endpoint has started and tasks have arrived; the work ends in the first stretch that is long enough for what is left
    starts: List[Tuple[float, float]] = sorted((max(e.startup_seconds, e.start_latency), e.count(cores) * e.speed) for e in able)
    last = min(e.result_latency for e in able)
    capacity = 0.0
    for i, (start, more) in enumerate(starts):
        if i and left <= capacity * (start - starts[i - 1][0]):
            return starts[i - 1][0] + left / capacity + last
        if i:
            left -= capacity * (start - starts[i - 1][0])
        capacity += more
    return starts[-1][0] + left / capacity + last
