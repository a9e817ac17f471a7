"""The endpoint pool: what is known of every endpoint, and which threads may be given tasks now."""
from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from parsl.executors.globus_compute_multi.scheduling.pending import Shape
from parsl.executors.globus_compute_multi.scheduling.threads import (
    Child,
    ClassSpec,
    Threads,
)

#: A status of "offline" is not believed while results came in within this time, in seconds: statuses are stale and sometimes wrong.
DOUBT_OFFLINE_SECONDS = 60.0

#: An endpoint that fails is left alone for this long, in seconds, doubled with each further failure up to the maximum.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

#: Enough for the longest pause; a number that is too large would be an error one day.
_MOST_DOUBLINGS = 10


@dataclass(frozen=True)
class EndpointSpec:
    """What the core needs to know of an endpoint beforehand.

    Parameters
    ----------
    name : str
        Unique in the pool.
    classes : tuple of ClassSpec
        At least one.
    count_is_given : bool
        False: the number of threads is a guess, and that of the workers its child reports replaces it.
    speed : float or None
        Relative speed, if the user knows it (2.0: twice as fast as 1.0). None: it is learned.
    filesystem : str or None
        Endpoints with the same name share files. None: one of its own.
    startup_seconds : float or None
        How long its child takes to run its first task, if the user knows it.
    cost_per_core_hour : float
    """

    name: str
    classes: Tuple[ClassSpec, ...]
    count_is_given: bool = True
    speed: Optional[float] = None
    filesystem: Optional[str] = None
    startup_seconds: Optional[float] = None
    cost_per_core_hour: float = 0.0


class PooledEndpoint:
    """State of one endpoint: its children with their threads, and what was last heard of it.

    Attributes
    ----------
    name, filesystem, cost_per_core_hour
        As given.
    startup_seconds : float or None
        Given, or learned from its last child's start.
    children : list of Child
        One for each ``user_endpoint_config``.
    classes : list of Threads
        Those of all children, in the order given.
    served : int
        The larger, the later it was given a task.
    available : bool
        Whether it may be given tasks now; kept up to date by the pool.
    strikes : int
        How often it was left alone since it last ran a task.
    probing : bool
        Whether it has failed, and gets one task at a time until it has run one.
    probes : set of str
        IDs of the attempts that it was given while it is probed.
    failures : int
        Attempts in a row that failed there outside the app.
    trouble : str
        Why it was last left alone, for people.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        self.name = spec.name
        self.count_is_given = spec.count_is_given
        self.filesystem = spec.filesystem if spec.filesystem is not None else spec.name
        self.startup_seconds = spec.startup_seconds
        self.cost_per_core_hour = spec.cost_per_core_hour
        self.served = 0
        self.available = True
        self.online = True
        self.last_result: Optional[float] = None
        self.paused_until: Optional[float] = None
        self.strikes = 0
        self.probing = False
        self.probes: Set[str] = set()
        self.failures = 0
        self.trouble = ""
        self.children: List[Child] = []
        self.classes: List[Threads] = []
        for index, class_spec in enumerate(spec.classes):
            child = next((c for c in self.children if c.config == class_spec.config), None)
            if child is None:
                child = Child(self, class_spec.config)
                self.children.append(child)
            threads = Threads(child, index, class_spec.cores, class_spec.count)
            child.classes.append(threads)
            self.classes.append(threads)

    def pause(self, now: float, jitter: float, why: str) -> float:
        """Leave it alone for a while.

        Parameters
        ----------
        now : float
        jitter : float
            Between 0 and 1: pauses of endpoints that failed together end at different times.
        why : str

        Returns
        -------
        float
            For how many seconds.
        """
        seconds = min(FIRST_PAUSE_SECONDS * 2 ** min(self.strikes, _MOST_DOUBLINGS), LONGEST_PAUSE_SECONDS) * (1 - jitter / 2)
        self.paused_until = now + seconds
        self.strikes += 1
        self.trouble = why
        return seconds

    def ran_a_task(self) -> None:
        """A task has run on it: it works."""
        self.strikes = 0
        self.paused_until = None
        self.probing = False
        self.probes.clear()
        self.trouble = ""

    def may_be_offline(self, now: float) -> bool:
        """Whether a status of "offline" at ``now`` is to be believed."""
        return self.last_result is None or now - self.last_result > DOUBT_OFFLINE_SECONDS


class Pool:
    """All endpoints, by name, in the user's order, and the free threads of those that are available.

    Attributes
    ----------
    endpoints : dict
    classes : list of Threads
        All thread classes.
    version : int
        Another one after every change of what is available.
    """

    def __init__(self, specs: Sequence[EndpointSpec]) -> None:
        self.version = 0
        self._watchers: List[Dict[Threads, None]] = []
        self.endpoints = {spec.name: PooledEndpoint(spec) for spec in specs}
        self.classes = [threads for endpoint in self for threads in endpoint.classes]
        for place, threads in enumerate(self.classes):
            threads.place = place
        self._free: Dict[int, Dict[Threads, None]] = {cores: {} for cores in sorted({threads.cores for threads in self.classes})}
        self._paused: Set[PooledEndpoint] = set()
        self._away: Set[PooledEndpoint] = set()
        self._probing: Set[PooledEndpoint] = set()
        self._fitting: Dict[Tuple[Any, ...], Tuple[Threads, ...]] = {}
        for threads in self.classes:
            self.note(threads)

    def __iter__(self) -> Iterator[PooledEndpoint]:
        return iter(self.endpoints.values())

    def __len__(self) -> int:
        return len(self.endpoints)

    def __getitem__(self, name: str) -> PooledEndpoint:
        return self.endpoints[name]

    def note(self, threads: Threads) -> None:
        """Keep the account of free threads, after a change to ``threads``."""
        if threads.endpoint.probing:  # what one holds, the others may not
            for each in threads.endpoint.classes:
                self._note(each)
        else:
            self._note(threads)

    def _note(self, threads: Threads) -> None:
        for changed in self._watchers:
            changed[threads] = None
        level = self._free[threads.cores]
        if threads.endpoint.available and threads.free > 0:
            level[threads] = None
        else:
            level.pop(threads, None)

    def watch(self) -> Dict[Threads, None]:
        """Where all threads will be entered of which anything has changed; whoever has taken that in removes them."""
        self._watchers.append({})
        return self._watchers[-1]

    def is_free(self, threads: Threads) -> bool:
        """Whether ``threads``, at least one, are free on an available endpoint."""
        return threads in self._free[threads.cores]

    def note_endpoint(self, endpoint: PooledEndpoint, now: float) -> None:
        """Keep the account of available endpoints, after a change to ``endpoint``."""
        paused = endpoint.paused_until is not None and now < endpoint.paused_until
        (self._paused.add if paused else self._paused.discard)(endpoint)
        available, endpoint.available = endpoint.available, endpoint.online and not paused
        (self._away.discard if endpoint.available else self._away.add)(endpoint)
        (self._probing.add if endpoint.available and endpoint.probing else self._probing.discard)(endpoint)
        for threads in endpoint.classes:
            self._note(threads)
        if endpoint.available != available:
            self.version += 1  # even if it has no free threads: a task may avoid others only as long as it is there

    def resume(self, now: float) -> List[PooledEndpoint]:
        """Take back endpoints that have been left alone for long enough; returns them."""
        if not self._paused:
            return []
        due = [endpoint for endpoint in self._paused if endpoint.paused_until is None or endpoint.paused_until <= now]
        for endpoint in due:
            self.note_endpoint(endpoint, now)
        return due

    @property
    def any_away(self) -> bool:
        """Whether an endpoint is not available."""
        return bool(self._away)

    @property
    def any_probing(self) -> bool:
        """Whether an available endpoint is being probed."""
        return bool(self._probing)

    @property
    def any_free(self) -> bool:
        """Whether a thread is free on an available endpoint."""
        return any(self._free.values())

    @property
    def resumes_at(self) -> Optional[float]:
        """When the next endpoint is to be taken back."""
        return min((endpoint.paused_until for endpoint in self._paused if endpoint.paused_until is not None), default=None)

    def free(self) -> Iterator[Threads]:
        """Thread classes of available endpoints with free threads."""
        return chain.from_iterable(self._free.values())

    def fitting(self, shape: Shape) -> Tuple[Threads, ...]:
        """All threads that could ever run tasks of this shape, those with the fewest cores first, then in the user's order."""
        key = shape[:4]  # what the answer depends on
        known = self._fitting.get(key)
        if known is None:
            known = self._fitting[key] = tuple(sorted((t for t in self.classes if t.fits(shape)), key=lambda t: (t.cores, t.place)))
        return known

    def thread_classes(self) -> str:
        """The thread classes there are, for people."""
        return ", ".join(f"{endpoint.name}: {' and '.join(map(str, endpoint.classes))}" for endpoint in self)
