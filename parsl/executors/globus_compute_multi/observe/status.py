"""How a run stands: what ``executor.status()`` returns, and what the command ``show`` prints."""
from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Mapping, Optional, Tuple

from parsl.executors.globus_compute_multi.observe.replay import EndpointState, RunState
from parsl.executors.globus_compute_multi.observe.status_views import as_html, as_text


@dataclass(frozen=True)
class ClassStatus:
    """A thread class of an endpoint.

    Parameters
    ----------
    cores : int
        Cores of each thread.
    count : int
        Number of threads.
    running : int
        Attempts bound to a thread.
    ahead : int
        Attempts queued ahead.
    config : str or None
        Canonical text of the ``user_endpoint_config`` of their child; None for the endpoint's default child.
    """

    cores: int
    count: int
    running: int = 0
    ahead: int = 0
    config: Optional[str] = None


@dataclass(frozen=True)
class EndpointStatus:
    """An endpoint of the pool.

    Two are equal if the log says the same of them: what depends on the moment, and what the log does not tell, is not compared.

    Parameters
    ----------
    name : str
    classes : tuple of ClassStatus
    online : bool
    available : bool
        Whether it may be given tasks.
    probing : bool
        Whether it has failed, and gets one task at a time until it has run one.
    done : int
        Attempts that ended well there.
    failed : int
        Attempts that failed there, for whatever reason.
    busy_seconds : float
        Seconds that functions ran there, of all threads together.
    paused_seconds : float or None
        For how many more seconds it is left alone, if it is. Not compared.
    why : str
        Why it was last left alone; empty if it works. Not compared.
    speed : float or None
        How many times faster tasks run there than on an endpoint of speed 1, given or learned; None if not known. Not compared.
    """

    name: str
    classes: Tuple[ClassStatus, ...]
    online: bool = True
    available: bool = True
    probing: bool = False
    done: int = 0
    failed: int = 0
    busy_seconds: float = 0.0
    paused_seconds: Optional[float] = field(default=None, compare=False)
    why: str = field(default="", compare=False)
    speed: Optional[float] = field(default=None, compare=False)

    @property
    def threads(self) -> int:
        """Number of its threads, of all classes."""
        return sum(c.count for c in self.classes)

    @property
    def running(self) -> int:
        """Attempts bound to its threads."""
        return sum(c.running for c in self.classes)

    @property
    def ahead(self) -> int:
        """Attempts queued ahead on it."""
        return sum(c.ahead for c in self.classes)


@dataclass(frozen=True)
class Progress:
    """How fast a run goes on, and what is left of it.

    Parameters
    ----------
    label : str
        Of the executor.
    began : float or None
        When the run began, in seconds since the epoch; None if nothing has happened yet.
    ended : float or None
        When it was shut down; None: it goes on, or was killed.
    unsubmitted : int or None
        Tasks that wait for other tasks, and are not submitted yet; None if not known.
    minute_rate : float or None
        Tasks done per second over the last minute; None if there was no time yet, or the run has ended.
    overall_rate : float or None
        Tasks done per second from the beginning on.
    seconds_left : float or None
        Until all known tasks are done, by estimate; None if not known.
    failures : tuple of (str, int)
        Why tasks failed, in words, and how many did, the most frequent first.
    tried_again : tuple of (str, int)
        Why attempts failed outside the app, and how many did: most of their tasks were tried again.
    silent : float or None
        Seconds for which nothing was written to the log, if that is so long that the process may be gone. Rates are those before.
    lost_lines : int
        Lines that could not be written to the log; what is told is not all, then.
    """

    label: str = ""
    began: Optional[float] = None
    ended: Optional[float] = None
    unsubmitted: Optional[int] = None
    minute_rate: Optional[float] = None
    overall_rate: Optional[float] = None
    seconds_left: Optional[float] = None
    failures: Tuple[Tuple[str, int], ...] = ()
    tried_again: Tuple[Tuple[str, int], ...] = ()
    silent: Optional[float] = None
    lost_lines: int = 0


@dataclass(frozen=True)
class Status:
    """How a run stands at one moment. ``str`` gives it as a table for a terminal, and Jupyter shows one, too.

    Two are equal if pool and tasks are; ``time`` and ``progress`` are not compared.

    Parameters
    ----------
    time : float
        Seconds since the epoch.
    endpoints : tuple of EndpointStatus
        In the user's order.
    pending : int
        Tasks that are submitted and not given to an endpoint, without those that are ``waiting``.
    waiting : int
        Tasks that wait for certain busy threads, since these are faster.
    dispatched : int
        Tasks that at least one endpoint holds.
    done : int
        Tasks that brought a value.
    failed : int
        Tasks that ended with an error.
    progress : Progress
    """

    time: float = field(compare=False)
    endpoints: Tuple[EndpointStatus, ...]
    pending: int = 0
    waiting: int = 0
    dispatched: int = 0
    done: int = 0
    failed: int = 0
    progress: Progress = field(default_factory=Progress, compare=False)

    @classmethod
    def of(cls, state: RunState, now: float, progress: Optional[Progress] = None,
           troubles: Mapping[str, str] = MappingProxyType({})) -> "Status":
        """That of a replayed log.

        Parameters
        ----------
        state : RunState
        now : float
            The moment, in seconds since the epoch.
        progress : Progress, optional
        troubles : mapping of str to str, optional
            Why endpoints were left alone, by name.
        """
        speeds = {item["endpoint"]: item.get("speed") for item in state.header["endpoints"]}
        endpoints = tuple(_endpoint(e, now, troubles.get(e.name, ""), speeds.get(e.name)) for e in state.endpoints.values())
        return cls(now, endpoints, state.count("pending"), state.count("waiting"), state.count("dispatched"), state.count("done"),
                   state.count("failed"), Progress() if progress is None else progress)

    @property
    def running(self) -> int:
        """Attempts bound to threads."""
        return sum(e.running for e in self.endpoints)

    @property
    def ahead(self) -> int:
        """Attempts queued ahead."""
        return sum(e.ahead for e in self.endpoints)

    @property
    def in_flight(self) -> int:
        """Attempts that endpoints hold: running, or queued ahead."""
        return self.running + self.ahead

    @property
    def threads(self) -> int:
        """Number of threads in the pool."""
        return sum(e.threads for e in self.endpoints)

    @property
    def tasks(self) -> int:
        """All tasks known: those that wait for others, too."""
        return self.left + self.done + self.failed

    @property
    def left(self) -> int:
        """Tasks that are neither done nor failed."""
        return (self.progress.unsubmitted or 0) + self.pending + self.waiting + self.dispatched

    @property
    def expected_end(self) -> Optional[float]:
        """When all known tasks will be done, by estimate, in seconds since the epoch; None if not known."""
        return None if self.progress.seconds_left is None else self.time + self.progress.seconds_left

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def _endpoint(e: EndpointState, now: float, why: str, speed: Optional[float]) -> EndpointStatus:
    classes = tuple(ClassStatus(c.cores, c.count, len(c.running), len(c.ahead), c.config) for c in e.classes)
    paused = None if e.paused_until is None else max(0.0, e.paused_until - now)
    return EndpointStatus(e.name, classes, e.online, e.available, e.probing, e.done, e.failed, e.busy_seconds, paused, why, speed)
