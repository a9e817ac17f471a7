"""Counts over time, kept at a resolution that halves as the run goes on: bounded memory, in one pass."""
from __future__ import annotations

from array import array
from typing import List, Sequence, Tuple

#: Most samples that are kept; there are at least half as many once there have been so many changes.
MOST_SAMPLES = 1500

_FIRST_WIDTH = 0.001  # seconds


class Sampled:
    """Counts as they change. Of the changes within one interval the last is kept, so that a sample is a state that there really was.

    Parameters
    ----------
    width : int
        How many counts there are.
    most : int
        Most samples to keep.
    """

    def __init__(self, width: int, most: int = MOST_SAMPLES) -> None:
        self._most = most
        self._seconds = _FIRST_WIDTH
        self._begin = 0.0
        self._times = array("d")
        self._counts = [array("d") for _ in range(width)]
        self._last: Tuple[int, float, Sequence[float]] = (-1, 0.0, ())  # interval, time and counts of the latest, which is not in columns yet

    def note(self, time: float, counts: Sequence[float]) -> None:
        """Take in the counts as they are from ``time`` on; times that run backwards count as the latest."""
        interval, latest, _ = self._last
        if interval < 0:
            self._begin = latest = time
        if time < latest:
            time = latest
        now = int((time - self._begin) / self._seconds)
        if 0 <= interval < now:
            self._keep()
            now = int((time - self._begin) / self._seconds)
        self._last = now, time, counts

    def columns(self) -> Tuple[List[float], List[List[float]]]:
        """Times, and for each count its values from then on."""
        interval, time, counts = self._last
        if interval < 0:
            return [], [[] for _ in self._counts]
        return [*self._times, time], [[*column, count] for column, count in zip(self._counts, counts)]

    def _keep(self) -> None:
        _, time, counts = self._last
        self._times.append(time)
        for column, count in zip(self._counts, counts):
            column.append(count)
        while len(self._times) >= self._most:
            self._thin()

    def _thin(self) -> None:
        """Double the interval, until that many samples are left as are wanted."""
        self._seconds *= 2
        kept = [i for i in range(len(self._times)) if i + 1 == len(self._times) or self._interval(i) != self._interval(i + 1)]
        self._times = array("d", (self._times[i] for i in kept))
        self._counts = [array("d", (column[i] for i in kept)) for column in self._counts]

    def _interval(self, i: int) -> int:
        return int((self._times[i] - self._begin) / self._seconds)
