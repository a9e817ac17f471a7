"""The endpoint pool: what is known of every endpoint, and which may be given tasks now."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence

from parsl.executors.globus_compute_multi.scheduling.pending import Task

#: A status of "offline" is not believed while results came in within this time, in seconds: statuses are stale and sometimes wrong.
DOUBT_OFFLINE_SECONDS = 60.0

#: After a rejected dispatch an endpoint is left alone for this long, in seconds, doubled with each further one up to the maximum.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True)
class EndpointSpec:
    """What the core needs to know of an endpoint beforehand.

    Parameters
    ----------
    name : str
        Unique in the pool.
    threads : int
        Number of tasks that run at once.
    cores : int
        Cores of each thread.
    """

    name: str
    threads: int
    cores: int = 1


@dataclass(eq=False)
class Attempt:
    """One try of a task on one endpoint.

    Parameters
    ----------
    id : str
        ``"<task>.<try>"``.
    task : Task
    endpoint : PooledEndpoint
    seconds : float or None
        Thread-seconds it is expected to take there, as known when it was dispatched.
    """

    __slots__ = ("id", "task", "endpoint", "seconds")

    id: str
    task: Task
    endpoint: "PooledEndpoint"
    seconds: Optional[float]


class PooledEndpoint:
    """State of one endpoint: its threads, what it holds, and what was last heard of it.

    *running* attempts are bound to a thread, at most ``threads`` of them; attempts *queued ahead* wait at the endpoint, in order.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        self.name = spec.name
        self.threads = spec.threads
        self.cores = spec.cores
        self.running: Dict[str, Attempt] = {}
        self.ahead: Dict[str, Attempt] = {}
        self.ahead_seconds = 0.0
        self.online = True
        self.warm = False  # a result has come from it
        self.last_result: Optional[float] = None
        self.paused_until: Optional[float] = None
        self.rejections = 0
        self.children: List[str] = []

    @property
    def free_threads(self) -> int:
        """Threads with no attempt bound to them."""
        return self.threads - len(self.running)

    def available(self, now: float) -> bool:
        """Whether tasks may be given to it at time ``now``."""
        return self.online and (self.paused_until is None or now >= self.paused_until)

    def bind(self, attempt: Attempt) -> bool:
        """Take an attempt; True if a thread was free for it, False if it is queued ahead."""
        if self.free_threads > 0:
            self.running[attempt.id] = attempt
            return True
        self.ahead[attempt.id] = attempt
        self.ahead_seconds += attempt.seconds or 0.0
        return False

    def release(self, attempt: Attempt) -> Optional[Attempt]:
        """Forget a finished attempt.

        Returns
        -------
        Attempt or None
            The attempt queued ahead that takes over the thread.
        """
        if attempt.id in self.ahead:
            self._leave_ahead(attempt)
            return None
        del self.running[attempt.id]
        if not self.ahead:
            return None
        successor = next(iter(self.ahead.values()))
        self._leave_ahead(successor)
        self.running[successor.id] = successor
        return successor

    def forget(self, attempt: Attempt) -> None:
        """Let go of an attempt without letting another take over its thread."""
        if attempt.id in self.ahead:
            self._leave_ahead(attempt)
        else:
            del self.running[attempt.id]

    def _leave_ahead(self, attempt: Attempt) -> None:
        del self.ahead[attempt.id]
        # the sum starts afresh with an empty queue, so that rounding errors do not pile up
        self.ahead_seconds = self.ahead_seconds - (attempt.seconds or 0.0) if self.ahead else 0.0

    def pause(self, now: float) -> float:
        """Leave it alone for a while after a rejected dispatch; returns for how many seconds."""
        seconds = min(FIRST_PAUSE_SECONDS * 2 ** self.rejections, LONGEST_PAUSE_SECONDS)
        self.paused_until = now + seconds
        self.rejections += 1
        return seconds

    def heard_result(self, now: float) -> None:
        """A result came from it."""
        self.warm = True
        self.last_result = now
        self.rejections = 0
        self.paused_until = None

    def may_be_offline(self, now: float) -> bool:
        """Whether a status of "offline" at ``now`` is to be believed."""
        return self.last_result is None or now - self.last_result > DOUBT_OFFLINE_SECONDS


class Pool:
    """All endpoints, by name, in the user's order."""

    def __init__(self, specs: Sequence[EndpointSpec]) -> None:
        self.endpoints = {spec.name: PooledEndpoint(spec) for spec in specs}

    def __iter__(self) -> Iterator[PooledEndpoint]:
        return iter(self.endpoints.values())

    def __len__(self) -> int:
        return len(self.endpoints)

    def __getitem__(self, name: str) -> PooledEndpoint:
        return self.endpoints[name]

    def thread_classes(self) -> str:
        """The thread classes there are, for people."""
        return ", ".join(f"{e.name}: {e.threads} x {e.cores} core{'s' if e.cores != 1 else ''}" for e in self)
