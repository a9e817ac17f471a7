"""The tasks that are not finished, with their futures, and how they end."""
from __future__ import annotations

import time
from typing import Callable, Dict, Optional, Type

from parsl.executors.globus_compute_multi.errors import (
    CredentialsMissing,
    EndpointsFailed,
    NoSuchThread,
    PolicyFailed,
    SchedulerCrashed,
    TaskCancelled,
    TaskLost,
    TaskNotCompleted,
)
from parsl.executors.globus_compute_multi.messages import NewTask
from parsl.executors.globus_compute_multi.observe.records import Ended
from parsl.executors.globus_compute_multi.observe.runlog import RunLog
from parsl.executors.globus_compute_multi.resolver import Resolver
from parsl.executors.globus_compute_multi.scheduling.actions import (
    AttemptEnded,
    FailTask,
    FailureKind,
)
from parsl.executors.globus_compute_multi.tally import Tally

_ERRORS: Dict[FailureKind, Type[Exception]] = {
    FailureKind.IMPOSSIBLE: NoSuchThread, FailureKind.ENDPOINTS_FAILED: EndpointsFailed, FailureKind.POLICY: PolicyFailed,
    FailureKind.LOST: TaskLost, FailureKind.CREDENTIALS: CredentialsMissing, FailureKind.CANCELLED: TaskCancelled,
    FailureKind.SHUTDOWN: TaskNotCompleted}


class Unfinished:
    """Holds the tasks from their submission on, and hands what ends them to the resolver, each once.

    Belongs to the owner of the scheduler. Only :meth:`abandon` may be called on another thread, when the owner's does not come to an end.

    Parameters
    ----------
    resolver : Resolver
    run_log : RunLog
    tally : Tally
    ran_on : callable
        ``ran_on(node, endpoint)``: told before a task's future is completed, if its number in the DataFlowKernel is known.
    """

    def __init__(self, *, resolver: Resolver, run_log: RunLog, tally: Tally, ran_on: Callable[[int, str], None]) -> None:
        self._resolver = resolver
        self._run_log = run_log
        self._tally = tally
        self._ran_on = ran_on
        self._tasks: Dict[int, NewTask] = {}

    def add(self, task: NewTask) -> None:
        """Take in a task."""
        self._tasks[task.info.task_id] = task

    def get(self, task_id: int) -> Optional[NewTask]:
        """The task of this number, if it is not finished."""
        return self._tasks.get(task_id)

    def ended(self, action: AttemptEnded) -> Optional[NewTask]:
        """Pass on that an attempt has ended; the task that has ended with it, if one has."""
        task = None
        if action.resolves:
            task = self._tasks.pop(action.attempt.task.id, None)
            if task is None:
                return None  # shutdown could not wait
            if task.info.node is not None:
                self._ran_on(task.info.node, action.attempt.threads.endpoint.name)
        self._tally.ended(action)
        self._resolver.attempt_ended(action, time.monotonic(), self._run_log.lines, None if task is None else task.future)
        return task

    def failed(self, action: FailTask) -> None:
        """End a task with an error of the executor's own."""
        self._give_up(action.task_id, action.kind, _ERRORS[action.kind], action.message, action.submitted)

    def abandon(self) -> None:
        """End all tasks, when the scheduler does not come to an end."""
        for task_id in list(self._tasks):
            why = "the executor was shut down while its scheduler was busy, perhaps in the policy"
            self._give_up(task_id, FailureKind.SHUTDOWN, TaskNotCompleted, why)

    def crashed(self, cause: BaseException) -> None:
        """End all tasks, since the scheduler has crashed."""
        why = f"the executor's scheduler has crashed ({type(cause).__name__}: {cause}); please report it"
        for task_id in list(self._tasks):
            self._give_up(task_id, FailureKind.SHUTDOWN, SchedulerCrashed, why, cause=cause)

    def _give_up(self, task_id: int, kind: FailureKind, error: Type[Exception], why: str, submitted: Optional[float] = None,
                 cause: Optional[BaseException] = None) -> None:
        """End a task; if it is not known when it was ``submitted``, the log does not tell of its end either."""
        task = self._tasks.pop(task_id, None)
        if task is None:
            return  # shutdown could not wait
        failure = error(f"{task.info.name}: {why}")
        failure.__cause__ = cause
        self._tally.failed(kind.value)
        now = time.monotonic()
        when, lines = (now, 0) if submitted is None else (submitted, self._run_log.lines)
        self._resolver.ended(Ended(task.info, None, None, None, None, when, None, now, kind.value, why, None, failure, True, lines), task.future)
