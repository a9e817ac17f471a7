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
class Shutdown:
    """The last message, which wakes the owner for its shutdown."""


OwnerMessage = Union[Message, NewTask, Announced, Left, Shutdown]
