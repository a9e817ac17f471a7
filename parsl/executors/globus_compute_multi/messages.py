"""What the executor tells the owner of the scheduler."""
from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Tuple, Union

from parsl.executors.globus_compute_multi.observe.status import Status
from parsl.executors.globus_compute_multi.resources import Requirement
from parsl.executors.globus_compute_multi.workflow import Announced, Left

if TYPE_CHECKING:  # else Parsl could not be imported without the Globus Compute SDK
    from parsl.executors.globus_compute_multi.compute.messages import Message


class TaskInfo(NamedTuple):
    """Which task it is.

    Parameters
    ----------
    task_id : int
        The executor's number.
    app : str
    node : int or None
        Its number in the DataFlowKernel, if that has told it.
    try_id : int
        How often the DataFlowKernel has submitted it before.
    """

    task_id: int
    app: str
    node: Optional[int] = None
    try_id: int = 0

    @property
    def name(self) -> str:
        """What it is called in messages to people: by Parsl's number, which is the one in Parsl's log, if that is known."""
        return f"task {self.task_id if self.node is None else self.node} ({self.app})"


@dataclass(frozen=True)
class NewTask:
    """``submit`` was called.

    Parameters
    ----------
    info : TaskInfo
    requirement : Requirement
    filesystem : str or None
        File-system group that it must run in.
    parents : tuple of int
        Numbers, in the DataFlowKernel, of the tasks that it depended on.
    packed : bytes
        Function and arguments, packed.
    future : Future
        What ``submit`` returned.
    """

    info: TaskInfo
    requirement: Requirement
    filesystem: Optional[str]
    parents: Tuple[int, ...]
    packed: bytes
    future: "Future[Any]"


@dataclass(frozen=True)
class CancelRequested:
    """``cancel`` was called.

    Parameters
    ----------
    node : int or None
        The task's number in the DataFlowKernel, if it is asked for by its AppFuture. It need not have been submitted yet.
    future : Future or None
        What ``submit`` returned, otherwise.
    reply : Future
        To be given whether the task is cancelled; cancelled itself when nobody waits for that any more, and then nothing is to be done.
    """

    node: Optional[int]
    future: "Optional[Future[Any]]"
    reply: "Future[bool]"


@dataclass(frozen=True)
class StatusRequested:
    """``status`` was called.

    Parameters
    ----------
    reply : Future
        To be given how the executor stands, and how many lines had been written to its run log then; cancelled itself when nobody waits.
    """

    reply: "Future[Tuple[Status, int]]"


@dataclass(frozen=True)
class Shutdown:
    """The last message, which wakes the owner for its shutdown."""


OwnerMessage = Union["Message", NewTask, Announced, Left, CancelRequested, StatusRequested, Shutdown]
