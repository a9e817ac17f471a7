"""Tasks accepted and not yet given to an endpoint."""
from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    FrozenSet,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
)

if TYPE_CHECKING:
    from parsl.executors.globus_compute_multi.scheduling.threads import Attempt, Threads


class Shape(NamedTuple):
    """Where a task may run; tasks of one shape are alike in that.

    Parameters
    ----------
    cores : int
        Core requirement.
    endpoints : frozenset of str or None
        Names of the endpoints it is restricted to.
    filesystem : str or None
        File-system group it is restricted to.
    config : str or None
        Canonical text of the ``user_endpoint_config`` it asks for.
    mpi : tuple
        MPI keys and values that go with its request, sorted; tasks travel only with others that have the same.
    once : bool
        Whether it must not run twice; such tasks travel with their like only.
    avoid : frozenset of str
        Endpoints where it failed for a reason outside the app; it is tried elsewhere, if there is an elsewhere.
    awaits : Threads or None
        Threads that it waits for: it takes those, or others as fast.
    """

    cores: int = 1
    endpoints: Optional[FrozenSet[str]] = None
    filesystem: Optional[str] = None
    config: Optional[str] = None
    mpi: Tuple[Tuple[str, Any], ...] = ()
    once: bool = False
    avoid: FrozenSet[str] = frozenset()
    awaits: "Optional[Threads]" = None


def describe(shape: Shape) -> str:
    """What tasks of this shape need, for people."""
    needs = [f"a thread with {shape.cores} core{'s' if shape.cores != 1 else ''}"]
    if shape.endpoints is not None:
        needs.append(f"on {' or '.join(sorted(shape.endpoints))}")
    if shape.filesystem is not None:
        needs.append(f"in the file-system group {shape.filesystem!r}, where its inputs are")
    if shape.config is not None:
        needs.append(f"with user_endpoint_config {shape.config}")
    return " ".join(needs)


_NO_ATTEMPTS: Set[str] = set()
_NO_PLACES: "Dict[str, Attempt]" = {}


@dataclass(eq=False)
class Task:
    """A task that is not finished.

    Parameters
    ----------
    id : int
    app : str
    size : int
        Bytes on the wire.
    priority : float
        Lower runs first.
    shape : Shape
        Where it may run.
    node : int or None
        Its number in the task graph.
    seconds : float or None
        Run time on an endpoint of speed 1, as given by the user.
    submitted : float
        When it was.
    token : object
        The caller's.
    """

    __slots__ = ("id", "app", "size", "priority", "shape", "node", "seconds", "submitted", "token", "rank", "waits", "tries", "failures",
                 "active", "places", "again", "company", "refusals", "ticket", "done")

    id: int
    app: str
    size: int
    priority: float
    shape: Shape
    node: Optional[int]
    seconds: Optional[float]
    submitted: float
    token: Any

    def __post_init__(self) -> None:
        self.rank = 0.0  # estimated seconds of the longest path from it to the end of the workflow
        self.waits = 0  # how often it has waited for a faster thread
        self.tries = 0
        self.failures = 0  # attempts that failed outside the app, perhaps due to the task; also of earlier submissions, if Parsl retries it
        # what most tasks do not have for most of the time is one object for all, for the sake of the garbage collector
        self.active: Set[str] = _NO_ATTEMPTS  # IDs of the attempts that may still bring a result
        self.places: "Dict[str, Attempt]" = _NO_PLACES  # all its attempts, by ID
        self.again = False  # whether it was started again while its first attempt was late
        self.company: Optional[int] = None  # most tasks in a request that carries it, since one with more was refused
        self.refusals = 0  # how often the child that it was given to did not start
        self.ticket = 0  # that with which it stands in the queue; 0: it does not
        self.done = False

    @property
    def order(self) -> Tuple[float, float, int]:
        """What comes first: the user's priority, then the longest way to go, then the order of submission."""
        return self.priority, -self.rank, self.id


_Entry = Tuple[float, float, int, int, Task]


class PendingTasks:
    """Priority queue over tasks of different shapes, in the order of :attr:`Task.order`.

    One heap per shape, so that a task that does not fit an endpoint is never in the way of one that does. There are few shapes. An entry
    whose ticket is not its task's any more is dead: it is dropped when it comes to the top.
    """

    def __init__(self) -> None:
        self._heaps: Dict[Shape, List[_Entry]] = {}
        self._living: Counter[Shape] = Counter()
        self._apps: Counter[str] = Counter()
        self._count = 0
        self._tickets = 0
        self.given_seconds = 0.0

    def __len__(self) -> int:
        return self._count

    def add(self, task: Task) -> None:
        """Add ``task``; one that comes back after a failed attempt takes its old place in the order."""
        self._tickets += 1
        task.ticket = self._tickets
        heapq.heappush(self._heaps.setdefault(task.shape, []), (task.priority, -task.rank, task.id, task.ticket, task))
        self._living[task.shape] += 1
        self._count += 1
        if task.seconds is None:
            self._apps[task.app] += 1
        else:
            self.given_seconds += task.seconds

    def first(self, accepts: Callable[[Shape], bool]) -> Optional[Task]:
        """The first task whose shape is accepted, left in place; None if there is none."""
        if len(self._heaps) == 1:  # the usual case
            for shape, heap in self._heaps.items():
                return self._head(heap)[4] if accepts(shape) else None
        heads = [self._head(heap) for shape, heap in self._heaps.items() if accepts(shape)]
        return min(heads)[4] if heads else None

    @staticmethod
    def _head(heap: List[_Entry]) -> _Entry:
        """The first living entry; there is one."""
        while heap[0][3] != heap[0][4].ticket:
            heapq.heappop(heap)
        return heap[0]

    def remove_first(self, task: Task) -> None:
        """Take out ``task``, which :meth:`first` has just returned."""
        if heapq.heappop(self._heaps[task.shape])[4] is not task:
            raise ValueError(f"task {task.id} is not the first of its shape")
        self._removed(task)

    def discard(self, task: Task) -> None:
        """Take out ``task``, wherever it stands."""
        self._removed(task)

    def take_all(self, shape: Shape) -> List[Task]:
        """Take out all tasks of a shape."""
        tasks = [entry[4] for entry in self._heaps[shape] if entry[3] == entry[4].ticket]
        for task in tasks:
            self._removed(task)
        return tasks

    def clear(self) -> None:
        """Take out all tasks."""
        for shape in self.shapes():
            self.take_all(shape)

    def reorder(self, rank: Callable[[Task], float]) -> None:
        """Give every task a new rank, in linear time."""
        for heap in self._heaps.values():
            tasks = [entry[4] for entry in heap if entry[3] == entry[4].ticket]
            for task in tasks:
                task.rank = rank(task)
            heap[:] = [(*task.order, task.ticket, task) for task in tasks]
            heapq.heapify(heap)

    def _removed(self, task: Task) -> None:
        task.ticket = 0
        self._count -= 1
        self._living[task.shape] -= 1
        if not self._living[task.shape]:
            del self._living[task.shape], self._heaps[task.shape]
        if task.seconds is not None:
            # the sum starts afresh with an empty queue, so that rounding errors do not pile up
            self.given_seconds = self.given_seconds - task.seconds if self._count else 0.0
            return
        self._apps[task.app] -= 1
        if not self._apps[task.app]:
            del self._apps[task.app]

    def shapes(self) -> List[Shape]:
        """The shapes of which there are tasks."""
        return list(self._heaps)

    def count_by_app(self) -> Dict[str, int]:
        """How many tasks of each app are pending whose run time the user has not given."""
        return self._apps
