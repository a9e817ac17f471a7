"""What the report keeps of a run: a few numbers for each task and attempt, in columns, and what the header and the events tell."""
from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Set, Tuple

from parsl.executors.globus_compute_multi.observe.report.sampling import Sampled

#: In columns of times: not known.
UNKNOWN = float("nan")

#: What a task can be, in the order of :attr:`Run.states`.
STATES = ("unsubmitted", "pending", "queued ahead", "running", "done", "failed")

#: Most failures, and most events of endpoints, of which the details are kept; all are counted.
MOST_FAILURES = 500
MOST_EVENTS = 1000

#: The graph is drawn if it has no more nodes and edges than this.
MOST_NODES = 500
MOST_EDGES = 5000


class Names:
    """Numbers for names, in the order in which they come."""

    def __init__(self) -> None:
        self.names: List[str] = []
        self._numbers: Dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of this name."""
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number


class Attempts:
    """Attempts that are finished, or, at the end of the log, still under way: one column for each thing known of them.

    ``dispatched``, ``bound`` (to a thread; unknown if it never was) and ``received`` (its end) are on the client's clock; ``started`` and
    ``finished`` on the endpoint's, unknown if there was no result of our runner. ``endpoint``, ``app``, ``host`` and ``outcome`` are numbers
    of names; ``cores`` are those of its threads, ``thread_class`` the number of their class.
    """

    def __init__(self) -> None:
        self.task, self.endpoint, self.thread_class, self.cores = array("q"), array("l"), array("l"), array("l")
        self.app, self.host, self.outcome = array("l"), array("l"), array("l")
        self.dispatched, self.bound, self.received = array("d"), array("d"), array("d")
        self.started, self.finished = array("d"), array("d")

    def __len__(self) -> int:
        return len(self.task)


class Tasks:
    """Tasks that are finished, in the order in which they did: ``attempt`` is the row of the attempt that decided, -1 if there was none."""

    def __init__(self) -> None:
        self.task, self.app, self.attempt = array("q"), array("l"), array("q")
        self.submitted, self.dispatched, self.ended = array("d"), array("d"), array("d")
        self.done = array("b")

    def __len__(self) -> int:
        return len(self.task)


@dataclass
class Failure:
    """An attempt that failed, or a task that did without one; ``came`` is what came of it."""

    time: float
    task: int
    app: str
    endpoint: Optional[str]
    outcome: str
    message: str
    came: str = ""


@dataclass
class Event:
    """Something that happened to an endpoint."""

    time: float
    endpoint: int
    state: str
    detail: str


@dataclass
class Pooled:
    """What the log says of an endpoint: its thread classes as (cores, count), when its capacity changed as (time, threads, available), and when
    it began, and ceased, to be probed.
    """

    name: str
    id: str
    classes: List[Tuple[int, int]]
    cost: Optional[float]
    online: bool = True
    paused: bool = False
    probing: bool = False
    capacity: List[Tuple[float, int, bool]] = field(default_factory=list)
    probes: List[Tuple[float, bool]] = field(default_factory=list)
    versions: Dict[str, Dict[str, str]] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    abandoned: int = 0
    completed: int = 0
    busy_seconds: float = 0.0
    outages: int = 0

    @property
    def threads(self) -> int:
        """Number of its threads."""
        return sum(count for _, count in self.classes)


@dataclass
class Graph:
    """The task graph as far as it ran: for each node its row in :class:`Tasks` (if Parsl retried it, that of the last try; those of earlier ones
    apart), the parent that was finished last, and its depth.
    """

    row: Dict[int, int] = field(default_factory=dict)
    earlier: Dict[int, List[int]] = field(default_factory=dict)
    last_parent: Dict[int, int] = field(default_factory=dict)
    depth: Dict[int, int] = field(default_factory=dict)
    edges: Optional[Set[Tuple[int, int]]] = field(default_factory=set)
    """None if there are too many to draw."""
    apps: Dict[int, int] = field(default_factory=dict)


@dataclass
class Run:
    """A run, as far as its log goes. Times are seconds since the epoch, on the client's clock."""

    header: Dict[str, Any]
    pool: List[Pooled]
    apps: Names = field(default_factory=Names)
    hosts: Names = field(default_factory=Names)
    outcomes: Names = field(default_factory=Names)
    attempts: Attempts = field(default_factory=Attempts)
    tasks: Tasks = field(default_factory=Tasks)
    counts: Dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    states: Sampled = field(default_factory=lambda: Sampled(len(STATES)))
    completed: Sampled = field(default_factory=lambda: Sampled(0))
    """Tasks done so far, by endpoint."""
    pressure: List[Tuple[float, bool]] = field(default_factory=list)
    """When tasks began, and ceased, to be pending."""
    failures: List[Failure] = field(default_factory=list)
    failure_counts: Dict[Tuple[str, str, str], int] = field(default_factory=dict)
    """By endpoint, app and what went wrong."""
    events: List[Event] = field(default_factory=list)
    event_count: int = 0
    failovers: int = 0
    retries: int = 0
    """Tasks that are Parsl's retries of failed ones."""
    copies: int = 0
    rejected: int = 0
    duplicates: int = 0
    lost_lines: int = 0
    """Lines that could not be written; what comes after them may contradict what is known, and is left out then."""
    began: float = 0.0
    first_submitted: Optional[float] = None
    last_submitted: Optional[float] = None
    last_ended: Optional[float] = None
    last_line: float = 0.0
    ended: Optional[bool] = None
    seconds_left: Optional[float] = None
    graph: Graph = field(default_factory=Graph)

    @property
    def window(self) -> Tuple[float, float]:
        """From when to when the run is shown: from the first task's submission to the last one's end, or to the last line if some are left."""
        begin = self.began if self.first_submitted is None else self.first_submitted
        # at the end of a run the count of those not submitted may be an old one: it is told about once a second
        left = [state for state in STATES[:4] if self.counts[state] and not (self.ended and state == "unsubmitted")]
        return begin, max(begin, self.last_line if left or self.last_ended is None else self.last_ended)
