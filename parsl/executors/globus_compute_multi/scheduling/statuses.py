"""When to ask the service for the status of which endpoint or child."""
from __future__ import annotations

from typing import Dict, Optional, Tuple

#: An endpoint, or a child of it: (name, None) or (name, child ID).
Target = Tuple[str, Optional[str]]


class StatusPlan:
    """Round of status queries: each target every ``interval`` seconds, at least ``spacing`` seconds between two, the stalest first.

    A result is as good as a status: hearing one makes the endpoint and its child fresh.

    Parameters
    ----------
    interval : float
        Seconds after which what is known of a target is stale.
    spacing : float
        Seconds between two queries, whatever the number of targets, so that statuses take only their share of the request budget.
    """

    def __init__(self, interval: float, spacing: float) -> None:
        self._interval = interval
        self._spacing = spacing
        self._heard: Dict[Target, float] = {}
        self._asked: Dict[Target, float] = {}
        self._next_query = float("-inf")

    def watch(self, target: Target, now: float) -> None:
        """Begin to watch ``target``, known to be well at ``now``."""
        self._heard.setdefault(target, now)

    def heard(self, target: Target, now: float) -> None:
        """Note that ``target`` was heard of at ``now``, by a status or a result."""
        self._heard[target] = now
        self._asked.pop(target, None)

    def due(self, now: float) -> Optional[Target]:
        """The target to ask about at ``now``, noted as asked; None if none is due."""
        if now < self._next_query or not self._heard:
            return None
        # an answer that never comes must not stop the round: a query counts as lost after another interval
        candidates = [t for t in self._heard if t not in self._asked or now - self._asked[t] >= self._interval]
        target = min(candidates, key=self._heard.__getitem__, default=None)
        if target is None or now - self._heard[target] < self._interval:
            return None
        self._asked[target] = now
        self._next_query = now + self._spacing
        return target
