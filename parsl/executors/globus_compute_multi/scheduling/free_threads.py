"""Which free threads there are for tasks of one shape, kept up to date as threads are taken and become free."""
from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from typing import Callable, Dict, Iterable, List, Optional, Set, Tuple

from parsl.executors.globus_compute_multi.scheduling.threads import Child, Threads

#: Beyond twice as many as are free, so many that are not are left in the order of the fastest.
_SPARE = 20


class FreeThreads:
    """The free threads that tasks of one shape may take. True if there are any; those *offered* are those with the fewest cores.

    Parameters
    ----------
    classes : list of Threads
        All of the pool, each at its place.
    free : iterable of Threads
        Those that are free now, and that the tasks may take.
    factor : callable
        ``factor(threads)``: how many times longer tasks run there.

    Attributes
    ----------
    count : int
        How many threads they are.
    """

    def __init__(self, classes: List[Threads], free: Iterable[Threads], factor: Callable[[Threads], float]) -> None:
        self.count = 0
        self._classes = classes
        self._factor = factor
        self._counts: Dict[int, int] = {}  # free threads, by place
        self._levels: Dict[int, _Level] = {}  # by cores
        self._near: Optional[_Level] = None  # that which is offered; None: to be looked for
        for threads in free:
            self.update(threads, threads.free)

    def __bool__(self) -> bool:
        return self.count > 0

    def update(self, threads: Threads, free: int) -> None:
        """Note that so many of ``threads`` are free for the tasks."""
        place, counts = threads.place, self._counts
        before = counts.get(place, 0)
        if not free and not before:
            return
        level = self._levels.get(threads.cores)
        if level is None:
            level = self._levels[threads.cores] = _Level()
        if level.when is not None:
            level.changed.add(place)
        if free == before:
            return
        self.count += free - before
        if free:
            counts[place] = free
            if before:
                return
            insort(level.places, place)
            if level.when is not None:
                if len(level.fastest) > 2 * len(level.places) + _SPARE:
                    level.fastest.clear()
                    for each in level.places:
                        level.hasten(self._classes[each], self._factor(self._classes[each]))
                else:
                    level.hasten(threads, self._factor(threads))
        else:
            del counts[place], level.places[bisect_left(level.places, place)]
        level.offered = self._near = None

    @property
    def offered(self) -> Tuple[Threads, ...]:
        """Those offered, in the user's order."""
        if not self.count:
            return ()
        level = self._closest
        if level.offered is None:
            level.offered = tuple(self._classes[place] for place in level.places)
        return level.offered

    @property
    def first(self) -> Threads:
        """The first of those offered; there is one."""
        return self._classes[self._closest.places[0]]

    @property
    def is_choice(self) -> bool:
        """Whether more than one class is offered."""
        return self.count > 0 and len(self._closest.places) > 1

    def offers(self, threads: Threads) -> bool:
        """Whether ``threads`` are offered."""
        return threads.place in self._counts and self._closest is self._levels[threads.cores]

    def fastest(self, when: int) -> Threads:
        """The first of those offered with the least factor, warm ones before cold ones; factors are the same as long as ``when`` is."""
        heap = self._known(when).fastest
        while heap[0][2] not in self._counts:
            heapq.heappop(heap)
        return self._classes[heap[0][2]]

    def shortlist(self, wanted: int, child: Optional[Child], when: int) -> Tuple[Threads, ...]:
        """Those offered that may be the best for a task, by what it takes there, if it is best to have it on ``child``, and otherwise where the
        fewest threads are free that are ``wanted``, or the most that there are; as :meth:`fastest`.
        """
        level = self._known(when)
        for place in level.changed:
            level.forget(place)
            if place in self._counts:
                self._enter(level, place)
        level.changed.clear()
        plain, found = level.plain, set(level.odd)
        if plain:
            least = plain[0][0]
            at = bisect_left(plain, (least, wanted, -1))
            if at == len(plain) or plain[at][0] != least:  # not so many are free anywhere
                at = bisect_left(plain, (least, plain[at - 1][1], -1))
            found.add(plain[at][2])
        if child is not None:
            found.update(threads.place for threads in child.classes if self.offers(threads))
        if len(found) == 1:
            return (self._classes[found.pop()],)
        return tuple(self._classes[place] for place in sorted(found))

    def check(self, counts: Dict[int, int], when: int) -> None:
        """Check that these are the threads that are free, by place, and that all that is derived from that is right.

        Raises
        ------
        AssertionError
            If it is not.
        """
        assert self._counts == counts and self.count == sum(counts.values()), "the account of free threads for a shape is wrong"
        for cores, level in self._levels.items():
            assert level.places == sorted(place for place in counts if self._classes[place].cores == cores)
            if level.when == when:
                self._check_factors(level)

    def _check_factors(self, level: "_Level") -> None:
        for place in level.places:
            threads, factor = self._classes[place], self._factor(self._classes[place])
            assert (not threads.child.warm, factor, place) in level.fastest, "free threads are not among the fastest"
            if place not in level.changed:
                plain = threads.begins_at_once
                assert plain == (place not in level.odd) and level.entries.get(place) == ((factor, threads.free, place) if plain else None)
        assert level.plain == sorted(level.entries.values())

    @property
    def _closest(self) -> "_Level":
        """That which is offered; there is one."""
        if self._near is None:
            self._near = self._levels[min(cores for cores, level in self._levels.items() if level.places)]
        return self._near

    def _known(self, when: int) -> "_Level":
        """Those offered, of whom there are some, by the factors that there are now."""
        level = self._closest
        if level.when != when:
            level.when = when
            level.clear()
            for place in level.places:
                threads = self._classes[place]
                level.hasten(threads, self._factor(threads))
                self._enter(level, place)
        return level

    def _enter(self, level: "_Level", place: int) -> None:
        threads = self._classes[place]
        level.enter(threads, self._counts[place], self._factor(threads))


class _Level:
    """Those with the same number of cores, by their places in the pool."""

    def __init__(self) -> None:
        self.places: List[int] = []
        self.offered: Optional[Tuple[Threads, ...]] = None
        self.when: Optional[int] = None  # when the factors below were these
        self.clear()

    def clear(self) -> None:
        self.fastest: List[Tuple[bool, float, int]] = []  # cold, factor, place; a heap, in which some are that are not free any more
        self.plain: List[Tuple[float, int, int]] = []  # factor, free threads, place, in order, of those that would begin at once
        self.entries: Dict[int, Tuple[float, int, int]] = {}  # the same by place
        self.odd: Set[int] = set()  # the places of the others
        self.changed: Set[int] = set()  # places of those of which the last three are not up to date

    def hasten(self, threads: Threads, factor: float) -> None:
        """Enter threads that were not free among the fastest."""
        heapq.heappush(self.fastest, (not threads.child.warm, factor, threads.place))

    def enter(self, threads: Threads, free: int, factor: float) -> None:
        """Enter threads for the shortlist."""
        if threads.begins_at_once:
            entry = self.entries[threads.place] = factor, free, threads.place
            insort(self.plain, entry)
        else:
            self.odd.add(threads.place)

    def forget(self, place: int) -> None:
        """Take them out of what the shortlist is made from."""
        entry = self.entries.pop(place, None)
        if entry is None:
            self.odd.discard(place)
        else:
            del self.plain[bisect_left(self.plain, entry)]
