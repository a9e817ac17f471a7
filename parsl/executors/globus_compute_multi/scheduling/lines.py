"""What the lines of the run log hold, but for the time: one function for each form of line (:mod:`~..observe.runlog` says what the fields mean).

The scheduler does not call these functions. It hands over a :data:`Line`, a function with its arguments, which the log calls on its own thread:
there are some lines for each task, and a tuple is made in a third of the time of a dictionary. So what these functions read must not change.
"""
from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    FrozenSet,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

if TYPE_CHECKING:
    from parsl.executors.globus_compute_multi.scheduling.events import (
        Outcome,
        TaskSubmitted,
    )
    from parsl.executors.globus_compute_multi.scheduling.threads import Attempt

#: What a line of the log holds: JSON-compatible.
Fields = Dict[str, Any]

#: A function that returns :data:`Fields`, and its arguments.
Line = Tuple[Any, ...]

_NOTHING: Mapping[str, Any] = {}


def fields(line: Line) -> Fields:
    """What a line holds: at least ``kind``, the ID of what it is about under that name (a run has none), and its new ``state``."""
    return line[0](*line[1:])


def endpoint(name: str, state: str, more: Mapping[str, Any] = _NOTHING) -> Fields:
    """Of an endpoint; ``more``: further fields."""
    return {"kind": "endpoint", "endpoint": name, "state": state, **more}


def run(state: str, more: Mapping[str, Any] = _NOTHING) -> Fields:
    """Of what concerns all."""
    return {"kind": "run", "state": state, **more}


def task(task_id: int, state: str, more: Mapping[str, Any] = _NOTHING) -> Fields:
    """Of a task."""
    return {"kind": "task", "task": task_id, "state": state, **more}


def task_submitted(event: TaskSubmitted, once: bool, failures: int, avoids: FrozenSet[str]) -> Fields:
    """Of a task that has come.

    Parameters
    ----------
    event : TaskSubmitted
    once : bool
        Whether it must not run twice.
    failures : int
        Attempts that have failed before Parsl retried it.
    avoids : frozenset of str
        Names of the endpoints on which they did.
    """
    made = {"kind": "task", "task": event.task_id, "state": "pending", "app": event.app, "cores": event.cores, "priority": event.priority,
            "bytes": event.size}
    if event.node is not None:
        made["node"] = event.node
    if event.parents:
        made["parents"] = event.parents
    if event.tries:
        made["try"] = event.tries
    if event.seconds is not None:
        made["seconds"] = event.seconds
    if event.endpoints:
        made["endpoints"] = sorted(event.endpoints)
    if event.filesystem is not None:
        made["filesystem"] = event.filesystem
    if event.config is not None:
        made["config"] = event.config
    if event.mpi:
        made["mpi"] = dict(event.mpi)
    if once:
        made["once"] = True
    if failures:
        made["failures"] = failures
    if avoids:
        made["avoids"] = sorted(avoids)
    return made


def task_resolved(task_id: int, ok: bool, attempt_id: str) -> Fields:
    """Of a task that ends with an attempt; ``ok``: whether it has a value."""
    return {"kind": "task", "task": task_id, "state": "done" if ok else "failed", "attempt": attempt_id}


def attempt(attempt_id: Optional[str], state: str, more: Mapping[str, Any] = _NOTHING) -> Fields:
    """Of an attempt."""
    return {"kind": "attempt", "attempt": attempt_id, "state": state, **more}


def attempt_started(started: Attempt, state: str, dispatch_id: int, again: bool) -> Fields:
    """Of a new attempt; ``again``: another attempt of its task is under way."""
    made = {"kind": "attempt", "attempt": started.id, "state": state, "task": started.task.id, "endpoint": started.threads.endpoint.name,
            "thread_class": started.threads.index, "dispatch": dispatch_id}
    if again:
        made["again"] = True
    return made


def attempt_finished(attempt_id: str, state: str, outcome: Outcome, message: str, info: Tuple[Tuple[str, Any], ...]) -> Fields:
    """Of a result; ``info``: further fields."""
    made: Fields = {"kind": "attempt", "attempt": attempt_id, "state": state, "outcome": outcome}
    # what an app raised is the user's: its text may hold anything, and stays out of the log
    if message and not outcome.is_final:
        made["message"] = message
    made.update(info)
    return made


def dispatch(dispatch_id: int, state: str, more: Mapping[str, Any] = _NOTHING) -> Fields:
    """Of a request."""
    return {"kind": "dispatch", "dispatch": dispatch_id, "state": state, **more}


def dispatch_sent(dispatch_id: int, attempts: Sequence[Attempt], running: int, ahead: int) -> Fields:
    """Of a request that carries these attempts; ``running`` and ``ahead``: how many are so on the child that it is for, these included."""
    child = attempts[0].threads.child
    made = {"kind": "dispatch", "dispatch": dispatch_id, "state": "sent", "endpoint": child.endpoint.name, "attempts": len(attempts),
            "bytes": sum(sent.task.size for sent in attempts), "running": running, "ahead": ahead}
    if child.config is not None:
        made["config"] = child.config
    return made
