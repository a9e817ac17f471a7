"""Many endpoints behind one request budget, in virtual time: the executor's own scheduler core and governor, and all around them played.

Real are the scheduler, its rules, and the governor with its shares. Played, with the durations that were measured on real agents
(constants below), are the threads of the executor, the service and the agents:

* at most :data:`~.dispatcher.SENDERS` submissions are under way at once, one until the first is answered; status queries go one by one;
* a child is started by its first request, runs what it holds in order on any free thread, needs a millisecond of its own for each task, and
  publishes results twice a second, each child at moments of its own.

All tasks are ready at the start.
"""
from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    List,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

from parsl.executors.globus_compute_multi.compute.dispatcher import SENDERS
from parsl.executors.globus_compute_multi.compute.governor import Governor, Kind
from parsl.executors.globus_compute_multi.scheduling.actions import (
    Action,
    Dispatch,
    FailTask,
    QueryStatus,
)
from parsl.executors.globus_compute_multi.scheduling.events import (
    DispatchAccepted,
    Event,
    Outcome,
    ResultReceived,
    StatusReceived,
    TaskSubmitted,
    Tick,
    TurnGranted,
)
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec

#: The service's limits: requests in so many seconds, and bytes of a request.
REQUESTS, WINDOW_SECONDS = 20, 10.0
BATCH_BYTES = 9_990_000

#: Seconds from sending a request until its answer, from there until its tasks reach the child, and from publishing a result until it is seen.
REQUEST_SECONDS, DELIVERY_SECONDS, RESULT_SECONDS = 0.2, 0.1, 0.1

#: Seconds until a child that was not there runs tasks; between two publications; and for which its agent is busy with a task.
STARTUP_SECONDS, PUBLISH_SECONDS, AGENT_SECONDS = 1.5, 0.5, 0.001

#: Seconds from one tick to the next, as the executor has it, and of a child's heartbeat.
_TICK_SECONDS, _HEARTBEAT_SECONDS = 1.0, 30.0

#: A moment of the governor's is a sum of floats; this much later it has come for certain.
_ROUNDING = 1e-6


class FleetError(RuntimeError):
    """What was simulated came to a halt, or broke the service's limit."""


@dataclass(frozen=True)
class Load:
    """Endpoints that are alike, and tasks for them.

    Parameters
    ----------
    name : str
    endpoints : int
    tasks : int
    classes : tuple of (int, str or None)
        Threads of each class of an endpoint, and its ``user_endpoint_config``. Where there are several, tasks ask for one each in turn.
    specs : int
        So many resource specifications for MPI are asked for in turn.
    seconds : float
        Mean run time.
    sigma : float
        Of the logarithm of the run time; 0: all are equal.
    task_bytes : int
        Of a task on the wire.
    """

    name: str
    endpoints: int
    tasks: int
    classes: Tuple[Tuple[int, Optional[str]], ...] = ((8, None),)
    specs: int = 1
    seconds: float = 2.0
    sigma: float = 0.0
    task_bytes: int = 1500

    @property
    def threads(self) -> int:
        """Of all endpoints."""
        return self.endpoints * sum(count for count, _ in self.classes)

    def endpoint_specs(self) -> List[EndpointSpec]:
        """For the core."""
        classes = tuple(ClassSpec(1, count, config) for count, config in self.classes)
        return [EndpointSpec(f"endpoint{i}", classes) for i in range(self.endpoints)]

    def run_seconds(self) -> List[float]:
        """Of each task."""
        if not self.sigma:
            return [self.seconds] * self.tasks
        rng = random.Random(self.name)
        return [self.seconds * rng.lognormvariate(-self.sigma ** 2 / 2, self.sigma) for _ in range(self.tasks)]

    def needs(self, task: int) -> Tuple[Optional[str], Tuple[Tuple[str, Any], ...]]:
        """Which configuration and which resource specification a task asks for."""
        config = self.classes[task % len(self.classes)][1] if len(self.classes) > 1 else None
        return config, (("num_nodes", 1 + task // len(self.classes) % self.specs),) if self.specs > 1 else ()


class Core(Protocol):
    """What decides: the executor's scheduler, or another one that takes and gives the same."""

    def handle(self, event: Event, settle: bool) -> Sequence[Action]:
        """Take one event; the actions to be carried out. ``settle``: see what has changed for the tasks that are pending."""

    def settle(self, now: float) -> Sequence[Action]:
        """See what has changed."""

    @property
    def settled(self) -> bool:
        """Whether there is nothing to be seen."""

    @property
    def wants_turn(self) -> bool:
        """Whether a turn would bring a dispatch."""

    @property
    def wakes_at(self) -> Optional[float]:
        """When it wants a tick even if nothing happens."""


@dataclass
class Run:
    """What came out.

    Parameters
    ----------
    threads : int
    makespan : float
        When the last result was seen, or the run was cut off.
    cut_off : bool
    busy : list of (float, float)
        When each task began and ended.
    requests : Counter
        Submissions by endpoint, configuration and resource specification.
    statuses : int
        Status queries.
    sent : int
        Tasks in all submissions.
    most_in_window : int
        Most requests in any window, at whatever moment between sending and answer the service counts each of them.
    """

    threads: int
    makespan: float = 0.0
    cut_off: bool = False
    busy: List[Tuple[float, float]] = field(default_factory=list)
    requests: "Counter[Tuple[str, Optional[str], Any]]" = field(default_factory=Counter)
    statuses: int = 0
    sent: int = 0
    most_in_window: int = 0

    def utilisation(self, begin: float, end: float) -> float:
        """Share of the time of all threads between two moments in which they ran tasks."""
        busy = sum(max(0.0, min(e, end) - max(b, begin)) for b, e in self.busy)
        return busy / (self.threads * (end - begin)) if end > begin else math.nan


class _Child:
    """A process of an endpoint: the threads of its classes, and what waits for them."""

    def __init__(self, threads: int, phase: float) -> None:
        self.free = threads
        self.phase = phase
        self.waiting: Deque[Tuple[str, float]] = deque()
        self.ready_at: Optional[float] = None  # when it runs tasks
        self.agent_free_at = 0.0
        self.unpublished: List[Tuple[str, float]] = []


class Fleet:
    """One run of a load.

    Parameters
    ----------
    load : Load
    core : Core
    until : float
        The run is cut off then, in seconds.
    """

    def __init__(self, load: Load, core: Core, until: float = math.inf) -> None:
        self._load = load
        self._core = core
        self._until = until
        self._now = 0.0
        self._events: List[Tuple[float, int, Callable[[Any], None], Any]] = []
        self._serial = 0
        self._seconds = load.run_seconds()
        self._governor = Governor(REQUESTS, WINDOW_SECONDS, lambda: self._now)
        rng = random.Random(load.name)
        self._children = {(f"endpoint{i}", config): _Child(threads, rng.random() * PUBLISH_SECONDS)
                          for i in range(load.endpoints) for threads, config in load.classes}
        self._attempts: Dict[str, Tuple[int, str]] = {}  # task and child ID of each that has sent no result
        self._missing = set(range(load.tasks))
        self._under_way = 0
        self._task_group = False
        self._queries: List[Tuple[str, Optional[str]]] = []
        self._asking = False
        self._look_at = math.inf
        self._sent_at: List[float] = []
        self._answered_at: List[float] = []
        self._result = Run(load.threads)

    def run(self) -> Run:
        """Run all tasks.

        Raises
        ------
        FleetError
            If the core fails a task, or more requests are sent than the service allows.
        """
        for task in range(self._load.tasks):
            config, mpi = self._load.needs(task)
            self._handle(TaskSubmitted(0.0, task, "app", self._load.task_bytes, config=config, mpi=mpi))
        self._at(0.0, self._tick, None)
        while self._missing:
            self._now = self._events[0][0]
            if self._now > self._until:
                self._result.cut_off = True
                self._now = self._until
                break
            while self._events and self._events[0][0] == self._now:
                _, _, action, argument = heapq.heappop(self._events)
                action(argument)
            self._serve()
        self._result.makespan = self._now
        self._check_budget()
        return self._result

    def _check_budget(self) -> None:
        # most of a kind that may be seen in one window: all that were sent before its end and not answered before its beginning
        answered = sorted(self._answered_at)
        first = 0
        for number, sent in enumerate(sorted(self._sent_at), 1):
            while answered[first] <= sent - WINDOW_SECONDS + _ROUNDING:
                first += 1
            self._result.most_in_window = max(self._result.most_in_window, number - first)
        if self._result.most_in_window > REQUESTS:
            raise FleetError(f"{self._result.most_in_window} requests in {WINDOW_SECONDS:g} s")

    # the executor's threads

    def _handle(self, event: Event, settle: bool = False) -> None:
        self._carry_out(self._core.handle(event, settle))

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Dispatch):
                self._send(action)
            elif isinstance(action, QueryStatus):
                if (action.endpoint, action.child_id) not in self._queries:
                    self._queries.append((action.endpoint, action.child_id))
            elif isinstance(action, FailTask):
                raise FleetError(f"the core failed task {action.task_id}: {action.message}")

    def _serve(self) -> None:
        """Let the owner take turns, and the status poller ask, as the governor allows; then see when to look again."""
        look_at = math.inf
        while self._under_way < (SENDERS if self._task_group else 1):
            wait = self._turn_wait()
            if wait > 0:
                look_at = self._now + wait + _ROUNDING
                break
            self._carry_out(self._core.settle(self._now))
            if not self._core.wants_turn:
                self._governor.want_no_submission()
                break
            if not self._governor.try_submission():
                look_at = self._now + max(self._governor.submission_wait(), 0.0) + _ROUNDING
                break
            under_way = self._under_way
            self._handle(TurnGranted(self._now, self._governor.requests_per_second, self._governor.submission_gap), settle=True)
            if self._under_way == under_way:
                self._governor.unused()
                if self._core.wants_turn:
                    raise FleetError("the core wants a turn, and makes nothing of it")
        if self._queries and not self._asking:
            if self._governor.try_permit(Kind.STATUS, self):
                self._ask(self._queries.pop(0))
            else:
                # asking again keeps its place in line, as waiting does
                look_at = min(look_at, self._now + min(max(self._governor.wait(Kind.STATUS, self), 0.0), 1.0) + _ROUNDING)
        wakes_at = self._core.wakes_at
        if wakes_at is not None and wakes_at > self._now:
            look_at = min(look_at, wakes_at)
        if look_at < math.inf and (look_at < self._look_at or self._look_at <= self._now):
            self._look_at = look_at
            self._at(look_at, self._look, None)

    def _turn_wait(self) -> float:
        """When the owner looks whether a turn is wanted."""
        if self._core.wants_turn:
            return self._governor.submission_wait()
        return math.inf if self._core.settled else self._governor.submission_gap

    def _look(self, _: Any) -> None:
        wakes_at = self._core.wakes_at
        if wakes_at is not None and wakes_at <= self._now:
            self._handle(Tick(self._now), settle=True)

    def _tick(self, _: Any) -> None:
        self._handle(Tick(self._now), settle=True)
        self._at(self._now + _TICK_SECONDS, self._tick, None)

    def _send(self, dispatch: Dispatch) -> None:
        self._under_way += 1
        self._result.requests[dispatch.endpoint, dispatch.config, dispatch.mpi] += 1
        self._result.sent += len(dispatch.attempts)
        self._sent()
        self._at(self._now + REQUEST_SECONDS, self._accept, dispatch.dispatch_id)
        self._at(self._now + REQUEST_SECONDS + DELIVERY_SECONDS, self._arrive, dispatch)

    def _sent(self) -> None:
        self._sent_at.append(self._now)
        self._answered_at.append(self._now + REQUEST_SECONDS)

    def _accept(self, dispatch_id: int) -> None:
        self._under_way -= 1
        self._task_group = True
        self._governor.ended()
        self._handle(DispatchAccepted(self._now, dispatch_id))

    def _ask(self, target: Tuple[str, Optional[str]]) -> None:
        self._asking = True
        self._result.statuses += 1
        self._sent()
        self._at(self._now + REQUEST_SECONDS, self._answer, target)

    def _answer(self, target: Tuple[str, Optional[str]]) -> None:
        self._asking = False
        self._governor.ended(Kind.STATUS)
        endpoint, child_id = target
        workers = None if child_id is None else next(
            threads for threads, config in self._load.classes if _child_id(endpoint, config) == child_id)
        self._handle(StatusReceived(self._now, endpoint, True, child_id, workers, heartbeat=_HEARTBEAT_SECONDS))

    # endpoints

    def _arrive(self, dispatch: Dispatch) -> None:
        where = dispatch.endpoint, dispatch.config
        child = self._children[where]
        for attempt_id, task_id in dispatch.attempts:
            self._attempts[attempt_id] = task_id, _child_id(*where)
            child.waiting.append((attempt_id, self._seconds[task_id]))
        if child.ready_at is None:
            child.ready_at = self._now + STARTUP_SECONDS
            self._at(child.ready_at, self._begin, child)
        elif self._now >= child.ready_at:
            self._begin(child)

    def _begin(self, child: _Child) -> None:
        while child.free and child.waiting:
            attempt_id, seconds = child.waiting.popleft()
            child.free -= 1
            child.agent_free_at = begin = max(self._now, child.agent_free_at) + AGENT_SECONDS
            self._result.busy.append((begin, begin + seconds))
            self._at(begin + seconds, self._end, (child, attempt_id, seconds))

    def _end(self, ended: Tuple[_Child, str, float]) -> None:
        child, attempt_id, seconds = ended
        child.free += 1
        if not child.unpublished:
            publications = math.floor((self._now - child.phase) / PUBLISH_SECONDS) + 1
            self._at(child.phase + publications * PUBLISH_SECONDS + RESULT_SECONDS, self._see, child)
        child.unpublished.append((attempt_id, seconds))
        self._begin(child)

    def _see(self, child: _Child) -> None:
        published, child.unpublished = child.unpublished, []
        for attempt_id, seconds in published:
            task_id, child_id = self._attempts.pop(attempt_id)
            self._missing.discard(task_id)
            self._handle(ResultReceived(self._now, attempt_id, Outcome.OK, seconds, child_id))

    def _at(self, time: float, action: Callable[[Any], None], argument: Any) -> None:
        self._serial += 1
        heapq.heappush(self._events, (time, self._serial, action, argument))


def _child_id(endpoint: str, config: Optional[str]) -> str:
    return f"child {config} of {endpoint}"
