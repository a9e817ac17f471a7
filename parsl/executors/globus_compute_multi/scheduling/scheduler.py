"""The scheduler: a state machine over tasks, attempts and endpoints.

Nothing outside changes its state, and it does nothing itself: :meth:`Scheduler.handle` takes one event and returns the actions to be
carried out, in order. One thread owns a scheduler; there are no locks.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Sequence, Tuple, Type

from parsl.executors.globus_compute_multi.scheduling.actions import (
    Action,
    Dispatch,
    FailTask,
    FailureKind,
    Log,
    QueryStatus,
    Report,
    ResolveTask,
)
from parsl.executors.globus_compute_multi.scheduling.checks import check
from parsl.executors.globus_compute_multi.scheduling.events import (
    DispatchAccepted,
    DispatchRejected,
    Event,
    Outcome,
    ResultReceived,
    ShutdownRequested,
    StatusReceived,
    TaskAnnounced,
    TaskLeft,
    TaskSubmitted,
    Tick,
    TurnGranted,
)
from parsl.executors.globus_compute_multi.scheduling.health import Health
from parsl.executors.globus_compute_multi.scheduling.pending import (
    PendingTasks,
    Shape,
    Task,
    describe,
)
from parsl.executors.globus_compute_multi.scheduling.placement import (
    Placement,
    PolicyError,
)
from parsl.executors.globus_compute_multi.scheduling.policy import (
    EarliestFinish,
    Policy,
)
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec, Pool
from parsl.executors.globus_compute_multi.scheduling.queueing import (
    AheadRule,
    QueueAhead,
)
from parsl.executors.globus_compute_multi.scheduling.restarts import Restarts
from parsl.executors.globus_compute_multi.scheduling.runtimes import RunTimes
from parsl.executors.globus_compute_multi.scheduling.statuses import StatusPlan
from parsl.executors.globus_compute_multi.scheduling.taskgraph import (
    CyclicDependency,
    TaskGraph,
)
from parsl.executors.globus_compute_multi.scheduling.threads import Attempt, Threads
from parsl.executors.globus_compute_multi.scheduling.turns import Hands, Turns, Want


@dataclass(frozen=True)
class Settings:
    """Settings of a scheduler.

    Parameters
    ----------
    ahead : AheadRule
    batch_bytes : int or None
        Most bytes of tasks in one dispatch; None if the service does not limit them. A task that is larger must not be submitted.
    failover_attempts : int
        How often a task is tried again after an attempt failed for a reason outside the app. Submissions of the same node of the task graph
        (Parsl's retries) share these.
    redispatch : bool
        Whether tasks that wait on an endpoint that is late to start are started elsewhere as well, when threads there are free.
    status_interval : float
        Seconds after which the status of an endpoint that has been silent is asked for.
    status_spacing : float
        Seconds between two status queries.
    """

    ahead: AheadRule
    batch_bytes: Optional[int]
    failover_attempts: int = 2
    redispatch: bool = True
    status_interval: float = 30.0
    status_spacing: float = 2.5


class Scheduler:
    """Decides which task goes to which endpoint, when.

    Parameters
    ----------
    endpoints : sequence of EndpointSpec
        At least one; names are unique.
    settings : Settings
    policy : Policy, optional
        Default: :class:`~.policy.EarliestFinish`.
    """

    def __init__(self, endpoints: Sequence[EndpointSpec], settings: Settings, policy: Optional[Policy] = None) -> None:
        policy = policy if policy is not None else EarliestFinish()
        self.pool = Pool(endpoints)
        self.pending = PendingTasks()
        self.graph = TaskGraph()
        self.tasks: Dict[int, Task] = {}
        self.attempts: Dict[str, Attempt] = {}
        self.closed = False
        self._settings = settings
        self._runtimes = RunTimes({spec.name: spec.speed for spec in endpoints if spec.speed is not None})
        self.placement = Placement(self.pool, self.pending, policy, self._runtimes)
        self._ahead = QueueAhead(settings.ahead, self.pool, self.pending, self.placement, self._runtimes)
        self._restarts = Restarts(self.pool, self.placement, settings.redispatch)
        self._turns = Turns(pool=self.pool, pending=self.pending, placement=self.placement, ahead=self._ahead, restarts=self._restarts,
                            batch_bytes=settings.batch_bytes,
                            hands=Hands(bind=self._start_attempt, wait=self._wait, fail=self._fail_for_policy))
        self._health = Health(self.pool, self.placement, self._restarts,
                              StatusPlan(settings.status_interval, settings.status_spacing), self._log)
        self._now = float("-inf")
        self._want = Want.NOTHING
        self._failed: Dict[int, Tuple[int, FrozenSet[str]]] = {}  # failures and endpoints to avoid of what Parsl may retry, by node
        self._open_dispatches: Dict[int, Tuple[str, ...]] = {}
        self._dispatch_count = 0
        self._made: List[Attempt] = []
        self._actions: List[Action] = []
        self._handlers: Dict[Type[Any], Callable[[Any], None]] = {
            TaskAnnounced: self._on_task_announced,
            TaskLeft: self._on_task_left,
            TaskSubmitted: self._on_task_submitted,
            TurnGranted: self._on_turn_granted,
            DispatchAccepted: self._on_dispatch_accepted,
            DispatchRejected: self._on_dispatch_rejected,
            ResultReceived: self._on_result,
            StatusReceived: self._on_status,
            Tick: self._on_tick,
            ShutdownRequested: self._on_shutdown,
        }

    def handle(self, event: Event) -> List[Action]:
        """Take one event.

        Returns
        -------
        list of Action
            To be carried out in this order.
        """
        self._now = event.time
        self._handlers[type(event)](event)
        self._settle(event)
        actions, self._actions = self._actions, []
        return actions

    @property
    def wants_turn(self) -> bool:
        """Whether a :class:`~.events.TurnGranted` would bring a dispatch."""
        return self._want is not Want.NOTHING

    @property
    def wakes_at(self) -> Optional[float]:
        """When it wants a :class:`~.events.Tick` even if nothing happens; None if it waits for other events only."""
        restart = None if self.wants_turn else self._restarts.wakes_at(self._now)
        return min((t for t in (self.placement.wakes_at, self.pool.resumes_at, restart) if t is not None), default=None)

    # events

    def _on_task_announced(self, event: TaskAnnounced) -> None:
        try:
            self.graph.announce(event.node, event.app, event.parents, event.seconds)
        except CyclicDependency as e:
            self._actions.append(Report(str(e)))

    def _on_task_left(self, event: TaskLeft) -> None:
        self.graph.finish(event.node)
        self._failed.pop(event.node, None)

    def _on_task_submitted(self, event: TaskSubmitted) -> None:
        shape = Shape(event.cores, event.endpoints, event.filesystem, event.config, event.mpi)
        task = Task(event.task_id, event.app, event.size, event.priority, shape, event.node, event.seconds)
        task.failures, avoided = (0, frozenset()) if event.node is None else self._failed.get(event.node, (0, frozenset()))
        for endpoint in sorted(avoided):
            self.placement.avoid(task, endpoint, self._now)
        self.tasks[task.id] = task
        given = {"node": event.node, "seconds": event.seconds, "endpoints": sorted(event.endpoints) if event.endpoints else None,
                 "filesystem": event.filesystem, "config": event.config, "mpi": dict(event.mpi) or None,
                 "failures": task.failures or None, "avoids": sorted(avoided) or None}
        self._log(kind="task", task=task.id, state="pending", app=task.app, cores=event.cores, priority=task.priority, bytes=task.size,
                  **{key: value for key, value in given.items() if value is not None})
        if self.closed:
            self._fail(task, FailureKind.SHUTDOWN, "the executor was shut down before the task was dispatched")
        elif not self.pool.fitting(shape):
            self._fail(task, FailureKind.IMPOSSIBLE, f"no thread can ever run the task, which needs {describe(shape)}; "
                                                     f"the pool has {self.pool.thread_classes()}")
        else:
            self._queue(task)

    def _on_turn_granted(self, event: TurnGranted) -> None:
        self._dispatch_count += 1
        self._turns.make(event.time)
        attempts, self._made = self._made, []
        if not attempts:
            return  # the policy has changed its mind, or has failed, since the turn was wanted
        dispatch_id, child = self._dispatch_count, attempts[0].threads.child
        self._open_dispatches[dispatch_id] = tuple(attempt.id for attempt in attempts)
        config = {} if child.config is None else {"config": child.config}
        self._log(kind="dispatch", dispatch=dispatch_id, state="sent", endpoint=child.endpoint.name, attempts=len(attempts),
                  bytes=sum(attempt.task.size for attempt in attempts), running=sum(len(threads.running) for threads in child.classes),
                  ahead=len(child.ahead), **config)
        self._actions.append(Dispatch(dispatch_id, child.endpoint.name, tuple((a.id, a.task.id) for a in attempts), child.config,
                                      attempts[0].task.shape.mpi))

    def _on_dispatch_accepted(self, event: DispatchAccepted) -> None:
        self._open_dispatches.pop(event.dispatch_id)
        self._log(kind="dispatch", dispatch=event.dispatch_id, state="accepted")

    def _on_dispatch_rejected(self, event: DispatchRejected) -> None:
        attempt_ids = self._open_dispatches.pop(event.dispatch_id)
        self._log(kind="dispatch", dispatch=event.dispatch_id, state="rejected", reason=event.reason, http_status=event.http_status)
        attempts = [self.attempts[attempt_id] for attempt_id in attempt_ids if attempt_id in self.attempts]
        if attempts:
            endpoint = attempts[0].threads.endpoint
            self._log(kind="endpoint", endpoint=endpoint.name, state="paused", seconds=endpoint.pause(event.time))
            self.pool.note_endpoint(endpoint, event.time)
        for attempt in attempts:
            self._finish_attempt(attempt, Outcome.REJECTED, event.reason, None, (), counts=event.blames_tasks)
        for child in {attempt.threads.child for attempt in attempts}:
            self._restarts.rejected(child)

    def _on_result(self, event: ResultReceived) -> None:
        attempt = self.attempts.get(event.attempt_id)
        if attempt is None:
            self._on_stray_result(event)
            return
        self._health.result(attempt.threads.child, event)
        if event.outcome is Outcome.OK and event.run_seconds is not None:
            self.placement.observe(attempt.task, attempt.threads, event.run_seconds)
        self._finish_attempt(attempt, event.outcome, event.message, event.payload, event.info)

    def _on_stray_result(self, event: ResultReceived) -> None:
        """A result of an attempt that is finished: a duplicate, or one whose dispatch was given up without an answer, yet ran."""
        self._log(kind="attempt", attempt=event.attempt_id, state="duplicate", outcome=event.outcome.value)
        task = self.tasks.get(int(event.attempt_id.partition(".")[0]))
        if task is None or event.attempt_id not in task.places or not event.outcome.is_final:
            return
        if not task.active:
            self.pending.discard(task)
            self.placement.end_wait(task)
        self._resolve(task, event.attempt_id, event.outcome, event.payload)

    def _on_status(self, event: StatusReceived) -> None:
        self._health.status(event)

    def _on_tick(self, event: Tick) -> None:
        target = None if self.closed else self._health.due(event.time)
        if target is not None:
            self._actions.append(QueryStatus(*target))

    def _on_shutdown(self, event: ShutdownRequested) -> None:
        self.closed = True
        for attempt in list(self.attempts.values()):
            self._log(kind="attempt", attempt=attempt.id, state="finished", outcome="abandoned")
            attempt.threads.forget(attempt)
            self.pool.note(attempt.threads)
        self.attempts.clear()
        self.pending.clear()
        for task in list(self.tasks.values()):
            where = "while it ran on an endpoint, where it may still finish" if task.active else "before it was dispatched"
            self._fail(task, FailureKind.SHUTDOWN, f"the executor was shut down {where}")

    def _settle(self, event: Event) -> None:
        """See what the event has changed for the tasks that are pending, and whether a turn is worth a request now."""
        changed = not isinstance(event, (DispatchAccepted, TaskAnnounced, TaskLeft))  # nothing that a turn depends on
        for endpoint in self.pool.resume(event.time):
            changed = True
            self._log(kind="endpoint", endpoint=endpoint.name, state="resumed")
        for task in self.placement.end_waits(event.time):
            changed = True
            self._log(kind="task", task=task.id, state="pending", after="wait")
        if len(self.graph) > 0 and self.graph.refresh(self.placement.app_seconds, event.time):
            changed = True
            self.pending.reorder(self._rank)
        if not changed:
            return
        # free threads that have a task have one whatever else is submitted
        if self._want is not Want.FOR_FREE_THREADS or not isinstance(event, TaskSubmitted):
            self._want = Want.NOTHING if self.closed else self._turns.wanted(event.time)

    # tasks and attempts

    def _queue(self, task: Task) -> None:
        task.rank = self._rank(task)
        self.pending.add(task)

    def _rank(self, task: Task) -> float:
        return self.graph.rank(task.node, 0.0)

    def _start_attempt(self, task: Task, threads: Threads) -> None:
        task.tries += 1
        seconds = self._ahead.thread_seconds(self.placement.run_seconds(task, threads), threads)
        attempt = Attempt(f"{task.id}.{task.tries}", task, threads, seconds, self._now)
        task.again = bool(task.active)
        again = {"again": True} if task.again else {}
        if not task.places:
            task.active, task.places = set(), {}
        task.active.add(attempt.id)
        task.places[attempt.id] = threads.endpoint.name
        self.attempts[attempt.id] = attempt
        self._made.append(attempt)
        state = "running" if threads.bind(attempt) else "queued_ahead"
        self.pool.note(threads)
        self._restarts.asked(threads.child, self._now)
        self._log(kind="attempt", attempt=attempt.id, state=state, task=task.id, endpoint=threads.endpoint.name, thread_class=threads.index,
                  dispatch=self._dispatch_count, **again)

    def _wait(self, task: Task, threads: Threads) -> None:
        seconds = self.placement.wait(task, threads, self._now)
        self._log(kind="task", task=task.id, state="waiting", endpoint=threads.endpoint.name, cores=threads.cores,
                  seconds=seconds if seconds < float("inf") else None)

    def _finish_attempt(self, attempt: Attempt, outcome: Outcome, message: str, payload: Any, info: Tuple[Tuple[str, Any], ...],
                        counts: bool = True) -> None:
        """End an attempt; if it failed, ``counts`` tells whether that may be due to the task, and not to endpoint or service alone."""
        task = attempt.task
        del self.attempts[attempt.id]
        task.active.discard(attempt.id)
        # what an app raised is the user's: its text may hold anything, and stays out of the log
        detail = {"message": message} if message and not outcome.is_final else {}
        self._log(kind="attempt", attempt=attempt.id, state="finished", outcome=outcome.value, **detail, **dict(info))
        successor = attempt.threads.release(attempt, self._now)
        self.pool.note(attempt.threads)
        if successor is not None:
            self._log(kind="attempt", attempt=successor.id, state="running")
        if task.done:
            return  # its future is completed already
        if outcome.is_final:
            self._resolve(task, attempt.id, outcome, payload)
            return
        task.failures += counts
        if not task.active:
            self._try_again(task, attempt, outcome, message, counts)
        elif task.failures + len(task.active) <= self._settings.failover_attempts:
            task.again = False  # what is left is the attempt that is late

    def _resolve(self, task: Task, attempt_id: str, outcome: Outcome, payload: Any) -> None:
        del self.tasks[task.id]
        task.done = True
        if outcome is not Outcome.OK:
            self._note_failures(task)
        self._log(kind="task", task=task.id, state="done" if outcome is Outcome.OK else "failed", attempt=attempt_id)
        self._actions.append(ResolveTask(task.id, attempt_id, task.places[attempt_id], outcome, payload, self.graph.is_awaited(task.node)))

    def _try_again(self, task: Task, attempt: Attempt, outcome: Outcome, message: str, avoid: bool) -> None:
        endpoint = attempt.threads.endpoint.name
        if avoid:
            self.placement.avoid(task, endpoint, self._now)
        if task.failures > self._settings.failover_attempts:
            self._note_failures(task)
            tried = ", ".join(sorted(set(task.places.values())))
            attempts = f"{task.tries} attempt{'s' if task.tries > 1 else ''}"
            before = f" ({task.failures} failures with those before Parsl retried it)" if task.failures > task.tries else ""
            self._fail(task, FailureKind.ENDPOINTS_FAILED,
                       f"gave up after {attempts} on {tried}{before}; the last one, on {endpoint}, ended with {outcome.value}: {message}")
        else:
            self._queue(task)
            self._log(kind="task", task=task.id, state="pending", after=attempt.id, avoids=sorted(task.shape.avoid))

    def _note_failures(self, task: Task) -> None:
        """Remember them for when Parsl submits the task again: its retries do not multiply them, and begin elsewhere."""
        if task.failures and task.node is not None and task.node in self.graph:
            self._failed[task.node] = task.failures, task.shape.avoid

    def _fail(self, task: Task, kind: FailureKind, message: str) -> None:
        self.placement.end_wait(task)
        del self.tasks[task.id]
        task.done = True
        self._log(kind="task", task=task.id, state="failed", reason=kind.value)
        self._actions.append(FailTask(task.id, kind, message))

    def _fail_for_policy(self, task: Task, error: PolicyError) -> None:
        self.pending.remove_first(task)
        self._fail(task, FailureKind.POLICY, str(error))

    def _log(self, **fields: Any) -> None:
        self._actions.append(Log(self._now, fields))

    def validate(self) -> None:
        """Check the invariants of the state; tests call it after every event.

        Raises
        ------
        AssertionError
            If one does not hold.
        """
        check(self)
