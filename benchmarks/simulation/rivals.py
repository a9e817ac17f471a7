"""The schedulers that ours is compared with, each in its simplest honest form.

They pay for start-ups and latencies, and draw on the same request budget: a request carries any number of tasks to one endpoint. (Off-line
HEFT needs none.)
"""
from __future__ import annotations

import bisect
import heapq
import random
from abc import ABCMeta, abstractmethod
from collections import Counter
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Type

from simulation.budget import Budget
from simulation.heft import heft
from simulation.schedule import Run, run_seconds, upward_ranks
from simulation.setups import Case

_RESULT_SEEN, _THREAD_FREE, _TASK_ARRIVED, _REQUEST_POSSIBLE = range(4)


class Rival(metaclass=ABCMeta):
    """Runs a workflow, event by event.

    Attributes
    ----------
    waiting : list of (float, int, int)
        What has not been sent: urgency (negative), order in which it became ready, task.
    free : dict
        Threads that are not in use, and since when.
    """

    #: Whether a thread is given its next task when its last result has been seen (True), or takes it at once from the endpoint's queue.
    late: bool

    def __init__(self, case: Case, seed: int) -> None:
        self.case = case
        # of the workflow too: else all workflows would share the luck of a seed
        self.rng = random.Random(f"{case.workflow.name} {seed}")
        self.threads = case.setup.threads()
        self.endpoints = case.setup.endpoints
        self.waiting: List[Tuple[float, int, int]] = []
        self.free = {thread: 0.0 for thread in range(len(self.threads))}
        self.now = 0.0
        self._budget = Budget(case.setup, lambda: self.now)
        self._open: Set[int] = set()  # endpoints to which a request goes now
        self._retry_at = 0.0  # when the budget allows the next request, if it has refused one
        self._runs: Dict[int, Run] = {}
        self._events: List[Tuple[float, int, int, int]] = []  # time, serial number, kind, task or thread
        self._serial = 0

    def run(self) -> List[Run]:
        """Run all tasks."""
        missing = [len(task.parents) for task in self.case.workflow.tasks]
        children = self.case.workflow.children()
        for task, count in enumerate(missing):
            if not count:
                self.ready(task)
        self._serve()
        while self._events:
            self.now = self._events[0][0]
            while self._events and self._events[0][0] == self.now:
                _, _, kind, number = heapq.heappop(self._events)
                if kind == _THREAD_FREE:
                    self.free[number] = self.now
                elif kind == _TASK_ARRIVED:
                    self.arrived(number)
                elif kind == _RESULT_SEEN:
                    self.seen(self._runs[number])
                    for child in children[number]:
                        missing[child] -= 1
                        if not missing[child]:
                            self.ready(child)
            self._serve()
        return [self._runs[task] for task in sorted(self._runs)]

    def urgency(self, task: int) -> float:
        """Tasks with more of it go first; those with the same in the order in which they became ready."""
        return 0.0

    def ready(self, task: int) -> None:
        """The last result that ``task`` needs has been seen."""
        bisect.insort(self.waiting, (-self.urgency(task), self._next_serial(), task))

    def seen(self, run: Run) -> None:
        """The result of ``run`` has been seen."""

    def arrived(self, task: int) -> None:
        """``task``, sent by :meth:`post`, is at its endpoint."""

    @abstractmethod
    def serve(self, task: int) -> bool:
        """Send ``task``, if that is possible now; whether it was."""

    def _serve(self) -> None:
        self._open.clear()
        self.waiting = [entry for entry in self.waiting if not self.serve(entry[2])]

    # for the rivals

    def may_request(self, place: int) -> bool:
        """Whether a task may be sent to an endpoint now, since others are anyway, or by a further request."""
        if place in self._open:
            return True
        if self._retry_at > self.now:
            return False
        if self._budget.take():
            self._open.add(place)
            return True
        self._retry_at = self._budget.next_at()
        self.at(self._retry_at, _REQUEST_POSSIBLE, -1)
        return False

    def thread_for(self, task: int, place: Optional[int] = None) -> Optional[int]:
        """The free thread (of one endpoint) that fits best: the closest cores, then free for the longest time, then the fastest."""
        cores = self.case.workflow.tasks[task].cores
        fitting = [i for i in self.free if self.threads[i].cores >= cores and place in (None, self.threads[i].endpoint)]
        return min(fitting, key=self._preference) if fitting else None

    def start(self, task: int, thread: int, earliest: float) -> None:
        """Run ``task`` on ``thread``, not before ``earliest``, nor before the endpoint has started."""
        endpoint = self.endpoints[self.threads[thread].endpoint]
        begin = max(earliest, endpoint.startup_seconds)
        end = begin + run_seconds(self.case, task, self.threads[thread].endpoint)
        run = self._runs[task] = Run(thread, begin, end, end + endpoint.result_latency)
        del self.free[thread]
        self.at(run.seen if self.late else run.end, _THREAD_FREE, thread)
        self.at(run.seen, _RESULT_SEEN, task)

    def at(self, time: float, kind: int, number: int) -> None:
        """Have an event happen."""
        heapq.heappush(self._events, (time, self._next_serial(), kind, number))

    def _preference(self, thread: int) -> Tuple[float, ...]:
        return self.threads[thread].cores, self.free[thread], -self.endpoints[self.threads[thread].endpoint].speed, thread

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial


class Pool(Rival):
    """First come, first served by all threads together: a task is bound when a thread is known to be free.

    Of threads that fit equally well it takes that which has been free for the longest time, and speed decides only between those free for the
    same time: always so at the start, hardly ever later.
    """

    late = True

    def _serve(self) -> None:
        if self.free:
            super()._serve()

    def serve(self, task: int) -> bool:
        """Start it if a thread is free."""
        thread = self.thread_for(task)
        if thread is None or not self.may_request(self.threads[thread].endpoint):
            return False
        self.start(task, thread, self.now + self.endpoints[self.threads[thread].endpoint].start_latency)
        return True


class HopCount(Pool):
    """As :class:`Pool`, but the task with the most tasks one after the other behind it goes first: the graph alone, without run times."""

    def __init__(self, case: Case, seed: int) -> None:
        super().__init__(case, seed)
        self._hops = upward_ranks(case, [1.0] * len(case.workflow.tasks))

    def urgency(self, task: int) -> float:
        """Hops to the end."""
        return self._hops[task]


class RandomExecutor(Rival):
    """Each task goes to an endpoint by chance, and is served there first come, first served: Parsl with an executor for each endpoint.

    One draw says little about chance, and no few seeds make up for that: what is compared with it is compared with the mean of many draws
    (:data:`~simulation.run.LEAST_DRAWS`).
    """

    late = False

    def __init__(self, case: Case, seed: int) -> None:
        super().__init__(case, seed)
        self.unseen: Counter[int] = Counter()  # tasks of each endpoint whose results have not been seen
        self._bound: Dict[int, int] = {}
        self._queues: Mapping[int, List[int]] = {place: [] for place in range(len(self.endpoints))}

    def choose(self, task: int, able: Sequence[int]) -> int:
        """One of the endpoints that have enough cores."""
        return self.rng.choice(able)

    def ready(self, task: int) -> None:
        """Bind ``task``."""
        able = [i for i, endpoint in enumerate(self.endpoints) if endpoint.cores >= self.case.workflow.tasks[task].cores]
        self._bound[task] = self.choose(task, able)
        self.unseen[self._bound[task]] += 1
        super().ready(task)

    def serve(self, task: int) -> bool:
        """Send it, busy as its endpoint may be."""
        place = self._bound[task]
        if not self.may_request(place):
            return False
        self.at(self.now + self.endpoints[place].start_latency, _TASK_ARRIVED, task)
        return True

    def arrived(self, task: int) -> None:
        """Queue it at its endpoint."""
        self._queues[self._bound[task]].append(task)

    def _serve(self) -> None:
        for place, queue in self._queues.items():
            for task in list(queue):
                thread = self.thread_for(task, place)
                if thread is not None:
                    queue.remove(task)
                    self.start(task, thread, self.now)
        super()._serve()

    def seen(self, run: Run) -> None:
        """Count it."""
        self.unseen[self.threads[run.thread].endpoint] -= 1


class EarlyLeastLoaded(RandomExecutor):
    """As :class:`RandomExecutor`, but a task that becomes ready goes to the endpoint with the fewest unfinished tasks for each thread."""

    def choose(self, task: int, able: Sequence[int]) -> int:
        """By load; ties go by chance."""
        cores = self.case.workflow.tasks[task].cores
        return min(able, key=lambda i: (self.unseen[i] / self.endpoints[i].count(cores), self.rng.random()))


def _simulated(rival: Type[Rival]) -> Callable[[Case, int], List[Run]]:
    return lambda case, seed: rival(case, seed).run()


#: Rivals by name: each takes a case and a seed, and returns a schedule.
RIVALS: Mapping[str, Callable[[Case, int], List[Run]]] = {
    "random-executor": _simulated(RandomExecutor),
    "early-least-loaded": _simulated(EarlyLeastLoaded),
    "fifo": _simulated(Pool),
    "hop-count": _simulated(HopCount),
    "heft-offline": lambda case, seed: heft(case),
}
