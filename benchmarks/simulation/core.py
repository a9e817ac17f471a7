"""Runs a workflow on the executor's own scheduler core, in virtual time, with endpoints that behave as a set-up says.

What is real: the scheduler, its task graph, its pending queue, its run times and its policies. What is played here: Parsl with hooks (all
tasks are announced at the start, each is submitted when its parents' results are there), the request budget, and the endpoints.
"""
from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Tuple

from parsl.executors.globus_compute_multi.scheduling.actions import (
    AttemptEnded,
    Dispatch,
    FailTask,
)
from parsl.executors.globus_compute_multi.scheduling.events import (
    DispatchAccepted,
    Event,
    Outcome,
    ResultReceived,
    TaskAnnounced,
    TaskLeft,
    TaskSubmitted,
    Tick,
    TurnGranted,
)
from parsl.executors.globus_compute_multi.scheduling.policy import (
    Cheapest,
    EarliestFinish,
    LeastLoaded,
    Policy,
    Random,
    RoundRobin,
)
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec
from simulation.budget import Budget
from simulation.setups import Case, Endpoint

#: What the core is told beforehand of run times and speeds: both; nothing; run times times a log-normal factor (sigma 0.5), and the speeds.
ESTIMATES = ("exact", "learned", "noisy")

NOISE = 0.5

#: The core's policies by name; each is made from a seed. ``default`` is the core's choice when none is given.
POLICIES: Mapping[str, Callable[[int], Optional[Policy]]] = {
    "default": lambda seed: None,
    "earliest-finish": lambda seed: EarliestFinish(),
    "least-loaded": lambda seed: LeastLoaded(),
    "round-robin": lambda seed: RoundRobin(),
    "random": Random,
    "cheapest": lambda seed: Cheapest(),
}

#: Bytes of a task on the wire; without a limit to a batch it does not matter.
_TASK_BYTES = 1000

#: Before results and new work at the same time: an endpoint's own affairs.
_ENDPOINT, _WORLD = range(2)


class SimulationError(RuntimeError):
    """The core did what it must not do, or came to a halt."""


@dataclass
class Attempt:
    """An attempt on its way, with the cores it needs, the seconds it takes there, and the endpoint's name."""

    id: str
    cores: int
    seconds: float
    endpoint: str


class Child:
    """An endpoint's process: it runs what it holds in order, each attempt on any free thread with enough cores."""

    def __init__(self, endpoint: Endpoint, queues: bool) -> None:
        self.endpoint = endpoint
        self._queues = queues
        self._running: List[int] = []  # cores that each needs
        self._waiting: Deque[Attempt] = deque()
        self._counted: Dict[str, int] = {}  # those that the core counts on, and the cores that each needs

    def take(self, attempt: Attempt) -> None:
        """An attempt has arrived.

        Raises
        ------
        SimulationError
            If there is no thread for it though nothing is to be queued ahead.
        """
        self._counted[attempt.id] = attempt.cores
        if not self._queues and not self._has_room(list(self._counted.values())):
            raise SimulationError(f"attempt {attempt.id} ({attempt.cores} cores) was sent to {self.endpoint.name}, where all threads are in use")
        self._waiting.append(attempt)

    def start(self, now: float) -> List[Attempt]:
        """Those that start now."""
        started: List[Attempt] = []
        while self._waiting and now >= self.endpoint.startup_seconds and self._has_room([*self._running, self._waiting[0].cores]):
            started.append(self._waiting.popleft())
            self._running.append(started[-1].cores)
        return started

    def end(self, attempt: Attempt) -> None:
        """It has run."""
        self._running.remove(attempt.cores)
        self._counted.pop(attempt.id, None)

    def give_up(self, attempt_id: str) -> None:
        """The core takes it to be lost: it runs all the same, and others that are sent may have to wait for its thread."""
        self._counted.pop(attempt_id, None)

    def _has_room(self, needs: List[int]) -> bool:
        # enough if, whatever number of cores is asked for, so many ask for it or more
        return all(sum(need >= cores for need in needs) <= self.endpoint.count(cores) for cores in set(needs))


class Simulation:
    """One run of a case on the core.

    Parameters
    ----------
    case : Case
    policy : str
        One of :data:`POLICIES`.
    estimates : str
        One of :data:`ESTIMATES`.
    seed : int
        For the noise and for policies that draw lots.
    """

    def __init__(self, case: Case, policy: str, estimates: str, seed: int) -> None:
        setup = case.setup
        self._case = case
        self._now = 0.0
        self._events: List[Tuple[float, int, int, Callable[[Any], None], Any]] = []
        self._serial = 0
        self._told = told_seconds(case, estimates, seed)
        self._children = case.workflow.children()
        self._missing = [len(task.parents) for task in case.workflow.tasks]
        self._done: Dict[int, float] = {}
        self._budget = Budget(setup, lambda: self._now)
        self._dispatches = 0
        self._retry_at = 0.0  # when the budget allows the next request, if it has refused one
        self._tick_at = -math.inf
        self._endpoints = {e.name: Child(e, queues=setup.requests is not None) for e in setup.endpoints}
        ahead = AheadRule(None, 0) if setup.requests is None else AheadRule(setup.requests[0] / setup.requests[1])
        specs = [_spec(endpoint, speeds_known=estimates != "learned") for endpoint in setup.endpoints]
        self.scheduler = Scheduler(specs, Settings(ahead, batch_bytes=None), POLICIES[policy](seed))

    def run(self) -> float:
        """Run all tasks.

        Returns
        -------
        float
            The makespan: when the last result was seen, in seconds.

        Raises
        ------
        SimulationError
            If the core fails a task, sends one where it cannot run, or stops before all have run.
        """
        for endpoint in self._case.setup.endpoints:
            if 0 < endpoint.startup_seconds < math.inf:
                self._at(endpoint.startup_seconds, _ENDPOINT, self._start_waiting, endpoint.name)
        tasks = self._case.workflow.tasks
        for node, task in enumerate(tasks):
            self._handle(TaskAnnounced(0.0, node, task.app, task.parents, self._told[node]))
        for node, task in enumerate(tasks):
            if not task.parents:
                self._submit(node)
        self._serve()
        while len(self._done) < len(tasks):
            if not self._events:
                raise SimulationError(f"nothing happens any more at {self._now} s, and {len(tasks) - len(self._done)} of {len(tasks)} tasks "
                                      "have no result")
            self._now = self._events[0][0]
            while self._events and self._events[0][0] == self._now:
                *_, action, argument = heapq.heappop(self._events)
                action(argument)
            self._serve()
        return max(self._done.values())

    # Parsl

    def _submit(self, node: int) -> None:
        task = self._case.workflow.tasks[node]
        self._handle(TaskSubmitted(self._now, node + 1, task.app, _TASK_BYTES, task.cores, node=node, seconds=self._told[node]))

    def _finish(self, node: int) -> None:
        self._done[node] = self._now
        self._handle(TaskLeft(self._now, node))
        for child in self._children[node]:
            self._missing[child] -= 1
            if not self._missing[child]:
                self._submit(child)

    # the executor's threads

    def _handle(self, event: Event) -> None:
        for action in self.scheduler.handle(event):
            if isinstance(action, Dispatch):
                self._dispatch(action)
            elif isinstance(action, AttemptEnded):
                if action.outcome is Outcome.LOST:
                    self._endpoints[action.endpoint].give_up(action.attempt_id)
                if action.resolves:
                    self._finish(action.task_id - 1)
            elif isinstance(action, FailTask):
                raise SimulationError(f"the core failed task {action.task_id - 1}: {action.message}")

    def _serve(self) -> None:
        """Grant turns as long as they are wanted and the request budget lasts; then see when to look again."""
        while self.scheduler.wants_turn and self._may_request():
            dispatches = self._dispatches
            self._handle(TurnGranted(self._now))
            if self._dispatches == dispatches and self.scheduler.wants_turn:
                raise SimulationError("the core wants a turn, and makes nothing of it")
        wakes_at = self.scheduler.wakes_at
        if wakes_at is not None and wakes_at > self._now and wakes_at != self._tick_at:
            self._tick_at = wakes_at
            self._at(wakes_at, _WORLD, self._tick, wakes_at)

    def _tick(self, wanted_at: float) -> None:
        if wanted_at == self._tick_at:  # otherwise it has changed its mind since
            self._handle(Tick(self._now))

    def _may_request(self) -> bool:
        if self._retry_at > self._now:
            return False
        if self._budget.take():
            return True
        self._retry_at = self._budget.next_at()
        self._at(self._retry_at, _WORLD, lambda _: None, None)  # turns are granted after every event
        return False

    def _dispatch(self, dispatch: Dispatch) -> None:
        self._dispatches += 1
        endpoint = self._endpoints[dispatch.endpoint].endpoint
        self._at(self._now + endpoint.start_latency, _WORLD, self._accept, dispatch.dispatch_id)
        for attempt_id, task_id in dispatch.attempts:
            task = self._case.workflow.tasks[task_id - 1]
            attempt = Attempt(attempt_id, task.cores, task.seconds / endpoint.speed, endpoint.name)
            self._at(self._now + endpoint.start_latency, _WORLD, self._arrive, attempt)

    def _accept(self, dispatch_id: int) -> None:
        self._handle(DispatchAccepted(self._now, dispatch_id))

    # endpoints

    def _arrive(self, attempt: Attempt) -> None:
        self._endpoints[attempt.endpoint].take(attempt)
        self._start_waiting(attempt.endpoint)

    def _start_waiting(self, name: str) -> None:
        for attempt in self._endpoints[name].start(self._now):
            self._at(self._now + attempt.seconds, _ENDPOINT, self._end, attempt)

    def _end(self, attempt: Attempt) -> None:
        child = self._endpoints[attempt.endpoint]
        child.end(attempt)
        self._at(self._now + child.endpoint.result_latency, _WORLD, self._see, attempt)
        self._start_waiting(attempt.endpoint)

    def _see(self, attempt: Attempt) -> None:
        self._handle(ResultReceived(self._now, attempt.id, Outcome.OK, attempt.seconds, f"child of {attempt.endpoint}"))

    def _at(self, time: float, order: int, action: Callable[[Any], None], argument: Any) -> None:
        self._serial += 1
        heapq.heappush(self._events, (time, order, self._serial, action, argument))


def told_seconds(case: Case, estimates: str, seed: int) -> List[Optional[float]]:
    """What the user says about the run time of each task."""
    if estimates == "learned":
        return [None for _ in case.workflow.tasks]
    rng = random.Random(f"{case.workflow.name} {seed}")
    noise = NOISE if estimates == "noisy" else 0.0
    return [task.seconds * math.exp(rng.gauss(0.0, noise)) for task in case.workflow.tasks]


def _spec(endpoint: Endpoint, speeds_known: bool) -> EndpointSpec:
    # a start-up that never ends is not known to anybody
    startup = endpoint.startup_seconds if speeds_known and 0 < endpoint.startup_seconds < math.inf else None
    return EndpointSpec(endpoint.name, tuple(ClassSpec(cores, count) for cores, count in endpoint.threads),
                        speed=endpoint.speed if speeds_known else None, startup_seconds=startup, cost_per_core_hour=endpoint.cost_per_core_hour)
