"""Account of the tasks that are not finished and of their attempts: how these begin, how they end, and what is tried again."""
from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple

from parsl.executors.globus_compute_multi.scheduling.actions import (
    Action,
    FailTask,
    FailureKind,
    Log,
    ResolveTask,
)
from parsl.executors.globus_compute_multi.scheduling.events import (
    Outcome,
    TaskSubmitted,
)
from parsl.executors.globus_compute_multi.scheduling.pending import (
    PendingTasks,
    Shape,
    Task,
)
from parsl.executors.globus_compute_multi.scheduling.placement import Placement
from parsl.executors.globus_compute_multi.scheduling.pool import Pool
from parsl.executors.globus_compute_multi.scheduling.taskgraph import TaskGraph
from parsl.executors.globus_compute_multi.scheduling.threads import Attempt, Threads

#: After these the function has not run.
_NOT_RUN = frozenset({Outcome.NOT_UNPACKED, Outcome.REJECTED})

#: What a lost task that must not run twice is told to do.
_ONCE = "it must not run twice (redispatch=False), and may have run, in part or wholly; submit it again if that does no harm"


class Ledger:
    """Keeps account of tasks and attempts, and makes the actions that tell of them.

    Parameters
    ----------
    pool : Pool
    pending : PendingTasks
    graph : TaskGraph
    placement : Placement
    failover_attempts : int
        How often a task is tried again after a failure that may be its own, but is not the app's.
    redispatch : bool
        Whether a task may run twice, unless it says otherwise.
    act : callable
        Takes the actions.

    Attributes
    ----------
    tasks : dict
        Tasks that are not finished, by ID.
    attempts : dict
        Attempts of which the endpoint may still send a result, by ID.
    failed : dict
        Failures and endpoints to avoid of what Parsl may retry, by node.
    now : float
        Time of the event being handled.
    """

    def __init__(self, *, pool: Pool, pending: PendingTasks, graph: TaskGraph, placement: Placement, failover_attempts: int, redispatch: bool,
                 act: Callable[[Action], None]) -> None:
        self.tasks: Dict[int, Task] = {}
        self.attempts: Dict[str, Attempt] = {}
        self.failed: Dict[int, Tuple[int, FrozenSet[str]]] = {}
        self.now = float("-inf")
        self._pool = pool
        self._pending = pending
        self._graph = graph
        self._placement = placement
        self._failover_attempts = failover_attempts
        self._redispatch = redispatch
        self._act = act

    def log(self, **fields: Any) -> None:
        """Write a line to the run log."""
        self._act(Log(self.now, fields))

    # tasks

    def accept(self, event: TaskSubmitted) -> Task:
        """Take in a task, which is not in the queue yet."""
        once = not (self._redispatch if event.redispatch is None else event.redispatch)
        shape = Shape(event.cores, event.endpoints, event.filesystem, event.config, event.mpi, once=once)
        task = Task(event.task_id, event.app, event.size, event.priority, shape, event.node, event.seconds)
        task.failures, avoided = (0, frozenset()) if event.node is None else self.failed.get(event.node, (0, frozenset()))
        for endpoint in sorted(avoided):
            self._placement.avoid(task, endpoint, self.now)
        self.tasks[task.id] = task
        given = {"node": event.node, "seconds": event.seconds, "endpoints": sorted(event.endpoints) if event.endpoints else None,
                 "filesystem": event.filesystem, "config": event.config, "mpi": dict(event.mpi) or None, "once": once or None,
                 "failures": task.failures or None, "avoids": sorted(avoided) or None}
        self.log(kind="task", task=task.id, state="pending", app=task.app, cores=event.cores, priority=task.priority, bytes=task.size,
                 **{key: value for key, value in given.items() if value is not None})
        return task

    def queue(self, task: Task) -> None:
        """Let ``task`` wait for its turn."""
        task.rank = self.rank(task)
        self._pending.add(task)

    def rank(self, task: Task) -> float:
        """Seconds of the longest path from ``task`` to the end of the workflow."""
        return self._graph.rank(task.node, 0.0)

    def fail(self, task: Task, kind: FailureKind, message: str) -> None:
        """Give up on ``task``, which is not in the queue (any more)."""
        self._placement.end_wait(task)
        del self.tasks[task.id]
        task.done = True
        self.log(kind="task", task=task.id, state="failed", reason=kind.value)
        self._act(FailTask(task.id, kind, message))

    def withdraw(self, task: Task, kind: FailureKind, message: str) -> None:
        """Give up on ``task``, wherever it is. What an endpoint holds of it is let be; its result will be dropped."""
        if not task.active:
            self._pending.discard(task)
        self.fail(task, kind, message)

    def resolve(self, task: Task, attempt_id: str, outcome: Outcome, payload: Any) -> None:
        """Complete ``task`` with what an attempt brought."""
        del self.tasks[task.id]
        task.done = True
        if outcome is not Outcome.OK:
            self._note_failures(task)
        self.log(kind="task", task=task.id, state="done" if outcome is Outcome.OK else "failed", attempt=attempt_id)
        self._act(ResolveTask(task.id, attempt_id, task.places[attempt_id], outcome, payload, self._graph.is_awaited(task.node)))

    # attempts

    def start(self, task: Task, threads: Threads, seconds: float, dispatch: int) -> Attempt:
        """Begin an attempt of ``task`` on ``threads``, expected to take ``seconds`` of them, in this dispatch."""
        task.tries += 1
        attempt = Attempt(f"{task.id}.{task.tries}", task, threads, seconds, self.now)
        task.again = bool(task.active)
        again = {"again": True} if task.again else {}
        if not task.places:
            task.active, task.places = set(), {}
        task.active.add(attempt.id)
        task.places[attempt.id] = threads.endpoint.name
        self.attempts[attempt.id] = attempt
        if threads.endpoint.probing:
            threads.endpoint.probes.add(attempt.id)
        state = "running" if threads.bind(attempt) else "queued_ahead"
        self._pool.note(threads)
        self.log(kind="attempt", attempt=attempt.id, state=state, task=task.id, endpoint=threads.endpoint.name, thread_class=threads.index,
                 dispatch=dispatch, **again)
        return attempt

    def finish(self, attempt: Attempt, outcome: Outcome, message: str, payload: Any = None, info: Tuple[Tuple[str, Any], ...] = (),
               blamed: bool = True, may_have_run: bool = True) -> None:
        """End an attempt. Its task is completed if the app has spoken, or else is tried again.

        Parameters
        ----------
        attempt : Attempt
        outcome : Outcome
        message : str
            What went wrong, for people.
        payload : object
            For the one who completes the task's future.
        info : tuple of (str, object)
            For the log.
        blamed : bool
            Of a failure: whether it may be due to the task, and not to endpoint, service or network alone.
        may_have_run : bool
            Of a failure: whether the function may have begun.
        """
        task = attempt.task
        del self.attempts[attempt.id]
        task.active.discard(attempt.id)
        # what an app raised is the user's: its text may hold anything, and stays out of the log
        detail = {"message": message} if message and not outcome.is_final else {}
        self.log(kind="attempt", attempt=attempt.id, state="finished", outcome=outcome.value, **detail, **dict(info))
        attempt.threads.endpoint.probes.discard(attempt.id)
        successor = attempt.threads.release(attempt, self.now)
        self._pool.note(attempt.threads)
        if successor is not None:
            self.log(kind="attempt", attempt=successor.id, state="running")
        if task.done:
            return  # its future is completed already
        if outcome.is_final:
            self.resolve(task, attempt.id, outcome, payload)
            return
        task.failures += blamed
        if task.shape.once and may_have_run and outcome not in _NOT_RUN:
            where = attempt.threads.endpoint.name + ("" if outcome is Outcome.LOST else f" ({outcome.value})")
            self.fail(task, FailureKind.LOST, f"lost on endpoint {where}: {message}; {_ONCE}")
        elif not task.active:
            self._try_again(task, attempt, outcome, message, blamed)
        elif task.failures + len(task.active) <= self._failover_attempts:
            task.again = False  # what is left is the attempt that is late

    def lose(self, attempts: List[Attempt], why: str, blamed: bool) -> None:
        """End attempts of which no result is expected any more; ``blamed``: those that ran may have been the reason."""
        # those queued ahead first, so that none of them is taken to begin on a thread that another has lost
        for attempt in sorted(attempts, key=lambda a: a.id in a.threads.running):
            ran = attempt.id in attempt.threads.running
            self.finish(attempt, Outcome.LOST, why, blamed=blamed and ran)

    def _try_again(self, task: Task, attempt: Attempt, outcome: Outcome, message: str, blamed: bool) -> None:
        endpoint = attempt.threads.endpoint.name
        if blamed:
            self._placement.avoid(task, endpoint, self.now)
        elif task.shape.avoid:
            self._placement.renew_avoidance(task, self.now)
        if task.failures > self._failover_attempts:
            self._note_failures(task)
            tried = ", ".join(sorted(set(task.places.values())))
            attempts = f"{task.tries} attempt{'s' if task.tries > 1 else ''}"
            before = f" ({task.failures} failures with those before Parsl retried it)" if task.failures > task.tries else ""
            self.fail(task, FailureKind.ENDPOINTS_FAILED,
                      f"gave up after {attempts} on {tried}{before}; the last one, on {endpoint}, ended with {outcome.value}: {message}")
        else:
            self.queue(task)
            self.log(kind="task", task=task.id, state="pending", after=attempt.id, avoids=sorted(task.shape.avoid))

    def _note_failures(self, task: Task) -> None:
        """Remember them for when Parsl submits the task again: its retries do not multiply them, and begin elsewhere."""
        if task.failures and task.node is not None and task.node in self._graph:
            self.failed[task.node] = task.failures, task.shape.avoid

    def clear(self, message: Callable[[Task], str]) -> None:
        """Give up on everything, at shutdown."""
        for attempt in list(self.attempts.values()):
            self.log(kind="attempt", attempt=attempt.id, state="finished", outcome="abandoned")
            attempt.threads.endpoint.probes.discard(attempt.id)
            attempt.threads.forget(attempt)
            self._pool.note(attempt.threads)
        self.attempts.clear()
        self._pending.clear()
        for task in list(self.tasks.values()):
            self.fail(task, FailureKind.SHUTDOWN, message(task))

    def place(self, attempt_id: str) -> Optional[str]:
        """Name of the endpoint that an attempt was given to, if its task is not finished."""
        task = self.tasks.get(int(attempt_id.partition(".")[0]))
        return None if task is None else task.places.get(attempt_id)

    def take_stray(self, attempt_id: str, outcome: Outcome, payload: Any) -> None:
        """Take in the result of an attempt that is finished: a duplicate, or one that was given up, yet ran, and completes its task."""
        self.log(kind="attempt", attempt=attempt_id, state="duplicate", outcome=outcome.value)
        task = self.tasks.get(int(attempt_id.partition(".")[0]))
        if task is None or attempt_id not in task.places or not outcome.is_final:
            return
        if not task.active:
            self._pending.discard(task)
            self._placement.end_wait(task)
        self.resolve(task, attempt_id, outcome, payload)
