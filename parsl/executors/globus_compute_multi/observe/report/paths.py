"""The critical path: the chain of tasks that the end of the run waited for."""
from __future__ import annotations

from dataclasses import dataclass
from typing import List

from parsl.executors.globus_compute_multi.observe.report.accounting import (
    PHASES,
    phases,
)
from parsl.executors.globus_compute_multi.observe.report.columns import Run
from parsl.executors.globus_compute_multi.observe.report.placing import Placed

#: Of a step: what came before its task was submitted, in the program or in the DataFlowKernel.
BEFORE = "before its submission"

#: What the steps' seconds are divided into, in order.
PARTS = (BEFORE, *PHASES)


@dataclass
class Step:
    """A task of the critical path, or a try of it: its node, row in :class:`Tasks`, when the step began, and its seconds by :data:`PARTS`."""

    node: int
    row: int
    begin: float
    seconds: List[float]


def critical_path(run: Run, placed: Placed) -> List[Step]:
    """From the task that ended last back to its parent that ended last, and so on; each step begins when the one before ends.

    Empty if the log tells nothing of the task graph. A task that Parsl retried has a step for each try. The first step begins
    with the run, and the steps together last until the last task's end.
    """
    graph, tasks = run.graph, run.tasks
    if not graph.row:
        return []
    node = max(graph.row, key=lambda n: tasks.ended[graph.row[n]])
    chain = {node: None}  # ordered; a log that is not ours may hold a circle
    while node in graph.last_parent and graph.last_parent[node] not in chain:
        node = graph.last_parent[node]
        chain[node] = None
    steps = []
    now = run.window[0]
    for node in reversed(list(chain)):
        for row in (*graph.earlier.get(node, ()), graph.row[node]):
            steps.append(Step(node, row, now, [max(0.0, tasks.submitted[row] - now), *phases(run, placed, row)]))
            now = tasks.ended[row]
    return steps
