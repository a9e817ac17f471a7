"""Figures of what time went to, and of how run and queue times are spread."""
from __future__ import annotations

import math
from typing import Any, Dict, List, Sequence

from parsl.executors.globus_compute_multi.observe.report.accounting import (
    PHASES,
    USES,
    Usage,
    grouped,
    phases_of_tasks,
    spread,
)
from parsl.executors.globus_compute_multi.observe.report.columns import Run
from parsl.executors.globus_compute_multi.observe.report.placing import Placed
from parsl.executors.globus_compute_multi.observe.report.series import Timing
from parsl.executors.globus_compute_multi.observe.report.style import (
    INK,
    PART_COLOURS,
    USE_COLOURS,
    Figure,
    axis,
    endpoint_colour,
    figure,
    ink_on,
    label,
    percent,
    short,
    span,
    translucent,
)

#: Most rows of a figure with a row for each endpoint or app.
MOST_ROWS = 20

_SHORTEST = 0.001  # seconds: what is drawn for less, where the axis is logarithmic


def thread_time(run: Run, usages: Sequence[Usage]) -> Figure:
    """What the threads of each endpoint did, in per cent of their time."""
    rows = sorted(sorted(range(len(usages)), key=lambda number: -usages[number].total)[:MOST_ROWS])
    rows = [number for number in rows if usages[number].total > 0]
    data = []
    for use, colour in zip(USES, USE_COLOURS):
        seconds = [usages[number].uses[use] for number in rows]
        if any(seconds):
            shares = [s / usages[number].total for s, number in zip(seconds, rows)]
            data.append(_stacked(use, [100 * share for share in shares], colour, [f"{use}: {span(s)} of thread time, {percent(share)}"
                                                                                  for s, share in zip(seconds, shares)],
                                 [percent(share) if share > 0.06 else "" for share in shares]))
    return _rows(data, [_endpoint(run, number) for number in rows], axis("share of the threads' time (%)", range=[0, 100]))


def task_time(run: Run, placed: Placed) -> Figure:
    """What the time of a task was made of, for each app."""
    found = phases_of_tasks(run, placed)
    apps = sorted(found, key=lambda app: -sum(found[app][1].values()))[:MOST_ROWS]
    most = max((sum(found[app][1].values()) / found[app][0] for app in apps), default=0.0)
    data = []
    for phase, colour in zip(PHASES, PART_COLOURS[1:]):
        means = [found[app][1][phase] / found[app][0] for app in apps]
        if any(means):
            texts = [span(mean) if mean > 0.08 * most else "" for mean in means]
            data.append(_stacked(phase, means, colour, [f"{phase}: {span(mean)}" for mean in means], texts))
    names = [f"{label(run.apps.names[app], 22)} ({found[app][0]:,})" for app in apps]
    return _rows(data, names, axis("mean time of a task (s)", rangemode="tozero"))


def _stacked(name: str, x: List[float], colour: str, hovers: List[str], texts: List[str]) -> Dict[str, Any]:
    return {"type": "bar", "orientation": "h", "name": name, "x": [short(value) for value in x], "y": list(range(len(x))), "hovertext": hovers,
            "hovertemplate": "%{hovertext}<extra></extra>", "marker": {"color": colour}, "text": texts, "textposition": "inside",
            "insidetextanchor": "middle", "textangle": 0, "textfont": {"color": ink_on(colour)}, "constraintext": "none", "cliponaxis": True}


def _rows(data: List[Dict[str, Any]], names: List[str], x: Dict[str, Any]) -> Figure:
    return figure(data, 130 + 40 * max(len(names), 1), barmode="stack", bargap=0.3, xaxis=x, yaxis={
        "tickvals": list(range(len(names))), "ticktext": names, "range": [len(names) - 0.5, -0.5], "automargin": True, "showgrid": False})


def _endpoint(run: Run, number: int) -> str:
    return f'<span style="color:{endpoint_colour(number)}"><b>{label(run.pool[number].name, 18)}</b></span>'


def distribution(timings: List[Timing]) -> Figure:
    """How many tasks ran, and were queued, for how long."""
    columns = {"run time": [max(t[3], _SHORTEST) for t in timings], "queue time": [max(t[4], _SHORTEST) for t in timings]}
    low = math.floor(10 * math.log10(min(min(values) for values in columns.values())))
    high = math.floor(10 * math.log10(max(max(values) for values in columns.values()))) + 1
    data = []
    for (name, values), colour in zip(columns.items(), (PART_COLOURS[4], PART_COLOURS[3])):
        counts = [0] * (high - low)
        for value in values:
            counts[min(max(math.floor(10 * math.log10(value)) - low, 0), high - low - 1)] += 1
        data.append({"type": "scatter", "mode": "lines", "name": name, "x": [short(10 ** (i / 10)) for i in range(low, high + 1)],
                     "y": [*counts, 0], "line": {"shape": "hv", "color": colour, "width": 2}, "fill": "tozeroy",
                     "fillcolor": translucent(colour, 0.3), "hovertemplate": "%{y} tasks of about %{x:.2~g} s"})
    return figure(data, 300, xaxis=axis("seconds (logarithmic)", type="log", dtick=1), yaxis=axis("tasks", rangemode="tozero"))


def boxes(run: Run, timings: List[Timing], by_app: bool) -> Figure:
    """Run times and queue times of each endpoint, or app."""
    runs = grouped((t[1] if by_app else t[0], t[3]) for t in timings)
    queues = grouped((t[1] if by_app else t[0], t[4]) for t in timings)
    columns = [spread(runs), spread(queues)]
    rows = sorted(runs, key=lambda number: -sum(runs[number]) if by_app else number)[:MOST_ROWS]
    data: List[Dict[str, Any]] = []
    layout: Dict[str, Any] = {}
    for suffix, quantities, title, domain in (("", columns[0], "run time (s)", [0, 0.48]), ("2", columns[1], "queue time (s)", [0.52, 1])):
        wide = max(quantities[n][4] for n in rows) > 30 * max(_SHORTEST, min(quantities[n][2] for n in rows))
        for position, number in enumerate(rows):
            q = [short(max(value, _SHORTEST) if wide else value) for value in quantities[number]]
            data.append({
                "type": "box", "orientation": "h", "xaxis": f"x{suffix}", "y": [position], "name": "", "width": 0.6,
                "lowerfence": q[0:1], "q1": q[1:2], "median": q[2:3], "q3": q[3:4], "upperfence": q[4:5],
                "line": {"color": INK if by_app else endpoint_colour(number)}})
        layout[f"xaxis{suffix}"] = axis(title, domain=domain, **({"type": "log", "dtick": 1} if wide else {"rangemode": "tozero"}))
    names = [label(run.apps.names[n], 18) if by_app else _endpoint(run, n) for n in rows]
    return figure(data, 100 + 44 * len(rows), legend=False, **layout, yaxis={
        "tickvals": list(range(len(rows))), "ticktext": names, "range": [len(rows) - 0.5, -0.5], "automargin": True, "gridcolor": "#EEF1F4"})
