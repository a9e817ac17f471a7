"""Figures of the task graph and of its critical path."""
from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Dict, List, Sequence, Set, Tuple

from parsl.executors.globus_compute_multi.observe.report.columns import MOST_NODES, Run
from parsl.executors.globus_compute_multi.observe.report.paths import PARTS, Step
from parsl.executors.globus_compute_multi.observe.report.style import (
    FAILED,
    OTHER_APPS,
    PART_COLOURS,
    Clock,
    Figure,
    clip,
    endpoint_colour,
    figure,
    label,
    short,
    span,
)

#: Most steps of the critical path that are drawn: the longest ones.
MOST_STEPS = 30

#: Most endpoints that the graph's legend names.
_MOST_NAMED = 10

Edge = Tuple[Any, Any]


def longest(steps: Sequence[Step]) -> List[Tuple[int, Step]]:
    """The longest steps, in order, with their numbers from 1."""
    ranked = sorted(enumerate(steps, 1), key=lambda item: -sum(item[1].seconds))[:MOST_STEPS]
    return sorted(ranked, key=lambda item: item[0])


def path(run: Run, steps: Sequence[Step], clock: Clock) -> Figure:
    """The critical path's steps, from when to when, and what they were made of."""
    drawn = longest(steps)
    data = []
    for part, colour in enumerate(PART_COLOURS):
        some = [(row, step) for row, (_, step) in enumerate(drawn) if step.seconds[part] > 0]
        if some:
            data.append({
                "type": "bar", "orientation": "h", "name": PARTS[part], "y": [row for row, _ in some], "width": 0.7,
                "base": [clock.at(step.begin + sum(step.seconds[:part])) for _, step in some],
                "x": [short(step.seconds[part] / clock.seconds) for _, step in some],
                "text": [f"{PARTS[part]}: {span(step.seconds[part])}" for _, step in some], "textposition": "none",
                "hovertemplate": "%{text}<extra></extra>", "marker": {"color": colour}})
    names = [f"{number}. {label(step_name(run, steps, number))} {span(sum(step.seconds))}" for number, step in drawn]
    return figure(data, 130 + 26 * max(len(drawn), 2), barmode="overlay", bargap=0, xaxis=clock.axis(), yaxis={
        "tickvals": list(range(len(drawn))), "ticktext": names, "range": [len(drawn) - 0.5, -0.5], "automargin": True, "showgrid": False})


def step_name(run: Run, steps: Sequence[Step], number: int) -> str:
    """The app of a step's task; steps are numbered from 1."""
    step = steps[number - 1]
    again = number > 1 and steps[number - 2].node == step.node
    return clip(run.apps.names[run.tasks.app[step.row]], 20) + (", retried" if again else "")


def task_graph(run: Run, steps: Sequence[Step], palette: Dict[int, str]) -> Tuple[Figure, bool]:
    """The graph in layers, by depth; and whether it is drawn task by task, or else by app and depth."""
    graph = run.graph
    critical = {step.node for step in steps}
    chain = {(a.node, b.node) for a, b in zip(steps, steps[1:]) if a.node != b.node}
    if graph.edges is not None:
        layers = {node: graph.depth[node] for node in graph.apps}
        texts, colours = {}, {}
        for node, app in graph.apps.items():
            row = graph.row.get(node, -1)
            attempt = run.tasks.attempt[row] if row >= 0 else -1
            endpoint = run.attempts.endpoint[attempt] if attempt >= 0 else None
            where = "not finished" if row < 0 else "no endpoint" if endpoint is None else label(run.pool[endpoint].name)
            bad = row >= 0 and not run.tasks.done[row]
            colours[node] = FAILED if bad else OTHER_APPS if endpoint is None else endpoint_colour(endpoint)
            texts[node] = f"{label(run.apps.names[app])}, task {run.tasks.task[row] if row >= 0 else '?'}: {'failed, ' if bad else ''}{where}"
        drawn = _draw(layers, graph.edges, chain, texts, colours, dict.fromkeys(layers, 9.0), critical)
        used = [(label(endpoint.name), endpoint_colour(number)) for number, endpoint in enumerate(run.pool) if endpoint.completed]
        drawn["data"] += [{"type": "scatter", "mode": "markers", "name": name, "x": [None], "y": [None], "marker": {"size": 9, "color": colour}}
                          for name, colour in [*used[:_MOST_NAMED], *([("failed", FAILED)] if FAILED in colours.values() else [])]]
        return drawn, True
    group = {node: (graph.depth[node], app) for node, app in graph.apps.items()}
    sizes = Counter(group.values())
    shown = {key for key, _ in sizes.most_common(MOST_NODES)}
    edges = {(group[parent], group[node]) for node, parent in graph.last_parent.items()}
    return _draw({key: key[0] for key in shown}, {edge for edge in edges if set(edge) <= shown},
                 {(group[a], group[b]) for a, b in chain}, {key: f"{sizes[key]:,} × {label(run.apps.names[key[1]])}" for key in shown},
                 {key: palette.get(key[1], OTHER_APPS) for key in shown}, {key: min(46.0, 10 + 3 * sizes[key] ** 0.4) for key in shown},
                 {group[node] for node in critical}), False


def _draw(layers: Dict[Any, int], edges: Set[Edge], chain: Set[Edge], texts: Dict[Any, str], colours: Dict[Any, str], sizes: Dict[Any, float],
          critical: Set[Any]) -> Figure:
    """Nodes by layer from left to right; within a layer by the mean height of their parents, so that few edges cross."""
    parents: Dict[Any, List[Any]] = defaultdict(list)
    for parent, node in edges:
        parents[node].append(parent)
    columns: Dict[int, List[Any]] = defaultdict(list)
    for node in sorted(layers):
        columns[layers[node]].append(node)
    y: Dict[Any, float] = {}
    for depth in sorted(columns):
        means = {node: sum(y.get(p, 0.5) for p in parents[node]) / len(parents[node]) if parents[node] else 0.5 for node in columns[depth]}
        for place, node in enumerate(sorted(columns[depth], key=lambda n: (means[n], n))):
            y[node] = (place + 0.5) / len(columns[depth])
    data: List[Dict[str, Any]] = []
    for name, some, colour, width in (("depends on", edges - chain, "#B4BDC7", 1.0), ("critical path", chain, "#1D2733", 3.0)):
        xs: List[Any] = []
        ys: List[Any] = []
        for parent, node in sorted(some):
            if parent in y and node in y:
                xs += [layers[parent], layers[node], None]
                ys += [short(y[parent]), short(y[node]), None]
        if xs:
            data.append({"type": "scatter", "mode": "lines", "name": name, "x": xs, "y": ys, "hoverinfo": "skip",
                         "line": {"color": colour, "width": width}})
    order = sorted(layers)
    named = len(order) <= 40
    nodes: Dict[str, Any] = {
        "type": "scatter", "mode": "markers+text" if named else "markers", "name": "task", "showlegend": False, "x": [layers[n] for n in order],
        "y": [short(y[n]) for n in order], "text": [texts[n] for n in order], "textposition": "top center", "cliponaxis": False,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": [sizes[n] for n in order], "color": [colours[n] for n in order], "opacity": 1,
                   "line": {"width": [2.5 if n in critical else 0.5 for n in order], "color": "#1D2733"}}}
    data.append(nodes)
    most = max(len(column) for column in columns.values())
    last = max(columns)
    x: Dict[str, Any] = {"title": {"text": "depth: tasks before it, on the longest way"}, "showgrid": False, "zeroline": False,
                         "dtick": max(1, last // 12), "range": [-0.5, last + 0.5]}
    return figure(data, min(640, 260 + 8 * most), xaxis=x, yaxis={"visible": False, "range": [1.02, -0.08]})
