"""Run times of apps, learned while the workflow runs."""
from __future__ import annotations

from typing import Dict, Optional, Tuple

#: Weight of a new observation once many have been seen; older ones fade out over about twenty tasks.
_MINIMUM_WEIGHT = 0.05


class RunTimes:
    """Exponentially weighted mean run time of each app, in seconds on the endpoint, without queue time.

    The first twenty observations weigh the same, so that one odd first task is soon outvoted.
    """

    def __init__(self) -> None:
        self._means: Dict[str, Tuple[int, float]] = {}

    def observe(self, app: str, seconds: float) -> None:
        """Learn from one finished run of ``app`` that took ``seconds``."""
        count, mean = self._means.get(app, (0, 0.0))
        weight = max(1 / (count + 1), _MINIMUM_WEIGHT)
        self._means[app] = (count + 1, mean + weight * (seconds - mean))

    def estimate(self, app: str) -> Optional[float]:
        """Expected seconds of one run of ``app``, or None if none has been seen."""
        known = self._means.get(app)
        return None if known is None else known[1]
