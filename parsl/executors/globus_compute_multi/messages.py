"""What the executor tells the owner of the scheduler."""
from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Optional, Union

from parsl.executors.globus_compute_multi.compute.messages import Message
from parsl.executors.globus_compute_multi.resources import Requirement
from parsl.executors.globus_compute_multi.workflow import Announced, Left


@dataclass(frozen=True)
class NewTask:
    """``submit`` was called.

    Parameters
    ----------
    task_id : int
    app : str
    requirement : Requirement
    node : int or None
        Its number in the DataFlowKernel, if that has told it.
    filesystem : str or None
        File-system group that it must run in.
    packed : bytes
        Function and arguments, packed.
    future : Future
        What ``submit`` returned.
    """

    task_id: int
    app: str
    requirement: Requirement
    node: Optional[int]
    filesystem: Optional[str]
    packed: bytes
    future: "Future[Any]"

    @property
    def name(self) -> str:
        """What it is called in messages to people."""
        return f"task {self.task_id} ({self.app})"


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
class Shutdown:
    """The last message, which wakes the owner for its shutdown."""


OwnerMessage = Union[Message, NewTask, Announced, Left, CancelRequested, Shutdown]
