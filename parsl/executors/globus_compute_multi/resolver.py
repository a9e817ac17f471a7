"""The only place where futures are completed, and where result records are made known."""
from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    List,
    NamedTuple,
    Optional,
    Tuple,
    Union,
)

from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.globus_compute_multi.arguments import text_of
from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.errors import (
    ResultNotReadable,
    ResultTooLarge,
)
from parsl.executors.globus_compute_multi.monitoring import (
    name_endpoint,
    unpack_messages,
)
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.executors.globus_compute_multi.observe.records import (
    NOT_OPENED,
    Ended,
    ended_by,
)
from parsl.executors.globus_compute_multi.scheduling.actions import AttemptEnded
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.versions import explain, our_versions
from parsl.monitoring.types import TaggedMonitoringMessage
from parsl.serialize import deserialize

logger = logging.getLogger(__name__)

#: Callbacks that may hang before the futures behind them are given up.
_MOST_HANGING = 3

#: Records that are published before the next future is completed: many, since callbacks take longer than that, yet other tasks may wait for it.
_MOST_AHEAD = 100

#: Seconds after which a future is completed whatever there is to be published: unpickling may take long, too.
_LONGEST_AHEAD = 0.01

#: An attempt that has ended, when that was known, and the lines in the log then.
_Told = Tuple[AttemptEnded, float, int]

#: What has ended, and the future that it completes.
_Job = Tuple[Union[Ended, _Told], Optional["Future[Any]"]]

#: Seconds that each of them but the first is waited for.
_LESS_PATIENCE = 0.5


class _Opened(NamedTuple):
    """What was in a result.

    Parameters
    ----------
    value : object
        For the future: what the app returned, or the wrapper in which Parsl has put what it raised; ``NOT_OPENED`` if nobody looks.
    error : BaseException or None
        For the future.
    raised : BaseException or None
        What is in the wrapper.
    """

    value: Any = None
    error: Optional[BaseException] = None
    raised: Optional[BaseException] = None


class _Published(NamedTuple):
    """What is to be completed now, of which task, and since when."""

    name: str
    future: "Future[Any]"
    opened: _Opened
    since: float


class Resolver:
    """One thread that unpickles results, publishes their records, and completes futures, in the order in which it is told of them.

    Completing a future runs the DataFlowKernel's retry handler, checkpoints and the user's callbacks, and unpickling runs code of the
    user's too. Neither may hold up the scheduler or the result stream. So that records are seen at once in a burst of results, what has
    come is published before the next future is completed, unless that takes more than ten milliseconds.

    Parameters
    ----------
    monitor : callable, optional
        Takes the monitoring messages that come with results, one by one, before the future is completed. Default: they are dropped.
    records : Records, optional
        Gets the records of all that has ended, each before the future is completed. Default: nobody looks at them.
    """

    def __init__(self, monitor: Optional[Callable[[TaggedMonitoringMessage], None]] = None, records: Optional[Records] = None) -> None:
        self._monitor = monitor
        self._records = Records() if records is None else records
        self._jobs: "queue.SimpleQueue[Optional[_Job]]" = queue.SimpleQueue()
        self._threads: List[threading.Thread] = []
        self._in_hand: Dict[threading.Thread, Tuple[str, str]] = {}  # what a thread is doing, and for which task
        self._published: Deque[_Published] = deque()
        self._moved = -math.inf  # when the last step was done
        self._finished = False

    def start(self) -> None:
        """Start the thread."""
        self._start_thread()

    def ended(self, ended: Ended, future: "Optional[Future[Any]]") -> None:
        """Take what has ended: its record is published, and then ``future``, if given, completed with the value or error."""
        self._jobs.put((ended, future))

    def attempt_ended(self, action: AttemptEnded, received: float, log_lines: int, future: "Optional[Future[Any]]") -> None:
        """The same, of an attempt: what :class:`Ended` has of it is gathered on the resolver's own thread, to save this one's time."""
        self._jobs.put(((action, received, log_lines), future))

    def finish(self) -> None:
        """Say that nothing more will come; what was given before is still completed."""
        self._jobs.put(None)

    def join(self, patience: float, timeout: float = math.inf) -> bool:
        """Wait until all is published and completed, after :meth:`finish`, for ``timeout`` seconds at most; whether it is.

        What is left then goes on. User code that has not returned for ``patience`` seconds is named in the log and left alone, and another
        thread goes on with what is behind it; of further ones, less is waited for. On the resolver's own thread, that is called by a callback,
        it publishes what is left, since the records are closed next, and does not wait for futures, which are completed when it has returned.
        """
        deadline = time.monotonic() + timeout
        if threading.current_thread() in self._threads:
            return self._publish_rest(deadline) and not self._published
        # of the little time that is left, those that hang behind the first one need their part
        patience = min(patience, max(_LESS_PATIENCE, timeout - _MOST_HANGING * _LESS_PATIENCE))
        hanging: List[threading.Thread] = []
        since = time.monotonic()
        while True:
            busy = [thread for thread in self._threads if thread not in hanging and thread.is_alive()]
            if not busy:
                if self._finished:
                    return not any(thread in self._in_hand for thread in hanging)
                self._start_thread()  # whatever ended it, the futures need one
                continue
            thread = busy[-1]
            thread.join(max(0.0, min(max(since, self._moved) + patience, deadline) - time.monotonic()))
            if not thread.is_alive():
                continue
            at_end = time.monotonic() >= deadline
            stuck = time.monotonic() >= max(since, self._moved) + patience
            now = "%s %s" % self._in_hand.get(thread, ("taking up the next", "task"))
            if at_end or (stuck and len(hanging) == _MOST_HANGING):
                # one of the queue is the word of the end
                count = max(0, self._jobs.qsize() - 1) + len(self._published) + len(self._in_hand)
                logger.warning("%d futures are not completed yet, since callbacks on futures, or unpickling, take long, now %s; that goes on "
                               "while this process lives", count, now)
                if len(hanging) < _MOST_HANGING:
                    self._start_thread()  # perhaps that one hangs, and there is no time left to see
                return False
            if stuck:
                hanging.append(thread)
                logger.error("%s has not come to an end for %.1f s; it is left alone", now[0].upper() + now[1:], patience)
                self._start_thread()
                since = time.monotonic()
                patience = min(patience, _LESS_PATIENCE)

    def _start_thread(self) -> None:
        self._threads.append(threading.Thread(target=self._run, name="globus-compute-multi-resolver", daemon=True))
        self._threads[-1].start()

    def _run(self) -> None:
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        """Publish what has come, or else complete the next future; whether there is more to do. It holds nothing of the user's while waiting."""
        job: Union[_Job, Tuple[()], None] = ()
        if not self._is_late():
            try:
                job = self._jobs.get(block=not self._published)
            except queue.Empty:
                pass  # nothing of the user's in here: what callbacks raise would have this exception for its context
        if job:
            self._publish(*job)
            return True
        if job is None:
            self._jobs.put(None)  # for the next time, and for the threads that take over from one another
            if not self._published:
                self._finished = True
                return False
        self._complete_next()
        return True

    def _is_late(self) -> bool:
        """Whether the next future has waited for the publishing of others as long as it may."""
        try:
            return bool(self._published) and (
                len(self._published) >= _MOST_AHEAD or time.monotonic() - self._published[0].since >= _LONGEST_AHEAD)
        except IndexError:
            return False  # another thread that took over has taken it

    def _publish_rest(self, deadline: float) -> bool:
        """Publish what is left, on a thread that is in user code called by this; whether that was done in time."""
        thread = threading.current_thread()
        before = self._in_hand.get(thread, ("code of the user's during", "results"))
        try:
            while time.monotonic() < deadline:
                job = self._jobs.get_nowait()
                if job is None:
                    self._jobs.put(None)
                    return True
                self._publish(*job)
            return False
        except queue.Empty:
            return True  # another thread has the word of the end in hand
        finally:
            self._in_hand[thread] = before

    def _publish(self, told: "Union[Ended, _Told]", future: "Optional[Future[Any]]") -> None:
        ended = told if isinstance(told, Ended) else ended_by(*told)
        thread, name = threading.current_thread(), ended.task.name
        self._in_hand[thread] = ("the unpickling of the result of", name)
        opened: _Opened
        try:
            opened = self._open(ended, future is not None)
        except BaseException as e:  # code of the user's that nobody has thought of: the other futures need this thread
            opened = _Opened(error=ResultNotReadable(f"what {name} returned or raised cannot be read here ({type(e).__name__})"))
        try:
            self._records.publish(ended, opened.value, opened.error or opened.raised)
        except BaseException:  # finalizers are the user's, too
            logger.exception("The result record of %s may be lost for some or all who read them", name)
        if future is not None:
            self._published.append(_Published(name, future, opened, time.monotonic()))
        self._in_hand.pop(thread, None)
        self._moved = time.monotonic()

    def _complete_next(self) -> None:
        try:
            name, future, opened, _ = self._published.popleft()
        except IndexError:
            return  # another thread that took over has taken it
        thread = threading.current_thread()
        self._in_hand[thread] = ("a callback on the future of", name)
        try:
            if opened.error is None:
                future.set_result(opened.value)
            else:
                future.set_exception(opened.error)
        except BaseException:  # a callback that raises SystemExit, say: the other futures need this thread
            logger.exception("A callback on the future of %s ended with an error", name)
        self._in_hand.pop(thread, None)
        self._moved = time.monotonic()

    def _open(self, ended: Ended, completes: bool) -> _Opened:
        """Unpack what has come, once, if it is to complete a future or somebody wants to see it."""
        result = ended.result
        if ended.error is not None or result is None:
            return _Opened(error=ended.error)
        if completes:
            self._pass_on_monitoring(result, ended)
        elif not self._records.wanted or not Outcome(ended.outcome).is_final:
            return _Opened(NOT_OPENED)
        return _unpack(result, ended.task.name)

    def _pass_on_monitoring(self, message: ResultMessage, ended: Ended) -> None:
        if self._monitor is None:
            return
        lost = message.monitoring_lost
        try:
            for sent in unpack_messages(message.monitoring):
                self._monitor(name_endpoint(sent, str(ended.endpoint)))
        except BaseException as e:  # unpickling runs what code it likes; the value is what matters
            lost = f"some or all, for they cannot be read ({text_of(e)})"
        if lost:
            logger.warning("Monitoring messages of %s were lost: %s", ended.task.name, lost)


def _unpack(message: ResultMessage, name: str) -> _Opened:
    """The value in a message, or the exception."""
    if message.outcome is Outcome.TOO_LARGE:
        return _Opened(error=ResultTooLarge(f"{name}: {message.message}. Return large data as files, or through ProxyStore."))
    try:
        if message.value is None:
            raise ValueError("the endpoint sent no value")
        value = deserialize(message.value)
        if message.outcome is not Outcome.RAISED and not isinstance(value, RemoteExceptionWrapper):
            return _Opened(value)
        error = value.get_exception()
        if not isinstance(error, Exception):
            raise TypeError(f"what was raised unpickles to a {type(error).__name__}")
        repr(error)  # as the DataFlowKernel does; if it raised there, the task's future would never be completed
        return _Opened(error=error) if message.outcome is Outcome.RAISED else _Opened(value, raised=error)
    except BaseException as e:  # unpickling runs code of the user's
        what = f"; it was {message.message}" if message.message else ""
        advice = explain(dict(message.info), our_versions()) or "Modules and versions must be the same here and on the endpoint"
        unreadable = ResultNotReadable(f"what {name} returned or raised cannot be unpickled here ({text_of(e)}){what}. {advice}.")
        unreadable.__cause__ = e
        return _Opened(error=unreadable)
