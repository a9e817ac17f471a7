"""One governor of the service's request budget.

The hosted service answers at most 20 requests in 10 s for one client, everything together (its documentation, "Limits"). Every request the
executor sends takes a permit here first, repeated tries included.
"""
from __future__ import annotations

import logging
import threading
import time
from bisect import insort
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Callable, Counter, Deque, Dict, Iterator, Optional, Tuple

from parsl.executors.globus_compute_multi.compute.backoff import Backoff

logger = logging.getLogger(__name__)

#: Least time between two submissions, in seconds: tasks that are submitted in one burst share a request.
BURST_SECONDS = 0.01

#: Share of the budget that statuses may use.
STATUS_SHARE = 0.2

#: What is left of the budget after a refusal, and how many requests of it come back in each window without one.
SHRINK, REGROW = 0.7, 1.0

#: Refusals so close together are of requests that were under way together, and shrink the budget once.
_ONE_REFUSAL_SECONDS = 1.0

#: A refusal is said again if there was none for so long.
_TOLD_SECONDS = 600.0

#: No pause that the service asks for is longer than a day.
_LONGEST_PAUSE = 86400.0

#: Seconds for which a request that was not answered may yet arrive.
_ON_ITS_WAY_SECONDS = 30.0

#: Seconds after which somebody who has asked for a permit, and does not wait here for it, is taken to want it no more.
_WISH_SECONDS = 1.5

#: Seconds after which somebody who could have a permit, but is not next, looks again whether he is.
_LOOK_AGAIN = 0.05


class Kind(Enum):
    """What a request is for; each kind has a share of the budget, of which others take what it does not use."""

    SUBMISSION = "submission"
    STATUS = "status"
    OTHER = "other"


_SHARES = {Kind.SUBMISSION: 0.6, Kind.STATUS: STATUS_SHARE, Kind.OTHER: 0.2}


@dataclass
class _Wish:
    """Somebody wants a permit, until ``expires`` unless he asks again."""

    kind: Kind
    expires: float


class Governor:
    """Grants permits for requests, at most ``requests`` in any ``seconds``, as counted by the service.

    A permit counts from when it is granted until ``seconds`` after its request has *ended*: the service may have seen the request
    at any moment in between, so only this keeps the promise whatever the network's delay.

    Submissions are paced: the fuller the window, the longer the gap to the next one. A lone task after a quiet time goes at once, a
    stream of them settles at the rate of the budget and is not stopped dead for seconds after a burst.

    When there are more wishes than permits, the next one is for the kind of request that has had least of its share in the window, and among
    equals for who has waited longest. So nothing starves: a kind that had nothing in the window comes before all that had something.

    When the service refuses a request nevertheless (another program of the user spends the same budget), nothing is sent until the time that
    it names; then the budget is smaller, and grows again slowly while nothing is refused.

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
        self._ended: Deque[Tuple[float, Optional[Kind]]] = deque()
        self._used: Counter[Optional[Kind]] = Counter()  # permits in the window, of each kind; None: of requests that were given up
        self._given_up: Counter[Kind] = Counter()  # those whose permits have not ended yet
        self._wishes: Dict[object, _Wish] = {}  # by who has them, the oldest first
        self._last_submission = self._submission_before = float("-inf")
        self._paused_until = float("-inf")
        self._pauses = Backoff()
        self._learned = float("inf") if requests is None else float(requests)
        self._learned_at = float("-inf")

    @property
    def requests_per_second(self) -> Optional[float]:
        """Rate of the budget as it is known now, in requests a second; None if there is no limit."""
        with self._changed:
            return None if self._requests is None else self._budget(self._clock()) / self._seconds

    @property
    def submission_gap(self) -> float:
        """Seconds until the next submission may be sent, if nobody comes before it; infinite while only what is under way is in the way."""
        with self._changed:
            now = self._clock()
            return max(0.0, self._paused_until - now, self._window_wait(now), self._pace_wait(now))

    @property
    def status_spacing(self) -> float:
        """Seconds between two status queries that keep to their share of the budget."""
        return 1.0 if self._requests is None else self._seconds / (STATUS_SHARE * self._requests)

    def submission_wait(self) -> float:
        """Seconds after which this thread may get a permit for a submission, if it asks again; 0.0 or less: now."""
        return self.wait(Kind.SUBMISSION, threading.get_ident())

    def try_submission(self) -> bool:
        """Take a permit for a submission, if this thread may have one now: it is to be given back with :meth:`ended` or :meth:`unused`."""
        return self.try_permit(Kind.SUBMISSION, threading.get_ident())

    def want_no_submission(self) -> None:
        """Give up this thread's place in line, so that others need not wait for it."""
        with self._changed:
            if self._wishes.pop(threading.get_ident(), None) is not None:
                self._changed.notify_all()

    def wait(self, kind: Kind, who: object) -> float:
        """Seconds after which :meth:`try_permit` may succeed; 0.0 or less: now. Keeps ``who`` in line, as that does."""
        with self._changed:
            return self._wait(kind, who, self._clock() + _WISH_SECONDS)

    def try_permit(self, kind: Kind, who: object) -> bool:
        """Take a permit, if there is one and it is ``who``'s turn.

        Parameters
        ----------
        kind : Kind
        who : hashable
            Keeps his place in line by asking again within a second.
        """
        with self._changed:
            return self._take(kind, who, self._clock() + _WISH_SECONDS)

    def ended(self, kind: Kind = Kind.SUBMISSION) -> None:
        """The request of a permit has been answered, or was given up."""
        with self._changed:
            self._open -= 1
            if self._given_up[kind]:
                self._given_up[kind] -= 1
                self._used[kind] -= 1
                self._used[None] += 1
                insort(self._ended, (self._clock() + _ON_ITS_WAY_SECONDS, None), key=itemgetter(0))
            else:
                insort(self._ended, (self._clock(), kind), key=itemgetter(0))
            self._changed.notify_all()

    def given_up(self, kind: Kind) -> None:
        """No answer came to a request, which may still be on its way in a network that stalls: it counts for longer.

        But not in the share of its kind, which would stop when a few are not answered. To be called while its permit is held.
        """
        with self._changed:
            self._given_up[kind] += 1

    def unused(self, kind: Kind = Kind.SUBMISSION) -> None:
        """Give back a permit for which nothing was sent."""
        with self._changed:
            self._open -= 1
            self._used[kind] -= 1
            if kind is Kind.SUBMISSION:
                self._last_submission = self._submission_before
            self._changed.notify_all()

    def refused(self, retry_after: Optional[float]) -> None:
        """The service has refused a request because there were too many (HTTP 429): nothing is sent for a while, and then less.

        To be called while the permit of the request is held, so that nobody else gets it.

        Parameters
        ----------
        retry_after : float or None
            Seconds that the service asks for; None: it does not say.
        """
        with self._changed:
            now = self._clock()
            if now > self._paused_until + self._seconds:
                self._pauses.reset()
            if self._requests is not None and now > self._learned_at + _ONE_REFUSAL_SECONDS:
                self._learned = max(1.0, SHRINK * self._budget(now))
            level = logging.WARNING if now > self._learned_at + _TOLD_SECONDS else logging.DEBUG
            pause = self._pauses.next() if retry_after is None else min(retry_after, _LONGEST_PAUSE)
            self._paused_until = max(self._paused_until, now + pause)
            self._learned_at = now
            self._changed.notify_all()
        logger.log(level, "Globus Compute refuses requests because there are too many (HTTP 429; other programs of yours count, too): "
                   "nothing is sent to it for %.1f s%s", pause,
                   "" if self._requests is None else f", then {int(self._learned)} requests in {self._seconds:g} s and slowly more")

    @contextmanager
    def permit(self, stopping: threading.Event, kind: Kind = Kind.OTHER, timeout: Optional[float] = None) -> Iterator[None]:
        """Wait for a permit, and hold it for one request.

        Parameters
        ----------
        stopping : threading.Event
            Set, and followed by :meth:`wake`, when the caller shuts down.
        kind : Kind
        timeout : float, optional
            Most seconds to wait.

        Raises
        ------
        Stopped
            If ``stopping`` is set before there is a permit.
        TimeoutError
            If there is none within ``timeout``.
        """
        who = object()
        never = float("inf")
        with self._changed:
            deadline = never if timeout is None else self._clock() + timeout
            try:
                while True:
                    if stopping.is_set():
                        raise Stopped()
                    if self._take(kind, who, never):
                        break
                    left = deadline - self._clock()
                    if left <= 0:
                        raise TimeoutError("the request budget is used up for longer than can be waited")
                    wait = min(self._wait(kind, who, never), left)
                    self._changed.wait(wait if wait != never else None)
            finally:
                self._wishes.pop(who, None)
        try:
            yield
        finally:
            self.ended(kind)

    def wake(self) -> None:
        """Let all who wait for a permit look whether they are to stop."""
        with self._changed:
            self._changed.notify_all()

    def _take(self, kind: Kind, who: object, expires: float) -> bool:
        if self._wait(kind, who, expires) > 0:
            return False
        del self._wishes[who]
        self._open += 1
        self._used[kind] += 1
        if kind is Kind.SUBMISSION:
            self._submission_before, self._last_submission = self._last_submission, self._clock()
        self._changed.notify_all()
        return True

    def _wait(self, kind: Kind, who: object, expires: float) -> float:
        """Put ``who`` in line, or keep him there, and say how long it takes; when others come before him, that is not known."""
        now = self._clock()
        wish = self._wishes.setdefault(who, _Wish(kind, expires))
        wish.expires = expires
        wait = max(self._paused_until - now, self._window_wait(now), self._kind_wait(kind, now))
        if wait <= 0 and self._next(now) is not wish:
            return _LOOK_AGAIN
        return wait

    def _next(self, now: float) -> Optional[_Wish]:
        """Whose turn it is."""
        first: Dict[Kind, _Wish] = {}
        for who, wish in list(self._wishes.items()):
            if wish.expires < now:
                del self._wishes[who]
            else:
                first.setdefault(wish.kind, wish)
        last_permit = self._requests is not None and self._budget(now) - self._total(now) <= 1
        for kind in sorted(first, key=lambda kind: self._used[kind] / _SHARES[kind]):
            # others must not take the last permit, over and over, while the pace of submissions keeps these from taking it
            if self._kind_wait(kind, now) <= 0 or (kind is Kind.SUBMISSION and last_permit):
                return first[kind]
        return None

    def _budget(self, now: float) -> int:
        """Requests in a window: the limit, or what was learned from refusals."""
        assert self._requests is not None
        if self._learned >= self._requests:
            return self._requests
        quiet = now - max(self._learned_at, self._paused_until)
        return int(min(float(self._requests), self._learned + REGROW * max(0.0, quiet) / self._seconds))

    def _total(self, now: float) -> int:
        """Permits in the window."""
        while self._ended and self._ended[0][0] <= now - self._seconds:
            self._used[self._ended.popleft()[1]] -= 1
        return self._open + len(self._ended)

    def _window_wait(self, now: float) -> float:
        """Seconds until the window has room; infinite while only requests under way fill it."""
        total = self._total(now)
        if self._requests is None:
            return 0.0
        excess = total - self._budget(now) + 1
        if excess <= 0:
            return 0.0
        return self._ended[excess - 1][0] + self._seconds - now if excess <= len(self._ended) else float("inf")

    def _kind_wait(self, kind: Kind, now: float) -> float:
        """Seconds until a request of this kind may be sent, as far as its kind alone is concerned."""
        if kind is Kind.SUBMISSION:
            return self._last_submission + self._gap(now) - now
        if kind is Kind.STATUS and self._requests is not None:
            if self._used[kind] >= max(1, int(STATUS_SHARE * self._budget(now))):
                return min((ended + self._seconds - now for ended, what in self._ended if what is kind), default=float("inf"))
        return 0.0

    def _gap(self, now: float) -> float:
        """Seconds from one submission to the next: the free permits last until one comes back, the first ones sooner than the last."""
        share, left = self._pace(now)
        return max(BURST_SECONDS, share * left)

    def _pace_wait(self, now: float) -> float:
        """Seconds until the gap to the last submission is long enough, if nothing else happens: it becomes shorter as time goes by."""
        share, left = self._pace(now)
        return max(self._last_submission + BURST_SECONDS - now, (self._last_submission - now + share * left) / (1 + share))

    def _pace(self, now: float) -> Tuple[float, float]:
        """The gap between two submissions, as a share of the time until a permit comes back, and that time in seconds."""
        if self._requests is None:
            return 0.0, 0.0
        used, budget = self._total(now), self._budget(now)
        if used >= budget:
            return 0.0, 0.0  # the window decides
        oldest = self._ended[0][0] if self._ended else now
        return used / budget / (budget - used), oldest + self._seconds - now


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
