"""The scheduler: a state machine over tasks, attempts and endpoints.

Nothing outside changes its state, and it does nothing itself: :meth:`Scheduler.handle` takes one event and returns the actions to be
carried out, in order. One thread owns a scheduler; there are no locks.
"""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Type

from parsl.executors.globus_compute_multi.scheduling.actions import (
    Action,
    Dispatch,
    FailTask,
    FailureKind,
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
from parsl.executors.globus_compute_multi.scheduling.pending import (
    PendingTasks,
    Shape,
    Task,
)
from parsl.executors.globus_compute_multi.scheduling.policy import LeastLoaded, Policy
from parsl.executors.globus_compute_multi.scheduling.pool import (
    Attempt,
    EndpointSpec,
    Pool,
    PooledEndpoint,
)
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.runtimes import RunTimes
from parsl.executors.globus_compute_multi.scheduling.statuses import StatusPlan


@dataclass(frozen=True)
class Settings:
    """Settings of a scheduler.

    Parameters
    ----------
    ahead : AheadRule
    batch_bytes : int or None
        Most bytes of tasks in one dispatch; None if the service does not limit them. A task that is larger must not be submitted.
    failover_attempts : int
        How often a task is tried again after an attempt failed for a reason outside the app.
    status_interval : float
        Seconds after which the status of an endpoint that has been silent is asked for.
    status_spacing : float
        Seconds between two status queries.
    """

    ahead: AheadRule
    batch_bytes: Optional[int]
    failover_attempts: int = 2
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
        Default: :class:`~.policy.LeastLoaded`.
    """

    def __init__(self, endpoints: Sequence[EndpointSpec], settings: Settings, policy: Optional[Policy] = None) -> None:
        self.pool = Pool(endpoints)
        self.pending = PendingTasks()
        self.tasks: Dict[int, Task] = {}
        self.attempts: Dict[str, Attempt] = {}
        self.closed = False
        self._settings = settings
        self._policy = policy or LeastLoaded()
        self._runtimes = RunTimes()
        self._statuses = StatusPlan(settings.status_interval, settings.status_spacing)
        self._watching = False
        self._open_dispatches: Dict[int, Tuple[str, ...]] = {}
        self._dispatch_count = 0
        self._actions: List[Action] = []
        self._handlers: Dict[Type[Any], Callable[[Any], None]] = {
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
        self._handlers[type(event)](event)
        actions, self._actions = self._actions, []
        return actions

    def wants_turn(self, now: float) -> bool:
        """Whether a :class:`~.events.TurnGranted` at time ``now`` would bring a dispatch."""
        return bool(self._candidates(now))

    # events

    def _on_task_submitted(self, event: TaskSubmitted) -> None:
        task = Task(event.task_id, event.app, event.size, event.cores, event.priority)
        self.tasks[task.id] = task
        self._log(event.time, "task", task=task.id, state="pending", app=task.app, cores=task.cores, priority=task.priority, bytes=task.size)
        if self.closed:
            self._fail(event.time, task, FailureKind.SHUTDOWN, "the executor was shut down before the task was dispatched")
        elif not any(self._fits(task.cores, endpoint) for endpoint in self.pool):
            self._fail(event.time, task, FailureKind.IMPOSSIBLE,
                       f"the task needs a thread with {task.cores} cores; the pool has {self.pool.thread_classes()}")
        else:
            self.pending.add(task)

    def _on_turn_granted(self, event: TurnGranted) -> None:
        candidates = self._candidates(event.time)
        if not candidates:
            return
        # threads that would stand idle come before queues that would run low
        idle = [endpoint for endpoint in candidates if endpoint.free_threads]
        endpoint = self._policy.choose(idle or candidates)
        self._dispatch_count += 1
        dispatch_id = self._dispatch_count
        attempts = self._bind_pending(endpoint, event.time, dispatch_id)
        self._open_dispatches[dispatch_id] = tuple(attempt.id for attempt in attempts)
        self._log(event.time, "dispatch", dispatch=dispatch_id, state="sent", endpoint=endpoint.name, attempts=len(attempts),
                  bytes=sum(attempt.task.size for attempt in attempts), running=len(endpoint.running), ahead=len(endpoint.ahead))
        self._actions.append(Dispatch(dispatch_id, endpoint.name, tuple((attempt.id, attempt.task.id) for attempt in attempts)))

    def _on_dispatch_accepted(self, event: DispatchAccepted) -> None:
        self._open_dispatches.pop(event.dispatch_id)
        self._log(event.time, "dispatch", dispatch=event.dispatch_id, state="accepted")

    def _on_dispatch_rejected(self, event: DispatchRejected) -> None:
        attempt_ids = self._open_dispatches.pop(event.dispatch_id)
        self._log(event.time, "dispatch", dispatch=event.dispatch_id, state="rejected", reason=event.reason, http_status=event.http_status)
        attempts = [self.attempts[attempt_id] for attempt_id in attempt_ids if attempt_id in self.attempts]
        if attempts:
            endpoint = attempts[0].endpoint
            self._log(event.time, "endpoint", endpoint=endpoint.name, state="paused", seconds=endpoint.pause(event.time))
        for attempt in attempts:
            if not event.blames_tasks:
                attempt.task.excused += 1
            self._finish_attempt(event.time, attempt, Outcome.REJECTED, event.reason, None, ())

    def _on_result(self, event: ResultReceived) -> None:
        attempt = self.attempts.get(event.attempt_id)
        if attempt is None:
            self._on_stray_result(event)
            return
        self._hear(attempt.endpoint, event)
        if event.outcome is Outcome.OK and event.run_seconds is not None:
            self._runtimes.observe(attempt.task.app, event.run_seconds)
        self._finish_attempt(event.time, attempt, event.outcome, event.message, event.payload, event.info)

    def _on_stray_result(self, event: ResultReceived) -> None:
        """A result of an attempt that is finished: a duplicate, or one whose dispatch was given up without an answer, yet ran."""
        self._log(event.time, "attempt", attempt=event.attempt_id, state="duplicate", outcome=event.outcome.value)
        task = self.tasks.get(int(event.attempt_id.partition(".")[0]))
        if task is None or not event.outcome.is_final:
            return
        if not task.active:
            self.pending.discard(task)
        self._resolve(event.time, task, event.attempt_id, event.outcome, event.payload)

    def _on_status(self, event: StatusReceived) -> None:
        endpoint = self.pool[event.endpoint]
        self._statuses.heard((event.endpoint, event.child_id), event.time)
        fields: Dict[str, Any] = {"child": event.child_id, "online": event.online, "workers": event.workers, "pending": event.pending}
        self._log(event.time, "endpoint", endpoint=endpoint.name, state="status", **{k: v for k, v in fields.items() if v is not None})
        if event.child_id is None and event.online is not None and (event.online or endpoint.may_be_offline(event.time)):
            self._set_online(event.time, endpoint, event.online)

    def _on_tick(self, event: Tick) -> None:
        if not self._watching:
            self._watching = True
            for endpoint in self.pool:
                self._statuses.watch((endpoint.name, None), event.time)
        target = None if self.closed else self._statuses.due(event.time)
        if target is not None:
            self._actions.append(QueryStatus(*target))

    def _on_shutdown(self, event: ShutdownRequested) -> None:
        self.closed = True
        for attempt in list(self.attempts.values()):
            self._log(event.time, "attempt", attempt=attempt.id, state="finished", outcome="abandoned")
            attempt.endpoint.forget(attempt)
        self.attempts.clear()
        for task in list(self.tasks.values()):
            where = "while it ran on an endpoint, where it may still finish" if task.active else "before it was dispatched"
            self._fail(event.time, task, FailureKind.SHUTDOWN, f"the executor was shut down {where}")
        self.pending = PendingTasks()

    # tasks and attempts

    def _bind_pending(self, endpoint: PooledEndpoint, now: float, dispatch_id: int) -> List[Attempt]:
        """Bind pending tasks, in order, to the free threads of ``endpoint`` and to its queue, as far as one dispatch carries them."""
        attempts: List[Attempt] = []
        size = 0
        share = self._fair_share([e for e in self.pool if e.available(now)])
        limit = self._settings.batch_bytes
        while True:
            task = self._next_task(endpoint, now)
            if task is None or not self._has_room(endpoint, task, self._horizon(share)):
                break
            if limit is not None and attempts and size + task.size > limit:
                break
            self.pending.remove_first(task)
            size += task.size
            attempt = self._start_attempt(endpoint, task, now, dispatch_id)
            attempts.append(attempt)
            if attempt.id in endpoint.running:
                share -= (attempt.seconds or 0.0) / endpoint.threads
        return attempts

    def _start_attempt(self, endpoint: PooledEndpoint, task: Task, now: float, dispatch_id: int) -> Attempt:
        task.tries += 1
        attempt = Attempt(f"{task.id}.{task.tries}", task, endpoint, self._thread_seconds(task.app, endpoint))
        task.active.add(attempt.id)
        self.attempts[attempt.id] = attempt
        state = "running" if endpoint.bind(attempt) else "queued_ahead"
        self._log(now, "attempt", attempt=attempt.id, state=state, task=task.id, endpoint=endpoint.name, dispatch=dispatch_id)
        return attempt

    def _finish_attempt(self, now: float, attempt: Attempt, outcome: Outcome, message: str, payload: Any,
                        info: Tuple[Tuple[str, Any], ...]) -> None:
        task = attempt.task
        del self.attempts[attempt.id]
        task.active.discard(attempt.id)
        # what an app raised is the user's: its text may hold anything, and stays out of the log
        detail = {"message": message} if message and not outcome.is_final else {}
        self._log(now, "attempt", attempt=attempt.id, state="finished", outcome=outcome.value, **detail, **dict(info))
        successor = attempt.endpoint.release(attempt)
        if successor is not None:
            self._log(now, "attempt", attempt=successor.id, state="running")
        if task.id not in self.tasks:
            return  # its future is completed already
        if outcome.is_final:
            self._resolve(now, task, attempt.id, outcome, payload)
        elif not task.active:
            self._try_again(now, task, attempt, outcome, message)

    def _resolve(self, now: float, task: Task, attempt_id: str, outcome: Outcome, payload: Any) -> None:
        del self.tasks[task.id]
        self._log(now, "task", task=task.id, state="done" if outcome is Outcome.OK else "failed", attempt=attempt_id)
        self._actions.append(ResolveTask(task.id, attempt_id, outcome, payload))

    def _try_again(self, now: float, task: Task, attempt: Attempt, outcome: Outcome, message: str) -> None:
        task.failed_on |= {attempt.endpoint.name}
        if task.tries - task.excused > self._settings.failover_attempts:
            tried = ", ".join(sorted(task.failed_on))
            self._fail(now, task, FailureKind.ENDPOINTS_FAILED,
                       f"gave up after {task.tries} attempts on {tried}; the last one, on {attempt.endpoint.name}, "
                       f"ended with {outcome.value}: {message}")
        else:
            self.pending.add(task)
            self._log(now, "task", task=task.id, state="pending", after=attempt.id)

    def _fail(self, now: float, task: Task, kind: FailureKind, message: str) -> None:
        del self.tasks[task.id]
        self._log(now, "task", task=task.id, state="failed", reason=kind.value)
        self._actions.append(FailTask(task.id, kind, message))

    # endpoints

    def _hear(self, endpoint: PooledEndpoint, event: ResultReceived) -> None:
        self._set_online(event.time, endpoint, True)
        if endpoint.paused_until is not None:
            self._log(event.time, "endpoint", endpoint=endpoint.name, state="resumed")
        endpoint.heard_result(event.time)
        self._statuses.heard((endpoint.name, None), event.time)
        if event.child_id is None:
            return
        if event.child_id not in endpoint.children:
            endpoint.children.append(event.child_id)
            self._log(event.time, "endpoint", endpoint=endpoint.name, state="child", child=event.child_id)
        self._statuses.heard((endpoint.name, event.child_id), event.time)

    def _set_online(self, now: float, endpoint: PooledEndpoint, online: bool) -> None:
        if endpoint.online != online:
            endpoint.online = online
            self._log(now, "endpoint", endpoint=endpoint.name, state="online" if online else "offline")

    # what fits where

    @staticmethod
    def _fits(cores: int, endpoint: PooledEndpoint) -> bool:
        return cores <= endpoint.cores

    def _next_task(self, endpoint: PooledEndpoint, now: float) -> Optional[Task]:
        def accepts(shape: Shape) -> bool:
            cores, failed_on = shape
            if not self._fits(cores, endpoint):
                return False
            if endpoint.name not in failed_on:
                return True
            # a second try goes elsewhere, if there is an elsewhere
            return not any(e.name not in failed_on and e.available(now) and self._fits(cores, e) for e in self.pool)
        return self.pending.first(accepts)

    def _candidates(self, now: float) -> List[PooledEndpoint]:
        """Endpoints to which a dispatch is worth a request now: a thread is free, or the queue is less than half full."""
        if not self.pending:
            return []
        available = [endpoint for endpoint in self.pool if endpoint.available(now)]
        half = self._horizon(self._fair_share(available)) / 2 if available else 0.0
        candidates = []
        for endpoint in available:
            task = self._next_task(endpoint, now)
            if task is not None and self._has_room(endpoint, task, half):
                candidates.append(endpoint)
        return candidates

    def _has_room(self, endpoint: PooledEndpoint, task: Task, horizon: float) -> bool:
        if endpoint.free_threads:
            return True
        if not endpoint.warm:
            return False
        return self._settings.ahead.allows(
            run_seconds=self._runtimes.estimate(task.app), ahead_seconds=endpoint.ahead_seconds, ahead_tasks=len(endpoint.ahead),
            threads=endpoint.threads, horizon=horizon)

    def _thread_seconds(self, app: str, endpoint: PooledEndpoint) -> Optional[float]:
        seconds = self._runtimes.estimate(app)
        return None if seconds is None else self._settings.ahead.thread_seconds(seconds, endpoint.threads)

    def _horizon(self, share: float) -> float:
        """Seconds of work to queue ahead: never more than the endpoint's fair share of what is left."""
        return min(self._settings.ahead.horizon(len(self.pool)), share)

    def _fair_share(self, available: Sequence[PooledEndpoint]) -> float:
        """Seconds that all available endpoints together would take for the work not yet begun, as far as its run times are known."""
        sizes = Counter(e.threads for e in available)
        seconds = sum(e.ahead_seconds for e in available) / sum(threads * count for threads, count in sizes.items())
        for app, tasks in self.pending.count_by_app().items():
            run_seconds = self._runtimes.estimate(app)
            if run_seconds is not None:
                seconds += tasks / sum(count * threads / self._settings.ahead.thread_seconds(run_seconds, threads)
                                       for threads, count in sizes.items())
        return seconds

    def _log(self, time: float, kind: str, **fields: Any) -> None:
        self._actions.append(Log(time, {"kind": kind, **fields}))

    # checks

    def validate(self) -> None:
        """Check the invariants of the state; tests call it after every event.

        Raises
        ------
        AssertionError
            If one does not hold.
        """
        bound: Dict[str, Attempt] = {}
        for endpoint in self.pool:
            assert len(endpoint.running) <= endpoint.threads, f"{endpoint.name} runs more attempts than it has threads"
            assert not (endpoint.ahead and endpoint.free_threads), f"{endpoint.name} has attempts queued ahead and a free thread"
            assert not endpoint.running.keys() & endpoint.ahead.keys()
            assert abs(endpoint.ahead_seconds - sum(a.seconds or 0.0 for a in endpoint.ahead.values())) < 1e-6
            for attempt in [*endpoint.running.values(), *endpoint.ahead.values()]:
                assert attempt.endpoint is endpoint
                assert self._fits(attempt.task.cores, endpoint), f"task {attempt.task.id} does not fit {endpoint.name}"
                bound[attempt.id] = attempt
        assert bound == self.attempts, "an attempt is known that no endpoint holds, or the other way round"
        unfinished = 0
        for task in self.tasks.values():
            assert task.active <= self.attempts.keys()
            unfinished += not task.active
        assert unfinished == len(self.pending), "a task is neither pending nor dispatched"
        assert not (self.closed and (self.tasks or self.attempts))
