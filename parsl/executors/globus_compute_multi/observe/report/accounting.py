"""Where the time of threads and of tasks went."""
from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Sequence, Tuple

from parsl.executors.globus_compute_multi.observe.report.columns import Run
from parsl.executors.globus_compute_multi.observe.report.placing import Placed

#: What a thread's time goes to, in the order in which it is drawn.
USES = ("running, succeeded", "failed or lost attempts", "starting up", "tasks on their way", "idle although tasks were pending",
        "idle, no task ready", "idle, all tasks given out", "idle, probed after failures", "unavailable")

#: What a task's time goes to, from its submission to its end.
PHASES = ("waiting for a thread", "earlier attempts", "queued on the endpoint", "running", "result on its way")

#: Bars of utilisation over time.
BINS = 240


@dataclass
class Usage:
    """Of one endpoint: thread-seconds by use, and for each bin the threads that were busy, and those that could have been, on average."""

    uses: Dict[str, float] = field(default_factory=lambda: dict.fromkeys(USES, 0.0))
    busy: List[float] = field(default_factory=lambda: [0.0] * BINS)
    capacity: List[float] = field(default_factory=lambda: [0.0] * BINS)
    core_seconds: float = 0.0

    @property
    def total(self) -> float:
        """Thread-seconds that there were."""
        return sum(self.uses.values())

    @property
    def utilisation(self) -> float:
        """Share of them in which functions ran that succeeded."""
        return self.uses[USES[0]] / self.total if self.total else 0.0


def use_of_threads(run: Run, placed: Placed) -> List[Usage]:
    """What the threads of each endpoint did, over the run's window.

    An idle thread's time goes to the first that holds: its endpoint was not available; it had tasks dispatched whose functions had not begun,
    or whose results had not come (``starting up`` before the endpoint's first function ran); it had failed and was being probed; tasks were
    pending; more tasks were submitted later; none was. The time of an attempt without a result counts from its thread's being given to it.
    """
    window = run.window
    deltas: List[List[Tuple[float, int, int]]] = [[] for _ in run.pool]
    first: Dict[int, float] = {}
    usages = [Usage() for _ in run.pool]
    attempts = run.attempts
    ok = {number for number, name in enumerate(run.outcomes.names) if name in ("ok", "under way")}
    for i in range(len(attempts)):
        here = deltas[attempts.endpoint[i]]
        here.append((attempts.dispatched[i], _HELD, 1))
        here.append((attempts.received[i], _HELD, -1))
        a, b = placed.begin[i], placed.end[i]
        if a == a:
            kind = _GOOD if attempts.outcome[i] in ok else _BAD
            here.append((a, kind, 1))
            here.append((b, kind, -1))
            if attempts.finished[i] == attempts.finished[i]:
                usages[attempts.endpoint[i]].core_seconds += (attempts.finished[i] - attempts.started[i]) * attempts.cores[i]
                first[attempts.endpoint[i]] = min(a, first.get(attempts.endpoint[i], math.inf))
    for number, endpoint in enumerate(run.pool):
        before = 0
        up = False
        for time, threads, available in endpoint.capacity:
            deltas[number].append((time, _THREADS, threads - before))
            deltas[number].append((time, _AVAILABLE, available - up))
            before, up = threads, available
        deltas[number].extend((time, _PROBED, 1 if probed else -1) for time, probed in endpoint.probes)
        deltas[number].extend((time, _PRESSED, 1 if pressed else -1) for time, pressed in run.pressure)
        if number in first:
            deltas[number].append((first[number], _STARTED, 1))
        if run.last_submitted is not None:
            deltas[number].append((run.last_submitted, _ALL_SUBMITTED, 1))
        _sweep(sorted(deltas[number]), window, usages[number])
        deltas[number] = []  # one endpoint's at a time is enough
    return usages


_HELD, _GOOD, _BAD, _THREADS, _AVAILABLE, _PRESSED, _STARTED, _ALL_SUBMITTED, _PROBED = range(9)


def _sweep(deltas: Sequence[Tuple[float, int, int]], window: Tuple[float, float], usage: Usage) -> None:
    begin, end = window
    now = begin
    state = [0] * 9
    for time, what, change in deltas:
        if time > now:
            _use(usage, state, now - begin, min(time, end) - begin, end - begin)
            now = min(time, end)
        state[what] += change
    _use(usage, state, now - begin, end - begin, end - begin)


def _use(usage: Usage, state: List[int], a: float, b: float, whole: float) -> None:
    """Book the seconds from ``a`` to ``b``, counted from the window's begin, in which nothing changed."""
    seconds = b - a
    if seconds <= 0.0:
        return
    held, good, bad, threads, available, pressed, started, all_submitted, probed = state
    busy = good + bad
    idle = max(0, threads - busy)
    uses = usage.uses
    uses[USES[0]] += good * seconds
    uses[USES[1]] += bad * seconds
    if available:
        under_way = min(idle, max(0, held - busy))
        uses[USES[3] if started else USES[2]] += under_way * seconds
        uses[USES[7] if probed else USES[4] if pressed else USES[6] if all_submitted else USES[5]] += (idle - under_way) * seconds
    else:
        uses[USES[8]] += idle * seconds
    width = whole / BINS
    first, last = int(a / width), int(b / width)
    if first == last < BINS:  # nearly always, if there are many tasks
        usage.busy[first] += busy * seconds / width
        usage.capacity[first] += threads * seconds / width if available else 0.0
        return
    for index in range(first, min(BINS, last + 1)):
        part = (min(b, (index + 1) * width) - max(a, index * width)) / width
        if part > 0.0:
            usage.busy[index] += busy * part
            usage.capacity[index] += threads * part if available else 0.0


def phases_of_tasks(run: Run, placed: Placed) -> Dict[int, Tuple[int, Dict[str, float]]]:
    """By app: how many of its tasks were done, and their seconds by phase, together."""
    found: Dict[int, Tuple[int, Dict[str, float]]] = {}
    for row in range(len(run.tasks)):
        if run.tasks.done[row]:
            count, seconds = found.get(run.tasks.app[row], (0, dict.fromkeys(PHASES, 0.0)))
            for phase, spent in zip(PHASES, phases(run, placed, row)):
                seconds[phase] += spent
            found[run.tasks.app[row]] = count + 1, seconds
    return found


def phases(run: Run, placed: Placed, row: int) -> Tuple[float, float, float, float, float]:
    """Seconds that a finished task spent in each phase; together they are all from its submission to its end."""
    tasks, attempts = run.tasks, run.attempts
    submitted, dispatched, ended, attempt = tasks.submitted[row], tasks.dispatched[row], tasks.ended[row], tasks.attempt[row]
    if not dispatched <= ended:
        return ended - submitted, 0.0, 0.0, 0.0, 0.0
    waiting = dispatched - submitted
    if attempt < 0 or placed.begin[attempt] != placed.begin[attempt]:
        return waiting, ended - dispatched, 0.0, 0.0, 0.0
    a, b = placed.begin[attempt], min(placed.end[attempt], ended)
    a = min(a, b)
    return waiting, attempts.dispatched[attempt] - dispatched, a - attempts.dispatched[attempt], b - a, ended - b


def timings(run: Run, placed: Placed) -> Iterable[Tuple[int, int, float, float, float]]:
    """Endpoint, app, begin, seconds that it ran and seconds from dispatch until it did, of each attempt that brought a value."""
    attempts = run.attempts
    ok = {number for number, name in enumerate(run.outcomes.names) if name == "ok"}
    for i in range(len(attempts)):
        if attempts.outcome[i] in ok and attempts.finished[i] == attempts.finished[i]:
            yield (attempts.endpoint[i], attempts.app[i], placed.begin[i], placed.end[i] - placed.begin[i],
                   placed.begin[i] - attempts.dispatched[i])


def quantiles(values: List[float], shares: Sequence[float]) -> List[float]:
    """Values below which these shares of ``values`` lie, which are at least one and are sorted in place; interpolated."""
    values.sort()
    found = []
    for share in shares:
        at = share * (len(values) - 1)
        low = int(at)
        high = min(low + 1, len(values) - 1)
        found.append(values[low] + (values[high] - values[low]) * (at - low))
    return found


def spread(groups: Dict[int, List[float]]) -> Dict[int, List[float]]:
    """For each group its 5, 25, 50, 75 and 95 % quantiles."""
    return {key: quantiles(values, (0.05, 0.25, 0.5, 0.75, 0.95)) for key, values in groups.items()}


def grouped(pairs: Iterable[Tuple[int, float]]) -> Dict[int, List[float]]:
    """Values by key."""
    groups: Dict[int, List[float]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return dict(groups)
