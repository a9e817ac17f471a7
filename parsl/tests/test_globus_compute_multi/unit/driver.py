"""Drives the scheduler by events alone, and checks everything it does."""
from __future__ import annotations

from typing import Dict, List, Optional, Sequence

from parsl.executors.globus_compute_multi.observe.replay import RunState
from parsl.executors.globus_compute_multi.scheduling.actions import (
    Dispatch,
    FailTask,
    Log,
    QueryStatus,
    ResolveTask,
)
from parsl.executors.globus_compute_multi.scheduling.events import (
    DispatchAccepted,
    DispatchRejected,
    Event,
    Outcome,
    ResultReceived,
    ShutdownRequested,
    StatusReceived,
    TaskSubmitted,
    Tick,
    TurnGranted,
)
from parsl.executors.globus_compute_multi.scheduling.policy import Policy
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)

BATCH_BYTES = 1000


class Driver:
    """A scheduler with a clock, an account of what it asked for, and its log folded line by line."""

    def __init__(self, endpoints: Sequence[EndpointSpec], *, requests_per_second: Optional[float] = 2.0, prefetch: Optional[int] = None,
                 failover_attempts: int = 2, policy: Optional[Policy] = None) -> None:
        self.scheduler = Scheduler(endpoints, Settings(AheadRule(requests_per_second, prefetch), BATCH_BYTES, failover_attempts), policy)
        self.requests_per_second = requests_per_second
        self.prefetch = prefetch
        self.now = 0.0
        self.submitted: List[int] = []
        self.dispatches: Dict[int, Dispatch] = {}
        self.unanswered: List[int] = []
        self.resolved: Dict[int, ResolveTask] = {}
        self.failed: Dict[int, FailTask] = {}
        self.queries: List[QueryStatus] = []
        self.log = RunState({"endpoints": [{"endpoint": e.name, "threads": e.threads, "cores": e.cores} for e in endpoints]})

    def handle(self, event: Event) -> None:
        for action in self.scheduler.handle(event):
            if isinstance(action, Dispatch):
                self._check_dispatch(action)
                self.dispatches[action.dispatch_id] = action
                self.unanswered.append(action.dispatch_id)
            elif isinstance(action, ResolveTask):
                self._check_first(action.task_id)
                self.resolved[action.task_id] = action
            elif isinstance(action, FailTask):
                self._check_first(action.task_id)
                self.failed[action.task_id] = action
            elif isinstance(action, QueryStatus):
                self.queries.append(action)
            elif isinstance(action, Log):
                self.log.apply({"t": action.time, **action.fields})
        self.scheduler.validate()
        for endpoint in self.scheduler.pool:
            folded = self.log.endpoints[endpoint.name]
            assert (folded.running, folded.ahead, folded.online) == (set(endpoint.running), set(endpoint.ahead), endpoint.online)

    def _check_first(self, task_id: int) -> None:
        assert task_id in self.submitted
        assert task_id not in self.resolved and task_id not in self.failed, f"task {task_id} is completed twice"

    def _check_dispatch(self, dispatch: Dispatch) -> None:
        assert dispatch.attempts, "an empty dispatch wastes a request"
        assert self.scheduler.pool[dispatch.endpoint].available(self.now), "a dispatch to an endpoint that is not available"
        sizes = [self.scheduler.tasks[task_id].size for _, task_id in dispatch.attempts]
        endpoint = self.scheduler.pool[dispatch.endpoint]
        queue = [attempt.seconds or 0.0 for attempt in endpoint.ahead.values()]
        if self.prefetch is not None:
            assert len(queue) <= self.prefetch * endpoint.threads, "more is queued ahead than the user allows"
        elif queue:
            horizon = AheadRule(self.requests_per_second).horizon(len(self.scheduler.pool))
            assert sum(queue[:-1]) + queue[-1] / 2 <= horizon * endpoint.threads + 1e-6, "more is queued ahead than the horizon"
        assert sum(sizes) <= BATCH_BYTES or len(sizes) == 1, "a dispatch is larger than the service takes"

    # short forms of the events

    def submit(self, app: str = "app", *, size: int = 10, cores: int = 1, priority: float = 0.0) -> int:
        task_id = len(self.submitted) + 1
        self.submitted.append(task_id)
        self.handle(TaskSubmitted(self.now, task_id, app, size, cores, priority))
        return task_id

    def turn(self) -> Optional[Dispatch]:
        """Grant a turn; the dispatch it brought."""
        wanted = self.scheduler.wants_turn(self.now)
        before = len(self.dispatches)
        self.handle(TurnGranted(self.now))
        assert (len(self.dispatches) > before) == wanted, "wants_turn promises what a turn then brings"
        return list(self.dispatches.values())[-1] if wanted else None

    def turns(self) -> List[Dispatch]:
        """Grant turns as long as they are wanted."""
        dispatches: List[Dispatch] = []
        while True:
            dispatch = self.turn()
            if dispatch is None:
                return dispatches
            dispatches.append(dispatch)

    def accept(self, dispatch_id: int) -> None:
        self.unanswered.remove(dispatch_id)
        self.handle(DispatchAccepted(self.now, dispatch_id))

    def reject(self, dispatch_id: int, http_status: Optional[int] = 404) -> None:
        self.unanswered.remove(dispatch_id)
        self.handle(DispatchRejected(self.now, dispatch_id, "no such endpoint", http_status))

    def result(self, attempt_id: str, outcome: Outcome = Outcome.OK, run_seconds: Optional[float] = 1.0, message: str = "",
               child_id: Optional[str] = "child") -> None:
        self.handle(ResultReceived(self.now, attempt_id, outcome, run_seconds, child_id, message, payload=f"value of {attempt_id}"))

    def status(self, endpoint: str, online: Optional[bool], child_id: Optional[str] = None) -> None:
        self.handle(StatusReceived(self.now, endpoint, online, child_id))

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.handle(Tick(self.now))

    def shutdown(self) -> None:
        self.handle(ShutdownRequested(self.now))

    def warm(self, endpoint: str, app: str = "app", run_seconds: float = 1.0) -> None:
        """Run one task on ``endpoint``, so that its run time is known there; the endpoint must be the one chosen."""
        self.submit(app)
        dispatch = self.turn()
        assert dispatch is not None and dispatch.endpoint == endpoint
        self.accept(dispatch.dispatch_id)
        self.result(dispatch.attempts[0][0], run_seconds=run_seconds)
