"""Where a task goes: the free threads closest to its requirement, one of them by the policy, or a wait for better ones."""
from __future__ import annotations

import heapq
import math
from types import MappingProxyType
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from parsl.executors.globus_compute_multi.scheduling.free_threads import FreeThreads
from parsl.executors.globus_compute_multi.scheduling.pending import (
    PendingTasks,
    Shape,
    Task,
)
from parsl.executors.globus_compute_multi.scheduling.policy import (
    EarliestFinish,
    Outlook,
    Policy,
)
from parsl.executors.globus_compute_multi.scheduling.pool import Pool
from parsl.executors.globus_compute_multi.scheduling.runtimes import LONGEST, RunTimes
from parsl.executors.globus_compute_multi.scheduling.threads import Child, Threads

#: How often a task may wait for other threads than the free ones. Each wait ends when it has cost what it should have gained.
MOST_WAITS = 5

#: A task that has failed on an endpoint waits for others for so many seconds before it is tried there again, if those are only busy.
AVOID_SECONDS = 60.0

#: Speeds are compared anew when so many results have come since, as a share of all, so that it costs next to nothing for each.
_COMPARE_AGAIN = 0.25

#: Of so many shapes, and of two for each that is pending, it is known which threads are free for it.
_MOST_KNOWN = 100

_NONE: Mapping[Threads, None] = MappingProxyType({})


class PolicyError(Exception):
    """The policy raised, or returned something that it was not offered."""


class Placement:
    """Chooses threads for tasks, and keeps account of those that wait for threads that are not free.

    Parameters
    ----------
    pool : Pool
    pending : PendingTasks
    policy : Policy
    runtimes : RunTimes

    Attributes
    ----------
    by_finish : bool
        Whether the policy is known to go by the expected finish and nothing else.
    """

    def __init__(self, pool: Pool, pending: PendingTasks, policy: Policy, runtimes: RunTimes) -> None:
        self.waiting: Dict[int, Task] = {}
        self._pool = pool
        self._pending = pending
        self._policy = policy
        self.by_finish = type(policy) is EarliestFinish  # of a known rule, not of what a user has derived from it
        self._runtimes = runtimes
        self._outlook = Outlook(0.0, self.run_seconds, self._clearly_faster)
        self._deadlines: List[Tuple[float, int, int]] = []
        self._avoiding: List[Tuple[float, int, int, Task]] = []
        self._better: Dict[Threads, Dict[Threads, None]] = {}
        self._free: Dict[Shape, _Known] = {}  # of the pool's version
        self._last: Optional[Tuple[Shape, _Known]] = None  # that which was asked for last
        self._changed = pool.watch()
        self._fitting: List[List[_Known]] = [[] for _ in pool.classes]  # by place, those in which they could be
        self._free_version = -1
        self._results = 0
        self._compare_at = 0.0

    # estimates

    def app_seconds(self, app: str) -> float:
        """Expected run time of a task of ``app`` on an endpoint of speed 1."""
        mean = self._runtimes.mean(app)
        return mean if mean is not None else self._runtimes.typical()

    def run_seconds(self, task: Task, threads: Threads) -> float:
        """Expected run time of ``task`` on ``threads``."""
        return self._unscaled(task) * self._runtimes.factor(threads.endpoint.name)

    def _unscaled(self, task: Task) -> float:
        return self.app_seconds(task.app) if task.seconds is None else task.seconds

    def is_known(self, task: Task) -> bool:
        """Whether the run time of ``task`` is given, or its app was seen; else it is guessed from other apps."""
        return task.seconds is not None or self._runtimes.samples(task.app) > 0

    @property
    def anything_seen(self) -> bool:
        """Whether any run has been seen, so that there is something to guess from."""
        return self._results > 0

    def observe(self, task: Task, threads: Threads, seconds: float) -> None:
        """Learn from a task that ran for ``seconds`` on ``threads``, unless that cannot be (an endpoint's clock was set back, say)."""
        if not 0 <= seconds <= LONGEST or (task.seconds or 0.0) > LONGEST:
            return
        self._runtimes.observe(task.app, threads.endpoint.name, seconds, task.seconds)
        self._results += 1
        if self._results >= self._compare_at:
            self.compare_again()

    def compare_again(self) -> None:
        """Forget which threads are better than which, since something has changed that may make a difference."""
        self._better.clear()
        self._forget_free()  # what a waiting task takes depends on it
        self._compare_at = self._results * (1 + _COMPARE_AGAIN) + 1

    # what fits where

    def takes(self, threads: Threads, shape: Shape) -> bool:
        """Whether tasks of this shape may go to ``threads`` now, be they free or not."""
        if not threads.fits(shape):
            return False
        if shape.avoid and threads.endpoint.name in shape.avoid:
            return not any(t.endpoint.available and t.endpoint.name not in shape.avoid for t in self._pool.fitting(shape))
        awaited = shape.awaits
        return awaited is None or threads is awaited or self._as_good(threads, awaited)

    def free_for(self, shape: Shape) -> FreeThreads:
        """Free threads for tasks of this shape. It offers those whose number of cores is closest to the requirement."""
        if self._free_version != self._pool.version:
            self._free_version = self._pool.version
            self._forget_free()
        while self._changed:
            threads, _ = self._changed.popitem()
            for one in self._fitting[threads.place]:
                one.changed[threads] = None
        # most tasks have the same shape, and to look it up takes longer than all the rest
        known = self._last[1] if self._last is not None and self._last[0] is shape else self._free.get(shape)
        if known is None:
            if len(self._free) > _MOST_KNOWN + 2 * len(self._pending.shapes()):
                self._forget_free()  # most are of shapes of which there are no tasks any more
            known = self._free[shape] = _Known(FreeThreads(self._pool.classes, self.free_that_suit(shape), self._factor))
            for threads in self._pool.fitting(shape):
                self._fitting[threads.place].append(known)
        elif known.changed:
            for threads in known.changed:
                known.free.update(threads, threads.free if self._pool.is_free(threads) and self.takes(threads, shape) else 0)
            known.changed.clear()
        self._last = shape, known
        return known.free

    def _forget_free(self) -> None:
        self._free.clear()
        self._last = None
        self._changed.clear()
        for known in self._fitting:
            known.clear()

    def free_that_suit(self, shape: Shape, suits: Callable[[Threads], bool] = lambda threads: True) -> List[Threads]:
        """All free threads for tasks of this shape, of those that suit."""
        fitting, pool = self._pool.fitting(shape), self._pool
        # if it may go anywhere, those that are free are looked at only
        free = pool.free() if len(fitting) == len(pool.classes) else filter(pool.is_free, fitting)
        return [threads for threads in free if self.takes(threads, shape) and suits(threads)]

    def _factor(self, threads: Threads) -> float:
        return self._runtimes.factor(threads.endpoint.name)

    def check(self) -> None:
        """Check that what is known of free threads is so.

        Raises
        ------
        AssertionError
            If it is not.
        """
        for shape in list(self._free):
            self.free_for(shape).check({t.place: t.free for t in self.free_that_suit(shape)}, self._runtimes.fits)

    def first_ready(self) -> Optional[Task]:
        """The first pending task for which there is a free thread that it does not refuse."""
        return self._pending.first(lambda shape: bool(self.free_for(shape)))

    def _as_good(self, threads: Threads, awaited: Threads) -> bool:
        """Whether a task that waits for ``awaited`` takes ``threads`` instead: if it would not wait, were those free."""
        try:
            return awaited not in self._better_than(threads)
        except PolicyError:
            return True  # a policy that cannot tell keeps no task waiting

    def _better_than(self, free: Threads) -> Dict[Threads, None]:
        known = self._better.get(free)
        if known is None and self._is_best(free):
            known = self._better[free] = {}
        if known is None:
            outlook = self._look_out(0.0, None)
            better = (t for t in self._pool.classes if t is not free and self._worth_waiting(t, free, outlook))
            known = self._better[free] = dict.fromkeys(better)
        return known

    def _is_best(self, free: Threads) -> bool:
        """Whether the policy is sure to find none better than these, so that it need not be asked about all."""
        if not self.by_finish:
            return False
        return free.child.warm and not self._runtimes.may_be_slower(free.endpoint.name)

    def _worth_waiting(self, busy: Threads, free: Threads, outlook: Outlook) -> bool:
        try:
            return bool(self._policy.worth_waiting(busy, free, outlook))
        except (Exception, SystemExit) as e:
            raise self._error(f"raised {_told(e)} in worth_waiting()") from e

    # the choice

    def choose(self, task: Task, now: float, filling: Optional[Child] = None) -> Threads:
        """Threads for ``task``, for which there is a free thread: a free one, or a busy one that it had better wait for.

        Raises
        ------
        PolicyError
        """
        free = self.free_for(task.shape)
        if self.by_finish and self._unscaled(task) > 0:
            candidates = free.shortlist(len(self._pending), filling, self._runtimes.fits)  # of all, it would choose one of these
        else:
            candidates = free.offered
        return self.ask(task, candidates + self._worth_a_wait(task, free), now, filling)

    def is_alike(self, task: Task, last: Task, threads: Threads) -> bool:
        """Whether ``task`` is sure to get the same threads as ``last``, the first ready task before it, has just got, with nothing between.

        ``last`` did not wait for any. So if the policy goes by the expected finish, and prefers the child that the request goes to: of other
        threads none has become better.
        """
        return (self.by_finish and threads.free > 0 and not threads.awaited and
                len(threads.child.classes) == 1 and task.shape == last.shape and task.waits == last.waits and
                (task.seconds is None) == (last.seconds is None) and self._unscaled(task) == self._unscaled(last))

    def may_wait(self, task: Task) -> bool:
        """Whether there are busy threads for which ``task``, for which there is a free thread, might wait.

        Raises
        ------
        PolicyError
        """
        free = self.free_for(task.shape)
        better = self._better_for(task, free)
        return bool(better) and any(self._is_worth_a_wait(task, t, free) for t in better)

    def _worth_a_wait(self, task: Task, free: FreeThreads) -> Tuple[Threads, ...]:
        better = self._better_for(task, free)
        return tuple(t for t in better if self._is_worth_a_wait(task, t, free)) if better else ()

    def _better_for(self, task: Task, free: FreeThreads) -> Mapping[Threads, None]:
        """Threads, free or not, that are better than the best free ones, if ``task`` may wait."""
        if not self._policy.waits or task.waits >= MOST_WAITS or task.shape.awaits is not None:
            return _NONE
        return self._better_than(free.fastest(self._runtimes.fits))

    def _is_worth_a_wait(self, task: Task, busy: Threads, free: FreeThreads) -> bool:
        return (busy.free <= 0 and busy.endpoint.available and not busy.endpoint.probing and busy.cores <= free.first.cores and
                self.takes(busy, task.shape))

    def ask(self, task: Task, candidates: Sequence[Threads], now: float, filling: Optional[Child] = None) -> Threads:
        """What the policy chooses of ``candidates``. It is not asked when there is no choice.

        Raises
        ------
        PolicyError
        """
        if len(candidates) == 1:
            return candidates[0]
        try:
            chosen = self._policy.choose(task, candidates, self._look_out(now, filling))
        except (Exception, SystemExit) as e:
            raise self._error(f"raised {_told(e)}") from e
        if not any(chosen is candidate for candidate in candidates):
            raise self._error(f"chose {_told(chosen)}, which it was not offered; it must return one of its candidates")
        return chosen

    def _error(self, what: str) -> PolicyError:
        return PolicyError(f"the policy {_told(self._policy)} {what}")

    def _look_out(self, now: float, filling: Optional[Child]) -> Outlook:
        self._outlook.now = now
        self._outlook.ready = len(self._pending)
        self._outlook.filling = filling
        return self._outlook

    def _clearly_faster(self, threads: Threads, others: Threads) -> bool:
        return self._runtimes.clearly_faster(threads.endpoint.name, others.endpoint.name)

    # waiting

    def wait(self, task: Task, threads: Threads, now: float) -> float:
        """Let ``task``, the first that is ready, wait for ``threads``; returns for how many seconds at most."""
        outlook = self._look_out(now, None)
        free = min(self.free_for(task.shape).offered, key=lambda t: outlook.finish(task, t))
        try:
            patience = float(self._policy.patience(task, threads, free, outlook))
        except (Exception, SystemExit) as e:
            raise self._error(f"raised {_told(e)} in patience()") from e
        if math.isnan(patience):
            raise self._error("returned NaN from patience(); it must be a number of seconds")
        patience = max(0.0, patience)
        self._pending.remove_first(task)
        task.waits += 1
        task.shape = task.shape._replace(awaits=threads)
        self._pending.add(task)
        threads.await_thread(task, self.run_seconds(task, threads))
        self._pool.note(threads)
        self.waiting[task.id] = task
        if patience < math.inf:
            heapq.heappush(self._deadlines, (now + patience, task.id, task.waits))
        return patience

    def end_wait(self, task: Task) -> None:
        """Note that ``task``, which is not in the queue now, does not wait any longer."""
        if task.shape.awaits is not None:
            task.shape.awaits.await_no_more(task)
            self._pool.note(task.shape.awaits)
            task.shape = task.shape._replace(awaits=None)
            del self.waiting[task.id]

    def end_waits(self, now: float) -> List[Task]:
        """End the waits that have lasted long enough, or are for threads that are not available any longer; returns their tasks."""
        ended: List[Task] = []
        if self.waiting and self._pool.any_away:
            for shape in self._pending.shapes():
                if shape.awaits is not None and not shape.awaits.endpoint.available:
                    ended += self._pending.take_all(shape)
        while self._deadlines and self._deadlines[0][0] <= now:
            _, task_id, wait = heapq.heappop(self._deadlines)
            task = self.waiting.get(task_id)
            if task is not None and task.waits == wait and task.shape.awaits is not None and task.shape.awaits.endpoint.available:
                self._pending.discard(task)
                ended.append(task)
        for task in ended:
            self.end_wait(task)
            self._pending.add(task)
        while self._avoiding and self._avoiding[0][0] <= now:
            *_, tries, task = heapq.heappop(self._avoiding)
            if not task.done and not task.active and task.tries == tries:
                self._pending.discard(task)
                task.shape = task.shape._replace(avoid=frozenset())
                self._pending.add(task)
                ended.append(task)
        return ended

    def avoid(self, task: Task, endpoint: str, now: float) -> None:
        """Let ``task``, which is not in the queue now, go elsewhere than to ``endpoint``, if it can within a minute."""
        task.shape = task.shape._replace(avoid=task.shape.avoid | {endpoint})
        self.renew_avoidance(task, now)

    def renew_avoidance(self, task: Task, now: float) -> None:
        """Let ``task``, which is not in the queue now, avoid the endpoints where it has failed for another minute."""
        heapq.heappush(self._avoiding, (now + AVOID_SECONDS, task.id, task.tries, task))

    @property
    def wakes_at(self) -> Optional[float]:
        """When the next wait has lasted long enough."""
        return min((heap[0][0] for heap in (self._deadlines, self._avoiding) if heap), default=None)


class _Known:
    """Free threads for a shape, and those that have changed since they were put in."""

    __slots__ = ("free", "changed")

    def __init__(self, free: FreeThreads) -> None:
        self.free = free
        self.changed: Dict[Threads, None] = {}


def _told(thing: object) -> str:
    """What something of the user's says of itself, if it can."""
    try:
        return f"{type(thing).__name__}: {thing}" if isinstance(thing, BaseException) else repr(thing)
    except Exception:
        return f"a {type(thing).__name__}"
