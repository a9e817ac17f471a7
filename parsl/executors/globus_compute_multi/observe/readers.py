"""Who reads result records, and the place where all of them come by."""
from __future__ import annotations

import functools
import logging
import queue
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Deque, Iterator, List, Optional, Type

from parsl.executors.globus_compute_multi.errors import ValuesNotKept
from parsl.executors.globus_compute_multi.observe.history import read_history
from parsl.executors.globus_compute_multi.observe.logfile import InconsistentLog
from parsl.executors.globus_compute_multi.observe.records import (
    Ended,
    ResultRecord,
    make_record,
)
from parsl.executors.globus_compute_multi.observe.sink import Sink
from parsl.executors.globus_compute_multi.observe.values import Values

logger = logging.getLogger(__name__)

#: Seconds that the user's response queue is waited for at the end.
_SINK_SECONDS = 1.0


class Reader:
    """Reads the records of all attempts of a run, in the order in which they ended: ``for record in executor.results(): ...``.

    First come those of attempts that had ended before it was made, without their values, from the run log; then the others, with their values,
    the moment they end. After the executor's shutdown it ends. Each reader sees all of them. What it has not read yet it keeps: close a reader
    that is not needed any more, use it in a ``with``, or let go of it.

    Its methods may be called on any threads; those that share one reader share its records.

    A record is there before the future that it decides is done: when that is, :meth:`available` of a reader made before the first task has it.

    Readers come from :meth:`.GlobusComputeMultiExecutor.results`; do not make them.
    """

    def __init__(self, history: Optional[Callable[[], Iterator[Optional[ResultRecord]]]], history_lines: int,
                 leave: Callable[["Reader"], None]) -> None:
        self._history_lines = history_lines  # of the run log, that tell of what was before it
        self._history = history
        self._history_records: Optional[Iterator[Optional[ResultRecord]]] = None
        self._history_taken = 0
        # Reentrant, since garbage collection may run code of the user's anywhere, which may call us.
        self._history_lock = threading.RLock()
        self._leave = leave
        self._records: "queue.SimpleQueue[Optional[ResultRecord]]" = queue.SimpleQueue()
        self._given_back: Deque[ResultRecord] = deque()
        self._closed = False

    def get(self, timeout: Optional[float] = None) -> Optional[ResultRecord]:
        """The next record, waited for.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most. Default: until there is one.

        Returns
        -------
        ResultRecord or None
            None if none came in time, if no more will come, or if the reader is closed.

        Raises
        ------
        OSError, InconsistentLog
            Once, if the run log is needed and cannot be read. The records after that are there all the same.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._closed and (self._given_back or self._history is not None):
            record = self._next_of_history()
            if record is not None:
                return record
            if self._history is not None and deadline is not None and time.monotonic() >= deadline:
                return None
        if self._closed:
            return None
        try:
            record = self._records.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None
        if record is None:
            self._records.put(None)  # for the next call, and other threads
        return record

    def available(self) -> List[ResultRecord]:
        """The records that are there already and were not read yet, without waiting for any.

        Raises
        ------
        OSError, InconsistentLog
            As :meth:`get`.
        """
        records: List[ResultRecord] = []
        try:
            while True:
                record = self.get(0)
                if record is None:
                    return records
                records.append(record)
        except BaseException:
            self._given_back.extendleft(reversed(records))  # for the next time
            raise

    def close(self) -> None:
        """End the reader, also for a thread that waits for a record. What it has not read is forgotten."""
        self._leave(self)
        self._closed = True
        self._history = None
        self._given_back.clear()
        try:
            while True:
                self._records.get_nowait()
        except queue.Empty:
            self._records.put(None)

    def _put(self, record: Optional[ResultRecord]) -> None:
        """Give it a record; None is the end."""
        self._records.put(record)

    def _next_of_history(self) -> Optional[ResultRecord]:
        """The next record from the log; None if there is none yet, or if there are no more."""
        with self._history_lock:
            if self._given_back:
                return self._given_back.popleft()
            if self._history is None:
                return None
            try:
                if self._history_records is None:
                    self._history_records = _after(self._history_taken, self._history())
                record = next(self._history_records)
            except StopIteration:
                self._history = self._history_records = None
                return None
            except (OSError, InconsistentLog):
                self._history = self._history_records = None
                raise
            except BaseException:
                self._history_records = None  # it was interrupted: the next time, it begins anew after those that were taken
                raise
            self._history_taken += record is not None
            return record

    def __iter__(self) -> Iterator[ResultRecord]:
        return self

    def __next__(self) -> ResultRecord:
        record = self.get()
        if record is None:
            raise StopIteration
        return record

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()


def _after(count: int, records: Iterator[Optional[ResultRecord]]) -> Iterator[Optional[ResultRecord]]:
    """``records`` without the first so many."""
    for record in records:
        if record is None or not count:
            yield record
        else:
            count -= 1


class Records:
    """Where all records come by: readers, the user's response queue and the aggregated values get them here.

    Parameters
    ----------
    response_queue : object, optional
        With a ``put`` that takes a record.
    aggregate : bool
        Whether values are kept for :meth:`values`.

    Raises
    ------
    EndpointConfigurationError
        If ``response_queue`` cannot be used.
    """

    def __init__(self, response_queue: Any = None, aggregate: bool = False) -> None:
        self._sink = None if response_queue is None else Sink(response_queue)
        self._values = Values() if aggregate else None
        # Reentrant, since it is held where objects are made, and garbage collection may run code of the user's there, which may call us.
        self._lock = threading.RLock()
        self._readers: "List[weakref.ref[Reader]]" = []
        self._log_path: Optional[Path] = None
        self._log_id: Optional[str] = None
        self._epoch = 0.0
        self._log_lines = 0
        self._not_in_log: List[ResultRecord] = []
        self._closed = False
        self._late_is_news = False

    def start(self, log_path: Path, epoch: float, log_id: Optional[str] = None) -> None:
        """Learn where the run log is, before anything is published.

        Parameters
        ----------
        log_path : Path
        epoch : float
            When ``time.monotonic`` was 0, in seconds since 1970, as the log has it.
        log_id : str, optional
            Which the log has. Default: it is not looked at.
        """
        self._log_path = log_path
        self._log_id = log_id
        self._epoch = epoch

    def reader(self) -> Reader:
        """A new reader of all records, from the first."""
        with self._lock:
            path, lines = self._log_path, self._log_lines
            history = None if path is None or not lines else functools.partial(read_history, path, lines, self._log_id)
            reader = Reader(history, lines, self._forget)
            for record in self._not_in_log:
                reader._put(record)
            if self._closed:
                reader._put(None)
            else:
                self._readers.append(weakref.ref(reader))
        return reader

    def values(self, app: Any = None) -> List[Any]:
        """The values so far, in the order in which their tasks were submitted; see :meth:`.GlobusComputeMultiExecutor.values`."""
        if self._values is None:
            raise ValuesNotKept("no values are kept; make the executor with aggregate_results=True, or take them from results() or the futures")
        with self._lock:
            return self._values.of(app)

    @property
    def wanted(self) -> bool:
        """Whether anybody looks at records now, so that results must be unpickled that complete no future."""
        return bool(self._readers or self._sink is not None or self._values is not None)

    def publish(self, ended: Ended, value: Any, exception: Optional[BaseException]) -> None:
        """Tell all who want to know; it does not wait for any of them.

        Parameters
        ----------
        ended : Ended
        value : object
            What the app returned. Not looked at if the outcome is another, or ``exception`` is not None.
        exception : BaseException or None
            What the app raised, the executor's own error, or why the value cannot be read.
        """
        with self._lock:
            self._log_lines = max(self._log_lines, ended.log_lines)
            if not self.wanted and not self._late_is_news and ended.log_lines:
                return
            record = make_record(ended, self._epoch, value, exception)
            if not ended.log_lines:
                self._not_in_log.append(record)
            readers = [reference() for reference in self._readers]
            for reader in readers:
                # what took long to unpickle may come behind what was handed over after it, and the log has told the reader of it
                if reader is not None and (ended.log_lines > reader._history_lines or not ended.log_lines):
                    reader._put(record)
            if None in readers:
                self._readers = [reference for reference in self._readers if reference() is not None]
            if self._values is not None and record.final:
                self._values.add(record)
        if self._closed:
            self._tell_late(record)
        elif self._sink is not None:
            self._sink.put(record)

    def close(self, timeout: float = _SINK_SECONDS) -> bool:
        """End all readers, after what they have not read yet, and the response queue.

        Parameters
        ----------
        timeout : float
            Seconds that the response queue is waited for.

        Returns
        -------
        bool
            Whether nothing is left: the response queue has taken, or refused, all records.
        """
        if self._closed:
            return True
        with self._lock:
            self._late_is_news = self._sink is not None or bool(self._readers)
            readers, self._readers, self._closed = [reference() for reference in self._readers], [], True
            for reader in readers:
                if reader is not None:
                    reader._put(None)
        return self._sink is None or self._sink.stop(timeout)

    def _tell_late(self, record: ResultRecord) -> None:
        if self._late_is_news:
            self._late_is_news = False
            logger.warning("What ended last came after the end of results() and the response queue, first of all the result of task %d (%s). "
                           "Who calls results() again gets all of it", record.task_id, record.app)

    def _forget(self, reader: Reader) -> None:
        with self._lock:
            self._readers = [reference for reference in self._readers if reference() not in (None, reader)]
