"""When to ask the service for the status of which endpoint or child."""
from __future__ import annotations

from typing import Callable, Dict, NamedTuple, Optional, Tuple

#: An endpoint, or a child of it: (name, None) or (name, child ID).
Target = Tuple[str, Optional[str]]


#: Of so many queries one may be for what can wait, while tasks need the requests.
_LEISURE = 4.0


class Urgency(NamedTuple):
    """How badly a status is wanted.

    Whether ``first``, before others; after how many seconds what is known is stale; whether it ``can_wait``, since tasks need the request;
    since when there is something that a status could tell.
    """

    first: bool
    interval: float
    can_wait: bool = False
    since: float = float("-inf")


class StatusPlan:
    """Round of status queries: each target every ``interval`` seconds, at least ``spacing`` seconds between two, the stalest first.

    A result is as good as a status: hearing one makes the endpoint and its child fresh.

    Parameters
    ----------
    interval : float
        Seconds after which what is known of a target is stale, if nothing is said of its urgency.
    spacing : float
        Seconds between two queries, whatever the number of targets, so that statuses take only their share of the request budget.
    """

    def __init__(self, interval: float, spacing: float) -> None:
        self._interval = interval
        self._spacing = spacing
        self._heard: Dict[Target, float] = {}
        self._asked: Dict[Target, float] = {}
        self._last_query = self._last_that_could_wait = float("-inf")

    def watch(self, target: Target, now: float) -> None:
        """Begin to watch ``target``, known to be well at ``now``."""
        self._heard.setdefault(target, now)

    def forget(self, target: Target) -> None:
        """Watch ``target`` no longer."""
        self._heard.pop(target, None)
        self._asked.pop(target, None)

    def heard(self, target: Target, now: float) -> None:
        """Note that ``target``, which is watched, was heard of at ``now``, by a status or a result."""
        if target in self._heard:
            self._heard[target] = now
            self._asked.pop(target, None)

    def due(self, now: float, urgency: Callable[[Target], Optional[Urgency]] = lambda target: None) -> Optional[Target]:
        """The target to ask about at ``now``, noted as asked; None if none is due.

        ``urgency(target)`` says how badly its status is wanted; None: as usual.
        """
        if now < self._last_query + self._spacing:
            return None
        at_leisure = now >= self._last_that_could_wait + _LEISURE * self._spacing
        best: Optional[Tuple[bool, float, Target, bool]] = None
        for target, heard in self._heard.items():
            usual, wanted = self._interval, urgency(target)
            first, interval, can_wait, since = wanted if wanted is not None else Urgency(False, usual)
            heard = max(heard, since)
            if can_wait and not at_leisure:
                continue
            # an answer that never comes must not stop the round: a query counts as lost after another interval
            if now - heard >= min(interval, usual) and (target not in self._asked or now - self._asked[target] >= usual):
                if best is None or (not first, heard) < best[:2]:
                    best = not first, heard, target, can_wait
        if best is None:
            return None
        self._asked[best[2]] = now
        self._last_query = now
        if best[3]:
            self._last_that_could_wait = now
        return best[2]
