"""Where on the client's time line, and on which thread, each attempt ran."""
from __future__ import annotations

import heapq
import math
from array import array
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from parsl.executors.globus_compute_multi.observe.report.columns import (
    UNKNOWN,
    Attempts,
    Run,
)


@dataclass
class Placed:
    """Rows of :class:`Attempts` on the client's time line.

    Parameters
    ----------
    begin, end : array of float
        When it ran, or, if no result told that, when it was bound to a thread; unknown if it never was. Of one that could not be unpacked
        both are the time of its result: no function ran.
    lane : array of int
        Its row among ``lanes``; -1 if it never had a thread.
    lanes : list of (int, int, int)
        Endpoint, thread class, and a number from 0: the threads that attempts ran on, and those that were never used.
    clocks : dict
        By endpoint and host, the seconds to add to its clock so that every function ran between dispatch and result; only those not 0.
    """

    begin: "array[float]"
    end: "array[float]"
    lane: "array[int]"
    lanes: List[Tuple[int, int, int]]
    clocks: Dict[Tuple[int, int], float]


def place(run: Run) -> Placed:
    """Place the attempts of a run on the client's time line, and on threads: the log does not number those, the first free one is taken."""
    attempts = run.attempts
    clocks = clock_shifts(attempts)
    rejected, not_unpacked = (run.outcomes.names.index(name) if name in run.outcomes.names else -1 for name in ("rejected", "not_unpacked"))
    begin, end = array("d"), array("d")
    for i in range(len(attempts)):
        a, b = attempts.bound[i], attempts.received[i]
        if attempts.finished[i] == attempts.finished[i]:
            shift = clocks.get((attempts.endpoint[i], attempts.host[i]), 0.0)
            b = min(attempts.received[i], max(attempts.finished[i] + shift, attempts.dispatched[i]))
            a = max(attempts.dispatched[i], min(attempts.started[i] + shift, b))
        elif a != a or attempts.outcome[i] == rejected:
            a = b = UNKNOWN
        elif attempts.outcome[i] == not_unpacked:
            a = b
        begin.append(a)
        end.append(b)
    lane, lanes = assign_lanes(run, begin, end)
    return Placed(begin, end, lane, lanes, {key: shift for key, shift in clocks.items() if shift})


def clock_shifts(attempts: Attempts) -> Dict[Tuple[int, int], float]:
    """By endpoint and host, the seconds nearest to 0 to add to its clock so that all its functions ran between dispatch and result.

    If there are no such seconds, since the clock was set meanwhile or drifts, the middle of what would suit most.
    """
    bounds: Dict[Tuple[int, int], Tuple[float, float]] = {}
    for i in range(len(attempts)):
        if attempts.finished[i] == attempts.finished[i]:
            key = attempts.endpoint[i], attempts.host[i]
            low, high = bounds.get(key, (-math.inf, math.inf))
            bounds[key] = (max(low, attempts.dispatched[i] - attempts.started[i]), min(high, attempts.received[i] - attempts.finished[i]))
    return {key: max(low, min(0.0, high)) if low <= high else (low + high) / 2 for key, (low, high) in bounds.items()}


def assign_lanes(run: Run, begin: "array[float]", end: "array[float]") -> Tuple["array[int]", List[Tuple[int, int, int]]]:
    """Give each attempt a thread, so that no two that ran at once have the same.

    Of an attempt whose result did not come only its end as the scheduler saw it is known. If it is in the way, that was too late, and ``end``
    is mended.
    """
    attempts = run.attempts
    groups: Dict[Tuple[int, int], List[int]] = {(e, c): [] for e, endpoint in enumerate(run.pool) for c in range(len(endpoint.classes))}
    for i in range(len(attempts)):
        if begin[i] == begin[i]:
            groups[attempts.endpoint[i], attempts.thread_class[i]].append(i)
    lane = array("l", [-1]) * len(attempts)
    lanes: List[Tuple[int, int, int]] = []
    for (endpoint, thread_class), rows in groups.items():
        rows.sort(key=lambda i: (begin[i], end[i]))
        busy: List[Tuple[float, int, int]] = []
        free: List[int] = []
        used = 0
        count = run.pool[endpoint].classes[thread_class][1]
        for i in rows:
            while busy and busy[0][0] <= begin[i]:
                heapq.heappush(free, heapq.heappop(busy)[1])
            late = None
            if not free and used >= count:
                if begin[i] == end[i]:
                    lane[i] = len(lanes) + busy[0][1]  # nothing ran: it is but a mark
                    continue
                late = next((held for held in busy if attempts.finished[held[2]] != attempts.finished[held[2]]), None)
            if late is not None:
                busy.remove(late)
                heapq.heapify(busy)
                number, end[late[2]] = late[1], begin[i]
            elif free:
                number = heapq.heappop(free)
            else:
                number, used = used, used + 1
            heapq.heappush(busy, (end[i], number, i))
            lane[i] = len(lanes) + number
        lanes.extend((endpoint, thread_class, number) for number in range(max(used, count)))
    return lane, lanes


@dataclass
class Bar:
    """Attempts on one lane that are drawn as one; ``app`` is that which ran longest of them."""

    lane: int
    begin: float
    end: float
    app: int
    seconds: float
    rows: List[int]
    failed: int
    count: int = 1


def bars(run: Run, placed: Placed, most: int) -> Tuple[List[Bar], float]:
    """The Gantt chart's bars, and the seconds at which neighbours were merged, so as to have ``most`` at most: 0 if there was no need."""
    rows = sorted((i for i in range(len(placed.lane)) if placed.lane[i] >= 0), key=lambda i: (placed.lane[i], placed.begin[i], placed.end[i]))
    ok = {number for number, name in enumerate(run.outcomes.names) if name in ("ok", "under way")}
    begin, end = run.window
    resolution = 0.0 if len(rows) <= most else max(end - begin, 0.001) / 2000
    while True:
        merged = _merge(run, placed, rows, ok, resolution, len(rows) if resolution > end - begin else most)
        if merged is not None:
            return merged, resolution
        resolution *= 1.5


def _merge(run: Run, placed: Placed, rows: List[int], ok: "set[int]", resolution: float, most: int) -> Optional[List[Bar]]:
    """The bars at this resolution; None if they are more than ``most``."""
    merged: List[Bar] = []
    shares: Dict[int, float] = {}
    begins, ends, lanes, apps, outcomes = placed.begin, placed.end, placed.lane, run.attempts.app, run.attempts.outcome
    last: Optional[Bar] = None
    for i in rows:
        a, b, app = begins[i], ends[i], apps[i]
        failed = outcomes[i] not in ok
        if last is not None and resolution and last.lane == lanes[i] and (
                b - last.begin < resolution or (app == last.app and a - last.end < resolution / 2)):
            last.end = b if b > last.end else last.end
            last.seconds += b - a
            last.failed += failed
            last.count += 1
            seconds = shares[app] = shares.get(app, 0.0) + b - a
            if app != last.app and seconds > shares[last.app]:
                last.app = app
        else:
            if len(merged) == most:
                return None
            last = Bar(lanes[i], a, b, app, b - a, [i], int(failed))
            merged.append(last)
            shares = {app: b - a}
    return merged
