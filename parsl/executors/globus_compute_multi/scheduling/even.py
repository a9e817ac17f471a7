"""When several are done with some work if they all end at the same time, though they are given their parts one after the other."""
from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Iterable


class EvenEnd:
    """Those who share the work, the fastest of which get their parts first.

    Parameters
    ----------
    speeds : iterable of float
        How much of the work each does in a second; those that do nothing are left out.
    """

    def __init__(self, speeds: Iterable[float] = ()) -> None:
        ordered = sorted((speed for speed in speeds if speed > 0), reverse=True)
        self._sums = list(accumulate(ordered))
        self._late = list(accumulate(i * speed for i, speed in enumerate(ordered)))  # what is lost by a gap of a second before each part
        # so much must there be, for each second of the gap, before there is something for one more
        self._least = [i * total - late for i, (total, late) in enumerate(zip(self._sums, self._late))]

    def seconds(self, work: float, gap: float) -> float:
        """Seconds after which all are done with ``work``, if parts are given ``gap`` seconds apart, the first of them now.

        Those for whom nothing is left when their turn comes get none. 0 if there is nobody.
        """
        if not self._sums or work <= 0:
            return 0.0
        served = bisect_left(self._least, work / gap) if gap > 0 else len(self._sums)
        return (work + gap * self._late[served - 1]) / self._sums[served - 1]
