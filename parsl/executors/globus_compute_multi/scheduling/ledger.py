"""Account of the tasks that are not finished and of their attempts: how these begin, how they end, and what is tried again."""
from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple

from parsl.executors.globus_compute_multi.scheduling import lines
from parsl.executors.globus_compute_multi.scheduling.actions import (
    Action,
    AttemptEnded,
    FailTask,
    FailureKind,
)
from parsl.executors.globus_compute_multi.scheduling.events import (
    Outcome,
    TaskSubmitted,
)
from parsl.executors.globus_compute_multi.scheduling.lines import Line
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

#: So many shapes are kept, to be shared by tasks to come.
_MOST_SHAPES = 1000

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
        Time of the event being handled, or at which all is settled.
    log : callable
        Takes a line for the run log.
    """

    def __init__(self, *, pool: Pool, pending: PendingTasks, graph: TaskGraph, placement: Placement, failover_attempts: int, redispatch: bool,
                 act: Callable[[Action], None]) -> None:
        self.tasks: Dict[int, Task] = {}
        self.attempts: Dict[str, Attempt] = {}
        self.failed: Dict[int, Tuple[int, FrozenSet[str]]] = {}
        self.now = float("-inf")
        self._shapes: Dict[Shape, Shape] = {}  # one of each: most tasks share one
        self._pool = pool
        self._pending = pending
        self._graph = graph
        self._placement = placement
        self._failover_attempts = failover_attempts
        self._redispatch = redispatch
        self._act = act
        self.log: Callable[[Line], None] = act

    # tasks

    def accept(self, event: TaskSubmitted) -> Task:
        """Take in a task, which is not in the queue yet."""
        once = not (self._redispatch if event.redispatch is None else event.redispatch)
        shape = Shape(event.cores, event.endpoints, event.filesystem, event.config, event.mpi, once=once)
        if len(self._shapes) > _MOST_SHAPES:
            self._shapes.clear()
        shape = self._shapes.setdefault(shape, shape)
        task = Task(event.task_id, event.app, event.size, event.priority, shape, event.node, event.seconds, event.time, event.token)
        task.failures, avoided = (0, frozenset()) if event.node is None else self.failed.get(event.node, (0, frozenset()))
        for endpoint in sorted(avoided):
            self._placement.avoid(task, endpoint, self.now)
        self.tasks[task.id] = task
        self.log((lines.task_submitted, event, once, task.failures, avoided))
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
        self._done(task)
        told = {"message": message} if kind is not FailureKind.SHUTDOWN else {}
        self.log((lines.task, task.id, "failed", {"reason": kind.value, **told}))
        self._act(FailTask(task.id, kind, message, task.submitted, task.token))

    def _done(self, task: Task) -> None:
        del self.tasks[task.id]
        task.done, task.attempts = True, ()

    def withdraw(self, task: Task, kind: FailureKind, message: str) -> None:
        """Give up on ``task``, wherever it is. What an endpoint holds of it is let be; its result will be dropped."""
        if not task.active:
            self._pending.discard(task)
        self.fail(task, kind, message)

    def resolve(self, attempt: Attempt, outcome: Outcome, message: str, payload: Any, late: bool = False) -> None:
        """Complete a task with what an attempt of it brought; ``late``: after it had ended."""
        task = attempt.task
        self._done(task)
        if outcome is not Outcome.OK:
            self._note_failures(task)
        self.log((lines.task_resolved, task.id, outcome is Outcome.OK, attempt.id))
        self._act(AttemptEnded(attempt, outcome, message, payload, True, self._graph.is_awaited(task.node), late))

    # attempts

    def start(self, task: Task, threads: Threads, seconds: float, dispatch: int) -> Attempt:
        """Begin an attempt of ``task`` on ``threads``, expected to take ``seconds`` of them, in this dispatch."""
        task.tries += 1
        attempt = Attempt(f"{task.id}.{task.tries}", task, threads, seconds, self.now)
        task.again = task.active > 0
        task.active += 1
        task.attempts += (attempt,)
        self.attempts[attempt.id] = attempt
        if threads.endpoint.probing:
            threads.endpoint.probes.add(attempt.id)
        state = "running" if threads.bind(attempt) else "queued_ahead"
        self._pool.note(threads)
        self.log((lines.attempt_started, attempt, state, dispatch, task.again))
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
        task.active -= 1
        self.log((lines.attempt_finished, attempt.id, "finished", outcome, message, info))
        attempt.threads.endpoint.probes.discard(attempt.id)
        successor = attempt.threads.release(attempt, self.now)
        self._pool.note(attempt.threads)
        if successor is not None:
            self.log((lines.attempt, successor.id, "running"))
        if outcome.is_final and not task.done:
            self.resolve(attempt, outcome, message, payload)
            return
        self._act(AttemptEnded(attempt, outcome, message, payload))
        if task.done:
            return  # its future is completed already
        task.failures += blamed
        if task.shape.once and may_have_run and outcome not in _NOT_RUN:
            where = attempt.threads.endpoint.name + ("" if outcome is Outcome.LOST else f" ({outcome.value})")
            self.fail(task, FailureKind.LOST, f"lost on endpoint {where}: {message}; {_ONCE}")
        elif not task.active:
            self._try_again(task, attempt, outcome, message, blamed)
        elif task.failures + task.active <= self._failover_attempts:
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
            tried = ", ".join(sorted({a.threads.endpoint.name for a in task.attempts}))
            attempts = f"{task.tries} attempt{'s' if task.tries > 1 else ''}"
            before = f" ({task.failures} failures with those before Parsl retried it)" if task.failures > task.tries else ""
            self.fail(task, FailureKind.ENDPOINTS_FAILED,
                      f"gave up after {attempts} on {tried}{before}; the last one, on {endpoint}, ended with {outcome.value}: {message}")
        else:
            self.queue(task)
            self.log((lines.task, task.id, "pending", {"after": attempt.id, "avoids": sorted(task.shape.avoid)}))

    def _note_failures(self, task: Task) -> None:
        """Remember them for when Parsl submits the task again: its retries do not multiply them, and begin elsewhere."""
        if task.failures and task.node is not None and task.node in self._graph:
            self.failed[task.node] = task.failures, task.shape.avoid

    def clear(self, message: Callable[[Task], str]) -> None:
        """Give up on everything, at shutdown."""
        for attempt in list(self.attempts.values()):
            self.log((lines.attempt, attempt.id, "finished", {"outcome": "abandoned"}))
            attempt.threads.endpoint.probes.discard(attempt.id)
            attempt.threads.forget(attempt)
            self._pool.note(attempt.threads)
        self.attempts.clear()
        self._pending.clear()
        for task in list(self.tasks.values()):
            self.fail(task, FailureKind.SHUTDOWN, message(task))

    def attempt_of(self, attempt_id: str) -> Optional[Attempt]:
        """An attempt, finished or not, if its task is not finished."""
        task = self.tasks.get(int(attempt_id.partition(".")[0]))
        return None if task is None else next((attempt for attempt in task.attempts if attempt.id == attempt_id), None)

    def take_stray(self, attempt_id: str, outcome: Outcome, message: str, payload: Any, info: Tuple[Tuple[str, Any], ...]) -> None:
        """Take in the result of an attempt that is finished: a duplicate, or one that was given up, yet ran, and completes its task."""
        self.log((lines.attempt_finished, attempt_id, "duplicate", outcome, "", info))
        attempt = self.attempt_of(attempt_id)
        if attempt is None or not outcome.is_final:
            return
        if not attempt.task.active:
            self._pending.discard(attempt.task)
            self._placement.end_wait(attempt.task)
        self.resolve(attempt, outcome, message, payload, late=True)
