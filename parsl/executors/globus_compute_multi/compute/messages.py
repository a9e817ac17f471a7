"""What the threads tell the owner of the scheduler."""
from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Optional, Tuple, Union

from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage


@dataclass(frozen=True)
class NewTask:
    """``submit`` was called.

    Parameters
    ----------
    task_id : int
    app : str
    cores : int
    priority : float
    packed : bytes
        Function and arguments, packed.
    future : Future
        What ``submit`` returned.
    """

    task_id: int
    app: str
    cores: int
    priority: float
    packed: bytes
    future: "Future[Any]"


@dataclass(frozen=True)
class DispatchAnswered:
    """The service took a dispatch; ``pairs`` are the service's task UUIDs with our attempt IDs."""

    dispatch_id: int
    pairs: Tuple[Tuple[str, str], ...]


@dataclass(frozen=True)
class DispatchRefused:
    """The service did not take a dispatch, and it is not sent again.

    Parameters
    ----------
    dispatch_id : int
    reason : str
        For people.
    http_status : int or None
        None: there was no (usable) answer.
    """

    dispatch_id: int
    reason: str
    http_status: Optional[int]


@dataclass(frozen=True)
class ResultArrived:
    """A message came from the result stream."""

    message: ResultMessage


@dataclass(frozen=True)
class StatusAnswered:
    """A status query ended; ``online`` is None if the service could not be asked."""

    endpoint: str
    child_id: Optional[str]
    online: Optional[bool]
    workers: Optional[int] = None
    pending: Optional[int] = None


@dataclass(frozen=True)
class Shutdown:
    """The last message, which wakes the owner for its shutdown."""


Message = Union[NewTask, DispatchAnswered, DispatchRefused, ResultArrived, StatusAnswered, Shutdown]
