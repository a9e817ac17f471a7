"""Tasks accepted and not yet given to an endpoint."""
from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, List, Optional, Set, Tuple


@dataclass(eq=False)
class Task:
    """A task that is not finished.

    Parameters
    ----------
    id : int
    app : str
    size : int
        Bytes on the wire.
    cores : int
        Core requirement.
    priority : float
        Lower runs first.
    """

    __slots__ = ("id", "app", "size", "cores", "priority", "tries", "excused", "failed_on", "active")

    id: int
    app: str
    size: int
    cores: int
    priority: float

    def __post_init__(self) -> None:
        self.tries = 0
        self.excused = 0  # tries that ended for a reason that speaks against endpoint or service only
        self.failed_on: FrozenSet[str] = frozenset()  # endpoints on which an attempt failed for a reason outside the app
        self.active: Set[str] = set()  # IDs of the attempts that may still bring a result


#: Tasks alike in where they may run: core requirement, and endpoints to avoid.
Shape = Tuple[int, FrozenSet[str]]


class PendingTasks:
    """Priority queue over tasks of different shapes: lower ``priority`` first, then order of submission.

    One heap per shape, so that a task that does not fit an endpoint is never in the way of one that does. There are few shapes.
    """

    def __init__(self) -> None:
        self._heaps: Dict[Shape, List[Tuple[float, int, Task]]] = {}
        self._apps: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, task: Task) -> None:
        """Add ``task``; one that comes back after a failed attempt takes its old place in the order."""
        heapq.heappush(self._heaps.setdefault((task.cores, task.failed_on), []), (task.priority, task.id, task))
        self._apps[task.app] += 1
        self._count += 1

    def first(self, accepts: Callable[[Shape], bool]) -> Optional[Task]:
        """The first task whose shape is accepted, left in place; None if there is none."""
        heads = [heap[0] for shape, heap in self._heaps.items() if accepts(shape)]
        return min(heads)[2] if heads else None

    def remove_first(self, task: Task) -> None:
        """Take out ``task``, which :meth:`first` has just returned."""
        shape = (task.cores, task.failed_on)
        heap = self._heaps[shape]
        if heapq.heappop(heap)[2] is not task:
            raise ValueError(f"task {task.id} is not the first of its shape")
        self._removed(task, shape)

    def discard(self, task: Task) -> None:
        """Take out ``task``, wherever it stands; in linear time, so for rare cases only."""
        shape = (task.cores, task.failed_on)
        heap = self._heaps[shape]
        heap.remove((task.priority, task.id, task))
        heapq.heapify(heap)
        self._removed(task, shape)

    def _removed(self, task: Task, shape: Shape) -> None:
        if not self._heaps[shape]:
            del self._heaps[shape]
        self._count -= 1
        self._apps[task.app] -= 1
        if not self._apps[task.app]:
            del self._apps[task.app]

    def count_by_app(self) -> Dict[str, int]:
        """How many tasks of each app are pending."""
        return self._apps
