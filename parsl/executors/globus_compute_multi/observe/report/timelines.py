"""Figures with a row for each thread or endpoint: who did what, when."""
from __future__ import annotations

from collections import defaultdict
from typing import Any, Dict, List, Tuple

from parsl.executors.globus_compute_multi.observe.report.columns import Run
from parsl.executors.globus_compute_multi.observe.report.placing import (
    Bar,
    Placed,
    bars,
)
from parsl.executors.globus_compute_multi.observe.report.style import (
    FAILED,
    OTHER_APPS,
    PROBED,
    Clock,
    Figure,
    darker,
    endpoint_colour,
    figure,
    label,
    plural,
    short,
    span,
    translucent,
)

#: Most bars that are drawn, and most rows of threads.
MOST_BARS = 4000
MOST_LANES = 200

#: Most marks of failures, and most shaded outages.
_MOST_MARKS = 1000
_MOST_OUTAGES = 200

_SHADES = (("endpoint not available", translucent(FAILED, 0.25)), ("probed after failures", translucent(PROBED, 0.25)))

_COLUMNS = 300  # of the map that is drawn if there are many threads


def gantt(run: Run, placed: Placed, clock: Clock, colours: Dict[int, str]) -> Tuple[Figure, str]:
    """What ran on each thread, in the colours of the apps; returns the figure, and what to say of it."""
    if len(placed.lanes) > MOST_LANES:
        return _map(run, placed, clock)
    drawn, resolution = bars(run, placed, MOST_BARS)
    groups: Dict[Tuple[str, bool], List[Bar]] = defaultdict(list)
    names: Dict[str, str] = {}
    for bar in drawn:
        colour = colours[bar.app]
        names[colour] = "other apps" if colour == OTHER_APPS else label(run.apps.names[bar.app])
        groups[colour, bar.failed == bar.count].append(bar)
    data: List[Dict[str, Any]] = []
    order = {colour: position for position, colour in enumerate(colours.values())}
    for colour, failed in sorted(groups, key=lambda key: (order[key[0]], key[1])):
        some = groups[colour, failed]
        data.append({
            "type": "bar", "orientation": "h", "name": names[colour], "legendgroup": colour, "width": 0.84,
            "showlegend": not failed or (colour, False) not in groups,
            "base": [clock.at(bar.begin) for bar in some], "x": [short((bar.end - bar.begin) / clock.seconds) for bar in some],
            "y": [bar.lane for bar in some], "text": [_about(run, placed, bar) for bar in some], "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": colour, "opacity": [_density(bar) for bar in some] if resolution else 1.0,
                       "line": {"width": 1.5 if failed else 0.5, "color": FAILED if failed else darker(colour)}}})
    said = ("A row for each thread of each endpoint; a bar is a function running there, in the colour of its app; where there is no bar, the "
            "thread was idle. The log does not number threads: a task is drawn on the first that was free.")
    if resolution:
        said += (
            f" Bars closer than {span(resolution / 2)}, or together shorter than {span(resolution)}, are drawn as one, in the colour of the app "
            f"that ran longest, and paler the more idle time there is in it: {len(drawn):,} bars for {sum(b.count for b in drawn):,} attempts.")
    good = {number for number, name in enumerate(run.outcomes.names) if name in ("ok", "under way")}
    failing = [i for i, lane in enumerate(placed.lane) if lane >= 0 and run.attempts.outcome[i] not in good]
    if failing:
        step = 1 + (len(failing) - 1) // _MOST_MARKS
        data.append({"type": "scatter", "mode": "markers", "name": "failed or lost", "hoverinfo": "skip",
                     "x": [clock.at(placed.end[i]) for i in failing[::step]], "y": [placed.lane[i] for i in failing[::step]],
                     "marker": {"symbol": "x", "size": 9 if len(failing) < 200 else 5, "color": FAILED,
                                "line": {"width": 0.5, "color": "#FFFFFF"}}})
        said += f" Of {len(failing):,} attempts that failed or were lost, one in {step} is marked." if step > 1 else ""
    ticks, rows = _lane_ticks(run, placed)
    shapes, more = _shade(run, clock, rows, data)
    shapes += [{"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": low, "y1": high, "line": {"width": 0}, "layer": "below",
                "fillcolor": translucent(endpoint_colour(e), 0.07)} for e, (low, high) in rows.items()]
    each = 24 if len(placed.lanes) <= 24 else 15 if len(placed.lanes) <= 60 else 7
    return figure(data, 110 + each * max(len(placed.lanes), 3), barmode="overlay", bargap=0, shapes=shapes, xaxis=clock.axis(), yaxis={
        "range": [len(placed.lanes) - 0.5, -0.5], "showgrid": False, "zeroline": False, "automargin": True, **ticks}), said + more


def _density(bar: Bar) -> float:
    """How solid a bar is that stands for several attempts, with idle time between them."""
    return round(max(0.3, min(1.0, bar.seconds / max(bar.end - bar.begin, 1e-9))), 2)


def _about(run: Run, placed: Placed, bar: Bar) -> str:
    where = label(run.pool[placed.lanes[bar.lane][0]].name)
    if bar.count > 1:
        failed = f", {bar.failed} failed or lost" if bar.failed else ""
        return f"{bar.count} attempts on {where}{failed}<br>{span(bar.seconds)} of running, mostly {label(run.apps.names[bar.app])}"
    i, attempts = bar.rows[0], run.attempts
    outcome = label(run.outcomes.names[attempts.outcome[i]])
    return (f"task {attempts.task[i]}: {label(run.apps.names[attempts.app[i]])} on {where}, {outcome}<br>ran {span(bar.end - bar.begin)}, "
            f"{span(bar.begin - attempts.dispatched[i])} after its dispatch")


def _lane_ticks(run: Run, placed: Placed) -> Tuple[Dict[str, Any], Dict[int, Tuple[float, float]]]:
    """Texts beside the rows, and from where to where the rows of each endpoint are."""
    rows: Dict[int, Tuple[float, float]] = {}
    for lane, (endpoint, _, _) in enumerate(placed.lanes):
        rows[endpoint] = rows.get(endpoint, (lane - 0.5, 0.0))[0], lane + 0.5
    texts: Dict[float, str] = {}
    each = len(placed.lanes) <= 60
    for lane, (endpoint, thread_class, number) in enumerate(placed.lanes):
        pooled = run.pool[endpoint]
        of_cores = f" ({pooled.classes[thread_class][0]} cores)" if len(pooled.classes) > 1 else ""
        if each:
            texts[lane] = _coloured(endpoint, f"{label(pooled.name, 18)}{of_cores} {number + 1}")
        elif number == 0:
            texts[sum(rows[endpoint]) / 2] = _coloured(endpoint, f"{label(pooled.name, 18)}, {plural(pooled.threads, 'thread')}")
    return {"tickvals": list(texts), "ticktext": list(texts.values())}, rows


def _coloured(endpoint: int, text: str) -> str:
    return f'<span style="color:{endpoint_colour(endpoint)}"><b>{text}</b></span>'


def _shade(run: Run, clock: Clock, rows: Dict[int, Tuple[float, float]], data: List[Dict[str, Any]]) -> Tuple[List[Dict[str, Any]], str]:
    """Rectangles for the times when endpoints were not available, or probed, and what to say of them; adds their legend to ``data``."""
    shapes: List[Dict[str, Any]] = []
    said = ""
    for probed, (name, colour) in enumerate(_SHADES):
        found: List[Tuple[float, Dict[str, Any]]] = []
        for number, (low, high) in rows.items():
            pooled = run.pool[number]
            changes = pooled.probes if probed else [(time, not available) for time, _, available in pooled.capacity]
            for (time, on), (until, _) in zip(changes, [*changes[1:], (clock.end, False)]):
                if on and until > clock.begin and time < clock.end:
                    found.append((time - until, {
                        "type": "rect", "x0": clock.inside(time), "x1": clock.inside(until), "y0": low, "y1": high, "layer": "below",
                        "line": {"width": 0}, "fillcolor": colour}))
        found.sort(key=lambda item: item[0])
        shapes += [shape for _, shape in found[:_MOST_OUTAGES]]
        if found:
            data.append({"type": "scatter", "mode": "markers", "name": name, "x": [None], "y": [None],
                         "marker": {"symbol": "square", "size": 11, "color": colour}})
        if len(found) > _MOST_OUTAGES:
            said += f' Of {len(found):,} times "{name}" the {_MOST_OUTAGES} longest are shaded.'
    return shapes, said


def _map(run: Run, placed: Placed, clock: Clock) -> Tuple[Figure, str]:
    """For many threads: how busy they were, some threads of an endpoint in each row."""
    together = 1 + (len(placed.lanes) - 1) // MOST_LANES
    row_of: List[int] = []
    rows: List[int] = []
    for endpoint, _, _ in placed.lanes:
        if not rows or rows[-1] != endpoint or row_of.count(len(rows) - 1) >= together:
            rows.append(endpoint)
        row_of.append(len(rows) - 1)
    threads = [row_of.count(row) for row in range(len(rows))]
    busy = [[0.0] * _COLUMNS for _ in rows]
    width = max(clock.end - clock.begin, 1e-6) / _COLUMNS
    for i, lane in enumerate(placed.lane):
        if lane >= 0:
            a, b = placed.begin[i] - clock.begin, placed.end[i] - clock.begin
            cells = busy[row_of[lane]]
            for column in range(max(0, int(a / width)), min(_COLUMNS, int(b / width) + 1)):
                cells[column] += max(0.0, min(b, (column + 1) * width) - max(a, column * width)) / width
    ticks = {rows.index(e) + (rows.count(e) - 1) / 2: _coloured(e, f"{label(run.pool[e].name, 18)}, {plural(run.pool[e].threads, 'thread')}")
             for e in sorted(set(rows))}
    data = [{
        "type": "heatmap", "z": [[round(100 * cell / threads[row]) for cell in cells] for row, cells in enumerate(busy)], "zmin": 0, "zmax": 100,
        "x0": width / 2 / clock.seconds, "dx": width / clock.seconds, "hovertemplate": "busy for %{z} %<extra></extra>",
        "colorscale": [[0, "#FFFFFF"], [0.01, "#DCEBF5"], [1, "#08519C"]], "colorbar": {"title": {"text": "busy, %"}, "thickness": 12}}]
    said = (f"A row is up to {together} threads of one endpoint, since {len(placed.lanes):,} are too many to draw each; its colour says for how "
            "much of the time functions ran on them.")
    return figure(data, 760, legend=False, xaxis=clock.axis(), yaxis={
        "range": [len(rows) - 0.5, -0.5], "showgrid": False, "automargin": True, "tickvals": list(ticks), "ticktext": list(ticks.values()),
    }), said


#: Colour and symbol of what happens to an endpoint, in the order of the legend, and how far from the middle of the endpoint's row it is
#: drawn: what happens at once is not drawn in one place.
_SIGNS = {"offline": (FAILED, "triangle-down", -0.3), "child_offline": (FAILED, "triangle-down-open", -0.3),
          "paused": (PROBED, "square", -0.1), "resumed": ("#2E7D4F", "square-open", -0.1),
          "probing": (PROBED, "diamond-open", 0.1), "recovered": ("#2E7D4F", "diamond", 0.1),
          "online": ("#2E7D4F", "triangle-up", -0.3), "warm": ("#5B4BB5", "circle", -0.1), "cold": ("#5B4BB5", "circle-open", -0.1),
          "threads": ("#7C8794", "cross", -0.1)}

#: What these words of the log mean.
EVENT_WORDS = {"offline": "offline", "child_offline": "child process offline", "paused": "paused after failures",
               "probing": "probed with few tasks", "recovered": "recovered", "resumed": "pause over", "online": "online",
               "warm": "first sign of life", "cold": "no workers any more", "child": "child process known",
               "threads": "number of threads known", "versions": "versions known"}


def events(run: Run, clock: Clock) -> Tuple[Figure, str]:
    """What happened to endpoints, and where attempts failed; returns the figure, and what to say of it."""
    data: List[Dict[str, Any]] = []
    for state, (colour, symbol, place) in _SIGNS.items():
        some = [event for event in run.events if event.state == state]
        if some:
            data.append({"type": "scatter", "mode": "markers", "name": EVENT_WORDS[state], "x": [clock.inside(e.time) for e in some],
                         "y": [e.endpoint + place for e in some], "cliponaxis": False,
                         "text": [label(f"{EVENT_WORDS[state]} {e.detail}".strip(), 120) for e in some],
                         "hovertemplate": "%{text}<br>at %{x} " + clock.unit + "<extra></extra>",
                         "marker": {"color": colour, "symbol": symbol, "size": 10, "line": {"width": 1.5, "color": colour}}})
    numbers = {endpoint.name: number for number, endpoint in enumerate(run.pool)}
    failed = [failure for failure in run.failures if failure.endpoint is not None]
    if failed:
        data.append({"type": "scatter", "mode": "markers", "name": "attempt failed", "x": [clock.inside(f.time) for f in failed],
                     "y": [numbers[f.endpoint] + 0.3 for f in failed if f.endpoint is not None], "cliponaxis": False,
                     "text": [f"task {f.task}: {label(f.app)}, {label(f.outcome, 60)}; {label(f.came, 60)}" for f in failed],
                     "hovertemplate": "%{text}<extra></extra>",
                     "marker": {"color": FAILED, "symbol": "x-thin", "size": 8, "line": {"width": 2, "color": FAILED}}})
    rows = {number: (number - 0.4, number + 0.4) for number in range(len(run.pool))}
    shapes, said = _shade(run, clock, rows, data)
    if run.event_count > len(run.events):
        said += f" Of {run.event_count:,} events the first {len(run.events):,} are drawn."
    failures = sum(endpoint.failed for endpoint in run.pool)
    if failures > len(failed):
        said += f" Of {failures:,} attempts that failed the first {len(failed):,} have their cross."
    return figure(data, 150 + 60 * max(len(run.pool), 2), shapes=shapes, xaxis=clock.axis(), yaxis={
        "range": [len(run.pool) - 0.4, -0.6], "tickvals": list(rows), "gridcolor": "#EEF1F4", "automargin": True, "zeroline": False,
        "ticktext": [_coloured(n, label(e.name, 18)) for n, e in enumerate(run.pool)]}), said
