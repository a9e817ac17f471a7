"""The only place where futures are completed."""
from __future__ import annotations

import logging
import math
import queue
import threading
import time
from concurrent.futures import Future
from typing import Any, Callable, List, Optional, Tuple, Union

from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.globus_compute_multi.arguments import text_of
from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.errors import (
    ResultNotReadable,
    ResultTooLarge,
)
from parsl.executors.globus_compute_multi.monitoring import unpack_messages
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.versions import explain, our_versions
from parsl.monitoring.types import TaggedMonitoringMessage
from parsl.serialize import deserialize

logger = logging.getLogger(__name__)

#: Callbacks that may hang before the futures behind them are given up.
_MOST_HANGING = 3

#: Seconds that each of them but the first is waited for.
_LESS_PATIENCE = 0.5


class Resolver:
    """One thread that unpickles results and completes futures.

    Completing a future runs the DataFlowKernel's retry handler, checkpoints and the user's callbacks, and unpickling runs code of the
    user's too. Neither may hold up the scheduler or the result stream.

    Parameters
    ----------
    monitor : callable, optional
        Takes the monitoring messages that come with results, one by one, before the future is completed. Default: they are dropped.
    """

    def __init__(self, monitor: Optional[Callable[[TaggedMonitoringMessage], None]] = None) -> None:
        self._monitor = monitor
        self._jobs: "queue.SimpleQueue[Optional[Tuple[Future[Any], Union[ResultMessage, Exception], str]]]" = queue.SimpleQueue()
        self._threads: List[threading.Thread] = []
        self._current = ""
        self._completed = 0
        self._finished = False

    def start(self) -> None:
        """Start the thread."""
        self._start_thread()

    def resolve(self, future: "Future[Any]", message: ResultMessage, name: str) -> None:
        """Complete ``future`` with the value or exception in ``message``; ``name`` tells people the task."""
        self._jobs.put((future, message, name))

    def fail(self, future: "Future[Any]", error: Exception, name: str) -> None:
        """Complete ``future`` with ``error``."""
        self._jobs.put((future, error, name))

    def finish(self) -> None:
        """Say that nothing more will come; what was given before is still completed."""
        self._jobs.put(None)

    def join(self, patience: float, timeout: float = math.inf) -> bool:
        """Wait until all is completed, after :meth:`finish`, for ``timeout`` seconds at most; whether it is. What is left then goes on.

        A callback that has not returned for ``patience`` seconds is named in the log and left alone, and another thread completes the futures
        behind it; of further ones, less is waited for. On the resolver's own thread, that is called by a callback, it does not wait.
        """
        if threading.current_thread() in self._threads:
            return True
        deadline, hanging = time.monotonic() + timeout, 0
        while True:
            thread, completed, left = self._threads[-1], self._completed, deadline - time.monotonic()
            wait = max(0.0, min(patience, left))
            thread.join(wait)
            moved = self._completed != completed
            if not thread.is_alive():
                if self._finished:
                    return True
                self._start_thread()  # whatever ended it, the futures need one
            elif left <= 0 or (not moved and hanging == _MOST_HANGING):
                # one of the queue is the word of the end, and one that is being completed is not in it
                logger.warning("%d futures are not completed yet, since callbacks on futures take long; that goes on while this process lives",
                               self._jobs.qsize())
                return False
            elif not moved:
                hanging += 1
                logger.error("A callback on the future of %s has not returned for %.1f s; it is left alone", self._current, wait)
                self._start_thread()
                patience = min(patience, _LESS_PATIENCE)

    def _start_thread(self) -> None:
        self._threads.append(threading.Thread(target=self._run, name="globus-compute-multi-resolver", daemon=True))
        self._threads[-1].start()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                self._finished = True
                self._jobs.put(None)  # for the threads that take over from one another
                return
            future, result, self._current = job
            value: Any = None
            error: Optional[BaseException]
            try:
                value, error = self._open(result) if isinstance(result, ResultMessage) else (None, result)
            except BaseException as e:  # code of the user's that nobody has thought of: the other futures need this thread
                error = ResultNotReadable(f"what {self._current} returned or raised cannot be read here ({type(e).__name__})")
            try:
                if error is None:
                    future.set_result(value)
                else:
                    future.set_exception(error)
            except BaseException:  # a callback that raises SystemExit, say: the other futures need this thread
                logger.exception("A callback on the future of %s ended with an error", self._current)
            self._completed += 1
            del job, future, result, value, error  # hold nothing of the user's while waiting

    def _open(self, message: ResultMessage) -> Tuple[Any, Optional[BaseException]]:
        if self._monitor is not None:
            lost = message.monitoring_lost
            try:
                for sent in unpack_messages(message.monitoring):
                    self._monitor(sent)
            except BaseException as e:  # unpickling runs what code it likes; the value is what matters
                lost = f"some or all, for they cannot be read ({text_of(e)})"
            if lost:
                logger.warning("Monitoring messages of %s were lost: %s", self._current, lost)
        return _unpack(message, self._current)


def _unpack(message: ResultMessage, name: str) -> Tuple[Any, Optional[BaseException]]:
    """The value in a message, or the exception."""
    if message.outcome is Outcome.TOO_LARGE:
        return None, ResultTooLarge(f"{name}: {message.message}. Return large data as files, or through ProxyStore.")
    try:
        if message.value is None:
            raise ValueError("the endpoint sent no value")
        value = deserialize(message.value)
        if message.outcome is not Outcome.RAISED and not isinstance(value, RemoteExceptionWrapper):
            return value, None
        error = value.get_exception()
        if not isinstance(error, Exception):
            raise TypeError(f"what was raised unpickles to a {type(error).__name__}")
        repr(error)  # as the DataFlowKernel does; if it raised there, the task's future would never be completed
        return (None, error) if message.outcome is Outcome.RAISED else (value, None)
    except BaseException as e:  # unpickling runs code of the user's
        what = f"; it was {message.message}" if message.message else ""
        advice = explain(dict(message.info), our_versions()) or "Modules and versions must be the same here and on the endpoint"
        unreadable = ResultNotReadable(f"what {name} returned or raised cannot be unpickled here ({text_of(e)}){what}. {advice}.")
        unreadable.__cause__ = e
        return None, unreadable
