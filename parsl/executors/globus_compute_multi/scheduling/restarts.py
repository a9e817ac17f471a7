"""Tasks that an endpoint holds which may never start: they are started elsewhere as well, when threads there have nothing else to do."""
from __future__ import annotations

from typing import Dict, Iterator, Optional, Tuple

from parsl.executors.globus_compute_multi.scheduling.pending import Task
from parsl.executors.globus_compute_multi.scheduling.placement import Placement
from parsl.executors.globus_compute_multi.scheduling.pool import Pool
from parsl.executors.globus_compute_multi.scheduling.threads import (
    Attempt,
    Child,
    Threads,
)


class Restarts:
    """Finds tasks to be started again, once: those on a cold child that is late. The first attempt cannot be cancelled; the first result wins.

    A start-up of which nothing is known is late when it has lasted as long as the longest one elsewhere, and as the task itself runs.

    Parameters
    ----------
    pool : Pool
    placement : Placement
    enabled : bool
    """

    def __init__(self, pool: Pool, placement: Placement, enabled: bool) -> None:
        self._pool = pool
        self._placement = placement
        self._enabled = enabled
        self._cold: Dict[Child, None] = {}

    def asked(self, child: Child, now: float) -> None:
        """Note that ``child`` was given a task."""
        if child.asked is None:
            child.asked = now
        if not child.warm:
            self._cold[child] = None

    def rejected(self, child: Child) -> None:
        """Note that a dispatch to ``child`` was not taken."""
        if not child.warm and not any(threads.running for threads in child.classes):
            child.asked = None  # nothing is there that could start
            self._cold.pop(child, None)

    def warm(self, child: Child) -> None:
        """Note that ``child`` is warm."""
        self._cold.pop(child, None)

    def first(self, now: float, child: Optional[Child] = None) -> Optional[Tuple[Task, Tuple[Threads, ...]]]:
        """The first task to be started again at ``now`` (on ``child``, if given), with the free threads for it."""
        if not self._pool.any_free:
            return None
        best: Optional[Tuple[Task, Tuple[Threads, ...]]] = None
        longest = self._longest_startup()
        for attempt in self._held():
            if (best is None or attempt.task.order < best[0].order) and now >= self._late_at(attempt, longest):
                candidates = self._candidates(attempt, child)
                if candidates:
                    best = attempt.task, candidates
        return best

    def wakes_at(self, now: float) -> Optional[float]:
        """When the next task becomes one to be started again, after ``now``, if threads are free for it."""
        if not self._pool.any_free:
            return None
        longest = self._longest_startup()
        late = ((self._late_at(attempt, longest), attempt) for attempt in self._held())
        return min((time for time, attempt in late if time > now and self._candidates(attempt, None)), default=None)

    def _held(self) -> Iterator[Attempt]:
        if self._enabled:
            for cold in self._cold:
                for threads in cold.classes:
                    for attempt in threads.running.values():
                        if not attempt.task.done and not attempt.task.again:
                            yield attempt

    def _candidates(self, attempt: Attempt, child: Optional[Child]) -> Tuple[Threads, ...]:
        return self._placement.free_that_suit(attempt.task.shape, lambda t: (
            t.child.warm and t.endpoint is not attempt.threads.endpoint and (child is None or t.child is child)))

    def _longest_startup(self) -> float:
        return max((e.startup_seconds for e in self._pool if e.startup_seconds is not None), default=0.0)

    def _late_at(self, attempt: Attempt, longest_startup: float) -> float:
        cold = attempt.threads.child
        assert cold.asked is not None
        known = cold.endpoint.startup_seconds
        if known is None:
            known = max(self._placement.task_seconds(attempt.task), longest_startup)
        return max(cold.asked + known, attempt.began)
