"""A status in words: as plain text for terminals and pipes, and as HTML for Jupyter."""
from __future__ import annotations

import html
from typing import TYPE_CHECKING, List, Tuple

from parsl.executors.globus_compute_multi.observe.wording import (
    clock,
    cropped,
    duration,
    plain,
    rate,
    width,
)

if TYPE_CHECKING:
    from parsl.executors.globus_compute_multi.observe.status import (
        EndpointStatus,
        Status,
    )

#: Text is at most so many columns wide.
COLUMNS = 100

_HEADINGS = ("endpoint", "threads x cores", "state", "running", "ahead", "done", "failed", "busy")

_GAP = "  "

_SOON_SECONDS = 1.0


def endpoint_state(e: "EndpointStatus") -> str:
    """The state of an endpoint in a word or two: ``offline``, ``paused 12 s``, ``probing``, ``starting``, ``online``."""
    if not e.online:
        return "offline"
    if not e.available:
        return "paused" if e.paused_seconds is None else f"paused {duration(e.paused_seconds)}"
    if e.probing:
        return "probing"
    if e.running and not (e.done or e.failed):
        return "starting"  # nothing has come back yet
    return "online"


def threads(e: "EndpointStatus") -> str:
    """The threads of an endpoint, by class: ``48 x 1 + 4 x 16``, numbers of threads times cores."""
    return " + ".join(f"{c.count} x {c.cores}" for c in e.classes)


def time_words(s: "Status") -> str:
    """How long a run has been going on, and how long it still will."""
    p = s.progress
    if p.began is None:
        return "not begun"
    if p.ended is not None:
        return f"ended after {duration(p.ended - p.began)}"
    if p.silent:
        return f"nothing new in the log for {duration(p.silent)}; before, it went on for {duration(s.time - p.silent - p.began)}"
    return f"going on for {duration(s.time - p.began)}; {left_words(s)}"


def left_words(s: "Status") -> str:
    """How long a run that goes on still will."""
    if s.left == 0:
        return "no task is left"
    if s.expected_end is None or s.progress.seconds_left is None:
        return "time left not known"
    if s.progress.seconds_left < _SOON_SECONDS:
        return "almost done, by estimate"
    return f"about {duration(s.progress.seconds_left)} left, until {clock(s.expected_end, s.time)}"


def task_words(s: "Status") -> str:
    """How many tasks there are, by state."""
    counts = [(s.progress.unsubmitted or 0, "after others"), (s.pending, "pending"), (s.waiting, "waiting for a thread"),
              (s.dispatched, "dispatched"), (s.done, "done"), (s.failed, "failed")]
    said = ", ".join(f"{n:,} {what}" for n, what in counts if n or what in ("done", "failed"))
    return f"{s.tasks:,} task{'' if s.tasks == 1 else 's'}: {said}"


def flight_words(s: "Status") -> str:
    """What the endpoints hold, and how fast they are."""
    p = s.progress
    rates = [f"{rate(per_second)} {when}" for per_second, when in ((p.minute_rate, "in the last minute"), (p.overall_rate, "over all"))
             if per_second is not None]
    held = f"{s.running:,} of {s.threads:,} threads busy, {s.ahead:,} queued ahead"
    return f"{held}; done: {', '.join(rates)}" if rates else held


def trouble_words(s: "Status") -> List[str]:
    """Why endpoints are not available, and why tasks failed, a line each."""
    p = s.progress
    lines = [f"{plain(e.name)}: {endpoint_state(e)}: {plain(e.why)}" for e in s.endpoints if e.why and (not e.available or e.probing)]
    for what, kinds in (("tasks failed", p.failures), ("attempts failed outside the app", p.tried_again)):
        if kinds:
            lines.append(f"{what}: " + ", ".join(f"{n:,} {plain(kind)}" for kind, n in kinds))
    if p.lost_lines:
        lines.append(f"{p.lost_lines:,} lines could not be written to the log, so this is not all")
    return lines


def _cells(e: "EndpointStatus") -> Tuple[str, ...]:
    return (plain(e.name), threads(e), endpoint_state(e), str(e.running), str(e.ahead), f"{e.done:,}", f"{e.failed:,}", duration(e.busy_seconds))


def _headlines(s: "Status") -> List[str]:
    label = f"Run {plain(s.progress.label)}" if s.progress.label else "Run"
    return [f"{label}: {time_words(s)}", task_words(s), flight_words(s)]


def as_text(s: "Status") -> str:
    """Plain text, at most :data:`COLUMNS` wide."""
    rows = [_HEADINGS, *(_cells(e) for e in s.endpoints)]
    widths = [max(width(row[i]) for row in rows) for i in range(len(_HEADINGS))]
    room = COLUMNS - sum(widths[2:]) - len(_GAP) * (len(widths) - 1)  # for names and threads, whose lengths are the user's
    widths[1] = min(widths[1], max(room - widths[0], room // 2))
    widths[0] = min(widths[0], room - widths[1])
    table = [_GAP.join(_padded(cell, columns, left=i in (0, 2)) for i, (cell, columns) in enumerate(zip(row, widths))) for row in rows]
    return "\n".join(cropped(line, COLUMNS) for line in (*_headlines(s), "", *table, *_separated(trouble_words(s))))


def _separated(lines: List[str]) -> List[str]:
    return ["", *lines] if lines else []


def _padded(cell: str, columns: int, left: bool) -> str:
    cell = cropped(cell, columns)
    gap = " " * (columns - width(cell))
    return cell + gap if left else gap + cell


def as_html(s: "Status") -> str:
    """A table for Jupyter; all text in it is escaped."""
    style = ' style="text-align: left"'
    head = "".join(f"<th{style}>{heading}</th>" for heading in _HEADINGS)
    rows = "".join(
        "<tr>" + "".join(f"<td{style if i < 3 else ''}>{html.escape(cell)}</td>" for i, cell in enumerate(_cells(e))) + "</tr>"
        for e in s.endpoints)
    first, *rest = _headlines(s)
    below = "".join(f"<br>{html.escape(line)}" for line in trouble_words(s))
    return (f"<div><b>{html.escape(first)}</b>" + "".join(f"<br>{html.escape(line)}" for line in rest) +
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" + below.replace("<br>", "", 1) + "</div>")
