"""The scheduler: a state machine over tasks, attempts and endpoints.

Nothing outside changes its state, and it does nothing itself: :meth:`Scheduler.handle` takes one event and returns the actions to be
carried out, in order. What events change for the tasks that are pending is looked at when a turn may be granted (:meth:`Scheduler.settle`),
since that takes a look at much. One thread owns a scheduler; there are no locks.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Type

from parsl.executors.globus_compute_multi.scheduling import lines
from parsl.executors.globus_compute_multi.scheduling.actions import (
    Action,
    Dispatch,
    FailureKind,
    QueryStatus,
    Report,
)
from parsl.executors.globus_compute_multi.scheduling.checks import check
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
from parsl.executors.globus_compute_multi.scheduling.failover import Failover
from parsl.executors.globus_compute_multi.scheduling.health import Health
from parsl.executors.globus_compute_multi.scheduling.ledger import Ledger
from parsl.executors.globus_compute_multi.scheduling.pending import (
    PendingTasks,
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
from parsl.executors.globus_compute_multi.scheduling.progress import Progress
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
        Whether tasks may run twice, unless they say otherwise: those that are lost with their endpoint are tried elsewhere, and those that
        wait on one that is late to start are started elsewhere as well, when threads there are free.
    silence : float or None
        Seconds for which an endpoint may be silent beyond what its tasks are expected to take, before they are taken to be lost. None: for ever.
    random : callable
        Numbers from 0 to 1, for jitter.
    status_interval : float
        Seconds after which the status of an endpoint that has been silent is asked for.
    status_spacing : float
        Seconds between two status queries.
    """

    ahead: AheadRule
    batch_bytes: Optional[int]
    failover_attempts: int = 2
    redispatch: bool = True
    silence: Optional[float] = 60.0
    random: Callable[[], float] = lambda: 0.0
    status_interval: float = 30.0
    status_spacing: float = 2.5


#: Events after which nothing is different that a turn depends on.
_WITHOUT_WANT = frozenset({DispatchAccepted, TaskAnnounced, TaskLeft})


class Scheduler:
    """Decides which task goes to which endpoint, when.

    Parameters
    ----------
    endpoints : sequence of EndpointSpec
        At least one; names are unique.
    settings : Settings
    policy : Policy, optional
        Default: :class:`~.policy.EarliestFinish`.

    Attributes
    ----------
    settled : bool
        Whether all is as the events require that were handled.
    """

    def __init__(self, endpoints: Sequence[EndpointSpec], settings: Settings, policy: Optional[Policy] = None) -> None:
        policy = policy if policy is not None else EarliestFinish()
        self.pool = Pool(endpoints)
        self.pending = PendingTasks()
        self.graph = TaskGraph()
        self.closed = False
        self._actions: List[Action] = []
        self._act: Callable[[Action], None] = self._actions.append
        self._runtimes = RunTimes({spec.name: spec.speed for spec in endpoints if spec.speed is not None})
        self.placement = Placement(self.pool, self.pending, policy, self._runtimes)
        self._ledger = Ledger(pool=self.pool, pending=self.pending, graph=self.graph, placement=self.placement, act=self._act,
                              failover_attempts=settings.failover_attempts, redispatch=settings.redispatch)
        self.tasks, self.attempts = self._ledger.tasks, self._ledger.attempts
        self._log = self._ledger.log
        self.ahead = QueueAhead(settings.ahead, self.pool, self.pending, self.placement, self._runtimes)
        self._restarts = Restarts(self.pool, self.placement)
        self._turns = Turns(pool=self.pool, pending=self.pending, placement=self.placement, ahead=self.ahead, restarts=self._restarts,
                            batch_bytes=settings.batch_bytes,
                            hands=Hands(bind=self._start_attempt, wait=self._wait, fail=self._fail_for_policy))
        self._failover = Failover(pool=self.pool, pending=self.pending, placement=self.placement, restarts=self._restarts, ledger=self._ledger,
                                  silence=settings.silence, random=settings.random, act=self._act)
        self._health = Health(pool=self.pool, placement=self.placement, restarts=self._restarts, failover=self._failover, ledger=self._ledger,
                              statuses=StatusPlan(settings.status_interval, settings.status_spacing))
        self._progress = Progress(pool=self.pool, graph=self.graph, ledger=self._ledger, placement=self.placement, runtimes=self._runtimes)
        self._want = Want.NOTHING
        # since all was settled
        self.settled, self._look_again, self._tick_since, self._events_since = True, False, False, 0
        self._open_dispatches: Dict[int, Tuple[str, ...]] = {}
        self._dispatch_count = 0
        self._made: List[Attempt] = []
        self._handlers: Dict[Type[Any], Callable[[Any], None]] = {
            TaskAnnounced: self._on_task_announced,
            TaskLeft: self._on_task_left,
            TaskSubmitted: self._on_task_submitted,
            TurnGranted: self._on_turn_granted,
            DispatchAccepted: self._on_dispatch_accepted,
            DispatchRejected: self._on_dispatch_rejected,
            ResultReceived: self._on_result,
            StatusReceived: self._on_status,
            ResultsChecked: self._on_results_checked,
            TaskCancelled: self._on_task_cancelled,
            Tick: self._on_tick,
            ShutdownRequested: self._on_shutdown,
        }

    def handle(self, event: Event, settle: bool = True) -> List[Action]:
        """Take one event.

        Parameters
        ----------
        event : Event
        settle : bool
            Whether to :meth:`settle`, too. It is enough to do that now and then, if no turn can be granted anyway.

        Returns
        -------
        list of Action
            To be carried out in this order.
        """
        self._begin(event.time)
        kind = type(event)
        if kind is Tick and not self.settled:
            self._settle(event.time)  # whether tasks need the requests matters to statuses
        self._handlers[kind](event)
        self._end_waits(event.time)
        self.settled = False
        self._events_since += 1
        if kind is Tick:
            self._tick_since = True
        # free threads that have a task have one whatever else is submitted
        if kind not in _WITHOUT_WANT and (kind is not TaskSubmitted or self._want is not Want.FOR_FREE_THREADS):
            self._look_again = True
        if settle:
            self._settle(event.time)
        actions = self._actions.copy()
        self._actions.clear()
        return actions

    def settle(self, now: float) -> List[Action]:
        """See what the events since have changed for the tasks that are pending. To be done before a turn is granted.

        Returns
        -------
        list of Action
            As of :meth:`handle`.
        """
        if not self.settled:
            self._begin(now)
            self._end_waits(now)
            self._settle(now)
        actions = self._actions.copy()
        self._actions.clear()
        return actions

    @property
    def wants_turn(self) -> bool:
        """Whether a :class:`~.events.TurnGranted` would bring a dispatch, as of when all was settled last."""
        return self._want is not Want.NOTHING

    @property
    def wakes_at(self) -> Optional[float]:
        """When it wants a :class:`~.events.Tick` even if nothing happens; None if it waits for other events only."""
        restart = None if self.wants_turn else self._restarts.wakes_at(self._ledger.now)
        return min((t for t in (self.placement.wakes_at, self.pool.resumes_at, restart) if t is not None), default=None)

    def speed(self, endpoint: str) -> float:
        """How many times faster tasks run on an endpoint than on one of speed 1, as given or learned; 1 if nothing is known."""
        return 1 / self._runtimes.factor(endpoint)

    def seconds_left(self, now: float) -> Optional[float]:
        """Seconds until all known tasks are done, by estimate; None if nothing is known, or no endpoint is available."""
        return self._progress.seconds_left(now)

    # events

    def _on_task_announced(self, event: TaskAnnounced) -> None:
        try:
            self.graph.announce(event.node, event.app, event.parents, event.seconds, event.ours)
        except CyclicDependency as e:
            self._act(Report(str(e)))

    def _on_task_left(self, event: TaskLeft) -> None:
        self.graph.finish(event.node)
        self._ledger.failed.pop(event.node, None)

    def _on_task_submitted(self, event: TaskSubmitted) -> None:
        task = self._ledger.accept(event)
        if self.closed:
            self._ledger.fail(task, FailureKind.SHUTDOWN, "the executor was shut down before the task was dispatched")
        elif not self.pool.fitting(task.shape):
            self._ledger.fail(task, FailureKind.IMPOSSIBLE, f"no thread can ever run the task, which needs {describe(task.shape)}; "
                                                            f"the pool has {self.pool.thread_classes()}")
        else:
            self._ledger.queue(task)

    def _on_turn_granted(self, event: TurnGranted) -> None:
        self._dispatch_count += 1
        self.ahead.turn(event.requests_per_second, event.next_turn)
        self._turns.make(event.time)
        attempts, self._made = self._made, []
        if not attempts:
            return  # the policy has changed its mind, or has failed, since the turn was wanted
        dispatch_id, child = self._dispatch_count, attempts[0].threads.child
        self._open_dispatches[dispatch_id] = tuple(attempt.id for attempt in attempts)
        running = sum([len(threads.running) for threads in child.classes])
        self._log((lines.dispatch_sent, dispatch_id, attempts, running, len(child.ahead)))
        shape = attempts[0].task.shape
        self._act(Dispatch(dispatch_id, child.endpoint.name, tuple((a.id, a.task.id) for a in attempts), child.config, shape.mpi, shape.once))

    def _on_dispatch_accepted(self, event: DispatchAccepted) -> None:
        for attempt_id in self._open_dispatches.pop(event.dispatch_id):
            if attempt_id in self.attempts:
                self.attempts[attempt_id].accepted = event.time
        self._log((lines.dispatch, event.dispatch_id, "accepted"))

    def _on_dispatch_rejected(self, event: DispatchRejected) -> None:
        attempt_ids = self._open_dispatches.pop(event.dispatch_id)
        self._log((lines.dispatch, event.dispatch_id, "rejected", {"reason": event.reason, "http_status": event.http_status}))
        attempts = [self.attempts[attempt_id] for attempt_id in attempt_ids if attempt_id in self.attempts]
        if event.http_status == 401:
            self._stop_for_credentials(attempts, event.reason)
        elif attempts:
            self._failover.rejected(attempts, event)

    def _stop_for_credentials(self, attempts: List[Attempt], reason: str) -> None:
        """Fail what is not dispatched: nothing will be, until the user does something. What runs may still bring results."""
        message = (f"not dispatched: the service does not accept the credentials any more ({reason}). "
                   "Log in again, or correct the credentials in the environment, and run the workflow again")
        for attempt in attempts:
            self._ledger.finish(attempt, Outcome.REJECTED, reason, blamed=False)
            self._restarts.rejected(attempt.threads.child)
        for task in [task for task in self.tasks.values() if not task.active]:
            self._ledger.withdraw(task, FailureKind.CREDENTIALS, message)

    def _on_result(self, event: ResultReceived) -> None:
        attempt = self.attempts.get(event.attempt_id)
        if attempt is None:
            self._health.stray(event)
            self._ledger.take_stray(event.attempt_id, event.outcome, event.message, event.payload, event.info)
            return
        self._health.result(attempt, event)
        if event.outcome is Outcome.OK and event.run_seconds is not None:
            self.placement.observe(attempt.task, attempt.threads, event.run_seconds)
        self._failover.finished(attempt, event)

    def _on_status(self, event: StatusReceived) -> None:
        self._health.status(event)

    def _on_results_checked(self, event: ResultsChecked) -> None:
        missing = [self.attempts[attempt_id] for attempt_id in dict.fromkeys(event.attempts) if attempt_id in self.attempts]
        if missing:
            self._failover.checked(missing)

    def _on_task_cancelled(self, event: TaskCancelled) -> None:
        task = self.tasks.get(event.task_id)
        if task is not None:
            self._ledger.withdraw(task, FailureKind.CANCELLED, "it was cancelled")

    def _on_tick(self, event: Tick) -> None:
        if self.closed:
            return
        self._progress.tell(event.time)
        self._failover.check(event.time)
        target = self._health.due(event.time, scarce=self.wants_turn)
        if target is not None:
            self._act(QueryStatus(*target))

    def _on_shutdown(self, event: ShutdownRequested) -> None:
        self.closed = True
        self._ledger.clear(lambda task: "the executor was shut down " + (
            "while it ran on an endpoint, where it may still finish" if task.active else "before it was dispatched"))

    def _begin(self, now: float) -> None:
        self._ledger.now = self.ahead.now = now
        for endpoint in self.pool.resume(now):
            self._look_again = True
            self._log((lines.endpoint, endpoint.name, "resumed"))

    def _end_waits(self, now: float) -> None:
        for task in self.placement.end_waits(now):
            self._look_again = True
            self._log((lines.task, task.id, "pending", {"after": "wait"}))

    def _settle(self, now: float) -> None:
        if len(self.graph) > 0 and self.graph.refresh(self.placement.app_seconds, now, self._tick_since, self._events_since):
            self._look_again = True
            self.pending.reorder(self._ledger.rank)
        if self._look_again:
            self._want = Want.NOTHING if self.closed else self._turns.wanted(now)
        self.settled, self._look_again, self._tick_since, self._events_since = True, False, False, 0

    # what turns do

    def _start_attempt(self, task: Task, threads: Threads) -> None:
        seconds = self.ahead.thread_seconds(self.placement.run_seconds(task, threads), threads)
        self._made.append(self._ledger.start(task, threads, seconds, self._dispatch_count))
        self._restarts.asked(threads.child, self._ledger.now)

    def _wait(self, task: Task, threads: Threads) -> None:
        seconds = self.placement.wait(task, threads, self._ledger.now)
        self._log((lines.task, task.id, "waiting", {"endpoint": threads.endpoint.name, "cores": threads.cores,
                                                    "seconds": seconds if seconds < float("inf") else None}))

    def _fail_for_policy(self, task: Task, error: PolicyError) -> None:
        self.pending.remove_first(task)
        self._ledger.fail(task, FailureKind.POLICY, str(error))

    def validate(self) -> None:
        """Check the invariants of the state; tests call it after every event.

        Raises
        ------
        AssertionError
            If one does not hold.
        """
        check(self)
