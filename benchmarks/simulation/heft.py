"""HEFT with insertion (Topcuoglu, Hariri and Wu, 2002), off line: it knows all tasks, their exact run times and all speeds beforehand."""
from __future__ import annotations

import bisect
from typing import List, Optional, Sequence, Tuple

from simulation.schedule import Run, run_seconds, upward_ranks
from simulation.setups import Case


def heft(case: Case) -> List[Run]:
    """Schedule the tasks by descending upward rank (over mean run times), each where it would end first, in gaps too.

    Of threads on which a task would end at the same time, it goes to that with the fewest cores. Latencies are the cost of every edge; threads
    run one task after the other without any, since all is planned beforehand.
    """
    tasks, threads, endpoints = case.workflow.tasks, case.setup.threads(), case.setup.endpoints
    weights = []
    for task in tasks:
        able = [endpoints[thread.endpoint] for thread in threads if thread.cores >= task.cores]
        weights.append(sum(task.seconds / endpoint.speed + endpoint.latency for endpoint in able) / len(able))
    ranks = upward_ranks(case, weights)
    runs: List[Optional[Run]] = [None] * len(tasks)
    busy: List[List[Tuple[float, float]]] = [[] for _ in threads]
    # stable: parents stay before children even where ranks are equal, since run times may be 0
    for position in sorted(range(len(tasks)), key=lambda i: -ranks[i]):
        task = tasks[position]
        arrived = max((run.seen for run in (runs[parent] for parent in task.parents) if run is not None), default=0.0)
        best: Optional[Tuple[float, int, int, Run]] = None
        for i, thread in enumerate(threads):
            if thread.cores < task.cores:
                continue
            endpoint = endpoints[thread.endpoint]
            seconds = run_seconds(case, position, thread.endpoint)
            start = _first_gap(busy[i], max(arrived + endpoint.start_latency, endpoint.startup_seconds), seconds)
            run = Run(i, start, start + seconds, start + seconds + endpoint.result_latency)
            if best is None or (run.seen, thread.cores, i) < best[:3]:
                best = (run.seen, thread.cores, i, run)
        assert best is not None, "make_case has seen to it that every task fits a thread"
        run = best[3]
        runs[position] = run
        bisect.insort(busy[run.thread], (run.start, run.end))
    return [run for run in runs if run is not None]


def _first_gap(busy: Sequence[Tuple[float, float]], earliest: float, seconds: float) -> float:
    """The earliest start, not before ``earliest``, of a gap of ``seconds`` between the runs of one thread, which are in order."""
    start = earliest
    for begin, end in busy:
        if start + seconds <= begin:
            break
        start = max(start, end)
    return start
