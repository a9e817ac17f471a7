"""One governor of the service's request budget.

The hosted service answers at most 20 requests in 10 s for one client, everything together (its documentation, "Limits"). Every request the
executor sends takes a permit here first, repeated tries included.
"""
from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import Callable, Deque, Dict, Iterator, Optional, Tuple

#: Least time between two submissions, in seconds: tasks that are submitted in one burst share a request.
BURST_SECONDS = 0.01

#: Share of the budget that statuses may use.
STATUS_SHARE = 0.2


class Governor:
    """Grants permits for requests, at most ``requests`` in any ``seconds``, as counted by the service.

    A permit counts from when it is granted until ``seconds`` after its request has *ended*: the service may have seen the request
    at any moment in between, so only this keeps the promise whatever the network's delay.

    Submissions are paced: the fuller the window, the longer the gap to the next one. A lone task after a quiet time goes at once, a
    stream of them settles at the rate of the budget and is not stopped dead for seconds after a burst.

    Thread-safe.

    Parameters
    ----------
    requests : int or None
        None: no limit.
    seconds : float
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(self, requests: Optional[int], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = requests
        self._seconds = seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._open = 0
        self._ended: Deque[float] = deque()
        self._last_submission = float("-inf")

    @property
    def requests_per_second(self) -> Optional[float]:
        """Rate of the budget; None if there is no limit."""
        return None if self._requests is None else self._requests / self._seconds

    @property
    def status_spacing(self) -> float:
        """Seconds between two status queries that keep to their share of the budget."""
        return 1.0 if self._requests is None else self._seconds / (STATUS_SHARE * self._requests)

    def submission_wait(self) -> float:
        """Seconds until a submission may be sent; 0.0 or less: now."""
        with self._changed:
            now = self._clock()
            return max(self._last_submission + self._gap(now) - now, self._window_wait(now))

    def try_submission(self) -> bool:
        """Take a permit for a submission, if one is to be had now. It must be given back with :meth:`ended`."""
        with self._changed:
            now = self._clock()
            if self._last_submission + self._gap(now) > now or self._window_wait(now) > 0:
                return False
            self._last_submission = now
            self._open += 1
            return True

    def ended(self) -> None:
        """The request of a permit has been answered, or was given up."""
        with self._changed:
            self._open -= 1
            self._ended.append(self._clock())
            self._changed.notify_all()

    @contextmanager
    def permit(self, stopping: threading.Event) -> Iterator[None]:
        """Wait for a permit, and hold it for one request.

        Parameters
        ----------
        stopping : threading.Event
            Set, and followed by :meth:`wake`, when the caller shuts down.

        Raises
        ------
        Stopped
            If ``stopping`` is set before there is a permit.
        """
        with self._changed:
            while True:
                if stopping.is_set():
                    raise Stopped()
                wait = self._window_wait(self._clock())
                if wait <= 0:
                    break
                self._changed.wait(wait if wait != float("inf") else None)
            self._open += 1
        try:
            yield
        finally:
            self.ended()

    def wake(self) -> None:
        """Let all who wait for a permit look whether they are to stop."""
        with self._changed:
            self._changed.notify_all()

    def _used(self, now: float) -> int:
        while self._ended and self._ended[0] <= now - self._seconds:
            self._ended.popleft()
        return self._open + len(self._ended)

    def _window_wait(self, now: float) -> float:
        """Seconds until the window has room; infinite while only requests under way fill it."""
        if self._requests is None:
            return 0.0
        excess = self._used(now) - self._requests + 1
        if excess <= 0:
            return 0.0
        return self._ended[excess - 1] + self._seconds - now if excess <= len(self._ended) else float("inf")

    def _gap(self, now: float) -> float:
        """Seconds from one submission to the next: the free permits last until one comes back, the first ones sooner than the last."""
        if self._requests is None:
            return BURST_SECONDS
        used = self._used(now)
        free = self._requests - used
        if free <= 0:
            return BURST_SECONDS  # the window decides
        oldest = self._ended[0] if self._ended else now
        return max(BURST_SECONDS, used / self._requests * (oldest + self._seconds - now) / free)


class Stopped(Exception):
    """The executor shuts down, and a request that has not been sent is not sent any more."""


_shared: Dict[Tuple[str, int, float], Governor] = {}
_shared_lock = threading.Lock()


def governor_for(address: str, limit: Optional[Tuple[int, float]]) -> Governor:
    """The governor of a service's budget: one for all executors of this process, since the service counts them as one client.

    Parameters
    ----------
    address : str
        Of the service.
    limit : tuple of (int, float), optional
        Requests, and seconds; None: no limit.
    """
    if limit is None:
        return Governor(None, 1.0)
    with _shared_lock:
        return _shared.setdefault((address, *limit), Governor(*limit))
