"""Result records: what is known of each attempt that has ended."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional, Tuple

from parsl.executors.globus_compute_multi.arguments import shown
from parsl.executors.globus_compute_multi.scheduling.actions import AttemptEnded

if TYPE_CHECKING:
    from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
    from parsl.executors.globus_compute_multi.messages import TaskInfo

#: In place of a value that nobody has unpickled.
NOT_OPENED = object()

#: What a result says of the software that made it.
VERSION_KEYS = ("python", "parsl", "dill", "sdk")


class Ended(NamedTuple):
    """An attempt has ended, or the executor gives a task up: what its owner hands to the resolver. Times are as of ``time.monotonic``.

    Parameters
    ----------
    task : TaskInfo
    attempt : str or None
        Attempt ID; None if the executor gives the task up (no thread fits, all endpoints failed, cancelled, shut down).
    endpoint : str or None
        Name of the endpoint, if there was an attempt.
    thread_class : int or None
        Which of the endpoint's thread classes it was bound to.
    cores : int or None
        Cores of its thread.
    submitted : float
        When the task was submitted.
    dispatched : float or None
        When the attempt was dispatched.
    received : float
        When its end was known.
    outcome : str
        A value of :class:`~.scheduling.events.Outcome`; of :class:`~.scheduling.actions.FailureKind` if there is no attempt.
    message : str
        What went wrong, for people.
    result : ResultMessage or None
        What the endpoint has sent, if it has.
    error : Exception or None
        The executor's own, if there is no attempt.
    final : bool
        Whether it completes the task's future.
    log_lines : int
        How many lines of the run log had been written by then: that of this end among them, and of no end that is handed over later. 0 if the
        log does not tell of it.
    """

    task: "TaskInfo"
    attempt: Optional[str]
    endpoint: Optional[str]
    thread_class: Optional[int]
    cores: Optional[int]
    submitted: float
    dispatched: Optional[float]
    received: float
    outcome: str
    message: str
    result: "Optional[ResultMessage]"
    error: Optional[Exception]
    final: bool
    log_lines: int


def ended_by(action: AttemptEnded, received: float, log_lines: int) -> Ended:
    """What there is to know of an attempt that has ended, at ``received``, when the log had so many lines."""
    return Ended(action.token, action.attempt_id, action.endpoint, action.thread_class, action.cores, action.submitted, action.dispatched,
                 received, action.outcome.value, action.message, action.payload, None, action.resolves, log_lines)


@dataclass(frozen=True, eq=False, repr=False)
class ResultRecord:
    """How an attempt ended, or why the executor has given a task up.

    Times are in seconds since 1970: ``submitted``, ``dispatched`` and ``received`` on this machine's clock, ``started`` and ``finished`` on
    the endpoint's. Records make a table: ``pandas.DataFrame([record.as_dict() for record in records])``. Two are equal if they tell of the same
    end in the same way: if ``task_id``, ``attempt``, ``outcome``, ``received`` and ``has_value`` are; values are not compared.

    Parameters
    ----------
    task_id : int
        The executor's number of the task.
    node : int or None
        Parsl's number of the task, if the DataFlowKernel has told it.
    try_id : int
        How often Parsl has tried the task before.
    app : str
        Name of the app.
    attempt : str or None
        Attempt ID; None if the executor has given the task up.
    endpoint : str or None
        Name of the endpoint.
    thread_class : int or None
        Which of the endpoint's thread classes it ran on, counted from 0.
    cores : int or None
        Cores of its thread.
    submitted : float or None
        When the task was submitted.
    dispatched : float or None
        When the attempt was given to the endpoint.
    started : float or None
        When the endpoint began to run it.
    finished : float or None
        When it had run.
    received : float
        When its end was known here.
    outcome : str
        ``ok``; ``app_failed`` or ``raised`` (the app raised), ``too_large`` (its value is); ``not_unpacked``, ``task_failed``, ``unreadable``,
        ``rejected`` or ``lost`` (failures outside the app); if the executor has given the task up, why: ``impossible``, ``endpoints_failed``,
        ``policy``, ``lost``, ``credentials``, ``cancelled`` or ``shutdown``. A value that cannot be unpickled here is ``ok``, with an
        ``exception``.
    value : object
        What the app returned, if ``has_value``.
    exception : Exception or None
        What the app raised, or the executor's own error. None for other failures (``message`` says what happened), and in records that are
        read from the log.
    error : str or None
        Name of the type of what the app raised.
    message : str
        What went wrong, for people. The log does not have what an app says.
    host : str or None
        Name of the machine that it ran on.
    versions : dict
        Of ``python``, ``parsl``, ``dill`` and ``sdk`` there, as far as known.
    result_bytes : int or None
        Size of the value or exception, pickled.
    final : bool
        Whether it has decided the task: its future is completed by it. False if it is tried again, or another attempt was faster.
    has_value : bool
        Whether ``value`` is what the app returned. Not so for failures, for records that are read from the log, for a result that came late
        and that nobody looked at then, and for values that could not be pickled for another process (``value`` is their ``repr`` then).
    """

    task_id: int
    node: Optional[int]
    try_id: int
    app: str
    attempt: Optional[str]
    endpoint: Optional[str]
    thread_class: Optional[int]
    cores: Optional[int]
    submitted: Optional[float]
    dispatched: Optional[float]
    started: Optional[float]
    finished: Optional[float]
    received: float
    outcome: str
    value: Any
    exception: Optional[BaseException]
    error: Optional[str]
    message: str
    host: Optional[str]
    versions: Dict[str, str]
    result_bytes: Optional[int]
    final: bool
    has_value: bool

    @property
    def ok(self) -> bool:
        """Whether the app returned a value, and it could be unpickled here, as far as known: the log does not tell the latter."""
        return self.outcome == "ok" and self.exception is None

    @property
    def run_seconds(self) -> Optional[float]:
        """Seconds that it ran, if known."""
        if self.started is None or self.finished is None or self.finished < self.started:  # clocks are set back
            return None
        return self.finished - self.started

    @property
    def queue_seconds(self) -> Optional[float]:
        """Seconds between dispatch and result in which it did not run: on its way there and back, and in the endpoint's queue."""
        run_seconds = self.run_seconds
        if self.dispatched is None or run_seconds is None:
            return None
        return max(0.0, self.received - self.dispatched - run_seconds)

    def as_dict(self) -> Dict[str, Any]:
        """What is listed above, by name."""
        return dict(self.__dict__)

    def _identity(self) -> Tuple[Any, ...]:
        return self.task_id, self.attempt, self.outcome, self.received, self.has_value

    def __eq__(self, other: object) -> bool:
        return self._identity() == other._identity() if isinstance(other, ResultRecord) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        what = f"task {self.task_id} ({self.app})"
        if self.attempt is not None:
            what += f", attempt {self.attempt} on {self.endpoint}"
        parts = [self.outcome]
        if self.run_seconds is not None:
            parts.append(f"ran {self.run_seconds:.3g} s")
        if not self.final:
            parts.append("not final")
        if self.has_value:
            parts.append(f"value {shown(self.value)}")
        elif self.exception is not None:
            parts.append(shown(self.exception))
        elif self.message or self.error:
            parts.append(self.message or str(self.error))
        return f"<ResultRecord of {what}: {', '.join(parts)}>"


def make_record(ended: Ended, epoch: float, value: Any, exception: Optional[BaseException]) -> ResultRecord:
    """The record of what has ended.

    Parameters
    ----------
    ended : Ended
    epoch : float
        When ``time.monotonic`` was 0, in seconds since 1970.
    value : object
        What the app returned, or ``NOT_OPENED``. Taken only if that is the outcome, and ``exception`` is None.
    exception : BaseException or None
        What the app raised, the executor's own error, or why the value cannot be read.
    """
    task, result = ended.task, ended.result
    has_value = ended.outcome == "ok" and exception is None and value is not NOT_OPENED
    if result is None:
        info: Dict[str, Any] = {}
        versions: Dict[str, str] = {}
        size = None
    else:
        info = dict(result.info)
        versions = {key: info[key] for key in VERSION_KEYS if key in info}
        size = None if result.value is None else len(result.value)
    return ResultRecord(
        task.task_id, task.node, task.try_id, task.app, ended.attempt, ended.endpoint, ended.thread_class, ended.cores,
        epoch + ended.submitted, None if ended.dispatched is None else epoch + ended.dispatched, info.get("started"), info.get("finished"),
        epoch + ended.received, ended.outcome, value if has_value else None, exception, info.get("error"), ended.message,
        info.get("host"), versions, size, ended.final, has_value)
