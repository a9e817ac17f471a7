"""Copies of result records for a queue of the user's."""
from __future__ import annotations

import inspect
import logging
import multiprocessing.queues
import pickle
import queue
import threading
import time
from collections import deque
from dataclasses import replace
from multiprocessing.managers import BaseProxy
from typing import Any, Callable, Deque, Dict, Optional, Tuple

from parsl.executors.globus_compute_multi.arguments import shown, text_of
from parsl.executors.globus_compute_multi.errors import (
    EndpointConfigurationError,
    ResultNotReadable,
)
from parsl.executors.globus_compute_multi.observe.records import ResultRecord

logger = logging.getLogger(__name__)

#: Most records that wait for the queue, and most bytes of their values as they came.
_MOST_RECORDS = 10_000
_MOST_BYTES = 100_000_000

#: Seconds between two messages about what was dropped.
_QUIET_SECONDS = 60.0

#: Seconds after which a put that waits for room looks whether it is still wanted.
_LOOK_SECONDS = 0.2

#: Seconds between two looks at what another process has not read.
_DRAIN_SECONDS = 0.02

#: Bytes that a pipe takes at least of records, of whatever sizes: half of the 64 kB that Linux gives it.
_PIPE_BYTES = 32_000

#: Bytes that the queue and the pipe add to a record, at most.
_FRAME_BYTES = 100


class Sink:
    """Puts copies of records on a queue of the user's, on a thread of its own, and drops what that does not take in time.

    Parameters
    ----------
    target : object
        Its ``put`` takes a record. It may wait, for room in the queue or for ever, and it may raise. If it is a queue of
        :mod:`multiprocessing`, records are pickled before they are put, and put when not too much is unread there: it would take them all,
        and keep the process from its end until they are read.

    Raises
    ------
    EndpointConfigurationError
        If it has no such ``put``.
    """

    def __init__(self, target: Any) -> None:
        put = getattr(target, "put", None)
        if not callable(put):
            raise EndpointConfigurationError(f"response_queue must have a put(record), and {shown(target)} has none")
        if inspect.iscoroutinefunction(put):
            raise EndpointConfigurationError(f"response_queue cannot be {shown(target)}, whose put() is to be awaited; give a queue.SimpleQueue")
        self._put = put
        self._limits = _limits(target)
        self._pack = _packer(target)
        self._unread = _Unread(target) if isinstance(target, multiprocessing.queues.Queue) else None
        self._buffer: "queue.SimpleQueue[Optional[ResultRecord]]" = queue.SimpleQueue()
        self._lock = threading.RLock()  # of put alone; reentrant, since garbage collection runs code of the user's anywhere
        self._told: Optional[float] = None
        self._thread: Optional[threading.Thread] = None
        self._given_up = threading.Event()
        # each is written by one side only
        self._offered = self._taken = self._bytes_in = 0
        self._delivered = self._refused = self._bytes_out = 0
        self._reason = ""  # of the last put that raised

    def put(self, record: ResultRecord) -> None:
        """Take a record, at once."""
        size = record.result_bytes or 0
        with self._lock:
            self._offered += 1
            waiting = self._buffer.qsize()
            if waiting < _MOST_RECORDS and (not waiting or self._bytes_in - self._bytes_out + size <= _MOST_BYTES):
                self._taken += 1
                self._bytes_in += size
                self._buffer.put(record)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="globus-compute-multi-sink", daemon=True)
                self._thread.start()
        if self._offered - self._taken + self._refused and (self._told is None or time.monotonic() - self._told >= _QUIET_SECONDS):
            self._tell("so far", self._offered - self._taken)

    def stop(self, timeout: float) -> bool:
        """End the thread when all is put, after ``timeout`` seconds at most, and say how many records were dropped.

        What another process has not read then of a queue of :mod:`multiprocessing` is waited for in the same time, as far as it does not fit
        into a pipe; what is left may be lost when this process ends, which is said.

        Returns
        -------
        bool
            Whether the thread has ended. If not, ``put`` of the user's object does not return, and is left alone.
        """
        if self._thread is None:
            return True
        deadline = time.monotonic() + timeout
        self._buffer.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._given_up.set()
            self._drain()
            self._thread.join(2 * _LOOK_SECONDS if self._limits else 0.0)
        late = self._offered - self._delivered - self._refused
        if late or self._refused:
            self._tell("in all", late)
        if self._unread is not None:
            self._unread.let_go(deadline)
        return not self._thread.is_alive()

    def _drain(self) -> None:
        """Forget what waits, and wake the thread if it waits."""
        try:
            while True:
                self._buffer.get_nowait()
        except queue.Empty:
            self._buffer.put(None)

    def _tell(self, when: str, late: int) -> None:
        self._told = time.monotonic()
        parts = [f"{late} that it did not take in time"] if late else []
        if self._refused:
            parts.append(f"{self._refused} for which its put() raised {self._reason}")
        logger.warning("response_queue lacks %d result records %s: %s. The run log tells of them, and results() gives all.",
                       late + self._refused, when, ", and ".join(parts))

    def _run(self) -> None:
        while True:
            record = self._buffer.get()
            if record is None or self._given_up.is_set():
                return
            self._bytes_out += record.result_bytes or 0
            try:
                self._put_patiently(self._pack(record))
            except BaseException as e:  # it is code of the user's
                self._reason = text_of(e)
                self._refused += 1
            del record  # hold nothing of the user's while waiting

    def _put_patiently(self, item: Any) -> None:
        while not self._given_up.is_set():
            if self._unread is not None and not self._unread.has_room(len(item.record)):
                self._given_up.wait(_DRAIN_SECONDS)
                continue
            try:
                self._put(item, **self._limits)
            except queue.Full:
                if not self._limits:
                    raise
                continue
            self._delivered += 1
            if self._unread is not None:
                self._unread.add(len(item.record))
            return


def _limits(target: Any) -> Dict[str, float]:
    """Arguments with which ``target.put`` comes back now and then if there is no room, if it is known to have such."""
    if isinstance(target, (queue.Queue, multiprocessing.queues.Queue)) and "timeout" in inspect.signature(target.put).parameters:
        return {"timeout": _LOOK_SECONDS}
    return {}


def _packer(target: Any) -> Callable[[ResultRecord], Any]:
    """What makes of a record that which is put."""
    if isinstance(target, BaseProxy):
        return lambda record: _Packed(_pickled(record), 1)  # the manager's process shall not open it
    if isinstance(target, (multiprocessing.queues.Queue, multiprocessing.queues.SimpleQueue)):
        return lambda record: _Packed(_pickled(record), 0)
    return lambda record: record


class _Packed:
    """A pickled record. Its own pickle is unpickled to the record, by the last of those who it is passed on by.

    A queue of :mod:`multiprocessing` pickles on a thread where errors are lost, so what it gets must be sure to pickle.

    Parameters
    ----------
    record : bytes
    hops : int
        Processes that pass it on.
    """

    def __init__(self, record: bytes, hops: int) -> None:
        self.record = record
        self.hops = hops

    def __reduce__(self) -> Tuple[Callable[..., Any], Tuple[Any, ...]]:
        return (_Packed, (self.record, self.hops - 1)) if self.hops else (pickle.loads, (self.record,))


class _Unread:
    """What was put on a queue of :mod:`multiprocessing`, and not read yet. Not for several threads at once.

    It knows that by ``qsize()``: nothing where the platform has none (macOS), and too much if others put things there, too.
    """

    def __init__(self, target: "multiprocessing.queues.Queue[Any]") -> None:
        self._target = target
        self._sizes: Deque[int] = deque()
        self._bytes = 0

    def add(self, size: int) -> None:
        """Note what was put."""
        self._sizes.append(size + _FRAME_BYTES)
        self._bytes += size + _FRAME_BYTES

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be put."""
        self._look()
        return not self._sizes or (len(self._sizes) < _MOST_RECORDS and self._bytes + size <= _MOST_BYTES)

    def let_go(self, deadline: float) -> None:
        """Wait until what is unread is in the pipe; else say so, and let the process end without it."""
        pause = threading.Event()
        self._look()
        while self._bytes > _PIPE_BYTES and time.monotonic() < deadline:
            pause.wait(_DRAIN_SECONDS)
            self._look()
        if self._bytes > _PIPE_BYTES:
            self._target.cancel_join_thread()
            logger.warning("The last %d result records in response_queue have not been read yet; those of them that are not when this process "
                           "ends may be lost. The run log tells of them.", len(self._sizes))

    def _look(self) -> None:
        try:
            unread = self._target.qsize()
        except NotImplementedError:
            unread = 0
        while len(self._sizes) > unread:
            self._bytes -= self._sizes.popleft()


def _pickled(record: ResultRecord) -> bytes:
    """The record, pickled, with text in place of a value or an exception that cannot be."""
    try:
        packed = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
        if record.exception is not None:
            pickle.loads(packed)  # nosec B301: what was pickled here. Some exceptions only fail now.
        return packed
    except BaseException:  # pickling runs code of the user's
        value = shown(record.value) if record.has_value else None
        exception = None if record.exception is None else ResultNotReadable(f"{shown(record.exception)} (its text: it cannot be pickled)")
        return pickle.dumps(replace(record, value=value, exception=exception, has_value=False), pickle.HIGHEST_PROTOCOL)
