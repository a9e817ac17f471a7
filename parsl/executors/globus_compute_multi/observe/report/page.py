"""The page: sections in words, tables and figures, in one file that needs nothing else."""
from __future__ import annotations

import json
import time
from dataclasses import dataclass
from html import escape
from typing import Dict, List, Optional, Sequence

from parsl.executors.globus_compute_multi.observe.report import (
    graphs,
    series,
    shares,
    tables,
    timelines,
)
from parsl.executors.globus_compute_multi.observe.report.accounting import (
    USES,
    Usage,
    timings,
    use_of_threads,
)
from parsl.executors.globus_compute_multi.observe.report.assets import SCRIPT, STYLE
from parsl.executors.globus_compute_multi.observe.report.columns import Run
from parsl.executors.globus_compute_multi.observe.report.paths import (
    Step,
    critical_path,
)
from parsl.executors.globus_compute_multi.observe.report.placing import Placed, place
from parsl.executors.globus_compute_multi.observe.report.style import (
    Clock,
    Figure,
    app_colours,
    percent,
    plural,
    span,
)
from parsl.executors.globus_compute_multi.observe.report.words import (
    findings,
    headline,
    state_of_run,
)

#: The browser may load nothing, from anywhere: what is needed is in the page.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


@dataclass
class View:
    """A run, and what was computed of it."""

    run: Run
    placed: Placed
    usages: List[Usage]
    times: List[series.Timing]
    steps: Sequence[Step]
    clock: Clock

    @property
    def ran(self) -> Optional[float]:
        """Share of all threads' time in which functions ran that succeeded."""
        there = sum(usage.total for usage in self.usages)
        return sum(usage.uses[USES[0]] for usage in self.usages) / there if there else None

    @property
    def app_colours(self) -> Dict[int, str]:
        """Colours of apps, by how long they ran."""
        weights = dict.fromkeys(range(len(self.run.apps.names)), 0.0)
        for app, seconds in zip(self.run.attempts.app, map(float.__sub__, self.placed.end, self.placed.begin)):
            weights[app] += seconds if seconds == seconds else 0.0
        return app_colours(weights)


class Page:
    """Collects sections and figures."""

    def __init__(self) -> None:
        self.parts: List[str] = []
        self.figures: Dict[str, Figure] = {}

    def section(self, title: str, said: str, figure: Optional[Figure] = None, more: str = "") -> str:
        """A section: ``said`` is plain text; ``more`` is HTML."""
        drawn = ""
        if figure is not None:
            name = f"figure{len(self.figures) + 1}"
            self.figures[name] = figure
            height = figure["layout"]["height"]
            drawn = f'<div class=figure id={name} role=img aria-label="{escape(title)}" style="min-height:{height}px"></div>'
        words = f"<p>{escape(said)}</p>" if said else ""
        return f"<section><h2>{escape(title)}</h2>{words}{drawn}{more}</section>"

    def add(self, title: str, said: str, figure: Optional[Figure] = None, more: str = "") -> None:
        """Add a section of the full width."""
        self.parts.append(self.section(title, said, figure, more))

    def pair(self, *sections: str) -> None:
        """Add sections side by side, where there is room."""
        self.parts.append(f"<div class=pair>{''.join(sections)}</div>")


def make_page(run: Run, source: str, plotly: str) -> str:
    """The report on a run.

    Parameters
    ----------
    run : Run
    source : str
        Name of the log, for people.
    plotly : str
        The source of plotly.js.
    """
    placed = place(run)
    view = View(run, placed, use_of_threads(run, placed), list(timings(run, placed)), critical_path(run, placed), Clock(*run.window))
    page = Page()
    state = state_of_run(run)
    page.parts.append(f"<div class=open role=status>{escape(state)}</div>" if state else "")
    page.parts.append(f"<p class=lead>{escape(headline(run, view.usages))}</p>")
    if run.first_submitted is None:
        _endpoints(page, view)
    else:
        page.parts.append(_tiles(view))
        _losses(page, view)
        _endpoints(page, view)
        _timelines(page, view)
        _times(page, view)
        _graph(page, view)
    return _document(page, run, source, plotly)


def _document(page: Page, run: Run, source: str, plotly: str) -> str:
    label = tables.text(str(run.header.get("label", "a workflow")))
    about = [source, f"began {_date(run.window[0])}", *(f"{what} {run.header[key]}" for what, key in (("policy", "policy"), ("run", "run_id"))
                                                        if run.header.get(key))]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{label}: report</title><style>{STYLE}</style></head>
<body><header><h1>Run of {label} on {plural(len(run.pool), "Globus Compute endpoint")}</h1>
<p class=when>{tables.text(", ".join(about), 300)}</p></header>
<main>
{chr(10).join(page.parts)}
</main>
<footer>Made from the run log on {_date(time.time())}. Times are those of the machine where Parsl ran. Drag in a figure to enlarge a part of it,
double-click to go back; click a name in a legend to hide what it stands for.</footer>
{chr(10).join(f'<script type="application/json" id="{name}-data">{_script_safe(figure)}</script>' for name, figure in page.figures.items())}
<script>{plotly}</script>
<script>{SCRIPT}</script>
</body></html>
"""


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _script_safe(figure: Figure) -> str:
    """JSON in which nothing ends the script element, or begins a comment."""
    text = json.dumps(figure, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _tiles(view: View) -> str:
    run, counts = view.run, view.run.counts
    total = sum(count for state, count in counts.items() if state != "unsubmitted")
    seconds = view.clock.end - view.clock.begin
    failed = sum(endpoint.failed for endpoint in run.pool)
    tiles = [(f"{counts['done']:,} of {total:,}", "tasks done", False), (f"{counts['failed']:,}", "tasks failed", counts["failed"] > 0),
             (span(seconds), "wall time", False), (f"{counts['done'] / max(seconds, 1e-9):,.3g} / s", "tasks done", False),
             ("?" if view.ran is None else percent(view.ran), "of thread time well used", False),
             (f"{failed:,}", "attempts failed or lost", failed > 0), (f"{run.failovers:,}", "failovers", run.failovers > 0)]
    cells = "".join(f"<div class='tile{' bad' if bad else ''}'><b>{value}</b><span>{what}</span></div>" for value, what, bad in tiles)
    return f"<div class=tiles>{cells}</div>"


def _losses(page: Page, view: View) -> None:
    found = findings(view.run, view.usages, view.placed, view.steps)
    page.add("Where the time went", "What the threads of each endpoint spent their time on, over the whole run; below, the largest losses.",
             shares.thread_time(view.run, view.usages),
             "<ul class=found>" + "".join(f"<li><b>{escape(what)}</b>: {escape(more)}</li>" for what, more in found) + "</ul>")


def _endpoints(page: Page, view: View) -> None:
    cost = ("" if not any(endpoint.cost for endpoint in view.run.pool) else
            " Cost is these at the cost_per_core_hour of the endpoint; idle threads, and functions that were lost, cost nothing here.")
    page.add("What each endpoint did", f"Core-seconds are those of functions whose result, or exception, came back.{cost}",
             more=tables.endpoints(view.run, view.usages, view.times))


def _timelines(page: Page, view: View) -> None:
    run, clock = view.run, view.clock
    figure, said = timelines.gantt(run, view.placed, clock, view.app_colours)
    page.add("What ran where, and when", said, figure)
    page.pair(
        page.section("Busy threads over time, by endpoint", "Threads on which functions ran, against those of available endpoints (dashes).",
                     series.utilisation(run, view.usages, clock)),
        page.section("Tasks by state over time", "A task is given to a thread, or queued ahead of that, when it is dispatched to an endpoint.",
                     series.states(run, clock)))
    happened, more = timelines.events(run, clock)
    page.pair(
        page.section("Tasks done over time, by endpoint", "How many tasks each endpoint had done so far.", series.completed(run, clock)),
        page.section("What happened to the endpoints",
                     f"When an endpoint was not available, or probed, is shaded; crosses are attempts that failed there.{more}",
                     happened, f"<details><summary>All events as a table</summary>{tables.events(run, clock)}</details>"))
    page.add("What failed, and what came of it", "", more=tables.failures(run, clock))


def _times(page: Page, view: View) -> None:
    run, times = view.run, view.times
    if not times:
        return
    box = "A box holds the middle half of the tasks, the line in it is the median; the whiskers reach from 5 to 95\u00a0%."
    page.add("Run time and queue time over time", "Queue time is from a task's dispatch until its function began: network, service, start-up "
             "and queue on the endpoint. The lines are medians of the tasks that began then.", series.times_over_time(run, times, view.clock))
    page.pair(page.section("Run time and queue time of each endpoint", box, shares.boxes(run, times, by_app=False)),
              page.section("Run time and queue time of each app", box, shares.boxes(run, times, by_app=True)))
    page.pair(page.section("How long tasks ran and were queued", "Number of tasks, by seconds; the first step holds all that are shorter.",
                           shares.distribution(times)),
              page.section("What a task's time was made of", "Mean seconds from submission to end, by app (in brackets: how many tasks).",
                           shares.task_time(run, view.placed)))


def _graph(page: Page, view: View) -> None:
    run, steps = view.run, view.steps
    if not steps:
        page.add("Task graph and critical path", "No task is finished yet." if not len(run.tasks) else
                 "The log does not say which tasks depend on which: only a Parsl whose DataFlowKernel has the hooks tells that.")
        return
    some = f" The {graphs.MOST_STEPS} longest of {len(steps):,} steps are shown." if len(steps) > graphs.MOST_STEPS else ""
    page.add("Critical path: the chain of tasks that the end of the run waited for",
             "From the task that ended last back to that of its parents which ended last, and so on; a step begins when the one before has "
             f"ended. A task that Parsl retried has a step for each try.{some}", graphs.path(run, steps, view.clock),
             f"<details><summary>The same as a table</summary>{tables.path(run, steps)}</details>")
    figure, each = graphs.task_graph(run, steps, view.app_colours)
    circles = "A circle is a task, in the colour of the endpoint that did it; red ones failed." if each else (
        f"The {len(run.graph.apps):,} tasks are too many to draw one by one: a circle stands for all tasks of an app at one depth of the graph, "
        "and lines lead to them from the parents that ended last.")
    page.add("Task graph", f"{circles} The critical path is drawn thick.", figure)
