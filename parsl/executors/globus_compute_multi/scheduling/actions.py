"""What the scheduler asks for: one named tuple for each kind of action (there are many for each task, and tuples are made fastest)."""
from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Tuple, Union

from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.lines import Line

if TYPE_CHECKING:
    from parsl.executors.globus_compute_multi.scheduling.threads import Attempt


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


class AttemptEnded(NamedTuple):
    """An attempt has ended, and perhaps its task with it.

    There is one for each task at least, so it has few fields of its own; what does not change of the attempt is taken from there.

    Parameters
    ----------
    attempt : Attempt
    outcome : Outcome
    message : str
        What went wrong, for people.
    payload : object
        As in the event; None if no result came.
    resolves : bool
        Whether the task's future is to be completed from the payload. At most one of such an action and :class:`FailTask` is emitted for a
        task.
    awaited : bool
        Whether tasks are known that wait for the task, and may be submitted once its future is complete.
    late : bool
        Whether the attempt had ended before: it was given up, and has brought a result all the same, which ends the task.
    """

    attempt: "Attempt"
    outcome: Outcome
    message: str
    payload: Any
    resolves: bool = False
    awaited: bool = False
    late: bool = False

    @property
    def task_id(self) -> int:
        """The task."""
        return self.attempt.task.id

    @property
    def attempt_id(self) -> str:
        """The attempt."""
        return self.attempt.id

    @property
    def endpoint(self) -> str:
        """Name of the endpoint that it was given to."""
        return self.attempt.threads.endpoint.name

    @property
    def thread_class(self) -> int:
        """Index of the thread class there."""
        return self.attempt.threads.index

    @property
    def cores(self) -> int:
        """Cores of each of its threads."""
        return self.attempt.threads.cores

    @property
    def submitted(self) -> float:
        """When the task was submitted."""
        return self.attempt.task.submitted

    @property
    def dispatched(self) -> float:
        """When the attempt was begun."""
        return self.attempt.dispatched

    @property
    def token(self) -> Any:
        """As in :class:`~.events.TaskSubmitted`."""
        return self.attempt.task.token


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
    submitted: float
    token: Any = None


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


Action = Union[Dispatch, AttemptEnded, FailTask, QueryStatus, QueryResults, Report, Line]
"""What the scheduler asks for. A line is for the run log; of all actions it alone is a plain tuple."""
