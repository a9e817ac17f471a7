"""What the scheduler asks for: one frozen dataclass for each kind of action."""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Dict, Optional, Tuple, Union

from parsl.executors.globus_compute_multi.scheduling.events import Outcome


@dataclass(frozen=True)
class Dispatch:
    """Send these attempts to an endpoint in one request.

    Parameters
    ----------
    dispatch_id : int
    endpoint : str
        Name of the endpoint.
    attempts : tuple of (str, int)
        Pairs of attempt ID and task ID.
    """

    dispatch_id: int
    endpoint: str
    attempts: Tuple[Tuple[str, int], ...]


@dataclass(frozen=True)
class ResolveTask:
    """Complete a task's future from the payload of its result. At most one of this or :class:`FailTask` is emitted for a task."""

    task_id: int
    attempt_id: str
    outcome: Outcome
    payload: Any


class FailureKind(str, Enum):
    """Why the executor itself gives up on a task."""

    IMPOSSIBLE = "impossible"
    """No thread in the pool could ever run it."""

    ENDPOINTS_FAILED = "endpoints_failed"
    """Every attempt failed for a reason outside the app."""

    SHUTDOWN = "shutdown"
    """The executor was shut down first."""


@dataclass(frozen=True)
class FailTask:
    """Complete a task's future with an error of the executor's own."""

    task_id: int
    kind: FailureKind
    message: str


@dataclass(frozen=True)
class QueryStatus:
    """Ask the service for the status of an endpoint (``child_id`` None) or of a child of it."""

    endpoint: str
    child_id: Optional[str]


@dataclass(frozen=True)
class Log:
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


Action = Union[Dispatch, ResolveTask, FailTask, QueryStatus, Log]
