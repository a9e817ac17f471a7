"""How much work to queue ahead on an endpoint, so that its threads stay full while results travel and requests wait for their turn.

Two things delay a refill: results are seen up to half a second late (the endpoint publishes twice a second), and the service grants
few requests, so that with many endpoints each one's turn comes seldom. Work queued ahead bridges both; but what is queued
ahead is bound early, so it must be no more than that, and shrink when little work is left.
"""
from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, Optional, Tuple

from parsl.executors.globus_compute_multi.scheduling.even import EvenEnd
from parsl.executors.globus_compute_multi.scheduling.pending import PendingTasks, Task
from parsl.executors.globus_compute_multi.scheduling.placement import Placement
from parsl.executors.globus_compute_multi.scheduling.pool import Pool
from parsl.executors.globus_compute_multi.scheduling.runtimes import RunTimes
from parsl.executors.globus_compute_multi.scheduling.threads import Threads

#: Shortest horizon, in seconds. Measured with real agents: 0.5 s and 1 s of work starve the threads, 2 to 5 s do not.
SHORTEST_HORIZON = 2.0

#: An endpoint's agent needs about a millisecond for a task, however short the task is (measured: 400 to 1,000 tasks/s).
AGENT_SECONDS_PER_TASK = 0.001

#: Beyond one for each thread, so many tasks of an app may be queued ahead on a child for each of its runs that was seen: the first may be odd.
TASKS_PER_SAMPLE = 4

#: A task of an app that was never seen is queued ahead for each thread if at least so many are pending for each thread of the pool, whose run
#: times may all be the same for what is known; and a second one if twice as many are. So a small part of them is bound that early.
PENDING_FOR_A_GUESS, MOST_GUESSES = 3, 2

#: What is left, and what threads there are for it, is looked at anew when that has changed by this part, or was asked for as often as that.
_SHARE_STALENESS = 64

#: Of tasks that are left to free threads, so many are looked at for their run times.
_LOOKED_AT = 100


@dataclass(frozen=True)
class AheadRule:
    """How much may be queued ahead.

    Parameters
    ----------
    requests_per_second : float or None
        Rate at which the service grants requests; None if it does not limit them.
    tasks_per_thread : int or None
        Fixed bound set by the user, in tasks for each thread, instead of the adaptive one.
    """

    requests_per_second: Optional[float]
    tasks_per_thread: Optional[int] = None

    def horizon(self, children: int) -> float:
        """Seconds of work that a child's threads need ahead when ``children`` share the requests, each of which is for one child.

        Twice the time between two turns of one child: one may pass just before its threads run dry.
        """
        if self.requests_per_second is None:
            return SHORTEST_HORIZON
        return max(SHORTEST_HORIZON, 2 * children / self.requests_per_second)

    def worth_a_request(self, horizon: float) -> float:
        """Seconds of work of which no more may be queued ahead for each thread, if a request is to bring more.

        Half of the horizon, where requests are scarce. Where they are not, a queue must only not run dry before the next results tell about it.
        """
        return horizon / 2 if self.requests_per_second is not None else min(horizon, SHORTEST_HORIZON / 2)

    def thread_seconds(self, run_seconds: float, threads: int) -> float:
        """Share of an endpoint's threads that a task of ``run_seconds`` takes, its agent's own work included."""
        return max(run_seconds, AGENT_SECONDS_PER_TASK * threads)

    def allows(self, *, run_seconds: float, samples: Optional[int], ahead_seconds: float, ahead_tasks: int, threads: int,
               horizon: float, guesses: int = 0) -> bool:
        """Whether one more task may be queued ahead.

        Parameters
        ----------
        run_seconds : float
            Expected run time of the task.
        samples : int or None
            How many runs of its app were seen. None: its run time is given.
        ahead_seconds : float
            Thread-seconds queued ahead already.
        ahead_tasks : int
            Tasks queued ahead already.
        threads : int
            Threads of the endpoint.
        horizon : float
            Seconds to bridge, shrunk to the fair share of what is left.
        guesses : int
            How many tasks may be queued ahead if the app was never seen.
        """
        if self.tasks_per_thread is not None:
            return ahead_tasks < self.tasks_per_thread * threads
        if samples is not None and ahead_tasks >= (threads + TASKS_PER_SAMPLE * samples if samples else guesses):
            return False
        # half a task may stick out over the horizon: rounding, not truncation, so that long tasks get few ahead but not always none
        return ahead_seconds + self.thread_seconds(run_seconds, threads) / 2 <= horizon * threads


class QueueAhead:
    """Applies the rule to the pool.

    Parameters
    ----------
    rule : AheadRule
    pool : Pool
    pending : PendingTasks
    placement : Placement
    runtimes : RunTimes

    Attributes
    ----------
    now : float
        Time of the event being handled, or at which all is settled.
    """

    def __init__(self, rule: AheadRule, pool: Pool, pending: PendingTasks, placement: Placement, runtimes: RunTimes) -> None:
        self._rule = rule
        self._pool = pool
        self._pending = pending
        self._placement = placement
        self._runtimes = runtimes
        self._gap = 0.0
        self._next_turn_at = float("-inf")
        self.now = float("-inf")
        self._changed = pool.watch()
        self._largest = max(threads.count for threads in pool.classes)  # at least, of those that ever were
        self._fill: Dict[int, float] = {}  # how much is queued ahead for each thread, by place, of those that may have more
        self._queues: List[Tuple[float, int]] = []  # the same in order, the emptiest first
        # by place: threads at a factor of 1, seconds queued ahead at a factor of 1, tasks queued ahead, whether a child has been asked for
        count = len(pool.classes)
        self._speeds, self._aheads, self._queued, self._asked = [0.0] * count, [0.0] * count, [0] * count, [False] * count
        self._counts = [threads.count for threads in pool.classes]  # available or not
        self._threads = sum(self._counts)
        self._fits = -1  # with which factors
        # what was seen at the last look, with which version of the pool and which factors
        self._looked_with = -1, -1
        self._looks_left = 0
        self._work, self._tasks, self._speed, self._bound, self._bound_tasks, self._children = 0.0, 0, 0.0, 0.0, 0, 0
        self._even: Optional[EvenEnd] = None  # None: speeds have changed
        self._share = 0.0

    @property
    def enabled(self) -> bool:
        """Whether anything is ever queued ahead."""
        return self._rule.tasks_per_thread != 0

    def thread_seconds(self, run_seconds: float, threads: Threads) -> float:
        """Share of the time of ``threads`` that a task of ``run_seconds`` there takes."""
        return self._rule.thread_seconds(run_seconds, threads.count)

    def turn(self, requests_per_second: Optional[float], next_turn: float) -> None:
        """Note at which rate requests are granted now, if that is known, and in how many seconds there may be another one.

        That may be infinite when it is not known: then it is taken to be as usual.
        """
        if requests_per_second and requests_per_second != self._rule.requests_per_second:
            self._rule = replace(self._rule, requests_per_second=requests_per_second)
        usual = 1 / self._rule.requests_per_second if self._rule.requests_per_second else 0.0
        self._gap = next_turn if next_turn < math.inf else usual
        self._next_turn_at = self.now + self._gap

    def refresh(self, left: int = 0) -> None:
        """Look again at how much is left, if the last look is too old. To be called before :meth:`horizon`, once for many calls.

        So many tasks are ``left`` to free threads.
        """
        if (self._looks_left <= 0 or abs(len(self._pending) - self._tasks) * _SHARE_STALENESS > self._tasks or
                self._looked_with != (self._pool.version, self._runtimes.fits)):
            self._look()
        self._looks_left -= 1
        self._share = self._fair_share(left)

    def horizon(self, threads: Threads) -> float:
        """Seconds of work to queue ahead: never more than an endpoint's fair share of what is left, or what is done in :meth:`until_turn`."""
        most, share = self._rule.horizon(self._children), self._share
        if share < most and self._reach > share:
            share = max(share, self.until_turn(threads))
        return min(most, share)

    def worth_a_request(self, threads: Threads) -> float:
        """Seconds of work of which no more may be queued ahead for each thread, if a request is to bring more."""
        return self._rule.worth_a_request(self.horizon(threads))

    def until_turn(self, threads: Threads) -> float:
        """Seconds of work for each thread that are better done here than left to others, each of which needs a request of its own.

        That counts no thread with a task that is late, or of whose run time nothing is known.
        """
        reach = self._reach
        if reach <= 0 or self._rule.tasks_per_thread is not None:
            return 0.0
        free = threads.seconds_until(self.now + reach, self.now, self._placement.is_known) / threads.count
        return min(reach, free, self._rule.horizon(self._children))

    @property
    def _reach(self) -> float:
        """Seconds until the next request, or until all children would be done if they were idle and had one request after the other.

        What is done by then need not be shared out evenly: those whose turn comes later would not be done with it sooner.
        """
        if self._even is None:
            self._even = EvenEnd(self._speeds)
        return max(self._next_turn_at - self.now, self._even.seconds(self._work, self._gap) if self._gap > 0 else 0.0)

    def is_done_in(self, seconds: float, task: Task, threads: Threads) -> bool:
        """Whether ``task``, queued ahead on ``threads``, is done with all that is before it in so many seconds of each thread."""
        run_seconds = self._placement.run_seconds(task, threads)
        return run_seconds <= seconds and threads.child.ahead_seconds + self.thread_seconds(run_seconds, threads) <= seconds * threads.count

    def hungry(self) -> Iterator[Threads]:
        """Threads, none of them free, whose queue is so empty that more is worth a request. Those with the emptiest come first.

        Those without room for any of the tasks that come first are left out if that can be told without a look at them: they may be many.
        """
        self.refresh()
        self._look_at_changes()
        if self._rule.tasks_per_thread is not None:
            for fill, place in self._queues:
                if fill >= self._rule.tasks_per_thread:
                    return
                yield self._pool.classes[place]
            return
        longest = min(self._rule.horizon(self._children), max(self._share, self._reach))
        most = self._rule.worth_a_request(longest) - self._least_more()
        for fill, place in self._queues:
            if fill > most:
                return
            threads = self._pool.classes[place]
            if fill <= self.worth_a_request(threads):
                yield threads

    def _least_more(self) -> float:
        """By how many seconds the queue of a thread class may be fuller, for each thread, than before the shortest task that comes first.

        Half of that may stick out. Infinite if nothing is known of any of them.
        """
        def seconds(task: Task) -> float:
            if task.seconds is not None:
                return task.seconds
            if self._runtimes.samples(task.app):
                return self._placement.app_seconds(task.app)
            return 0.0 if self._guesses(task.app) else math.inf

        known = (seconds(task) for task in self._pending.heads())
        return min(known, default=math.inf) * self._runtimes.least / self._largest / 2 * (1 - 1e-9)

    def _look_at_changes(self) -> None:
        """Bring the order of queues up to date."""
        if self._fits != self._runtimes.fits:
            self._fits = self._runtimes.fits
            self._changed.update(dict.fromkeys(self._pool.classes))
        while self._changed:
            threads, _ = self._changed.popitem()
            self._account(threads)
            child, before = threads.child, self._fill.pop(threads.place, None)
            self._largest = max(self._largest, threads.count)
            if before is not None:
                del self._queues[bisect_left(self._queues, (before, threads.place))]
            if child.may_queue_ahead and threads.free <= 0 and threads.endpoint.available:
                fill = self._fill[threads.place] = self._fill_of(threads)
                insort(self._queues, (fill, threads.place))

    def _account(self, threads: Threads) -> None:
        first, factor = threads.child.classes[0], self._runtimes.factor(threads.endpoint.name)
        self._threads += threads.count - self._counts[threads.place]
        self._counts[threads.place] = threads.count
        speed = threads.count / factor if threads.endpoint.available else 0.0
        if speed != self._speeds[threads.place]:
            self._speeds[threads.place] = speed
            self._even = None
        self._aheads[first.place] = first.child.ahead_seconds / factor if threads.endpoint.available else 0.0
        self._queued[first.place] = len(first.child.ahead) if threads.endpoint.available else 0
        self._asked[first.place] = first.child.asked is not None

    def check(self) -> None:
        """Check that what is known of the queues is so.

        Raises
        ------
        AssertionError
            If it is not.
        """
        self._look_at_changes()
        expected = {t.place: self._fill_of(t) for t in self._pool.classes if t.child.may_queue_ahead and t.free <= 0 and t.endpoint.available}
        assert self._fill == expected, "the account of what is queued ahead is wrong"
        assert self._queues == sorted((fill, place) for place, fill in expected.items())
        known = [each.copy() for each in (self._speeds, self._aheads, self._queued, self._asked, self._counts)]
        assert self._threads == sum(threads.count for threads in self._pool.classes)
        for threads in self._pool.classes:
            self._account(threads)
        assert known == [self._speeds, self._aheads, self._queued, self._asked, self._counts], "the account of what threads there are is wrong"

    def _fill_of(self, threads: Threads) -> float:
        child = threads.child
        return (child.ahead_seconds if self._rule.tasks_per_thread is None else len(child.ahead)) / threads.count

    def has_room(self, threads: Threads, task: Task, horizon: float) -> bool:
        """Whether ``task`` may be queued ahead on ``threads``."""
        child, samples, guesses = threads.child, None if task.seconds is not None else self._runtimes.samples(task.app), 0
        if samples == 0:
            guesses = threads.count * self._guesses(task.app)
            horizon = self._rule.horizon(self._children)  # the fair share of what is left knows nothing of such tasks
        return child.may_queue_ahead and self._rule.allows(
            run_seconds=self._placement.run_seconds(task, threads), samples=samples, ahead_seconds=child.ahead_seconds,
            ahead_tasks=len(child.ahead), threads=threads.count, horizon=horizon, guesses=guesses)

    def _guesses(self, app: str) -> int:
        """How many tasks of ``app``, which was never seen, may be queued ahead for each thread: few of the many that are pending."""
        return min(MOST_GUESSES, self._pending.count_by_app().get(app, 0) // (PENDING_FOR_A_GUESS * self._threads))

    def _look(self) -> None:
        """See what is left, as far as its run times are known, and what threads there are for it."""
        self._look_at_changes()
        self._work = self._pending.given_seconds
        for app, count in self._pending.count_by_app().items():
            self._work += count * (self._runtimes.mean(app) or 0.0)
        self._tasks = len(self._pending)
        self._speed, self._bound, self._bound_tasks = sum(self._speeds), sum(self._aheads), sum(self._queued)
        self._children = max(len(self._pool), sum(self._asked))
        self._looked_with = self._pool.version, self._runtimes.fits
        self._looks_left = self._tasks // _SHARE_STALENESS

    def _fair_share(self, left: int) -> float:
        """Seconds that all available threads together would take for the work that has not begun, but for what is left to free threads."""
        if not self._speed:
            return 0.0
        seconds, tasks = self._work, self._tasks
        if left:
            first = [task.seconds if task.seconds is not None else self._runtimes.mean(task.app) or 0.0
                     for task in self._pending.first_of_only_shape(min(left, _LOOKED_AT))]
            seconds -= sum(first) * left / len(first)
            tasks -= left
        # What is queued ahead counts either way, and a share of tasks is rounded up: else each endpoint would leave some of the last short
        # tasks to the next results, over and over.
        return max((max(seconds, 0.0) + self._bound) / self._speed,
                   AGENT_SECONDS_PER_TASK * ((tasks + self._bound_tasks) / len(self._pool) + 0.5))
