"""How long the core takes, in real time, for what one task brings: it is given many, and endpoints that are played."""
from __future__ import annotations

import heapq
import math
import random
import time
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from parsl.executors.globus_compute_multi.scheduling.actions import Dispatch
from parsl.executors.globus_compute_multi.scheduling.events import (
    DispatchAccepted,
    Event,
    Outcome,
    ResultReceived,
    TaskSubmitted,
    TurnGranted,
)
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec

ENDPOINTS = 100
THREADS = 8
APPS = 10

#: The service's limit, and what the executor tells the core of it by default.
REQUESTS_PER_SECOND = 2.0

#: Runs of which the fastest counts.
RUNS = 3


@dataclass(frozen=True)
class Load:
    """What the core is given, all tasks first.

    Parameters
    ----------
    text : str
        What it is, for the reader.
    tasks : int
        All are submitted before the first turn.
    together : int or None
        So many results of one endpoint, chosen by chance, come at the same time, and turns are granted as soon as they are wanted. None:
        results come one by one, as threads finish in virtual time, and there are :data:`REQUESTS_PER_SECOND` turns.
    rule : AheadRule
    threads : tuple of (int, int)
        Cores and count of each thread class of every endpoint. Where there are several, every tenth task needs the most cores.
    speeds : int
        Endpoints are 1, 2, ... up to so many times as fast, which the core has to learn.
    pinned : bool
        Whether each task is restricted to the file system of one endpoint.
    cpu_seconds : float or None
        All runs together are cut off after so many seconds of processor time.
    """

    text: str
    tasks: int
    together: Optional[int]
    rule: AheadRule = AheadRule(REQUESTS_PER_SECOND)
    threads: Tuple[Tuple[int, int], ...] = ((1, THREADS),)
    speeds: int = 1
    pinned: bool = False
    cpu_seconds: Optional[float] = None


_NOTHING_AHEAD = AheadRule(None, 0)

#: Loads for which there is a bound.
JUDGED = (
    Load("each result brings a request", 100_000, 1, _NOTHING_AHEAD),
    Load("an endpoint's results come together", 100_000, THREADS, _NOTHING_AHEAD),
)

#: Loads that are only reported.
OTHERS = (
    Load("default settings, two requests a second", 5_000, None, cpu_seconds=20.0),
    Load("default settings but no request limit, {1: 8, 4: 2} threads, speeds of 1 to 4 learned", 5_000, THREADS,
         threads=((1, 8), (4, 2)), speeds=4, cpu_seconds=20.0),
    Load("default settings but no request limit, each task on one endpoint's file system", 5_000, THREADS, pinned=True,
         cpu_seconds=20.0),
)


@dataclass
class Timing:
    """What came out.

    Parameters
    ----------
    steps : dict
        Seconds that a task took to submit, to dispatch, and for its result.
    longest : float
        Seconds of the event that took longest.
    tasks : int
        Tasks of which the result was taken.
    """

    steps: Dict[str, float]
    longest: float
    tasks: int

    @property
    def microseconds(self) -> float:
        """All steps of a task."""
        return sum(self.steps.values()) * 1e6


def fastest(load: Load) -> Timing:
    """The fastest of :data:`RUNS` runs, or of as many as ``load.cpu_seconds`` allow."""
    timings: List[Timing] = []
    left = load.cpu_seconds
    while len(timings) < RUNS and (left is None or left > 0):
        run = CoreRun(load)
        timings.append(run.run(left))
        left = left and left - run.spent
    return min(timings, key=lambda timing: timing.microseconds)


class CoreRun:
    """One run of the core with a load.

    Parameters
    ----------
    load : Load
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._rng = random.Random(0)
        self._seconds = [self._rng.lognormvariate(0.0, 0.8) for _ in range(load.tasks)]
        self._speeds = {f"endpoint{i}": 1.0 + i % load.speeds for i in range(ENDPOINTS)}
        classes = tuple(ClassSpec(cores, count) for cores, count in load.threads)
        self._scheduler = Scheduler([EndpointSpec(name, classes) for name in self._speeds], Settings(load.rule, batch_bytes=None))
        self._now = 0.0
        self._spent = {"submit": 0.0, "dispatch": 0.0, "result": 0.0}
        self._tasks = dict.fromkeys(self._spent, 0)
        self._longest = 0.0
        self._limit = math.inf
        self._bound: Dict[str, List[str]] = {}  # attempts of each endpoint that have no result yet; in virtual time, that have not begun
        self._serial = 0
        self._ends: List[Tuple[float, int, str, str]] = []  # in virtual time: when, serial number, endpoint, attempt

    @property
    def spent(self) -> float:
        """Seconds of processor time that the core has taken."""
        return sum(self._spent.values())

    def run(self, limit: Optional[float] = None) -> Timing:
        """Run all tasks, or as many as can be in ``limit`` seconds of processor time."""
        self._limit = math.inf if limit is None else limit
        most = max(cores for cores, _ in self._load.threads)
        for task in range(self._load.tasks):
            self._now = task * 1e-5
            self._handle("submit", 1, TaskSubmitted(self._now, task, f"app{task % APPS}", 1000, most if task % APPS == 0 else 1,
                                                    filesystem=f"endpoint{task % ENDPOINTS}" if self._load.pinned else None))
        if self._load.together is None:
            self._run_in_virtual_time()
        else:
            self._run_together(self._load.together)
        return Timing({step: seconds / max(1, self._tasks[step]) for step, seconds in self._spent.items()}, self._longest, self._tasks["result"])

    def _run_together(self, together: int) -> None:
        while self._scheduler.wants_turn and self.spent < self._limit:
            self._turn()
        while self._bound and self.spent < self._limit:
            self._now += 0.01
            endpoint = self._rng.choice(list(self._bound))
            held = self._bound.pop(endpoint)
            self._rng.shuffle(held)
            if held[together:]:
                self._bound[endpoint] = held[together:]
            for attempt in held[:together]:
                self._result(endpoint, attempt)
            while self._scheduler.wants_turn and self.spent < self._limit:
                self._turn()

    def _run_in_virtual_time(self) -> None:
        turn_at = self._now
        while self.spent < self._limit and (self._ends or self._scheduler.wants_turn):
            if self._scheduler.wants_turn and (not self._ends or turn_at <= self._ends[0][0]):
                self._now = max(self._now, turn_at)
                turn_at = self._now + 1 / REQUESTS_PER_SECOND
                for endpoint in self._turn():
                    running = sum(entry[2] == endpoint for entry in self._ends)
                    for _ in range(THREADS - running):
                        self._begin(endpoint)
            else:
                self._now, _, endpoint, attempt = heapq.heappop(self._ends)
                self._begin(endpoint)
                self._result(endpoint, attempt)

    def _begin(self, endpoint: str) -> None:
        """Let a free thread begin with what was bound to its endpoint first."""
        if self._bound.get(endpoint):
            attempt = self._bound[endpoint].pop(0)
            self._serial += 1
            heapq.heappush(self._ends, (self._now + self._run_seconds(endpoint, attempt), self._serial, endpoint, attempt))

    def _turn(self) -> List[str]:
        """Grant a turn; the endpoints to which something was sent."""
        sent = self._handle("dispatch", 0, TurnGranted(self._now))
        for dispatch in sent:
            self._handle("dispatch", len(dispatch.attempts), DispatchAccepted(self._now, dispatch.dispatch_id))
            self._bound.setdefault(dispatch.endpoint, []).extend(attempt for attempt, _ in dispatch.attempts)
        return [dispatch.endpoint for dispatch in sent]

    def _result(self, endpoint: str, attempt: str) -> None:
        self._handle("result", 1, ResultReceived(self._now, attempt, Outcome.OK, self._run_seconds(endpoint, attempt), f"child of {endpoint}"))

    def _run_seconds(self, endpoint: str, attempt: str) -> float:
        return self._seconds[int(attempt.partition(".")[0])] / self._speeds[endpoint]

    def _handle(self, step: str, tasks: int, event: Event) -> List[Dispatch]:
        start = time.process_time()
        actions = self._scheduler.handle(event)
        seconds = time.process_time() - start
        self._spent[step] += seconds
        self._tasks[step] += tasks
        self._longest = max(self._longest, seconds)
        return [action for action in actions if isinstance(action, Dispatch)]
