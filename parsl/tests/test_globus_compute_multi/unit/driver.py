"""Drives the scheduler by events alone, and checks everything it does."""
from __future__ import annotations

import json
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from parsl.executors.globus_compute_multi.observe.replay import RunState
from parsl.executors.globus_compute_multi.scheduling.actions import (
    Action,
    AttemptEnded,
    Dispatch,
    FailTask,
    QueryResults,
    QueryStatus,
    Report,
)
from parsl.executors.globus_compute_multi.scheduling.events import (
    DispatchAccepted,
    DispatchRejected,
    Event,
    Outcome,
    ResultReceived,
    ResultsChecked,
    ShutdownRequested,
    StatusReceived,
    TaskAnnounced,
    TaskCancelled,
    TaskLeft,
    TaskSubmitted,
    Tick,
    TurnGranted,
)
from parsl.executors.globus_compute_multi.scheduling.lines import fields
from parsl.executors.globus_compute_multi.scheduling.pending import Task
from parsl.executors.globus_compute_multi.scheduling.policy import Policy
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec, Threads

BATCH_BYTES = 1000


def spec(name: str, threads: Union[int, Dict[int, int], Sequence[ClassSpec]] = 1, cores: int = 1, **more: Any) -> EndpointSpec:
    """An endpoint with so many threads of so many cores, with ``{cores: count}``, or with these classes."""
    if isinstance(threads, int):
        threads = {cores: threads}
    classes = [ClassSpec(c, count) for c, count in threads.items()] if isinstance(threads, dict) else threads
    return EndpointSpec(name, tuple(classes), **more)


def header(endpoints: Sequence[EndpointSpec]) -> Dict[str, Any]:
    """What the first line of a run log says of the pool."""
    return {"endpoints": [{"endpoint": e.name, "threads": [{"cores": c.cores, "count": c.count, "config": c.config} for c in e.classes]}
                          for e in endpoints]}


class Driver:
    """A scheduler with a clock, an account of what it asked for, and its log folded line by line."""

    def __init__(self, endpoints: Sequence[EndpointSpec], *, requests_per_second: Optional[float] = 2.0, prefetch: Optional[int] = None,
                 failover_attempts: int = 2, redispatch: bool = True, silence: Optional[float] = 60.0, policy: Optional[Policy] = None) -> None:
        self.scheduler = Scheduler(
            endpoints, Settings(AheadRule(requests_per_second, prefetch), BATCH_BYTES, failover_attempts, redispatch, silence), policy)
        self.together = False  # whether events come without a look at what they have changed, until the next turn
        self.policy_may_fail = False
        self.requests_per_second = requests_per_second
        self.next_turn = 0.0
        self.prefetch = prefetch
        self.now = 0.0
        self.submitted: List[int] = []
        self.dispatches: Dict[int, Dispatch] = {}
        self.unanswered: List[int] = []
        self.resolved: Dict[int, AttemptEnded] = {}
        self.failed: Dict[int, FailTask] = {}
        self.ended: List[AttemptEnded] = []
        self.queries: List[QueryStatus] = []
        self.reports: List[str] = []
        self.late: List[str] = []
        self.lines: List[Dict[str, Any]] = []
        self.log = RunState(header(endpoints))
        self._check_alike()

    def _check_alike(self) -> None:
        """Whenever a task is taken to be like the one before it, see whether it would have been given the same threads."""
        placement = self.scheduler.placement
        is_alike = placement.is_alike

        def checked(task: Task, last: Task, threads: Threads) -> bool:
            alike = is_alike(task, last, threads)
            if alike:
                assert placement.choose(task, self.now, threads.child) is threads
            return alike

        placement.is_alike = checked  # type: ignore[method-assign]

    def handle(self, event: Event) -> None:
        settle = not self.together or isinstance(event, TurnGranted)
        self._carry_out(self.scheduler.handle(event, settle))
        assert self.scheduler.settled == settle

    def settle(self) -> None:
        """Let the scheduler see what the events since have changed."""
        self._carry_out(self.scheduler.settle(self.now))
        assert self.scheduler.settled

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Dispatch):
                self._check_dispatch(action)
                self.dispatches[action.dispatch_id] = action
                self.unanswered.append(action.dispatch_id)
            elif isinstance(action, AttemptEnded):
                self._check_ended(action)
            elif isinstance(action, FailTask):
                self._check_first(action.task_id)
                self.failed[action.task_id] = action
            elif isinstance(action, QueryStatus):
                self.queries.append(action)
            elif isinstance(action, QueryResults):
                self.late += action.attempts
            elif isinstance(action, Report):
                self.reports.append(action.message)
            else:
                line = json.loads(json.dumps(fields(action), allow_nan=False))
                self.log.apply({"t": self.now, **line})
                self.lines.append(line)
        self.scheduler.validate()
        for endpoint in self.scheduler.pool:
            folded = self.log.endpoints[endpoint.name]
            assert (folded.online, folded.available, folded.probing) == (endpoint.online, endpoint.available, endpoint.probing)
            for threads, state in zip(endpoint.classes, folded.classes):
                assert (state.count, state.running) == (threads.count, set(threads.running))
                assert state.ahead == (set(threads.child.ahead) if len(threads.child.classes) == 1 else set())

    def _check_ended(self, action: AttemptEnded) -> None:
        attempt = self.log.attempts[action.attempt_id]
        assert (attempt.task, attempt.endpoint, attempt.thread_class) == (action.task_id, action.endpoint, action.thread_class)
        assert attempt.state == "finished" and action.submitted <= action.dispatched <= self.now
        self.ended.append(action)
        if action.resolves:
            self._check_first(action.task_id)
            self.resolved[action.task_id] = action

    def _check_first(self, task_id: int) -> None:
        assert task_id in self.submitted
        assert task_id not in self.resolved and task_id not in self.failed, f"task {task_id} is completed twice"

    def _check_dispatch(self, dispatch: Dispatch) -> None:
        assert dispatch.attempts, "an empty dispatch wastes a request"
        endpoint = self.scheduler.pool[dispatch.endpoint]
        assert endpoint.available, "a dispatch to an endpoint that is not available"
        attempts = [self.scheduler.attempts[attempt_id] for attempt_id, _ in dispatch.attempts]
        child = attempts[0].threads.child
        assert {attempt.threads.child for attempt in attempts} == {child} and child.config == dispatch.config, "a dispatch for two children"
        sizes = [attempt.task.size for attempt in attempts]
        queue = [attempt.seconds for attempt in child.ahead.values()]
        new = {attempt.id for attempt in attempts}
        if new.isdisjoint(child.ahead):
            pass  # what was there before may be more than allowed, if the endpoint turned out to have fewer threads
        elif self.prefetch is not None:
            assert len(queue) <= self.prefetch * child.classes[0].count, "more is queued ahead than the user allows"
        else:
            horizon = AheadRule(self.requests_per_second).horizon(sum(len(endpoint.children) for endpoint in self.scheduler.pool))
            assert sum(queue[:-1]) + queue[-1] / 2 <= horizon * child.classes[0].count + 1e-6, "more is queued ahead than the horizon"
        assert sum(sizes) <= BATCH_BYTES or len(sizes) == 1, "a dispatch is larger than the service takes"

    # short forms of the events

    def submit(self, app: str = "app", *, size: int = 10, cores: int = 1, priority: float = 0.0, **more: Any) -> int:
        task_id = len(self.submitted) + 1
        self.submitted.append(task_id)
        self.handle(TaskSubmitted(self.now, task_id, app, size, cores, priority, **more))
        return task_id

    def announce(self, node: int, *parents: int, app: str = "app", seconds: Optional[float] = None) -> None:
        self.handle(TaskAnnounced(self.now, node, app, parents, seconds))

    def leave(self, node: int) -> None:
        self.handle(TaskLeft(self.now, node))

    def turn(self) -> Optional[Dispatch]:
        """Grant a turn; the dispatch it brought."""
        self.settle()
        wanted = self.scheduler.wants_turn
        before = len(self.dispatches)
        self.handle(TurnGranted(self.now, self.requests_per_second, self.next_turn))
        brought = len(self.dispatches) > before
        assert brought == wanted or self.policy_may_fail and not brought, "wants_turn promises what a turn then brings"
        return list(self.dispatches.values())[-1] if brought else None

    def turns(self) -> List[Dispatch]:
        """Grant turns as long as they are wanted."""
        dispatches: List[Dispatch] = []
        while True:
            dispatch = self.turn()
            if dispatch is None:
                return dispatches
            dispatches.append(dispatch)

    def place(self) -> Dict[int, str]:
        """Grant turns as long as they are wanted; the endpoint of each task that was dispatched."""
        return {task_id: dispatch.endpoint for dispatch in self.turns() for _, task_id in dispatch.attempts}

    def put(self, app: str = "app", **more: Any) -> int:
        """Submit a task that goes to a free thread at once."""
        task = self.submit(app, **more)
        assert task in self.place()
        return task

    def where(self, task: int) -> Tuple[str, int]:
        """Endpoint, and cores of the thread, of the last attempt of ``task``."""
        attempt = [attempt for attempt in self.log.attempts.values() if attempt.task == task][-1]
        return attempt.endpoint, self.log.endpoints[attempt.endpoint].classes[attempt.thread_class].cores

    def in_order(self, run_seconds: float = 1.0) -> List[int]:
        """Run all that is pending on the one thread there is; the tasks in the order in which they ran."""
        order: List[int] = []
        while True:
            dispatch = self.turn()
            if dispatch is None:
                return order
            for attempt_id, task_id in dispatch.attempts:
                order.append(task_id)
                self.result(attempt_id, run_seconds=run_seconds)

    def accept(self, dispatch_id: int) -> None:
        self.unanswered.remove(dispatch_id)
        self.handle(DispatchAccepted(self.now, dispatch_id))

    def reject(self, dispatch_id: int, http_status: Optional[int] = 404) -> None:
        self.unanswered.remove(dispatch_id)
        self.handle(DispatchRejected(self.now, dispatch_id, "no such endpoint", http_status))

    def result(self, attempt_id: str, outcome: Outcome = Outcome.OK, run_seconds: Optional[float] = 1.0, message: str = "",
               child_id: Optional[str] = "child", process: Optional[str] = None, by_service: Optional[bool] = None) -> None:
        """A result; a failure without the child's ID is the service's, unless it is said not to be."""
        payload = f"value of {attempt_id}"
        if by_service is None:
            by_service = outcome is Outcome.TASK_FAILED and child_id is None
        self.handle(ResultReceived(self.now, attempt_id, outcome, run_seconds, child_id, message, payload, process=process,
                                   by_service=by_service))

    def status(self, endpoint: str, online: Optional[bool], child_id: Optional[str] = None, workers: Optional[int] = None, **more: Any) -> None:
        self.handle(StatusReceived(self.now, endpoint, online, child_id, workers, **more))

    def check_results(self) -> None:
        """Say that the service has none of the results that it was asked for."""
        asked, self.late = tuple(self.late), []
        self.handle(ResultsChecked(self.now, asked))

    def cancel(self, task_id: int) -> None:
        self.handle(TaskCancelled(self.now, task_id))

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.handle(Tick(self.now))

    def shutdown(self) -> None:
        self.handle(ShutdownRequested(self.now))

    @property
    def waits(self) -> List[Tuple[int, str, float]]:
        """Task, endpoint and seconds of each wait that the log tells of."""
        return [(line["task"], line["endpoint"], line["seconds"]) for line in self.lines if line["state"] == "waiting"]

    def warm(self, endpoint: str, app: str = "app", run_seconds: float = 1.0, runs: int = 10) -> None:
        """Run tasks on ``endpoint``, so that their run time is well known."""
        for _ in range(runs):
            self.submit(app, endpoints=frozenset({endpoint}))
            dispatch = self.turn()
            assert dispatch is not None and dispatch.endpoint == endpoint
            self.accept(dispatch.dispatch_id)
            self.result(dispatch.attempts[0][0], run_seconds=run_seconds)
