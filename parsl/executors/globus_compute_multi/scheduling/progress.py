"""How much of the workflow is left, as far as it is known."""
from __future__ import annotations

from typing import Optional, Tuple

from parsl.executors.globus_compute_multi.scheduling.ledger import Ledger
from parsl.executors.globus_compute_multi.scheduling.placement import Placement
from parsl.executors.globus_compute_multi.scheduling.pool import Pool
from parsl.executors.globus_compute_multi.scheduling.runtimes import RunTimes
from parsl.executors.globus_compute_multi.scheduling.taskgraph import TaskGraph

#: Seconds between two estimates.
INTERVAL_SECONDS = 1.0

#: Seconds that an estimate takes for each task that is looked at (measured: 0.2 to 0.3 microseconds), and the largest share of the core's time
#: for estimates.
_TASK_SECONDS = 0.5e-6
_SHARE = 0.01


class Progress:
    """Says now and then how many tasks are not submitted yet, and how long all that is known will take.

    Parameters
    ----------
    pool : Pool
    graph : TaskGraph
    ledger : Ledger
    placement : Placement
    runtimes : RunTimes
    """

    def __init__(self, *, pool: Pool, graph: TaskGraph, ledger: Ledger, placement: Placement, runtimes: RunTimes) -> None:
        self._pool = pool
        self._graph = graph
        self._ledger = ledger
        self._placement = placement
        self._runtimes = runtimes
        self._rest_until = float("-inf")
        self._told: Tuple[int, Optional[float]] = (0, 0.0)

    def tell(self, now: float) -> None:
        """Write a line to the run log, if it is time for one and it would say something new."""
        if now < self._rest_until:
            return
        self._rest_until = now + max(INTERVAL_SECONDS, (len(self._graph) + len(self._ledger.tasks)) * _TASK_SECONDS / _SHARE)
        left = self.seconds_left(now)
        told = self._graph.waiting, None if left is None else round(left, 1)
        if told != self._told:
            self._told = told
            self._ledger.log({"kind": "run", "state": "progress", "unsubmitted": told[0], "seconds_left": told[1]})

    def seconds_left(self, now: float) -> Optional[float]:
        """Seconds until all known tasks are done: the longest path that is left, or all work shared among the available threads.

        Returns
        -------
        float or None
            None if no run time is known, or no endpoint is available.
        """
        # a task is counted with its cores' worth of threads only where these differ, which is not worth the time here
        speed = sum(threads.count / self._runtimes.factor(endpoint.name) for endpoint in self._pool if endpoint.available
                    for threads in endpoint.classes)
        tasks, graph = self._ledger.tasks.values(), self._graph
        if not (tasks or len(graph)):
            return 0.0
        if not speed or not (self._placement.anything_seen or any(task.seconds is not None for task in tasks)):
            return None
        of = self._placement.app_seconds
        apps = {task.app for task in tasks}
        expected = {app: of(app) for app in apps}
        alone = [expected[task.app] if task.seconds is None else task.seconds for task in tasks if task.node not in graph]
        work, path = graph.remaining(of)
        for attempt in self._ledger.attempts.values():
            if not attempt.task.done and attempt.id in attempt.threads.running:  # what has run of it is not left
                work -= min(attempt.seconds, now - attempt.began) / self._runtimes.factor(attempt.threads.endpoint.name)
        return max(path, max(alone, default=0.0), (work + sum(alone)) / speed, 0.0)
