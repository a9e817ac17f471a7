"""Cancelling tasks, of which the workflow's are not all submitted."""
from __future__ import annotations

from concurrent.futures import Future, TimeoutError
from typing import Callable, Dict, Optional, Set, TypeVar

from parsl.executors.globus_compute_multi.errors import CannotCancel

T = TypeVar("T")

#: Seconds that ``cancel`` waits for the scheduler, which answers at once unless a policy of the user's keeps it.
PATIENCE = 5.0


class Cancellations:
    """Which tasks of the workflow are cancelled, by their numbers in the DataFlowKernel.

    A task may be cancelled before it is submitted, and is submitted again if Parsl retries it: it stays cancelled until it is finished.
    """

    def __init__(self) -> None:
        self._task_ids: Dict[int, int] = {}
        self._succeeded: Set[int] = set()
        self._cancelled: Set[int] = set()

    def __len__(self) -> int:
        """How many tasks it knows of."""
        return len(self._task_ids.keys() | self._succeeded | self._cancelled)

    def submitted(self, node: Optional[int], task_id: int) -> bool:
        """Note that a task is submitted; whether it is cancelled already."""
        if node is None:
            return False
        self._succeeded.discard(node)  # Parsl could not use the value, and tries again
        self._task_ids[node] = task_id
        return node in self._cancelled

    def succeeded(self, node: Optional[int]) -> None:
        """Note that a task has a value, which Parsl will soon know."""
        if node is not None:
            self._succeeded.add(node)

    def left(self, node: int) -> None:
        """Note that a task is finished; it was told of for the last time."""
        self._task_ids.pop(node, None)
        self._succeeded.discard(node)
        self._cancelled.discard(node)

    def cancel(self, node: int) -> bool:
        """Cancel a task that is not finished; False if it has its value."""
        if node in self._succeeded:
            return False
        self._cancelled.add(node)
        return True

    def task_id(self, node: int) -> Optional[int]:
        """Under which number a task was submitted last, if it was."""
        return self._task_ids.get(node)


def answer(reply: "Future[T]", do: Callable[[], T]) -> None:
    """Do what a request asks for, and tell what has come of it; nothing if nobody waits for that any more."""
    if reply.set_running_or_notify_cancel():
        try:
            result = do()
        except BaseException:
            reply.set_exception(CannotCancel("the executor's scheduler has crashed, so all its tasks fail; please report it"))
            raise
        reply.set_result(result)


def wait_for(reply: "Future[bool]") -> bool:
    """The scheduler's answer to a request to cancel a task.

    Raises
    ------
    CannotCancel
        If it does not come. The request is withdrawn then, unless the scheduler is at it.
    """
    try:
        return reply.result(PATIENCE)
    except TimeoutError:
        if reply.cancel():
            raise CannotCancel(f"nothing was cancelled: the executor's scheduler has not answered for {PATIENCE:.0f} s, perhaps because the "
                               "policy takes that long. Try again later.") from None
    try:
        return reply.result(PATIENCE)
    except TimeoutError:
        raise CannotCancel("it is not known whether the task is cancelled: the executor's scheduler has begun with it and does not come to "
                           "an end, perhaps because the policy takes that long. Try again later.") from None
