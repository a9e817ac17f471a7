"""Waiting times between tries."""
from __future__ import annotations

import random
from typing import Optional

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0

#: Most seconds that a wish of the service is heeded: it may be well long before.
LONGEST_WISH = 300.0


class Backoff:
    """Exponential back-off with jitter: 0.5 s, 1 s, 2 s ... 30 s, each times a random factor between 0.5 and 1.

    The jitter keeps clients that failed together from coming back together.
    """

    def __init__(self) -> None:
        self._seconds = FIRST_SECONDS

    def next(self, at_least: Optional[float] = None) -> float:
        """Seconds to wait before the next try, not less than ``at_least`` if the service asked for that, within reason."""
        seconds = self._seconds * random.uniform(0.5, 1.0)
        self._seconds = min(self._seconds * 2, LONGEST_SECONDS)
        return seconds if at_least is None else max(seconds, min(at_least, LONGEST_WISH))

    def reset(self) -> None:
        """Begin anew after a success."""
        self._seconds = FIRST_SECONDS
