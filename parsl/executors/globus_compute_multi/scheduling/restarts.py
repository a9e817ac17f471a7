"""Tasks that an endpoint holds which may never start: they are started elsewhere as well, when threads there have nothing else to do."""
from __future__ import annotations

from itertools import islice
from typing import Dict, Iterator, Optional, Tuple

from parsl.executors.globus_compute_multi.scheduling.pending import Task
from parsl.executors.globus_compute_multi.scheduling.placement import Placement
from parsl.executors.globus_compute_multi.scheduling.pool import Pool
from parsl.executors.globus_compute_multi.scheduling.threads import (
    Attempt,
    Child,
    Threads,
)

#: A result is late when so many times the expected run time have gone by: the mean is all that is known of most.
_PATIENCE = 1.5

#: How many of a child's tasks are looked at.
_FIRST_TASKS = 8

#: Seconds that tasks and results travel.
_LATENCY_SECONDS = 2.0


class Restarts:
    """Finds tasks to be started again, once: those on a cold child that is late. The first attempt cannot be cancelled; the first result wins.

    A child is late when it has sent no result after its start-up, given or learned, or else the longest one elsewhere, and the time that the
    shortest of its first tasks takes there, with a margin.

    Parameters
    ----------
    pool : Pool
    placement : Placement
    """

    def __init__(self, pool: Pool, placement: Placement) -> None:
        self._pool = pool
        self._placement = placement
        self._cold: Dict[Child, None] = {}

    def asked(self, child: Child, now: float) -> None:
        """Note that ``child`` was given a task."""
        if not child.warm:
            if child.asked is None:
                child.asked = now
                self._note(child)
            self._cold[child] = None

    def rejected(self, child: Child) -> None:
        """Note that a dispatch to ``child`` was not taken."""
        if not child.warm and not any(threads.running for threads in child.classes):
            child.asked = None  # nothing is there that could start
            self._note(child)
            self._cold.pop(child, None)

    def _note(self, child: Child) -> None:
        for threads in child.classes:
            self._pool.note(threads)

    def forget(self, child: Child) -> None:
        """Note that ``child`` is warm, or holds nothing."""
        self._cold.pop(child, None)

    def first(self, now: float, child: Optional[Child] = None) -> Optional[Tuple[Task, Tuple[Threads, ...]]]:
        """The first task to be started again at ``now`` (on ``child``, if given), with the free threads for it."""
        best: Optional[Tuple[Task, Tuple[Threads, ...]]] = None
        for cold, late_at in self._late():
            if now >= late_at:
                for attempt in self._held(cold):
                    if best is None or attempt.task.order < best[0].order:
                        candidates = self._candidates(attempt, child)
                        if candidates:
                            best = attempt.task, candidates
        return best

    def wakes_at(self, now: float) -> Optional[float]:
        """When the next child will be late, after ``now``, if threads are free that could help."""
        return min((late_at for _, late_at in self._late() if late_at > now), default=None)

    def _late(self) -> Iterator[Tuple[Child, float]]:
        """The cold children, and when each is late; none if no thread is free for its tasks anyway."""
        if self._cold and self._pool.any_free:
            longest = max((e.startup_seconds for e in self._pool if e.startup_seconds is not None), default=0.0)
            for cold in self._cold:
                assert cold.asked is not None
                known = cold.endpoint.startup_seconds
                yield cold, cold.asked + (longest if known is None else known) + _PATIENCE * self.shortest(cold) + _LATENCY_SECONDS

    def shortest(self, cold: Child) -> float:
        """Seconds that the shortest of the first tasks of ``cold`` is expected to take there; a few are enough."""
        first = islice((attempt for threads in cold.classes for attempt in threads.running.values()), _FIRST_TASKS)
        return min((self._placement.run_seconds(attempt.task, attempt.threads) for attempt in first), default=0.0)

    @staticmethod
    def _held(cold: Child) -> Iterator[Attempt]:
        for threads in cold.classes:
            for attempt in threads.running.values():
                if not attempt.task.done and not attempt.task.again and not attempt.task.shape.once:
                    yield attempt

    def _candidates(self, attempt: Attempt, child: Optional[Child]) -> Tuple[Threads, ...]:
        shape = attempt.task.shape._replace(avoid=frozenset())  # where it failed before is better than where it may never run
        found = self._placement.free_that_suit(shape, lambda t: (
            t.child.warm and t.child is not attempt.threads.child and (child is None or t.child is child)))
        closest = min((t.cores for t in found), default=0)
        return tuple(sorted((t for t in found if t.cores == closest), key=lambda t: t.place))
