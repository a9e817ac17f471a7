"""The thread that owns the scheduler."""
from __future__ import annotations

import json
import logging
import math
import queue
import threading
import time
from collections import deque
from functools import partial
from typing import Callable, Deque, Dict, Iterator, Optional, Sequence

from parsl.executors.globus_compute_multi.cancelling import Cancellations, answer
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
    ResultArrived,
    ResultsFetched,
    StatusAnswered,
    StreamChanged,
)
from parsl.executors.globus_compute_multi.compute.result_fetcher import ResultFetcher
from parsl.executors.globus_compute_multi.compute.result_watch import ResultWatch
from parsl.executors.globus_compute_multi.compute.status_poller import StatusPoller
from parsl.executors.globus_compute_multi.messages import (
    CancelRequested,
    NewTask,
    OwnerMessage,
    Shutdown,
    StatusRequested,
)
from parsl.executors.globus_compute_multi.observe.runlog import RunLog
from parsl.executors.globus_compute_multi.observe.status import Status
from parsl.executors.globus_compute_multi.resolver import Resolver
from parsl.executors.globus_compute_multi.scheduling import events, lines
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
    TaskLeft,
    TaskSubmitted,
    Tick,
    TurnGranted,
)
from parsl.executors.globus_compute_multi.scheduling.scheduler import Scheduler
from parsl.executors.globus_compute_multi.tally import Tally
from parsl.executors.globus_compute_multi.unfinished import Unfinished
from parsl.executors.globus_compute_multi.versions import VersionCheck
from parsl.executors.globus_compute_multi.workflow import Announced, Left

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0

#: Seconds for which turns are put off after a result that other tasks wait for: until the DataFlowKernel has submitted those, a thread that
#: has become free would go to a task that matters less. Results come twice a second, so this is little.
_GRACE_SECONDS = 0.02

#: Least time between two looks at the messages, in seconds. Tasks and results come one by one, hundreds in a second: to be woken by each of them
#: takes this thread, and those that it takes the interpreter from, as long as to handle it. A message after a quiet time does not wait, nor does
#: a turn.
ROUND_SECONDS = 0.01

#: Messages taken before turns are granted again: a burst of submissions shares a request, but cannot keep threads waiting.
MESSAGES_A_ROUND = 1000


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
    ran_on : callable
        ``ran_on(node, endpoint)``: told before a task's future is completed, if its number in the DataFlowKernel is known.
    label : str
        Of the executor.
    """

    def __init__(self, *, scheduler: Scheduler, matcher: Matcher, governor: Governor, resolver: Resolver, run_log: RunLog,
                 endpoint_ids: Dict[str, str], ran_on: Callable[[int, str], None], label: str = "") -> None:
        self._scheduler = scheduler
        self._matcher = matcher
        self._governor = governor
        self._resolver = resolver
        self._run_log = run_log
        self._endpoint_ids = endpoint_ids
        self._tally = Tally(label, scheduler, time.monotonic(), run_log.epoch)
        self._unfinished = Unfinished(resolver=resolver, run_log=run_log, tally=self._tally, ran_on=ran_on)
        self._last_status: Optional[Status] = None
        self._inbox: "queue.SimpleQueue[OwnerMessage]" = queue.SimpleQueue()
        self._versions = VersionCheck()
        self._cancellations = Cancellations()
        self._batch: Deque[OwnerMessage] = deque()
        self._under_way = 0
        self._permit = threading.Semaphore(0)  # that of the turn; who acquires it must use it, or give it back
        self._turns_from = 0.0
        self._last_look = float("-inf")
        self._shutting_down = threading.Event()
        self._next_tick = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="globus-compute-multi-owner", daemon=True)

    def start(self, dispatcher: Dispatcher, poller: StatusPoller, fetcher: ResultFetcher) -> None:
        """Start the thread."""
        self._dispatcher = dispatcher
        self._poller = poller
        self._watch = ResultWatch(self._matcher, fetcher.fetch, self._governor.status_spacing)
        self._thread.start()

    def post(self, message: OwnerMessage) -> None:
        """Take a message from any thread."""
        self._inbox.put(message)

    def shut_down(self, timeout: float) -> bool:
        """Fail all tasks that are not finished, end the thread, and tell the resolver that nothing more will come.

        Returns whether that was done within ``timeout`` seconds. Nothing may be posted afterwards.
        """
        self._shutting_down.set()
        self._inbox.put(Shutdown())
        self._thread.join(timeout)
        if not self._thread.is_alive():
            return True
        # a policy of the user's that does not return, say: nobody else will fail its tasks. Should it return after all, it finds none.
        self._give_back_permit()
        for message in self._left_over():
            if isinstance(message, NewTask):
                self._unfinished.add(message)
        self._unfinished.abandon()
        self._resolver.finish()
        return False

    def last_status(self, timeout: float) -> Optional[Status]:
        """How the executor stood when the scheduler had come to its end, waited for; None if it has not, or has crashed."""
        self._thread.join(timeout)
        return self._last_status

    def _run(self) -> None:
        try:
            while not self._shutting_down.is_set():
                self._round()
            self._handle(ShutdownRequested(time.monotonic()))
            self._take_the_rest()
            self._last_status = self._tally.status(time.monotonic(), ended=True)
        except BaseException as e:  # whatever it was, the futures must not wait for ever
            logger.critical("The scheduler of the executor has crashed; all its tasks fail. Please report this.", exc_info=True)
            self._crash(e)
        self._resolver.finish()

    def _take_the_rest(self) -> None:
        """Shutdown does not wait its turn behind what was posted before it; the tasks there fail at once."""
        for message in self._left_over():
            if isinstance(message, NewTask):
                self._take(message)
            else:
                _refuse(message)

    def _round(self) -> None:
        """Take what there is, then use what turns there are."""
        self._collect()
        while self._batch and not self._shutting_down.is_set():
            self._take(self._batch.popleft())
        now = time.monotonic()
        wake = self._scheduler.wakes_at
        if now >= self._next_tick or (wake is not None and now >= wake):
            self._next_tick = now + TICK_SECONDS
            self._handle(Tick(now), settle=True)
            self._tally.tick(now)
            self._matcher.forget_others(self._scheduler.attempts)
            self._watch.tick(now, self._scheduler.attempts)
            for task_uuid, outcome in self._matcher.expire(now):
                self._run_log.write(now, (lines.attempt, None, "unmatched", {"task_uuid": task_uuid, "outcome": outcome.value}))
        while self._turn_wait() <= 0 and not self._shutting_down.is_set():
            now = time.monotonic()
            self._carry_out(now, self._scheduler.settle(now))
            if not self._scheduler.wants_turn:
                self._governor.want_no_submission()
                break
            if not self._governor.try_submission():
                break
            self._permit.release()
            try:
                self._handle(TurnGranted(now, self._governor.requests_per_second, self._governor.submission_gap), settle=True)
            finally:
                self._give_back_permit()  # if the turn brought nothing

    def _give_back_permit(self) -> None:
        if self._permit.acquire(blocking=False):
            self._governor.unused()

    def _collect(self) -> None:
        try:
            self._batch.append(self._inbox.get(timeout=self._patience()))
            wait = min(self._last_look + ROUND_SECONDS - time.monotonic(), self._patience())
            if wait > 0:
                time.sleep(wait)
            self._last_look = time.monotonic()
            while len(self._batch) < MESSAGES_A_ROUND:
                self._batch.append(self._inbox.get_nowait())
        except queue.Empty:
            pass

    def _left_over(self) -> Iterator[OwnerMessage]:
        """All that was posted and not taken, when nothing is posted any more."""
        while True:
            try:
                yield self._batch.popleft()
            except IndexError:
                break
        while True:
            try:
                yield self._inbox.get_nowait()
            except queue.Empty:
                return

    def _patience(self) -> float:
        """Seconds until there is something to do if no message comes."""
        wake = self._scheduler.wakes_at
        wait = (self._next_tick if wake is None else min(self._next_tick, wake)) - time.monotonic()
        return max(0.0, min(wait, self._turn_wait()))

    def _turn_wait(self) -> float:
        """Seconds until a turn may be granted, or it is worth while to see whether one is wanted by now, which takes a look at much."""
        if not self._dispatcher.capacity(self._under_way):
            return math.inf
        if self._scheduler.wants_turn:
            gap = self._governor.submission_wait()  # keeps this executor in line
        elif not self._scheduler.settled:
            gap = self._governor.submission_gap
        else:
            return math.inf
        return max(gap, self._turns_from - time.monotonic())

    def _put_off_turns(self) -> None:
        now = time.monotonic()
        if now > self._turns_from + _GRACE_SECONDS:  # a stream of results puts them off for half of the time at most
            self._turns_from = now + _GRACE_SECONDS

    def _take(self, message: OwnerMessage) -> None:
        now = time.monotonic()
        if isinstance(message, NewTask):
            info, needs = message.info, message.requirement
            self._unfinished.add(message)
            self._handle(TaskSubmitted(
                now, info.task_id, info.app, wire_size(message.packed), cores=needs.cores, priority=needs.priority, node=info.node,
                seconds=needs.estimated_seconds, endpoints=needs.endpoints, filesystem=message.filesystem, config=needs.config_text,
                mpi=needs.mpi or (), redispatch=needs.redispatch, parents=message.parents, tries=info.try_id, token=info))
            if self._cancellations.submitted(info.node, info.task_id):
                self._handle(events.TaskCancelled(now, info.task_id))
        elif isinstance(message, Announced):
            self._handle(TaskAnnounced(now, message.node, message.app, message.parents, message.seconds, message.ours))
        elif isinstance(message, Left):
            self._handle(TaskLeft(now, message.node))
            self._cancellations.left(message.node)
        elif isinstance(message, CancelRequested):
            answer(message.reply, partial(self._cancel, now, message))
        elif isinstance(message, StatusRequested):
            answer(message.reply, lambda: (self._tally.status(now), self._run_log.lines))
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
            self._watch.submitted(now, [attempt_id for _, attempt_id in open_pairs])
        elif isinstance(message, DispatchRefused):
            self._under_way -= 1
            self._handle(DispatchRejected(now, message.dispatch_id, message.reason, message.http_status))
        elif isinstance(message, ResultsFetched):
            missed = self._watch.fetched(message.attempts)
            if missed:
                self._handle(ResultsChecked(now, tuple(missed)))
        elif isinstance(message, StreamChanged):
            self._watch.changed(now, message.connected, self._scheduler.attempts)
        elif isinstance(message, StatusAnswered):
            self._handle(StatusReceived(
                now, message.endpoint, False if message.gone else message.online, message.child_id, message.workers, message.pending,
                message.outstanding, message.tasks, message.heartbeat))

    def _cancel(self, now: float, request: CancelRequested) -> bool:
        if request.node is None:
            task_id = getattr(request.future, "parsl_executor_task_id", None)
            task = None if task_id is None else self._unfinished.get(task_id)
            if task is None or task.future is not request.future:
                return False  # other executors number their tasks, too
        else:
            if not self._cancellations.cancel(request.node):
                return False
            task_id = self._cancellations.task_id(request.node)
        if task_id is not None and self._unfinished.get(task_id) is not None:
            self._handle(events.TaskCancelled(now, task_id))
        return True

    def _take_result(self, now: float, attempt_id: str, result: ResultMessage) -> None:
        outcome, message = result.outcome, result.message
        if attempt_id in self._scheduler.attempts:
            endpoint = self._scheduler.attempts[attempt_id].threads.endpoint.name
            self._note_versions(now, endpoint, result)
            outcome, message = self._versions.outcome(endpoint, result)
        self._handle(ResultReceived(now, attempt_id, outcome, result.run_seconds, result.child_id, message, result, result.info, result.process,
                                    result.by_service))

    def _note_versions(self, now: float, endpoint: str, result: ResultMessage) -> None:
        noted = self._versions.note(endpoint, result)
        if noted is None:
            return
        child = {} if result.child_id is None else {"child": result.child_id}
        self._run_log.write(now, (lines.endpoint, endpoint, "versions", {**child, **noted.versions}))
        if noted.warning:
            logger.warning(noted.warning)

    def _handle(self, event: Event, settle: bool = False) -> None:
        self._carry_out(event.time, self._scheduler.handle(event, settle))

    def _carry_out(self, now: float, actions: Sequence[Action]) -> None:
        for action in actions:
            if type(action) is tuple:
                self._run_log.write(now, action)
            else:
                self._perform(action)

    def _perform(self, action: Action) -> None:
        if isinstance(action, Dispatch):
            held = [(attempt_id, self._unfinished.get(task_id)) for attempt_id, task_id in action.attempts]
            tasks = tuple((attempt_id, task.packed) for attempt_id, task in held if task is not None)
            submission = Submission(action.dispatch_id, self._endpoint_ids[action.endpoint], tasks,
                                    None if action.config is None else json.loads(action.config), dict(action.mpi) or None, action.once)
            if len(tasks) < len(held) or not self._permit.acquire(blocking=False):
                return  # shutdown could not wait
            self._under_way += 1
            self._dispatcher.send(submission)
        elif isinstance(action, AttemptEnded):
            task = self._unfinished.ended(action)
            if task is not None and action.outcome is Outcome.OK:
                self._cancellations.succeeded(task.info.node)
            if action.awaited:
                self._put_off_turns()
        elif isinstance(action, FailTask):
            self._unfinished.failed(action)
        elif isinstance(action, Report):
            logger.warning(action.message)
        elif isinstance(action, QueryStatus):
            self._poller.ask(action.endpoint, action.child_id)
        elif isinstance(action, QueryResults):
            self._watch.miss(action.attempts)

    def _crash(self, cause: BaseException) -> None:
        """Fail all tasks, those that are still posted included, until the executor shuts down."""
        self._unfinished.crashed(cause)
        while True:
            ending = self._shutting_down.is_set()
            for message in self._left_over():
                if isinstance(message, NewTask):
                    self._unfinished.add(message)
                    self._unfinished.crashed(cause)
                else:
                    _refuse(message)
            if ending:
                return
            try:
                self._batch.append(self._inbox.get(timeout=TICK_SECONDS))
            except queue.Empty:
                pass


def _refuse(message: OwnerMessage) -> None:
    """Answer, when all tasks are failed anyway, that nothing was cancelled, and there is nothing to tell."""
    if isinstance(message, CancelRequested):
        answer(message.reply, lambda: False)
    elif isinstance(message, StatusRequested):
        message.reply.cancel()
