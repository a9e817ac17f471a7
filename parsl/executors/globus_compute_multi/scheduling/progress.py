"""How much of the workflow is left, as far as it is known."""
from __future__ import annotations

from typing import Any, Dict, Optional, Sequence, Tuple

from parsl.executors.globus_compute_multi.scheduling import lines
from parsl.executors.globus_compute_multi.scheduling.ledger import Ledger
from parsl.executors.globus_compute_multi.scheduling.placement import Placement
from parsl.executors.globus_compute_multi.scheduling.pool import Pool
from parsl.executors.globus_compute_multi.scheduling.runtimes import RunTimes
from parsl.executors.globus_compute_multi.scheduling.taskgraph import TaskGraph
from parsl.executors.globus_compute_multi.scheduling.threads import Threads

#: Seconds between two estimates.
INTERVAL_SECONDS = 1.0

#: Seconds that an estimate takes for each task that is looked at (measured: 0.5 to 1 microseconds), and the largest share of the core's time
#: for estimates.
_TASK_SECONDS = 1e-6
_SHARE = 0.005


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
            self._ledger.log((lines.run, "progress", {"unsubmitted": told[0], "seconds_left": told[1]}))

    def seconds_left(self, now: float) -> Optional[float]:
        """Seconds until all known tasks are done, by estimate: run times only, without what it takes to get tasks there and results back.

        The longest of these: the longest path, at the speed of the fastest endpoint; all work, shared among all threads; and, of the tasks
        that may run on the same threads, their work shared among those, and the longest of them on the fastest. Threads that are not
        available do not count, if others are.

        Returns
        -------
        float or None
            None if no run time is known, or no endpoint is available.
        """
        tasks, graph = self._ledger.tasks.values(), self._graph
        if not tasks and not graph.waiting:
            return 0.0
        everywhere = _Share(self._pool.classes, self._runtimes)
        if not everywhere.available or not (self._placement.anything_seen or any(task.seconds is not None for task in tasks)):
            return None
        elapsed, by_node = self._elapsed(now)
        shares: Dict[Tuple[Any, ...], _Share] = {}
        for task in tasks:
            share = shares.get(task.shape[:4])
            if share is None:
                share = shares[task.shape[:4]] = _Share(self._pool.fitting(task.shape), self._runtimes)
            seconds = (self._placement.app_seconds(task.app) if task.seconds is None else task.seconds) - elapsed.get(task.id, 0.0)
            share.add(max(0.0, seconds))
            everywhere.add(max(0.0, seconds))
        unsubmitted, path = graph.remaining(self._placement.app_seconds, by_node)
        everywhere.work += unsubmitted
        everywhere.longest = max(everywhere.longest, path)
        return max(share.seconds for share in [everywhere, *shares.values()])

    def _elapsed(self, now: float) -> Tuple[Dict[int, float], Dict[int, float]]:
        """For how long tasks have run already, in seconds of an endpoint of speed 1: by task, and by node."""
        by_task: Dict[int, float] = {}
        by_node: Dict[int, float] = {}
        for attempt in self._ledger.attempts.values():
            if not attempt.task.done and attempt.id in attempt.threads.running:
                seconds = max(0.0, now - attempt.began) / self._runtimes.factor(attempt.threads.endpoint.name)
                by_task[attempt.task.id] = max(seconds, by_task.get(attempt.task.id, 0.0))
                if attempt.task.node is not None:
                    by_node[attempt.task.node] = by_task[attempt.task.id]
        return by_task, by_node


class _Share:
    """Work in seconds of an endpoint of speed 1, and the threads that may do it."""

    def __init__(self, classes: Sequence[Threads], runtimes: RunTimes) -> None:
        there = [threads for threads in classes if threads.endpoint.available]
        self.available = bool(there)
        factors = [(threads.count, runtimes.factor(threads.endpoint.name)) for threads in there or classes]
        self._capacity = sum(count / factor for count, factor in factors)
        self._fastest = min((factor for _, factor in factors), default=1.0)
        self.work = 0.0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Take in a task."""
        self.work += seconds
        self.longest = max(self.longest, seconds)

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return max(self.longest * self._fastest, self.work / self._capacity if self._capacity else 0.0)
