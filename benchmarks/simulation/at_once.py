"""What a fleet can do at best under the request budget: by theory, and by a schedule that hands everything out at once.

Theory. A child (an endpoint with one ``user_endpoint_config``) begins with its first request, and needs no other if that carries all that
it will ever run. In each window there are ``REQUESTS`` requests, so in the best case the k-th child (k = 0, 1, ...) begins at
a(k) = floor(k / REQUESTS) * WINDOW_SECONDS. From then on all its threads can be busy until the end, T. So all work W can be done no earlier
than at the smallest T with sum over k of threads * max(0, T - a(k)) >= W. What is sent is limited, too: until t at most
REQUESTS * (1 + floor(t / WINDOW_SECONDS)) requests, each of a batch of tasks at most, so in the long run no more than
REQUESTS / WINDOW_SECONDS * batch * run time threads can be busy. With that, and when all children have begun, the best utilisation is
min(1, that / threads). Latencies, and that tasks cannot be divided, are left out: no schedule is better.
"""
from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from parsl.executors.globus_compute_multi.scheduling.actions import (
    Action,
    Dispatch,
)
from parsl.executors.globus_compute_multi.scheduling.events import (
    Event,
    TurnGranted,
)
from simulation.fleet import BATCH_BYTES, REQUESTS, WINDOW_SECONDS, Load

_Where = Tuple[str, Optional[str]]


def begins(load: Load) -> List[float]:
    """When the children begin at best, in seconds."""
    return [number // REQUESTS * WINDOW_SECONDS for number in range(load.endpoints * len(load.classes))]


def best_makespan(load: Load) -> float:
    """The least makespan under the budget, in seconds, by theory."""
    per_child = load.threads / (load.endpoints * len(load.classes))
    return max(_level(begins(load), [per_child] * (load.endpoints * len(load.classes)), sum(load.run_seconds())), _sent_at(load))


def best_utilisation(load: Load) -> float:
    """The best utilisation when all children have begun, by theory."""
    return min(1.0, REQUESTS / WINDOW_SECONDS * (BATCH_BYTES // load.task_bytes) * load.seconds / load.threads)


def _sent_at(load: Load) -> float:
    """When the last task can be sent."""
    requests = -(-load.tasks // (BATCH_BYTES // load.task_bytes))
    return (requests - 1) // REQUESTS * WINDOW_SECONDS


def _level(begins: Sequence[float], threads: Sequence[float], work: float) -> float:
    """The smallest T at which threads that begin one after the other have done all work."""
    total = done = last = 0.0
    for begin, count in sorted(zip(begins, threads)):
        more = total * (begin - last)
        if done + more >= work:
            break
        done, last, total = done + more, begin, total + count
    return last + (work - done) / total


class AtOnce:
    """Hands everything out at once, as fast as the budget allows, as a scheduler that knows every run time and fears nothing would do.

    Each child gets so much that all end together: those that begin later get less. Tasks with one resource specification are kept together.

    Parameters
    ----------
    load : Load
    """

    wakes_at = None
    settled = True

    def __init__(self, load: Load) -> None:
        self._requests = list(_requests(load))
        self._made = 0

    @property
    def wants_turn(self) -> bool:
        """Whether there is a request left."""
        return self._made < len(self._requests)

    def settle(self, now: float) -> List[Action]:
        """Nothing changes."""
        return []

    def handle(self, event: Event, settle: bool = True) -> List[Action]:
        """Take one event."""
        if isinstance(event, TurnGranted):
            (endpoint, config), mpi, tasks = self._requests[self._made]
            self._made += 1
            return [Dispatch(self._made, endpoint, tuple((str(task), task) for task in tasks), config, mpi, False)]
        return []


def _requests(load: Load) -> Iterator[Tuple[_Where, Any, List[int]]]:
    """Child, resource specification and tasks of each request, in the order in which they are sent: first what each child begins with."""
    parts: List[List[Tuple[_Where, Any, List[int]]]] = []
    for where, tasks in _shares(load).items():
        by_mpi: Dict[Any, List[int]] = {}
        for task in tasks:
            by_mpi.setdefault(load.needs(task)[1], []).append(task)
        most = BATCH_BYTES // load.task_bytes
        parts.append([(where, mpi, alike[i:i + most]) for mpi, alike in by_mpi.items() for i in range(0, len(alike), most)])
    for number in range(max(map(len, parts))):
        for requests in parts:
            if number < len(requests):
                yield requests[number]


def _shares(load: Load) -> Dict[_Where, List[int]]:
    """Which tasks each child gets."""
    seconds = load.run_seconds()
    children: List[_Where] = [(f"endpoint{i}", config) for i in range(load.endpoints) for _, config in load.classes]
    begin = dict(zip(children, begins(load)))
    shares: Dict[_Where, List[int]] = {child: [] for child in children}
    for threads, config in load.classes:
        mine = [child for child in children if child[1] == config]
        tasks = [task for task in range(load.tasks) if load.needs(task)[0] in (None, config)]
        tasks.sort(key=lambda task: (load.needs(task)[1], task))
        end = _level([begin[child] for child in mine], [float(threads)] * len(mine), sum(seconds[task] for task in tasks))
        room = [max(0.0, end - begin[child]) * threads for child in mine]
        number = 0
        for task in tasks:
            while number < len(mine) - 1 and room[number] < seconds[task] / 2:
                number += 1
            room[number] -= seconds[task]
            shares[mine[number]].append(task)
    return {child: tasks for child, tasks in shares.items() if tasks}
