"""Which of the threads that could run a task it is given to.

A policy is asked about one task at a time, in the order of the pending queue. Its candidates are the free threads whose cores are closest
to the task's requirement. One with ``waits`` also sees the busy ones that it finds worth waiting for; if it chooses such a one, the task
waits for it, not longer than the policy's patience, and the run log says so. A policy is used by one executor only, on one thread.
"""
from __future__ import annotations

import random
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Callable, Optional, Sequence, Tuple

from parsl.executors.globus_compute_multi.scheduling.pending import Task
from parsl.executors.globus_compute_multi.scheduling.threads import Child, Threads


@dataclass
class Outlook:
    """What a policy may ask for.

    Parameters
    ----------
    now : float
        Seconds on the clock of the events.
    run_seconds : callable
        ``run_seconds(task, threads)``: how long the task is expected to run there.
    clearly_faster : callable
        ``clearly_faster(threads, others)``: whether the first are faster, by so much that it is not chance.
    ready : int
        Number of tasks that are pending.
    filling : Child or None
        Child to which the dispatch being made goes; its tasks travel in one request, so others for it are cheap.
    """

    now: float
    run_seconds: Callable[[Task, Threads], float]
    clearly_faster: Callable[[Threads, Threads], bool]
    ready: int = 0
    filling: Optional[Child] = None

    def starts_in(self, task: Task, threads: Threads) -> float:
        """Seconds until the task is expected to start there; 0 for a free thread, unless it is cold."""
        return threads.starts_in(task, self.now)

    def finish(self, task: Task, threads: Threads) -> float:
        """Seconds until the task is expected to be finished there."""
        return threads.starts_in(task, self.now) + self.run_seconds(task, threads)


class Policy(metaclass=ABCMeta):
    """Chooses where a task runs. Subclass it, and give an instance of that to the executor."""

    #: Whether candidates may be busy, and tasks wait for them.
    waits = False

    @abstractmethod
    def choose(self, task: Task, candidates: Sequence[Threads], outlook: Outlook) -> Threads:
        """Choose where ``task`` runs.

        Parameters
        ----------
        task : Task
            Read only; ``app``, ``priority``, ``rank``, ``shape.cores`` and others.
        candidates : sequence of Threads
            Thread classes of available endpoints, at least one of which is free, in the user's order. Read only; ``endpoint.name``, ``cores``,
            ``count``, ``free``, ``child.warm`` and others. When no thread is free, those that may queue the task ahead.
        outlook : Outlook
            Estimates.

        Returns
        -------
        Threads
            One of ``candidates``.
        """

    def worth_waiting(self, busy: Threads, free: Threads, outlook: Outlook) -> bool:
        """Whether any task could be better off waiting for ``busy`` than on ``free``; asked if ``waits``, and not for each task."""
        return False

    def patience(self, task: Task, busy: Threads, free: Threads, outlook: Outlook) -> float:
        """For how many seconds ``task`` waits for ``busy``, at most, while it could run on ``free``; asked if ``waits``."""
        return outlook.finish(task, free) - outlook.run_seconds(task, busy)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def load(threads: Threads) -> Tuple[float, float, int]:
    """How busy a thread class is: the share of its threads that is not free, what is queued ahead for each thread, and fewer free threads."""
    return -threads.free / threads.count, threads.child.ahead_seconds / threads.count, -threads.free


class EarliestFinish(Policy):
    """Where the task is expected to be finished first, given the speed of the endpoint and its start-up, even if it has to wait; the default.

    Observations: with the pending queue in order of the longest remaining path this is HEFT done on line, and within a few percent of HEFT
    that knows the whole workflow beforehand. On endpoints of equal speed it is the same as any other policy that never leaves a thread
    idle; the more speeds differ, the more it gains. It takes a wait into account only for threads that are
    clearly faster: where speeds are learned and equal, waiting for a supposed difference costs more than it brings. Where run times are
    learned, it pays to be cautious: the tasks on which the workflow waits in the end are those that ran longer than the mean of their app, and a
    slow endpoint makes that worse.

    Parameters
    ----------
    caution : float
        How many times the mean of its app a task is taken to run, if its run time is not given.
    """

    waits = True

    def __init__(self, caution: float = 2.0) -> None:
        self.caution = _number(caution)
        if not 0 < self.caution < float("inf"):
            raise ValueError(f"caution must be a positive number, not {caution!r}")

    def worth_waiting(self, busy: Threads, free: Threads, outlook: Outlook) -> bool:
        """Faster threads, and warm ones while the free ones are cold."""
        if not free.child.warm and busy.child.warm:
            return True
        return busy.child.asked is not None and outlook.clearly_faster(busy, free)

    def choose(self, task: Task, candidates: Sequence[Threads], outlook: Outlook) -> Threads:
        """Choose by the expected finish; ties go to the child that the request goes to anyway, then to one to which tasks are left that a later
        request brings, then to that which fits best.

        The best fit has the fewest free threads that are enough for all that is pending, or else the most: so few requests fill many
        threads, and what is left free can take the next burst with one.
        """
        caution = self._caution(task)

        def key(threads: Threads) -> Tuple[float, bool, bool, bool, int]:
            enough = threads.free >= outlook.ready
            finish = outlook.starts_in(task, threads) + caution * outlook.run_seconds(task, threads)
            return finish, threads.child is not outlook.filling, not threads.promised, not enough, threads.free if enough else -threads.free

        return min(candidates, key=key)

    def patience(self, task: Task, busy: Threads, free: Threads, outlook: Outlook) -> float:
        """Until it would have been finished as early on the threads that are free."""
        return outlook.starts_in(task, free) + self._caution(task) * (outlook.run_seconds(task, free) - outlook.run_seconds(task, busy))

    def _caution(self, task: Task) -> float:
        return 1.0 if task.seconds is not None else self.caution

    def __repr__(self) -> str:
        return f"EarliestFinish(caution={self.caution!r})"


class LeastLoaded(Policy):
    """The endpoint with the largest share of its threads free; among full ones, that with the least work queued ahead for each thread.

    Observations: on equal endpoints it is as good as any. Where speeds differ clearly it is not, since it sends the last and the
    critical tasks to slow threads as gladly as to fast ones.
    """

    def choose(self, task: Task, candidates: Sequence[Threads], outlook: Outlook) -> Threads:
        """Choose by load; ties go to the endpoint with more free threads, then to the user's order."""
        return min(candidates, key=load)


class RoundRobin(Policy):
    """Endpoints in turn, in the user's order.

    Observations: since only free threads are candidates, no endpoint is ever given more than it can run, and the makespan is about that of
    least loaded. What differs is who gets the few tasks of a quiet moment: each in turn.
    """

    def choose(self, task: Task, candidates: Sequence[Threads], outlook: Outlook) -> Threads:
        """Choose the one that was served the longest ago."""
        return min(candidates, key=lambda threads: threads.endpoint.served)


class Random(Policy):
    """A free thread at random: endpoints in proportion to their free threads.

    Observations: far better than Parsl's random choice among executors, since it chooses only among threads that are free, and only when
    the task can run. A yardstick for the others.

    Parameters
    ----------
    seed : int, optional
        For runs that can be repeated.
    """

    def __init__(self, seed: Optional[int] = None) -> None:
        given: Any = seed
        if given is not None and (isinstance(given, bool) or not isinstance(given, Integral)):
            raise ValueError(f"seed must be a whole number or None, not {seed!r}")
        self.seed = None if seed is None else int(seed)
        self._random = random.Random(self.seed)

    def choose(self, task: Task, candidates: Sequence[Threads], outlook: Outlook) -> Threads:
        """Choose with a probability in proportion to the free threads."""
        return self._random.choices(candidates, [max(threads.free, 1) for threads in candidates])[0]

    def __repr__(self) -> str:
        return f"Random(seed={self.seed!r})"


class Cheapest(Policy):
    """Where the task is expected to cost least: run time x cores of the thread x ``cost_per_core_hour`` of the endpoint.

    Observations: by default no thread stands idle while tasks are pending, so all it saves is in the quiet moments; a wait of the order of a
    task's run time moves most of the work to the cheaper endpoints, and an infinite one all of it, at the price of the makespan.

    Parameters
    ----------
    wait_seconds : float
        For how many seconds a task may wait for a cheaper thread to be free. Default: 0.
    """

    def __init__(self, wait_seconds: float = 0.0) -> None:
        self.wait_seconds = _number(wait_seconds)
        if not self.wait_seconds >= 0:
            raise ValueError(f"wait_seconds must be a number of at least 0, not {wait_seconds!r}")
        self.waits = self.wait_seconds > 0

    def worth_waiting(self, busy: Threads, free: Threads, outlook: Outlook) -> bool:
        """Those whose hour costs less."""
        return _hourly(busy) < _hourly(free)

    def patience(self, task: Task, busy: Threads, free: Threads, outlook: Outlook) -> float:
        """As given."""
        return self.wait_seconds

    def choose(self, task: Task, candidates: Sequence[Threads], outlook: Outlook) -> Threads:
        """Choose by cost; ties go to the earliest finish."""
        near = [threads for threads in candidates if threads.free > 0 or outlook.starts_in(task, threads) <= self.wait_seconds]

        def cost(threads: Threads) -> Tuple[float, float]:
            return _hourly(threads) * outlook.run_seconds(task, threads), outlook.finish(task, threads)

        return min(near or candidates, key=cost)

    def __repr__(self) -> str:
        return f"Cheapest(wait_seconds={self.wait_seconds!r})"


def _number(value: Any) -> float:
    """As a float; NaN if it is no number, or larger than a float."""
    try:
        return float("nan") if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:
        return float("nan")


def _hourly(threads: Threads) -> float:
    return threads.cores * threads.endpoint.cost_per_core_hour
