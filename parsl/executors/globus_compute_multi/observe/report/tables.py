"""The report's tables, as HTML. All text of the log is escaped here."""
from __future__ import annotations

from html import escape
from typing import Iterable, List, Sequence

from parsl.executors.globus_compute_multi.observe.report.accounting import (
    USES,
    Usage,
    grouped,
    quantiles,
)
from parsl.executors.globus_compute_multi.observe.report.columns import Pooled, Run
from parsl.executors.globus_compute_multi.observe.report.graphs import (
    longest,
    step_name,
)
from parsl.executors.globus_compute_multi.observe.report.paths import PARTS, Step
from parsl.executors.globus_compute_multi.observe.report.series import Timing
from parsl.executors.globus_compute_multi.observe.report.style import (
    Clock,
    clip,
    endpoint_colour,
    percent,
    span,
)
from parsl.executors.globus_compute_multi.observe.report.timelines import EVENT_WORDS

#: Most rows of the tables of events and of kinds of failures.
_MOST_ROWS = 200


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), whole: int = -1) -> str:
    """A table of cells that are HTML; the columns ``numbers`` are aligned to the right.

    If there are many columns, each row becomes a block where there is little room, in which the column ``whole`` has a line of its own.
    """
    def cell(i: int, tag: str, value: str) -> str:
        kind = " class=n" if i in numbers else " class=whole" if i == whole else ""
        return f'<{tag}{kind} data-is="{escape(headings[i])}">{value}</{tag}>'

    head = "".join(cell(i, "th", heading) for i, heading in enumerate(headings))
    bodies = [f"<tr>{''.join(cell(i, 'td', value) for i, value in enumerate(row))}</tr>" for row in rows]
    kind = "blocks" if len(headings) > 5 else "narrow"
    room = "scroll" if len(bodies) > 12 else "wide"
    return f'<div class={room}><table class={kind}><thead><tr>{head}</tr></thead><tbody>{"".join(bodies)}</tbody></table></div>'


def text(value: str, most: int = 80) -> str:
    """Text of the log, for the page."""
    return escape(clip(value, most))


def endpoint_name(run: Run, number: int) -> str:
    """An endpoint's name with its colour."""
    return f'<span class=dot style="background:{endpoint_colour(number)}"></span>{text(run.pool[number].name, 40)}'


def endpoints(run: Run, usages: Sequence[Usage], timings: List[Timing]) -> str:
    """What each endpoint did."""
    total = sum(endpoint.completed for endpoint in run.pool)
    priced = any(endpoint.cost for endpoint in run.pool)
    ran, queued = grouped((t[0], t[3]) for t in timings), grouped((t[0], t[4]) for t in timings)
    rows = []
    for number, endpoint in enumerate(run.pool):
        usage = usages[number]
        share = percent(endpoint.completed / total) if total else ""
        row = [endpoint_name(run, number), _threads(endpoint), f"{endpoint.completed:,}", share, f"{endpoint.failed:,}",
               span(endpoint.busy_seconds), *(percent(usage.uses[use] / usage.total) if usage.total else "" for use in USES[:2]),
               *(span(quantiles(times[number], (0.5,))[0]) if number in times else "" for times in (ran, queued)),
               f"{usage.core_seconds:,.1f}"]
        if priced:
            row.append("" if not endpoint.cost else f"{usage.core_seconds / 3600 * endpoint.cost:,.4g}")
        rows.append([*row, _state(endpoint), _versions(endpoint)])
    headings = ["endpoint", "threads × cores", "tasks done", "share", "failed attempts", "functions ran",
                "succeeded, of thread time", "failed or lost, of thread time", "median run time", "median queue time", "core-seconds",
                *(["cost"] if priced else []), "state", "versions there"]
    return table(headings, rows, range(2, 11 + priced), len(headings) - 1)


def _threads(endpoint: Pooled) -> str:
    return " + ".join(f"{count} × {cores}" for cores, count in endpoint.classes)


def _state(endpoint: Pooled) -> str:
    return "offline" if not endpoint.online else "paused" if endpoint.paused else "probed" if endpoint.probing else "available"


def _versions(endpoint: Pooled) -> str:
    kinds = {tuple(sorted(versions.items())) for versions in endpoint.versions.values()}
    return "<br>".join(text(", ".join(f"{key} {value}" for key, value in kind), 120) for kind in sorted(kinds)[:3])


def failures(run: Run, clock: Clock) -> str:
    """What failed: counted by kind, then one by one."""
    if not run.failure_counts:
        return "<p>Nothing failed.</p>"
    kinds = sorted(run.failure_counts.items(), key=lambda item: -item[1])[:_MOST_ROWS]
    numbers = {endpoint.name: number for number, endpoint in enumerate(run.pool)}

    def where(name: str) -> str:
        return endpoint_name(run, numbers[name]) if name in numbers else "none"

    counted = table(["how many", "app", "endpoint", "what"],
                    [[f"{count:,}", text(app), where(endpoint), text(what)] for (endpoint, app, what), count in kinds], [0])
    rows = [[_when(f.time, clock), str(f.task), text(f.app, 40), where(f.endpoint or ""), text(f.outcome), text(f.message, 300), text(f.came)]
            for f in run.failures]
    each = table(["when", "task", "app", "endpoint", "what", "message", "what came of it"], rows, [0, 1], 5)
    total = sum(run.failure_counts.values())
    some = "" if total <= len(run.failures) else f" The first {len(run.failures):,} of {total:,} are listed."
    return f"{counted}<h3>One by one</h3><p>Texts of exceptions that apps raised are not in the log.{some}</p>{each}"


def _when(time: float, clock: Clock) -> str:
    return span(time - clock.begin) if time >= clock.begin else "before"


def events(run: Run, clock: Clock) -> str:
    """What happened to endpoints, in order."""
    rows = [[_when(e.time, clock), endpoint_name(run, e.endpoint), EVENT_WORDS[e.state], text(e.detail, 200)] for e in run.events]
    some = "" if run.event_count <= _MOST_ROWS else f"<p>The first {_MOST_ROWS} of {run.event_count:,}.</p>"
    return some + table(["when", "endpoint", "what", "more"], rows[:_MOST_ROWS], [0])


def path(run: Run, steps: Sequence[Step]) -> str:
    """The critical path's longest steps, with what they were made of."""
    whole = sum(sum(step.seconds) for step in steps) or 1.0
    rows = []
    for number, step in longest(steps):
        attempt = run.tasks.attempt[step.row]
        rows.append([str(number), str(run.tasks.task[step.row]), text(step_name(run, steps, number)),
                     endpoint_name(run, run.attempts.endpoint[attempt]) if attempt >= 0 else "none", span(sum(step.seconds)),
                     percent(sum(step.seconds) / whole), *(span(s) if s > 0 else "" for s in step.seconds)])
    return table(["step", "task", "app", "endpoint", "seconds", "share of the path", *PARTS], rows, [0, 1, *range(4, 6 + len(PARTS))])
