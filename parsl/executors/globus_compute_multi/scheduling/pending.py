"""Tasks accepted and not yet given to an endpoint."""
from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
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
                 "active", "attempts", "again", "company", "refusals", "done")

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
        self.active = 0  # attempts that may still bring a result
        # none when it is done: they refer to it, and would leave it to the garbage collector
        self.attempts: "Tuple[Attempt, ...]" = ()
        self.again = False  # whether it was started again while its first attempt was late
        self.company: Optional[int] = None  # most tasks in a request that carries it, since one with more was refused
        self.refusals = 0  # how often the child that it was given to did not start
        self.done = False

    @property
    def order(self) -> Tuple[float, float, int]:
        """What comes first: the user's priority, then the longest way to go, then the order of submission."""
        return self.priority, -self.rank, self.id


#: What tasks are sorted by, as :attr:`Task.order`. No task is in it: tuples of nothing but numbers cost the garbage collector nothing.
_Entry = Tuple[float, float, int]

#: Entries of a block, when it is made; twice as many, and it is split.
_BLOCK = 500


class _Sorted:
    """Entries in order, in blocks of a few hundred: so it takes next to no time to put one in or take one out, or to find the nth."""

    def __init__(self, entries: Iterable[_Entry] = ()) -> None:
        ordered = sorted(entries)
        self._blocks = [ordered[start:start + _BLOCK] for start in range(0, len(ordered), _BLOCK)]
        self._lasts = [block[-1] for block in self._blocks]

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def __iter__(self) -> Iterator[_Entry]:
        return chain.from_iterable(self._blocks)

    def nth(self, place: int) -> Optional[_Entry]:
        """The one after so many; None if there are no more."""
        for block in self._blocks:
            if place < len(block):
                return block[place]
            place -= len(block)
        return None

    def add(self, entry: _Entry) -> None:
        """Put in one that is not there."""
        if not self._blocks:
            self._blocks.append([entry])
            self._lasts.append(entry)
            return
        at = bisect_left(self._lasts, entry)
        if at == len(self._lasts):  # beyond all
            at -= 1
            self._lasts[at] = entry
            self._blocks[at].append(entry)
        else:
            insort(self._blocks[at], entry)
        block = self._blocks[at]
        if len(block) > 2 * _BLOCK:
            self._blocks[at:at + 1] = block[:_BLOCK], block[_BLOCK:]
            self._lasts.insert(at, block[_BLOCK - 1])

    def remove(self, entry: _Entry) -> None:
        """Take out one that is there."""
        at = bisect_left(self._lasts, entry)
        block = self._blocks[at] if at < len(self._blocks) else []
        place = bisect_left(block, entry)
        if place == len(block) or block[place] != entry:
            raise ValueError(f"{entry} is not in the queue")
        del block[place]
        if not block:
            del self._blocks[at], self._lasts[at]
            return
        self._lasts[at] = block[-1]
        if len(block) < _BLOCK // 2:
            self._merge(at if at + 1 < len(self._blocks) else at - 1)

    def _merge(self, at: int) -> None:
        """Put a block and the next one together, if there are both and they are not too many."""
        if at >= 0 and len(self._blocks[at]) + len(self._blocks[at + 1]) <= _BLOCK * 3 // 2:
            self._blocks[at] += self._blocks.pop(at + 1)
            del self._lasts[at]


class PendingTasks:
    """Priority queue over tasks of different shapes, in the order of :attr:`Task.order`.

    One order per shape, so that a task that does not fit an endpoint is never in the way of one that does. There are few shapes.
    """

    def __init__(self) -> None:
        self._orders: Dict[Shape, _Sorted] = {}
        self._tasks: Dict[int, Task] = {}
        self._apps: Counter[str] = Counter()
        self.given_seconds = 0.0

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """Add ``task``; one that comes back after a failed attempt takes its old place in the order."""
        order = self._orders.get(task.shape)
        if order is None:
            order = self._orders[task.shape] = _Sorted()
        order.add(task.order)
        self._tasks[task.id] = task
        if task.seconds is None:
            self._apps[task.app] += 1
        else:
            self.given_seconds += task.seconds

    def first(self, accepts: Callable[[Shape], bool], after: int = 0) -> Optional[Task]:
        """The first task whose shape is accepted, left in place, after so many of each shape; None if there is none."""
        if len(self._orders) == 1:  # the usual case
            for shape, order in self._orders.items():
                entry = order.nth(after) if accepts(shape) else None
                return None if entry is None else self._tasks[entry[2]]
        heads = [order.nth(after) for shape, order in self._orders.items() if accepts(shape)]
        first = min((entry for entry in heads if entry is not None), default=None)
        return None if first is None else self._tasks[first[2]]

    def heads(self) -> Iterator[Task]:
        """The first task of each shape."""
        for order in self._orders.values():
            entry = order.nth(0)
            if entry is not None:
                yield self._tasks[entry[2]]

    def first_of_only_shape(self, count: int) -> Iterator[Task]:
        """The first tasks, if all are of one shape."""
        (order,) = self._orders.values()
        return (self._tasks[entry[2]] for entry in islice(order, count))

    def remove_first(self, task: Task) -> None:
        """Take out ``task``, which :meth:`first` has just returned."""
        if self._orders[task.shape].nth(0) != task.order:
            raise ValueError(f"task {task.id} is not the first of its shape")
        self.discard(task)

    def discard(self, task: Task) -> None:
        """Take out ``task``, wherever it stands."""
        order = self._orders[task.shape]
        order.remove(task.order)
        if not order:
            del self._orders[task.shape]
        self._removed(task)

    def take_all(self, shape: Shape) -> List[Task]:
        """Take out all tasks of a shape."""
        tasks = [self._tasks[entry[2]] for entry in self._orders.pop(shape)]
        for task in tasks:
            self._removed(task)
        return tasks

    def clear(self) -> None:
        """Take out all tasks."""
        for shape in self.shapes():
            self.take_all(shape)

    def reorder(self, rank: Callable[[Task], float]) -> None:
        """Give every task a new rank."""
        for shape, order in self._orders.items():
            moved = False
            tasks = [self._tasks[entry[2]] for entry in order]
            for task in tasks:
                new = rank(task)
                if new != task.rank:
                    task.rank = new
                    moved = True
            if moved:
                self._orders[shape] = _Sorted([task.order for task in tasks])

    def _removed(self, task: Task) -> None:
        del self._tasks[task.id]
        if task.seconds is not None:
            # the sum starts afresh with an empty queue, so that rounding errors do not pile up
            self.given_seconds = self.given_seconds - task.seconds if self._tasks else 0.0
            return
        self._apps[task.app] -= 1
        if not self._apps[task.app]:
            del self._apps[task.app]

    def shapes(self) -> List[Shape]:
        """The shapes of which there are tasks."""
        return list(self._orders)

    def count_by_app(self) -> Dict[str, int]:
        """How many tasks of each app are pending whose run time the user has not given."""
        return self._apps
