"""What the threads tell the owner of the scheduler."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple, Union

from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage


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
    """A status query ended. What is not known is None.

    Parameters
    ----------
    endpoint : str
        Name.
    child_id : str or None
        None: it is the status of the endpoint itself.
    online : bool or None
        None: the service could not be asked, or did not tell.
    workers : int or None
    pending : int or None
        Tasks at the endpoint that no manager has taken yet, if the engine has managers; other engines always say 0.
    gone : bool
        The service does not know the endpoint, or this user may not use it (not told of children).
    heartbeat : float or None
        Seconds between two signs of life that the endpoint gives the service.
    outstanding : int or None
        Tasks that the endpoint has and has not finished; only from an engine with managers.
    tasks : int or None
        Tasks that the endpoint has had since it started; likewise.
    """

    endpoint: str
    child_id: Optional[str]
    online: Optional[bool]
    workers: Optional[int] = None
    pending: Optional[int] = None
    gone: bool = False
    heartbeat: Optional[float] = None
    outstanding: Optional[int] = None
    tasks: Optional[int] = None


@dataclass(frozen=True)
class ResultsFetched:
    """The service was asked for the results of tasks; those that it had were posted before this.

    Parameters
    ----------
    attempts : tuple of str
        IDs of the attempts that it was asked about.
    """

    attempts: Tuple[str, ...]


@dataclass(frozen=True)
class StreamChanged:
    """The result stream is connected to the broker now, or is not any more."""

    connected: bool


Message = Union[DispatchAnswered, DispatchRefused, ResultArrived, StatusAnswered, ResultsFetched, StreamChanged]
