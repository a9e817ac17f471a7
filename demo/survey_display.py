"""What the survey shows: progress while it runs, read from the executor's run log, and tables at the end."""
from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from parsl.dataflow.errors import DependencyError
from parsl.executors.globus_compute_multi.observe.logfile import follow_log
from parsl.executors.globus_compute_multi.observe.replay import (
    EndpointState,
    RunState,
    replay,
)
from survey_types import Report

#: Seconds between two looks at the run log: on a terminal, and where each adds lines to a file.
LIVE_SECONDS = 0.1
LINES_SECONDS = 2.0

#: Rows of each table of the report.
ROWS = 6


@dataclass(frozen=True)
class Workflow:
    """The futures of all tasks: of the survey of each file, of the merges, and of the report."""

    surveys: Sequence[Future[Any]]
    merges: Sequence[Future[Any]]
    report: Future[Any]

    @property
    def size(self) -> int:
        """How many tasks there are."""
        return len(self.surveys) + len(self.merges) + 1

    def cause_of_failure(self) -> str:
        """Say what failed first, when the report has failed: its own error may only be that another task has none."""
        errors = [future.exception() for future in (*self.surveys, *self.merges, self.report)]
        error = next(error for error in errors if error is not None and not isinstance(error, DependencyError))
        return f"{type(error).__name__}: {error}"


def states(log: Path) -> Generator[RunState | None, None, None]:
    """The state of a run, each time as far as its log is written then; None as long as there is nothing in it."""
    state = None
    for line in follow_log(log, poll=0.0):
        if line is None:
            yield state
        elif state is None:
            state = replay([line])
        else:
            state.apply(line)


@contextmanager
def timed(console: Console, doing: str) -> Iterator[None]:
    """Say what is being done, then how long it took."""
    began = time.monotonic()
    if console.is_terminal:
        with console.status(f"{doing} ..."):
            yield
        console.print(f"{doing} ... {time.monotonic() - began:.1f} s")
        return
    console.print(f"{doing} ...", end="")
    try:
        yield
        console.print(f" {time.monotonic() - began:.1f} s", end="")
    finally:
        console.print()


def follow(console: Console, log: Path, workflow: Workflow, began: float) -> float:
    """Show progress until the report is there, or has failed.

    Parameters
    ----------
    console : Console
    log : Path
        The executor's run log.
    workflow : Workflow
    began : float
        When the workflow was begun, as of ``time.monotonic``.

    Returns
    -------
    float
        Seconds from then to the end.
    """
    doing = f"Running {workflow.size} tasks ..."
    with closing(states(log)) as run:
        if console.is_terminal:
            with Live(console=console, auto_refresh=False, transient=True) as live:
                while wait([workflow.report], timeout=LIVE_SECONDS).not_done:
                    state = next(run)
                    if state is not None:
                        live.update(picture(state, workflow, time.monotonic() - began), refresh=True)
            seconds = time.monotonic() - began
            console.print(f"{doing} {seconds:.1f} s")
        else:
            console.print(doing)
            while wait([workflow.report], timeout=LINES_SECONDS).not_done:
                state = next(run)
                if state is not None:
                    console.print(sentence(state, workflow, time.monotonic() - began), soft_wrap=True)
            seconds = time.monotonic() - began
            console.print(f"  {seconds:5.1f} s: ended")
    return seconds


def picture(state: RunState, workflow: Workflow, seconds: float) -> RenderableType:
    """Draw the state of the run, for a terminal."""
    done, failed = state.count("done"), state.count("failed")
    bar = Table.grid(padding=(0, 2))
    bar.add_row("", ProgressBar(total=workflow.size, completed=done, width=40), f"{done} of {workflow.size} tasks", f"[dim]{seconds:.1f} s[/]")
    failures = f", [red]{failed} failed[/]" if failed else ""
    counts = (f"  {_done(workflow.surveys)} of {len(workflow.surveys)} files, {_done(workflow.merges)} of {len(workflow.merges)} merges; "
              f"{state.count('pending')} tasks pending, {workflow.size - len(state.tasks)} waiting for others{failures}")
    endpoints = Table.grid(padding=(0, 2))
    for column in range(5):
        endpoints.add_column(justify="right" if column > 2 else "left")
    for endpoint in state.endpoints.values():
        endpoints.add_row("", endpoint.name, _threads(endpoint), f"{len(endpoint.ahead)} queued ahead", f"{endpoint.done} done")
    return Group(bar, counts, endpoints)


def _threads(endpoint: EndpointState) -> str:
    running = len(endpoint.running)
    return f"[green]{'●' * running}[/][dim]{'○' * (endpoint.threads - running)}[/]" + ("" if endpoint.online else " [red]offline[/]")


def _done(futures: Sequence[Future[Any]]) -> int:
    return sum(future.done() for future in futures)


def sentence(state: RunState, workflow: Workflow, seconds: float) -> str:
    """Put the state of the run in a line, for a file."""
    failed = state.count("failed")
    failures = f", {failed} failed" if failed else ""
    endpoints = ", ".join(f"{e.name} {len(e.running)}/{e.threads} busy +{len(e.ahead)} queued" for e in state.endpoints.values())
    return f"  {seconds:5.1f} s: {state.count('done')} of {workflow.size} tasks done{failures}, {state.count('pending')} pending; {endpoints}"


def endpoint_table(state: RunState, seconds: float) -> Table:
    """Tabulate what each endpoint did.

    Parameters
    ----------
    state : RunState
        At the end of the run.
    seconds : float
        How long the workflow took.
    """
    endpoints = list(state.endpoints.values())
    all_tasks = sum(e.done + e.failed for e in endpoints)
    rows = [(e.name, e.threads, e.done + e.failed, e.busy_seconds) for e in endpoints]
    rows.append(("all", *(sum(column) for column in list(zip(*rows))[1:])))
    table = Table("endpoint", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in ("threads", "tasks", "share of tasks", "busy time", "threads in use"):
        table.add_column(header, justify="right")
    for position, (name, threads, tasks, busy) in enumerate(rows):
        table.add_row(name, f"{threads}", f"{tasks}", f"{100 * tasks / max(all_tasks, 1):.0f} %", f"{busy:.1f} s",
                      f"{100 * busy / (threads * seconds):.0f} %", end_section=position == len(endpoints) - 1)
    return table


def print_report(console: Console, report: Report) -> None:
    """Print an excerpt of the report."""
    totals = {name: f"{count:,}" for name, count in report["totals"].items()}
    console.print(f"{totals['files']} files with {totals['lines']} lines, {totals['code lines']} of them code; {totals['comments']} comments")
    console.print(f"{totals['functions']} functions and {totals['classes']} classes, in {totals['tokens']} tokens")
    console.print(f"{totals['identifiers']} different names, {totals['identifiers used once']} of them used only once")
    if report["unreadable"]:
        console.print(f"{len(report['unreadable'])} files that this Python cannot read: {', '.join(report['unreadable'])}")
    tables = Table.grid(padding=(0, 3))
    tables.add_row(
        _table("name", "uses", report["top_identifiers"]),
        _table("module", "imported by", report["most_imported"]),
        _table("module", "functions", report["most_functions"]),
    )
    console.print()
    console.print(tables)
    console.print()
    longest = Table("longest functions", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    longest.add_column("lines", justify="right")
    longest.add_column("where")
    for lines, module, name, line in report["longest_functions"][:ROWS]:
        longest.add_row(name, f"{lines}", f"{module}, line {line}")
    console.print(longest)
    console.print()
    if report["furthest_reach"]:
        module, count = report["furthest_reach"][0]
        console.print(f"Loading {module} loads the most other modules: {count}", soft_wrap=True)
    if report["largest_circle"]:
        console.print(f"Modules that load one another in a circle: {', '.join(report['largest_circle'])}", soft_wrap=True)


def _table(title: str, unit: str, rows: Sequence[tuple[str, int]]) -> Table:
    table = Table(title, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(unit, justify="right")
    for name, count in rows[:ROWS]:
        table.add_row(name, f"{count:,}")
    return table
