"""What the scheduler is told: one frozen dataclass for each kind of event.

Every event carries ``time``, in seconds on one monotonic clock of the caller's choice. The core has no clock of its own, so that the
executor, a simulator and a test can drive the same code.
"""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, FrozenSet, Optional, Tuple, Union


class Outcome(str, Enum):
    """How an attempt ended."""

    OK = "ok"
    """The app returned a value."""

    APP_FAILED = "app_failed"
    """The app raised, and Parsl's wrapper carries its exception."""

    RAISED = "raised"
    """The function raised past Parsl's wrapper, or its value could not be packed."""

    NOT_UNPACKED = "not_unpacked"
    """The endpoint could not unpack the function or its arguments."""

    TASK_FAILED = "task_failed"
    """The endpoint or the service reported a failure of its own (worker lost, result too large, ...)."""

    TOO_LARGE = "too_large"
    """The value is larger than a result may be."""

    UNREADABLE = "unreadable"
    """A result came that is not an envelope of our runner."""

    REJECTED = "rejected"
    """The service refused the submission."""

    LOST = "lost"
    """The endpoint is gone, or silent, and nothing came back; should a result come after all, it is used."""

    @property
    def is_final(self) -> bool:
        """Whether running the task elsewhere could not change the outcome: the app itself has spoken."""
        return self in _FINAL


_FINAL = frozenset({Outcome.OK, Outcome.APP_FAILED, Outcome.RAISED, Outcome.TOO_LARGE})

#: HTTP statuses that say nothing against the tasks of a dispatch: only against endpoint or service, now, or against the login.
_NOT_THE_TASKS_FAULT = frozenset({401, 408, 409, 423, 429})


@dataclass(frozen=True)
class TaskAnnounced:
    """A task of the workflow has become known, or has got further parents. It is submitted when those are finished, if ever.

    Parameters
    ----------
    time : float
    node : int
        Its number in the task graph.
    app : str
    parents : tuple of int
        Nodes that it waits for.
    seconds : float or None
        Run time on an endpoint of speed 1, if the user has given it.
    ours : bool
        Whether it will be submitted here.
    """

    time: float
    node: int
    app: str
    parents: Tuple[int, ...] = ()
    seconds: Optional[float] = None
    ours: bool = True


@dataclass(frozen=True)
class TaskLeft:
    """A task of the workflow is finished, one way or another."""

    time: float
    node: int


@dataclass(frozen=True)
class TaskSubmitted:
    """A task was accepted by the executor.

    Parameters
    ----------
    time : float
    task_id : int
        Unique, increasing in the order of submission.
    app : str
        Name under which run times are learned.
    size : int
        Bytes the task adds to a submission, as it goes over the wire.
    cores : int
        Core requirement.
    priority : float
        Lower runs first.
    node : int or None
        Its number in the task graph, if it is known there.
    seconds : float or None
        Run time on an endpoint of speed 1, if the user has given it.
    endpoints : frozenset of str or None
        Names of the endpoints that it is restricted to.
    filesystem : str or None
        File-system group that it is restricted to, since its inputs lie there.
    config : str or None
        Canonical text of the ``user_endpoint_config`` that it asks for.
    mpi : tuple of (str, object)
        MPI keys and values that go to the service with its request, sorted.
    redispatch : bool or None
        Whether it may run twice if need be. None: as the scheduler is set.
    parents : tuple of int
        Nodes of all tasks that it depended on, for the log.
    tries : int
        How often the workflow has submitted it before, for the log.
    token : object
        Passed on untouched in the actions that end its attempts and it.
    """

    time: float
    task_id: int
    app: str
    size: int
    cores: int = 1
    priority: float = 0.0
    node: Optional[int] = None
    seconds: Optional[float] = None
    endpoints: Optional[FrozenSet[str]] = None
    filesystem: Optional[str] = None
    config: Optional[str] = None
    mpi: Tuple[Tuple[str, Any], ...] = ()
    redispatch: Optional[bool] = None
    parents: Tuple[int, ...] = ()
    tries: int = 0
    token: Any = None


@dataclass(frozen=True)
class TurnGranted:
    """A request may be sent to the service now; the scheduler decides for which endpoint, and with which tasks.

    Parameters
    ----------
    time : float
    requests_per_second : float or None
        At which rate requests are granted now, if that is limited.
    next_turn : float
        Seconds until there may be another one.
    """

    time: float
    requests_per_second: Optional[float] = None
    next_turn: float = 0.0


@dataclass(frozen=True)
class DispatchAccepted:
    """The service took a dispatch."""

    time: float
    dispatch_id: int


@dataclass(frozen=True)
class DispatchRejected:
    """The service did not take a dispatch, and it is not sent again. If there was no answer, its attempts may run all the same.

    Parameters
    ----------
    time : float
    dispatch_id : int
    reason : str
        What the service said, for people.
    http_status : int or None
        None: there was no (usable) answer.
    """

    time: float
    dispatch_id: int
    reason: str
    http_status: Optional[int] = None

    @property
    def blames_tasks(self) -> bool:
        """Whether the tasks may have been the reason, so that trying them again and again elsewhere would not help."""
        return self.http_status is not None and self.http_status < 500 and self.http_status not in _NOT_THE_TASKS_FAULT


@dataclass(frozen=True)
class ResultReceived:
    """A result message was matched to an attempt.

    Parameters
    ----------
    time : float
    attempt_id : str
    outcome : Outcome
    run_seconds : float or None
        Time the function ran on the endpoint, measured there.
    child_id : str or None
        Endpoint ID of the child process that ran it.
    message : str
        What went wrong, for people; empty if nothing did.
    payload : object
        Passed on untouched in :class:`~.actions.AttemptEnded`: the core never looks into user data.
    info : tuple of (str, object)
        More about the attempt for the log (host, versions, times).
    process : str or None
        What tells the child's process from an earlier one under the same ID, if the worker knows it.
    by_service : bool
        Whether it is a failure that the service tells in the child's stead: the child has not started.
    """

    time: float
    attempt_id: str
    outcome: Outcome
    run_seconds: Optional[float] = None
    child_id: Optional[str] = None
    message: str = ""
    payload: Any = None
    info: Tuple[Tuple[str, Any], ...] = ()
    process: Optional[str] = None
    by_service: bool = False


@dataclass(frozen=True)
class StatusReceived:
    """The service told the status of an endpoint, or of a child of it.

    Parameters
    ----------
    time : float
    endpoint : str
        Name of the endpoint.
    online : bool or None
        ``None`` if the service could not be asked.
    child_id : str or None
        ID of the child whose status it is; ``None`` for the endpoint itself.
    workers : int or None
        ``total_workers`` of the heartbeat.
    pending : int or None
        Tasks waiting at the child, of the heartbeat.
    outstanding : int or None
        Tasks that the child has and has not finished, if its engine counts them.
    taken : int or None
        Tasks that it has taken since it began, if its engine counts them.
    heartbeat : float or None
        Seconds between two heartbeats.
    """

    time: float
    endpoint: str
    online: Optional[bool]
    child_id: Optional[str] = None
    workers: Optional[int] = None
    pending: Optional[int] = None
    outstanding: Optional[int] = None
    taken: Optional[int] = None
    heartbeat: Optional[float] = None


@dataclass(frozen=True)
class ResultsChecked:
    """The service was asked for the results of these attempts; those that it had have been received before this.

    Parameters
    ----------
    time : float
    attempts : tuple of str
    """

    time: float
    attempts: Tuple[str, ...]


@dataclass(frozen=True)
class TaskCancelled:
    """The user does not want a task any more."""

    time: float
    task_id: int


@dataclass(frozen=True)
class Tick:
    """Time has passed."""

    time: float


@dataclass(frozen=True)
class ShutdownRequested:
    """The executor shuts down: every task that is not finished must be failed."""

    time: float


Event = Union[TaskAnnounced, TaskLeft, TaskSubmitted, TurnGranted, DispatchAccepted, DispatchRejected, ResultReceived, StatusReceived,
              ResultsChecked, TaskCancelled, Tick, ShutdownRequested]
