"""How long the core takes, in processor time, for what one task brings: it is given many, and endpoints that are played."""
from __future__ import annotations

import heapq
import math
import random
import time
from array import array
from collections import deque
from dataclasses import dataclass
from typing import Deque, Dict, Iterable, List, Optional, Tuple

from parsl.executors.globus_compute_multi.owner import MESSAGES_A_ROUND, ROUND_SECONDS
from parsl.executors.globus_compute_multi.scheduling.actions import (
    Dispatch,
    QueryStatus,
)
from parsl.executors.globus_compute_multi.scheduling.events import (
    DispatchAccepted,
    Event,
    Outcome,
    ResultReceived,
    StatusReceived,
    TaskAnnounced,
    TaskLeft,
    TaskSubmitted,
    Tick,
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

#: Seconds between two ticks, as the executor's owner gives them.
TICK_SECONDS = 1.0

#: Spread of run times: of their logarithm.
_SIGMA = 0.8

#: What is timed.
_STEPS = ("announce", "submit", "dispatch", "result", "leave", "tick")


def _clock_seconds() -> float:
    """What it takes to read the clock, which is not the core's."""
    return min(-(time.process_time() - time.process_time()) for _ in range(1000))


_CLOCK_SECONDS = _clock_seconds()


@dataclass(frozen=True)
class Load:
    """What the core is given; all tasks that wait for no other come first.

    Parameters
    ----------
    text : str
        What it is, for the reader.
    tasks : int
        All are submitted before the first turn.
    together : int or None
        So many results of one endpoint, chosen by chance, come at the same time, and turns are granted as soon as they are wanted. None:
        results come as threads finish in virtual time, with ticks and statuses, and turns as fast as the rule says that they are granted.
    rule : AheadRule
    threads : tuple of (int, int)
        Cores and count of each thread class of every endpoint. Where there are several, every tenth task needs the most cores.
    speeds : int
        Endpoints are 1, 2, ... up to so many times as fast, which the core has to learn.
    pinned : bool
        Whether each task is restricted to the file system of one endpoint.
    cpu_seconds : float or None
        All runs together are cut off after so many seconds of processor time.
    endpoints : int
    layers : int
        0: the task graph is left out. Otherwise all tasks are announced before, in so many layers: each waits for two of the layer before.
    mean_seconds : float
        Run time of the tasks, log-normal.
    publish_seconds : float
        In virtual time, an endpoint sends the results that it has so often. 0: each at once.
    """

    text: str
    tasks: int
    together: Optional[int]
    rule: AheadRule = AheadRule(REQUESTS_PER_SECOND)
    threads: Tuple[Tuple[int, int], ...] = ((1, THREADS),)
    speeds: int = 1
    pinned: bool = False
    cpu_seconds: Optional[float] = None
    endpoints: int = ENDPOINTS
    layers: int = 0
    mean_seconds: float = math.exp(_SIGMA ** 2 / 2)
    publish_seconds: float = 0.0


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


#: Loads for which there is a bound at scale; tasks and endpoints are set for each run.
SCALED = (
    Load("a bag: two requests a second, results every half second", 0, None, layers=1, mean_seconds=20.0, publish_seconds=0.5),
    Load("a graph of 100 layers, likewise", 0, None, layers=100, mean_seconds=20.0, publish_seconds=0.5),
    Load("a bag, each result brings a request, nothing ahead", 0, 1, _NOTHING_AHEAD, layers=1),
)


@dataclass
class Timing:
    """What came out.

    Parameters
    ----------
    steps : dict
        Seconds that a task took to announce, to submit, to dispatch, for its result, and for its end in the graph.
    longest : float
        Seconds of the event that took longest.
    tasks : int
        Tasks of which the result was taken.
    longest_kind : str
        What that event was.
    ticking : float
        Share of the time for which the processor is busy with ticks and statuses, in virtual time.
    """

    steps: Dict[str, float]
    longest: float
    tasks: int
    longest_kind: str = ""
    ticking: float = 0.0

    @property
    def microseconds(self) -> float:
        """All steps of a task. What the clock brings takes a share of the processor, and what is left is for tasks."""
        return sum(self.steps.values()) * 1e6 / (1 - min(self.ticking, 0.99))


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
        # arrays: lists of numbers would be gone through by the garbage collector each time
        median = load.mean_seconds / math.exp(_SIGMA ** 2 / 2)
        self._seconds = array("d", (median * self._rng.lognormvariate(0.0, _SIGMA) for _ in range(load.tasks)))
        self._speeds = {f"endpoint{i}": 1.0 + i % load.speeds for i in range(load.endpoints)}
        classes = tuple(ClassSpec(cores, count) for cores, count in load.threads)
        self._scheduler = Scheduler([EndpointSpec(name, classes) for name in self._speeds], Settings(load.rule, batch_bytes=None))
        self._now = 0.0
        self._spent = dict.fromkeys(_STEPS, 0.0)
        self._tasks = dict.fromkeys(_STEPS, 0)
        self._longest, self._longest_kind = 0.0, ""
        self._limit = math.inf
        self._bound: Dict[str, Deque[str]] = {}  # attempts of each endpoint that have no result yet; in virtual time, that have not begun
        self._numbers = array("q")  # of the tasks, in the order of submission; their IDs are that order
        self._width = load.tasks // max(1, load.layers)
        self._missing = bytearray(load.tasks)  # parents of each task that are not done
        self._done = bytearray(load.tasks)
        self._left = load.tasks
        # in virtual time
        self._events: List[Tuple[float, int, str, str]] = []  # when, serial number, endpoint, attempt that ends (none: results are sent)
        self._idle = dict.fromkeys(self._speeds, sum(count for _, count in load.threads))
        self._unsent: Dict[str, List[str]] = {}
        self._phases = {endpoint: self._rng.random() for endpoint in self._speeds}
        self._serial = 0
        self._asked: List[QueryStatus] = []

    @property
    def spent(self) -> float:
        """Seconds of processor time that the core has taken."""
        return sum(self._spent.values())

    def run(self, limit: Optional[float] = None) -> Timing:
        """Run all tasks, or as many as can be in ``limit`` seconds of processor time."""
        self._limit = math.inf if limit is None else limit
        if self._load.layers:
            for number in range(self._load.tasks):
                self._now = number * 1e-5
                parents = self._parents(number)
                self._missing[number] = len(parents)
                self._handle("announce", 1, TaskAnnounced(self._now, number, f"app{number % APPS}", parents), settle=False)
                if number % MESSAGES_A_ROUND == 0:
                    self._settle("announce")
        for number in range(self._load.tasks):
            self._now += 1e-5
            if not self._missing[number]:
                self._submit(number)
            if number % MESSAGES_A_ROUND == 0:
                self._settle("submit")
        self._settle("submit")
        if self._load.together is None:
            self._run_in_virtual_time()
        else:
            self._run_together(self._load.together)
        steps = {step: seconds / max(1, self._tasks[step]) for step, seconds in self._spent.items() if self._tasks[step]}
        return Timing(steps, self._longest, self._tasks["result"], self._longest_kind, self._spent["tick"] / self._now)

    # Parsl

    def _parents(self, number: int) -> Tuple[int, ...]:
        if number < self._width:
            return ()
        above = number - self._width
        return tuple({above, self._beside(above, 1)})

    def _beside(self, number: int, step: int) -> int:
        """The task so many places further in the same layer, around its end."""
        place = number % self._width
        return number - place + (place + step) % self._width

    def _submit(self, number: int) -> None:
        load = self._load
        cores = max(cores for cores, _ in load.threads) if number % APPS == 0 else 1
        self._numbers.append(number)
        self._handle("submit", 1, TaskSubmitted(
            self._now, len(self._numbers) - 1, f"app{number % APPS}", 1000, cores, node=number if load.layers else None,
            filesystem=f"endpoint{number % load.endpoints}" if load.pinned else None), settle=False)

    def _leave(self, number: int) -> None:
        """Let a task be done, and submit those that waited for nothing else."""
        self._handle("leave", 1, TaskLeft(self._now, number), settle=False)
        below = number + self._width
        if below < self._load.tasks:
            for child in {below, self._beside(below, -1)}:
                self._missing[child] -= 1
                if not self._missing[child]:
                    self._submit(child)

    # without time

    def _run_together(self, together: int) -> None:
        while self._scheduler.wants_turn and self.spent < self._limit:
            self._turn()
        while self._bound and self.spent < self._limit:
            self._now += 0.01
            endpoint = self._rng.choice(list(self._bound))
            held = list(self._bound.pop(endpoint))
            self._rng.shuffle(held)
            if held[together:]:
                self._bound[endpoint] = deque(held[together:])
            for attempt in held[:together]:
                self._result(endpoint, attempt)
            self._settle()
            while self._scheduler.wants_turn and self.spent < self._limit:
                self._turn()

    # in virtual time

    def _run_in_virtual_time(self) -> None:
        rate = self._load.rule.requests_per_second
        turn_at = tick_at = self._now
        look_at = self._now  # not before then
        while self._left and self.spent < self._limit:
            wakes_at = self._wakes_at()
            happens_at = max(self._events[0][0], look_at) if self._events else math.inf
            turns_at = turn_at if self._scheduler.wants_turn or not self._scheduler.settled else math.inf
            if min(wakes_at, happens_at, turns_at) == math.inf:
                raise RuntimeError(f"nothing happens any more at {self._now} s, and {self._left} tasks have no result")
            self._now = max(self._now, min(tick_at, wakes_at, happens_at, turns_at))
            if self._now >= min(tick_at, wakes_at):
                tick_at = self._now + TICK_SECONDS
                self._tick()
            if happens_at <= self._now:
                look_at = self._now + ROUND_SECONDS
                while self._events and self._events[0][0] <= self._now:
                    self._happen(*heapq.heappop(self._events)[2:])
            if self._now >= turn_at:  # the owner does not look before a turn may be granted
                self._settle()
            while self._now >= turn_at and self._scheduler.wants_turn and self.spent < self._limit:
                turn_at = self._now if rate is None else self._now + 1 / rate
                self._begin(self._turn())

    def _wakes_at(self) -> float:
        """When the core wants a tick, which the owner asks it for twice in a round."""
        start = time.process_time()
        for _ in range(2):
            wakes_at = self._scheduler.wakes_at
        self._spent["tick"] += max(0.0, time.process_time() - start - _CLOCK_SECONDS)
        return math.inf if wakes_at is None else wakes_at

    def _tick(self) -> None:
        self._handle("tick", 0, Tick(self._now))
        while self._asked:
            endpoint, child_id = self._asked.pop()
            workers = None if child_id is None else sum(count for _, count in self._load.threads)
            self._handle("tick", 0, StatusReceived(self._now, endpoint, True, child_id, workers))

    def _happen(self, endpoint: str, attempt: str) -> None:
        """An attempt ends on an endpoint, or that sends results."""
        if attempt:
            self._idle[endpoint] += 1
            self._begin([endpoint])
            self._unsent.setdefault(endpoint, []).append(attempt)
            every = self._load.publish_seconds
            if every and len(self._unsent[endpoint]) == 1:
                phase = self._phases[endpoint] * every  # they do not send all at the same time
                self._at((math.floor((self._now - phase) / every) + 1) * every + phase, endpoint, "")
            if every:
                return
        for sent in self._unsent.pop(endpoint):
            self._result(endpoint, sent)

    def _begin(self, endpoints: Iterable[str]) -> None:
        """Let the idle threads of endpoints begin with what was bound there first."""
        for endpoint in endpoints:
            waiting = self._bound.get(endpoint)
            while waiting and self._idle[endpoint]:
                self._idle[endpoint] -= 1
                attempt = waiting.popleft()
                self._at(self._now + self._run_seconds(endpoint, attempt), endpoint, attempt)

    def _at(self, when: float, endpoint: str, attempt: str) -> None:
        self._serial += 1
        heapq.heappush(self._events, (when, self._serial, endpoint, attempt))

    # the core

    def _turn(self) -> List[str]:
        """Grant a turn; the endpoints to which something was sent."""
        sent = self._handle("dispatch", 0, TurnGranted(self._now))
        for dispatch in sent:
            self._handle("dispatch", len(dispatch.attempts), DispatchAccepted(self._now, dispatch.dispatch_id))
            self._bound.setdefault(dispatch.endpoint, deque()).extend(attempt for attempt, _ in dispatch.attempts)
        return [dispatch.endpoint for dispatch in sent]

    def _result(self, endpoint: str, attempt: str) -> None:
        number = self._number(attempt)
        event = ResultReceived(self._now, attempt, Outcome.OK, self._run_seconds(endpoint, attempt), f"child of {endpoint}")
        self._handle("result", 1, event, settle=False)
        if not self._done[number]:  # it may have been started twice
            self._done[number] = 1
            self._left -= 1
            if self._load.layers:
                self._leave(number)

    def _number(self, attempt: str) -> int:
        return self._numbers[int(attempt.partition(".")[0])]

    def _run_seconds(self, endpoint: str, attempt: str) -> float:
        return self._seconds[self._number(attempt)] / self._speeds[endpoint]

    def _settle(self, step: str = "result") -> None:
        """Let the core see what all that has come in has changed."""
        start = time.process_time()
        self._scheduler.settle(self._now)
        self._note(step, 0, time.process_time() - start, "settle")

    def _note(self, step: str, tasks: int, seconds: float, kind: str) -> None:
        seconds = max(0.0, seconds - _CLOCK_SECONDS)
        self._spent[step] += seconds
        self._tasks[step] += tasks
        if seconds > self._longest:
            self._longest, self._longest_kind = seconds, kind

    def _handle(self, step: str, tasks: int, event: Event, settle: bool = True) -> List[Dispatch]:
        start = time.process_time()
        actions = self._scheduler.handle(event, settle)
        self._note(step, tasks, time.process_time() - start, type(event).__name__)
        sent = []
        for action in actions:
            if isinstance(action, Dispatch):
                sent.append(action)
            elif isinstance(action, QueryStatus):
                self._asked.append(action)
        return sent
