"""What may be asked of an executor that runs."""
from __future__ import annotations

from concurrent.futures import CancelledError, Future, TimeoutError
from typing import TYPE_CHECKING, Any, Optional, Tuple, Union

from parsl.dataflow.futures import AppFuture
from parsl.executors.base import ParslExecutor
from parsl.executors.globus_compute_multi.arguments import shown
from parsl.executors.globus_compute_multi.cancelling import PATIENCE, wait_for
from parsl.executors.globus_compute_multi.errors import (
    CannotCancel,
    ExecutorNotRunning,
    SchedulerBusy,
)
from parsl.executors.globus_compute_multi.messages import (
    CancelRequested,
    StatusRequested,
)
from parsl.executors.globus_compute_multi.observe.status import Status
from parsl.executors.globus_compute_multi.workflow import Workflow

if TYPE_CHECKING:
    import threading

    from parsl.executors.globus_compute_multi.parts import Parts


class Asking:
    """The part of the executor that passes questions and wishes of the user's on to the scheduler's thread. Any thread may call it."""

    label: str
    _lock: "threading.RLock"
    _state: str
    _parts: "Parts"
    _workflow: Workflow

    def cancel(self, future: "Future[Any]") -> bool:
        """Cancel a task: it ends with :class:`~.errors.TaskCancelled`, and is not run any more.

        Certain as long as the task is pending, or waits for others. Later its future fails at once all the same, but the endpoint may run it to
        its end. It stays cancelled if Parsl retries it; so that nothing is tried again, give ``TaskCancelled`` an infinite cost in
        ``Config(retry_handler=...)``.

        May be called on any thread, callbacks included.

        Parameters
        ----------
        future : AppFuture or Future
            What the app, or ``submit``, has returned.

        Returns
        -------
        bool
            Whether the task is cancelled now; if it has just failed by itself: no retry of it will run. False: it is finished, or no task of
            this executor (join apps run on none).

        Raises
        ------
        CannotCancel
            If it is not known which task an AppFuture belongs to, since this Parsl's DataFlowKernel has no hooks; if the scheduler does not
            answer for some seconds, or crashes; if ``future`` is none. Nothing is cancelled then, unless it says that this is not known.
        """
        reply: "Future[bool]" = Future()
        if isinstance(future, AppFuture):
            record = future.task_record
            ours: Any = record["dfk"].executors.get(self.label)
            if record["executor"] != self.label or ours is not self:
                return False
            # Not upstream: begin
            if not hasattr(ParslExecutor, "task_submitting"):
                raise CannotCancel("this Parsl's DataFlowKernel has no hooks, so the executor cannot tell which of its tasks an AppFuture "
                                   "belongs to. It can cancel only what its own submit() has returned.")
            # Not upstream: end
            request = CancelRequested(record["id"], None, reply)
            return self._workflow.if_unfinished(record, lambda: self._post_request(request)) and wait_for(reply)
        if not isinstance(future, Future):
            raise CannotCancel(f"only a future can be cancelled, not {shown(future)}")
        return self._post_request(CancelRequested(None, future, reply)) and wait_for(reply)

    def status(self) -> Status:
        """How the executor stands: the pool and its threads, tasks, rates, and when all is expected to be done.

        ``print(executor.status())`` shows it as a table, and so does Jupyter. After the shutdown, it is how the executor stood then.

        Raises
        ------
        ExecutorNotRunning
            Before ``start``.
        SchedulerBusy
            If the scheduler does not answer for some seconds, or has crashed.
        """
        return self._status_and_lines()[0]

    def _status_and_lines(self) -> Tuple[Status, Optional[int]]:
        """The status, and how many lines of the run log tell of what has led to it (None: all)."""
        reply: "Future[Tuple[Status, int]]" = Future()
        if not self._post_request(StatusRequested(reply)):
            return self._status_at_the_end(), None
        try:
            return reply.result(PATIENCE)
        except TimeoutError:
            reply.cancel()
            raise SchedulerBusy(f"the scheduler of executor {self.label} has not answered for {PATIENCE:.0f} s, perhaps because the policy "
                                "takes that long. Try again later.") from None
        except CancelledError:
            raise SchedulerBusy(f"executor {self.label} has just been shut down, or its scheduler has crashed") from None

    def _status_at_the_end(self) -> Status:
        if self._state != "shut down" or not hasattr(self, "_parts"):
            raise ExecutorNotRunning(f"executor {self.label} is {self._state}, so there is no status of it yet")
        status = self._parts.owner.last_status(PATIENCE)
        if status is None:
            raise SchedulerBusy(f"executor {self.label} is shut down, but its scheduler has not come to an end, or has crashed")
        return status

    def _post_request(self, request: "Union[CancelRequested, StatusRequested]") -> bool:
        with self._lock:  # what is posted after the shutdown is not answered
            if self._state == "running":
                self._parts.post(request)
                return True
        return False
