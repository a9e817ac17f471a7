"""The only place where futures are completed."""
from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future
from typing import Any, Optional, Tuple, Union

from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import deserialize

from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.errors import ResultNotReadable
from parsl.executors.globus_compute_multi.scheduling.events import Outcome

logger = logging.getLogger(__name__)


class Resolver:
    """One thread that unpickles results and completes futures.

    Completing a future runs the DataFlowKernel's retry handler, checkpoints and the user's callbacks, and unpickling runs code of the
    user's too. Neither may hold up the scheduler or the result stream.
    """

    def __init__(self) -> None:
        self._jobs: "queue.SimpleQueue[Optional[Tuple[Future[Any], Union[ResultMessage, Exception], str]]]" = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="globus-compute-multi-resolver", daemon=True)
        self._current = ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def resolve(self, future: "Future[Any]", message: ResultMessage, name: str) -> None:
        """Complete ``future`` with the value or exception in ``message``; ``name`` tells people the task."""
        self._jobs.put((future, message, name))

    def fail(self, future: "Future[Any]", error: Exception, name: str) -> None:
        """Complete ``future`` with ``error``."""
        self._jobs.put((future, error, name))

    def stop(self, timeout: float) -> bool:
        """Complete what is left, and end the thread; whether that was done within ``timeout`` seconds.

        A callback of the user's that hangs is named in the log. Called on the resolver's own thread, by a callback, it does not wait.
        """
        self._jobs.put(None)
        if threading.current_thread() is self._thread:
            return True
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.error("A callback on the future of %s has not returned for %.0f s; it is left alone, and so are the futures behind it",
                         self._current, timeout)
            return False
        return True

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            future, result, self._current = job
            try:
                if isinstance(result, ResultMessage):
                    _complete(future, result, self._current)
                else:
                    future.set_exception(result)
            except BaseException:  # a callback that raises SystemExit, say: the other futures need this thread
                logger.exception("A callback on the future of %s ended with an error", self._current)
            del job, future, result  # hold nothing of the user's while waiting


def _complete(future: "Future[Any]", message: ResultMessage, name: str) -> None:
    try:
        if message.value is None:
            raise ValueError("the endpoint sent no value")
        value = deserialize(message.value)
    except BaseException as e:  # unpickling runs code of the user's
        what = f"; it was {message.message}" if message.message else ""
        error = ResultNotReadable(f"what {name} returned or raised cannot be unpickled here ({type(e).__name__}: {e}){what}. "
                                  "Modules and versions must be the same here and on the endpoint.")
        error.__cause__ = e
        future.set_exception(error)
        return
    if message.outcome is Outcome.RAISED and isinstance(value, RemoteExceptionWrapper):
        future.set_exception(value.get_exception())
    else:
        future.set_result(value)
