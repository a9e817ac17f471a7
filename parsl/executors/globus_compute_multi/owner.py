"""The thread that owns the scheduler."""
from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any, Deque, Dict, Iterator, Tuple

from parsl.executors.globus_compute_multi.compute.dispatcher import (
    Dispatcher,
    Submission,
)
from parsl.executors.globus_compute_multi.compute.envelope import (
    ResultMessage,
    wire_size,
)
from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.matching import Matcher
from parsl.executors.globus_compute_multi.compute.messages import (
    DispatchAnswered,
    DispatchRefused,
    Message,
    NewTask,
    ResultArrived,
    Shutdown,
    StatusAnswered,
)
from parsl.executors.globus_compute_multi.compute.status_poller import StatusPoller
from parsl.executors.globus_compute_multi.errors import (
    EndpointsFailed,
    NoSuchThread,
    SchedulerCrashed,
    TaskNotCompleted,
)
from parsl.executors.globus_compute_multi.observe.runlog import RunLog
from parsl.executors.globus_compute_multi.resolver import Resolver
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
    ResultReceived,
    ShutdownRequested,
    StatusReceived,
    TaskSubmitted,
    Tick,
    TurnGranted,
)
from parsl.executors.globus_compute_multi.scheduling.scheduler import Scheduler

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0

#: Messages taken before turns are granted again: a burst of submissions shares a request, but cannot keep threads waiting.
_MESSAGES_A_ROUND = 1000

_ERRORS = {FailureKind.IMPOSSIBLE: NoSuchThread, FailureKind.ENDPOINTS_FAILED: EndpointsFailed, FailureKind.SHUTDOWN: TaskNotCompleted}


class Owner:
    """Feeds the scheduler with what the other threads post, and carries out its actions.

    It alone touches the scheduler, the matcher and the ledger of unfinished tasks, so none of them has a lock.

    Parameters
    ----------
    scheduler : Scheduler
    matcher : Matcher
    governor : Governor
    resolver : Resolver
    run_log : RunLog
    endpoint_ids : dict
        Endpoint IDs by name.
    """

    def __init__(self, *, scheduler: Scheduler, matcher: Matcher, governor: Governor, resolver: Resolver, run_log: RunLog,
                 endpoint_ids: Dict[str, str]) -> None:
        self._scheduler = scheduler
        self._matcher = matcher
        self._governor = governor
        self._resolver = resolver
        self._run_log = run_log
        self._endpoint_ids = endpoint_ids
        self._inbox: "queue.SimpleQueue[Message]" = queue.SimpleQueue()
        self._ledger: Dict[int, Tuple[Future[Any], bytes, str]] = {}
        self._batch: Deque[Message] = deque()
        self._under_way = 0
        self._shutting_down = threading.Event()
        self._next_tick = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="globus-compute-multi-owner", daemon=True)

    def start(self, dispatcher: Dispatcher, poller: StatusPoller) -> None:
        """Start the thread."""
        self._dispatcher = dispatcher
        self._poller = poller
        self._thread.start()

    def post(self, message: Message) -> None:
        """Take a message from any thread."""
        self._inbox.put(message)

    def shut_down(self, timeout: float) -> bool:
        """Fail all tasks that are not finished, end the thread, and tell the resolver that nothing more will come.

        Returns whether that was done within ``timeout`` seconds. Nothing may be posted afterwards.
        """
        self._shutting_down.set()
        self._inbox.put(Shutdown())
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._shutting_down.is_set():
                self._round()
            self._handle(ShutdownRequested(time.monotonic()))
            self._take_the_rest()
        except Exception as e:
            logger.critical("The scheduler of the executor has crashed; all its tasks fail. Please report this.", exc_info=True)
            self._crash(e)
        self._resolver.finish()

    def _take_the_rest(self) -> None:
        """Shutdown does not wait its turn behind what was posted before it; the tasks there fail at once."""
        for message in self._left_over():
            if isinstance(message, NewTask):
                self._take(message)

    def _round(self) -> None:
        """Take what there is, then use what turns there are."""
        self._collect()
        while self._batch and not self._shutting_down.is_set():
            self._take(self._batch.popleft())
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECONDS
            self._handle(Tick(now))
            for unknown in self._matcher.expire(now):
                self._run_log.write(now, {"kind": "attempt", "attempt": None, "state": "unmatched", "task_uuid": unknown.task_uuid,
                                          "outcome": unknown.outcome.value})
        while not self._shutting_down.is_set() and self._turn_possible(now) and self._governor.try_submission():
            self._handle(TurnGranted(now))

    def _collect(self) -> None:
        try:
            self._batch.append(self._inbox.get(timeout=self._patience()))
            while len(self._batch) < _MESSAGES_A_ROUND:
                self._batch.append(self._inbox.get_nowait())
        except queue.Empty:
            pass

    def _left_over(self) -> Iterator[Message]:
        """All that was posted and not taken, when nothing is posted any more."""
        while self._batch:
            yield self._batch.popleft()
        while not self._inbox.empty():
            yield self._inbox.get()

    def _patience(self) -> float:
        """Seconds until there is something to do if no message comes."""
        now = time.monotonic()
        wait = self._next_tick - now
        if self._turn_possible(now):
            wait = min(wait, self._governor.submission_wait())
        return max(0.0, wait)

    def _turn_possible(self, now: float) -> bool:
        return self._dispatcher.capacity(self._under_way) and self._scheduler.wants_turn(now)

    def _take(self, message: Message) -> None:
        now = time.monotonic()
        if isinstance(message, NewTask):
            self._enter(message)
            self._handle(TaskSubmitted(now, message.task_id, message.app, wire_size(message.packed), message.cores, message.priority))
        elif isinstance(message, ResultArrived):
            attempt_id = self._matcher.match(message.message, now)
            if attempt_id is not None:
                self._take_result(now, attempt_id, message.message)
        elif isinstance(message, DispatchAnswered):
            self._under_way -= 1
            self._handle(DispatchAccepted(now, message.dispatch_id))
            # an attempt that has ended before the answer came will not be asked for again
            open_pairs = [pair for pair in message.pairs if pair[1] in self._scheduler.attempts]
            for attempt_id, result in self._matcher.learn(open_pairs):
                self._take_result(now, attempt_id, result)
        elif isinstance(message, DispatchRefused):
            self._under_way -= 1
            self._handle(DispatchRejected(now, message.dispatch_id, message.reason, message.http_status))
        elif isinstance(message, StatusAnswered):
            self._handle(StatusReceived(now, message.endpoint, message.online, message.child_id, message.workers, message.pending))

    def _enter(self, task: NewTask) -> None:
        self._ledger[task.task_id] = (task.future, task.packed, f"task {task.task_id} ({task.app})")

    def _take_result(self, now: float, attempt_id: str, result: ResultMessage) -> None:
        self._handle(ResultReceived(now, attempt_id, result.outcome, result.run_seconds, result.child_id, result.message, result, result.info))

    def _handle(self, event: Event) -> None:
        for action in self._scheduler.handle(event):
            self._perform(action)

    def _perform(self, action: Action) -> None:
        if isinstance(action, Log):
            self._run_log.write(action.time, action.fields)
        elif isinstance(action, Dispatch):
            self._under_way += 1
            tasks = tuple((attempt_id, self._ledger[task_id][1]) for attempt_id, task_id in action.attempts)
            self._dispatcher.send(Submission(action.dispatch_id, self._endpoint_ids[action.endpoint], tasks))
        elif isinstance(action, ResolveTask):
            future, _, name = self._ledger.pop(action.task_id)
            self._resolver.resolve(future, action.payload, name)
        elif isinstance(action, FailTask):
            future, _, name = self._ledger.pop(action.task_id)
            self._resolver.fail(future, _ERRORS[action.kind](f"{name}: {action.message}"), name)
        elif isinstance(action, QueryStatus):
            self._poller.ask(action.endpoint, action.child_id)

    def _crash(self, cause: Exception) -> None:
        """Fail all tasks, those that are still posted included, until the executor shuts down."""
        for task_id in list(self._ledger):
            self._fail_crashed(task_id, cause)
        while True:
            ending = self._shutting_down.is_set()
            for message in self._left_over():
                if isinstance(message, NewTask):
                    self._enter(message)
                    self._fail_crashed(message.task_id, cause)
            if ending:
                return
            try:
                self._batch.append(self._inbox.get(timeout=TICK_SECONDS))
            except queue.Empty:
                pass

    def _fail_crashed(self, task_id: int, cause: Exception) -> None:
        future, _, name = self._ledger.pop(task_id)
        error = SchedulerCrashed(f"{name}: the executor's scheduler has crashed ({type(cause).__name__}: {cause}); please report it")
        error.__cause__ = cause
        self._resolver.fail(future, error, name)
