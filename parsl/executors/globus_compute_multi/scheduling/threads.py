"""The parts of an endpoint: thread classes, the child process that each belongs to, and the attempts they hold."""
from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Set, Tuple

from parsl.executors.globus_compute_multi.scheduling.pending import Shape, Task

if TYPE_CHECKING:
    from parsl.executors.globus_compute_multi.scheduling.pool import PooledEndpoint

#: Share of the time it has run that an attempt which should have ended is expected to go on for.
_OVERDUE_SHARE = 0.25


@dataclass(frozen=True)
class ClassSpec:
    """Threads alike, as the core needs to know them beforehand.

    Parameters
    ----------
    cores : int
        Cores of each thread.
    count : int
        Number of tasks that run at once.
    config : str or None
        Canonical text of the ``user_endpoint_config`` with which their child is started; None for the endpoint's default child.
    """

    cores: int
    count: int
    config: Optional[str] = None


@dataclass(eq=False)
class Attempt:
    """One try of a task on one endpoint.

    Parameters
    ----------
    id : str
        ``"<task>.<try>"``.
    task : Task
    threads : Threads
        The class that it is bound to.
    seconds : float
        Seconds it is expected to run there, as known when it was dispatched.
    began : float
        When it was bound to a thread, or was queued ahead.
    """

    __slots__ = ("id", "task", "threads", "seconds", "began", "dispatched", "accepted", "asked_about", "suspect")

    id: str
    task: Task
    threads: "Threads"
    seconds: float
    began: float

    def __post_init__(self) -> None:
        self.dispatched = self.began
        self.accepted: Optional[float] = None  # when the service took it
        self.asked_about: Optional[str] = None  # why the service is asked for its result, if it is
        self.suspect = False  # whether the child may have been started anew since it took it


class Child:
    """The process that an endpoint starts for one ``user_endpoint_config``: where its thread classes live.

    It runs what it holds in order, on any of its workers. So attempts may be queued ahead only if its threads are all of one class.

    Attributes
    ----------
    endpoint : PooledEndpoint
    config : str or None
    classes : list of Threads
    ahead : dict
        Attempts queued ahead, by ID, in order.
    ahead_seconds : float
        Thread-seconds that they are expected to take.
    id : str or None
        Endpoint ID of its process, once that is known.
    last_result : float or None
        When the last result came from it.
    processes : set of str
        What tells the processes under this ID that have sent results from one another, if the engine's workers can tell.
    heartbeat : float
        Seconds between two of its signs of life, as far as known.
    taken : int or None
        How many tasks it had taken since it began, as its status last told.
    busy_at : float or None
        When its status last told that it had tasks to run.
    calm_until : float
        Till then none of its attempts can be overdue.
    asked : float or None
        When it was first given a task.
    warm : bool
        Whether it has shown that it runs: by a result, or by workers. A *cold* one may wait in a batch queue.
    worked : bool
        Whether a task has ever run on it: its ``user_endpoint_config`` is one with which it can start.
    """

    def __init__(self, endpoint: "PooledEndpoint", config: Optional[str]) -> None:
        self.endpoint = endpoint
        self.config = config
        self.classes: List[Threads] = []
        self.ahead: Dict[str, Attempt] = {}
        self.ahead_seconds = 0.0
        self.id: Optional[str] = None
        self.last_result: Optional[float] = None
        self.processes: Set[str] = set()
        self.heartbeat = 0.0
        self.taken: Optional[int] = None
        self.busy_at: Optional[float] = None
        self.calm_until = float("-inf")
        self.asked: Optional[float] = None
        self.warm = False
        self.worked = False

    @property
    def may_queue_ahead(self) -> bool:
        """Whether attempts may be queued ahead."""
        return self.warm and len(self.classes) == 1 and not self.endpoint.probing

    @property
    def is_idle(self) -> bool:
        """Whether it holds no attempts."""
        return not self.ahead and not any(threads.running for threads in self.classes)

    def held(self) -> List[Attempt]:
        """All attempts that it holds, those that run first."""
        return [*(attempt for threads in self.classes for attempt in threads.running.values()), *self.ahead.values()]

    def cool(self) -> None:
        """Note that nothing shows any longer that it runs."""
        self.warm, self.asked, self.taken, self.busy_at = False, None, None, None

    def startup_wait(self, now: float) -> float:
        """Seconds until a cold child is expected to run tasks. A start-up that takes longer than known takes, to expect, as long again."""
        if self.warm:
            return 0.0
        known = self.endpoint.startup_seconds
        if self.asked is None:
            return known or 0.0
        elapsed = now - self.asked
        return known - elapsed if known is not None and known > elapsed else elapsed


class Threads:
    """A thread class of an endpoint in the pool, with the attempts that run on it.

    Attributes
    ----------
    child : Child
    endpoint : PooledEndpoint
    index : int
        Its place among the classes that the endpoint was given.
    cores : int
    count : int
    running : dict
        Attempts bound to a thread, by ID; at most ``count``.
    promised : int
        Free threads that the dispatch being made leaves to tasks before those it takes.
    place : int
        Its place among all classes of the pool, in the user's order.
    awaited : dict
        Tasks that wait for a thread, and the seconds that they will take there, by task ID.
    """

    def __init__(self, child: Child, index: int, cores: int, count: int) -> None:
        self.child = child
        self.endpoint = child.endpoint
        self.index = index
        self.cores = cores
        self.count = count
        self.running: Dict[str, Attempt] = {}
        self.promised = 0
        self.place = 0
        self.awaited: Dict[int, Tuple[Task, float]] = {}
        self._ready: Optional[List[float]] = None  # when each thread will be, as a heap; None: not known
        self._known_until = 0.0  # then the next should end; if it does not, it is not known when it will
        self._ready_after: List[float] = []  # the same after all that wait
        self._last: Tuple[float, float, int] = (0.0, 0.0, 0)  # order of the last one that waits
        self._left: Optional[Tuple[float, float]] = None  # what time there is until then; None: not known

    def __str__(self) -> str:
        config = "" if self.child.config is None else f" ({self.child.config})"
        return f"{self.count} x {self.cores} core{'s' if self.cores != 1 else ''}{config}"

    @property
    def free(self) -> int:
        """Threads with no attempt bound to them; of an endpoint that is being probed, only one."""
        free = self.count - len(self.running) - self.promised
        if self.endpoint.probing:
            free = max(0, min(free, 1 - len(self.endpoint.probes) - sum(threads.promised for threads in self.endpoint.classes)))
        return free

    @property
    def begins_at_once(self) -> bool:
        """Whether a task given to a free thread is expected to start without delay, whenever that is."""
        child = self.child
        return not self.awaited and (child.warm or (child.asked is None and not self.endpoint.startup_seconds))

    def fits(self, shape: Shape) -> bool:
        """Whether tasks of this shape may ever run here."""
        return (shape.cores <= self.cores and
                (shape.endpoints is None or self.endpoint.name in shape.endpoints) and
                (shape.filesystem is None or shape.filesystem == self.endpoint.filesystem) and
                (shape.config is None or shape.config == self.child.config))

    def bind(self, attempt: Attempt) -> bool:
        """Take an attempt; True if a thread was free for it, False if it is queued ahead."""
        self._ready = self._left = None
        if len(self.running) < self.count:
            self.running[attempt.id] = attempt
            return True
        self.child.ahead[attempt.id] = attempt
        self.child.ahead_seconds += attempt.seconds
        return False

    def release(self, attempt: Attempt, now: float) -> Optional[Attempt]:
        """Forget a finished attempt.

        Returns
        -------
        Attempt or None
            The attempt queued ahead that takes over the thread.
        """
        self._ready = None
        self.forget(attempt)
        return self.promote(now)

    def forget(self, attempt: Attempt) -> None:
        """Let go of an attempt without letting another take over its thread."""
        if attempt.id in self.child.ahead:
            self._leave_ahead(attempt)
        else:
            del self.running[attempt.id]
        self._left = None

    def promote(self, now: float) -> Optional[Attempt]:
        """Bind the first attempt queued ahead to a free thread, if there are both; returns it."""
        if not self.child.ahead or len(self.running) >= self.count:
            return None
        successor = next(iter(self.child.ahead.values()))
        self._leave_ahead(successor)
        successor.began = now
        self.running[successor.id] = successor
        self._left = None
        return successor

    def began(self, time: float) -> None:
        """Note that the child has begun to run tasks at ``time``: what was bound to a thread before began then."""
        self._ready = self._left = None
        for attempt in self.running.values():
            attempt.began = max(attempt.began, time)

    def resize(self, count: int) -> List[Attempt]:
        """Set the number of threads.

        Returns
        -------
        list of Attempt
            Those that are queued ahead now since there is no thread for them.
        """
        self._ready = self._left = None
        self.count = count
        demoted = list(self.running.values())[count:]
        for attempt in demoted:
            del self.running[attempt.id]
        child = self.child
        child.ahead = {**{attempt.id: attempt for attempt in demoted}, **child.ahead}
        child.ahead_seconds = sum(attempt.seconds for attempt in child.ahead.values())
        return demoted

    def await_thread(self, task: Task, seconds: float) -> None:
        """Count on ``task`` to take a thread for ``seconds`` when one is free."""
        self.awaited[task.id] = task, seconds
        if self._ready is not None:
            heapq.heapreplace(self._ready_after, self._ready_after[0] + seconds)
            self._last = max(self._last, task.order)

    def await_no_more(self, task: Task) -> None:
        """Do not count on ``task`` any longer."""
        del self.awaited[task.id]
        self._ready = None

    def starts_in(self, task: Task, now: float) -> float:
        """Seconds until ``task``, given to this class now, is expected to start: after what runs, is queued ahead, or waits and comes first."""
        cold = self.child.startup_wait(now)
        if self.free > 0 and not self.awaited:
            return cold
        if self._ready is None or now > self._known_until:
            shift = self.child.ahead_seconds / self.count
            self._ready = [_expected_end(attempt, now) + shift for attempt in self.running.values()]
            self._ready += [now] * (self.count - len(self._ready))
            heapq.heapify(self._ready)
            self._ready_after = self._after(self._ready, [seconds for _, seconds in self.awaited.values()])
            self._known_until = min((_expected_end(attempt, now) for attempt in self.running.values()), default=float("inf"))
            self._last = max((waiting.order for waiting, _ in self.awaited.values()), default=task.order)
        if task.order >= self._last:  # the usual case: the queue is gone through in order
            ready = self._ready_after
        else:
            ready = self._after(self._ready, [seconds for waiting, seconds in self.awaited.values() if waiting.order < task.order])
        return max(0.0, ready[0] - now) + cold

    def seconds_until(self, then: float, now: float, is_known: Callable[[Task], bool]) -> float:
        """For how many seconds its threads together are expected not to run what they run now, before ``then``.

        As of the first question since that has changed. Nothing is expected of a task that is late, or whose run time is not known.
        """
        if self._left is None or self._left[0] != then:
            ends = [attempt.began + attempt.seconds for attempt in self.running.values() if is_known(attempt.task)]
            idle = max(0, self.count - len(self.running)) * (then - now)
            self._left = then, sum([then - end for end in ends if now <= end < then]) + idle
        return self._left[1]

    @staticmethod
    def _after(ready: List[float], seconds: List[float]) -> List[float]:
        """When each thread is ready, as a heap, if threads take tasks of so many seconds as they become ready."""
        ready = list(ready)
        for s in seconds:
            heapq.heapreplace(ready, ready[0] + s)
        return ready

    def _leave_ahead(self, attempt: Attempt) -> None:
        child = self.child
        del child.ahead[attempt.id]
        # the sum starts afresh with an empty queue, so that rounding errors do not pile up
        child.ahead_seconds = child.ahead_seconds - attempt.seconds if child.ahead else 0.0


def _expected_end(attempt: Attempt, now: float) -> float:
    end = attempt.began + attempt.seconds
    return end if end >= now else now + (now - attempt.began) * _OVERDUE_SHARE
