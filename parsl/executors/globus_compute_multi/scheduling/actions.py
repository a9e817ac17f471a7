"""What the scheduler asks for: one named tuple for each kind of action (there are many for each task, and tuples are made fastest)."""
from __future__ import annotations

from enum import Enum
from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

from parsl.executors.globus_compute_multi.scheduling.events import Outcome


class Dispatch(NamedTuple):
    """Send these attempts to an endpoint in one request.

    Parameters
    ----------
    dispatch_id : int
    endpoint : str
        Name of the endpoint.
    attempts : tuple of (str, int)
        Pairs of attempt ID and task ID.
    config : str or None
        Canonical text of the ``user_endpoint_config`` of the child that they are for; None for the endpoint's default child.
    mpi : tuple of (str, object)
        MPI keys and values of all its tasks.
    once : bool
        Whether its tasks must not run twice: it must not be sent again unless the service says that it was not taken.
    """

    dispatch_id: int
    endpoint: str
    attempts: Tuple[Tuple[str, int], ...]
    config: Optional[str] = None
    mpi: Tuple[Tuple[str, Any], ...] = ()
    once: bool = False


class ResolveTask(NamedTuple):
    """Complete a task's future from the payload of its result. At most one of this or :class:`FailTask` is emitted for a task.

    Parameters
    ----------
    task_id : int
    attempt_id : str
    endpoint : str
        Name of the endpoint where that attempt ran.
    outcome : Outcome
    payload : object
        As in the event.
    awaited : bool
        Whether tasks are known that wait for it, and may be submitted once it is complete.
    """

    task_id: int
    attempt_id: str
    endpoint: str
    outcome: Outcome
    payload: Any
    awaited: bool = False


class FailureKind(str, Enum):
    """Why the executor itself gives up on a task."""

    IMPOSSIBLE = "impossible"
    """No thread in the pool could ever run it."""

    ENDPOINTS_FAILED = "endpoints_failed"
    """Every attempt failed for a reason outside the app."""

    POLICY = "policy"
    """The user's policy raised for it, or chose what it was not offered."""

    LOST = "lost"
    """It was lost with its endpoint, and must not run twice."""

    CREDENTIALS = "credentials"
    """The service does not accept the credentials any more."""

    CANCELLED = "cancelled"
    """The user has cancelled it."""

    SHUTDOWN = "shutdown"
    """The executor was shut down first."""


class FailTask(NamedTuple):
    """Complete a task's future with an error of the executor's own."""

    task_id: int
    kind: FailureKind
    message: str


class QueryStatus(NamedTuple):
    """Ask the service for the status of an endpoint (``child_id`` None) or of a child of it."""

    endpoint: str
    child_id: Optional[str]


class QueryResults(NamedTuple):
    """Ask the service for the results of these attempts, which are late; to be answered by :class:`~.events.ResultsChecked`."""

    attempts: Tuple[str, ...]


class Report(NamedTuple):
    """Tell the user that something is wrong which makes no task fail.

    Parameters
    ----------
    message : str
        What, where, and what to do.
    """

    message: str


class Log(NamedTuple):
    """Write one line to the run log.

    Parameters
    ----------
    time : float
        Time of the event that caused it.
    fields : dict
        JSON-compatible, with at least ``kind`` (``task``, ``attempt``, ``dispatch`` or ``endpoint``), the ID of that under this name,
        and its new ``state``.
    """

    time: float
    fields: Dict[str, Any]


Action = Union[Dispatch, ResolveTask, FailTask, QueryStatus, QueryResults, Report, Log]
