"""Figures of numbers over time."""
from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

from parsl.executors.globus_compute_multi.observe.report.accounting import (
    BINS,
    Usage,
    grouped,
    quantiles,
)
from parsl.executors.globus_compute_multi.observe.report.columns import STATES, Run
from parsl.executors.globus_compute_multi.observe.report.style import (
    INK,
    STATE_COLOURS,
    Clock,
    Figure,
    area,
    axis,
    endpoint_colour,
    figure,
    label,
    short,
)

#: Most endpoints that have a line of their own where lines cross.
_MOST_LINES = 10

#: Of run and queue times: attempts in an interval, on average, and most intervals.
_IN_INTERVAL = 20
_MOST_INTERVALS = 120

Timing = Tuple[int, int, float, float, float]


def utilisation(run: Run, usages: Sequence[Usage], clock: Clock) -> Figure:
    """Threads on which functions ran, against those that there were."""
    x = [short((clock.end - clock.begin) * i / BINS / clock.seconds) for i in range(BINS + 1)]
    data = [area(label(run.pool[number].name), x, [short(v) for v in (*usage.busy, usage.busy[-1])], endpoint_colour(number))
            for number, usage in enumerate(usages)]
    capacity = [short(sum(usage.capacity[i] for usage in usages)) for i in range(BINS)]
    data.append({"type": "scatter", "mode": "lines", "name": "threads of available endpoints", "x": x, "y": [*capacity, capacity[-1]],
                 "line": {"shape": "hv", "color": INK, "width": 2, "dash": "dash"}, "hovertemplate": "%{y:.3~g}"})
    return figure(data, 330, hover="x unified", xaxis=clock.axis(), yaxis=axis("threads", rangemode="tozero"))


def states(run: Run, clock: Clock) -> Figure:
    """How many tasks were in each state."""
    times, counts = run.states.columns()
    x = [clock.inside(time) for time in times] + [clock.at(clock.end)]
    data = []
    for state in ("done", "failed", "running", "queued ahead", "pending", "unsubmitted"):
        number = STATES.index(state)
        y = counts[number] + counts[number][-1:]
        if any(y):
            name = {"unsubmitted": "not submitted yet", "running": "given to a thread",
                    "queued ahead": "queued ahead"}.get(state, state)
            data.append(area(name, x, y, STATE_COLOURS[number]))
    return figure(data, 330, hover="x unified", xaxis=clock.axis(), yaxis=axis("tasks", rangemode="tozero"))


def completed(run: Run, clock: Clock) -> Figure:
    """Tasks done so far, by the endpoint that did them."""
    times, counts = run.completed.columns()
    x = [0.0] + [clock.inside(time) for time in times] + [clock.at(clock.end)]
    data = [area(label(run.pool[number].name), x, [0.0, *y, *y[-1:]], endpoint_colour(number)) for number, y in enumerate(counts)]
    return figure(data, 330, hover="x unified", xaxis=clock.axis(), yaxis=axis("tasks done", rangemode="tozero"))


def times_over_time(run: Run, timings: List[Timing], clock: Clock) -> Figure:
    """Medians of run time and queue time for each endpoint, and what most tasks had."""
    intervals = max(4, min(_MOST_INTERVALS, len(timings) // _IN_INTERVAL))
    width = max(clock.end - clock.begin, 1e-6) / intervals
    crowd = len(run.pool) > _MOST_LINES
    data: List[Dict[str, Any]] = []
    for axis_number, column in (("", 3), ("2", 4)):
        rows = [(min(intervals - 1, max(0, int((t[2] - clock.begin) / width))), t[0], t[column]) for t in timings]
        middle = {i: short((i + 0.5) * width / clock.seconds) for i in range(intervals)}
        bands = {i: quantiles(v, (0.1, 0.5, 0.9)) for i, v in sorted(grouped((i, seconds) for i, _, seconds in rows).items())}
        on = {"type": "scatter", "x": [middle[i] for i in bands], "yaxis": f"y{axis_number}", "showlegend": not axis_number}
        edge = {**on, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        data.append({**edge, "y": [short(b[0]) for b in bands.values()], "showlegend": False})
        data.append({**edge, "y": [short(b[2]) for b in bands.values()], "fill": "tonexty", "fillcolor": "#D5DBE2",
                     "name": "10 to 90 % of all tasks"})
        for number in ([-1] if crowd else range(len(run.pool))):
            cells = {i: quantiles(v, (0.5,))[0] for i, v in sorted(grouped((i, s) for i, e, s in rows if number in (-1, e)).items())}
            if cells:
                # a line over intervals in which nothing began would look like data
                gaps = {i + 1: None for i in cells if not cells.keys() & {i + 1, i + 2} and i + 1 < intervals}
                points = sorted([*gaps.items(), *((i, short(v)) for i, v in cells.items())], key=lambda point: point[0])
                data.append({**on, "x": [middle[i] for i, _ in points], "y": [v for _, v in points], "mode": "lines+markers",
                             "name": "median" if number < 0 else f"median, {label(run.pool[number].name)}", "hovertemplate": "%{y:.3~g} s",
                             "marker": {"size": 4}, "line": {"width": 2, "color": INK if number < 0 else endpoint_colour(number)}})
    return figure(data, 480, xaxis=clock.axis(anchor="y2"), yaxis=axis("run time (s)", domain=[0.54, 1], rangemode="tozero"),
                  yaxis2=axis("queue time (s)", domain=[0, 0.46], rangemode="tozero"))
