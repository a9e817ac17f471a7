"""What the run was, in words and a few numbers."""
from __future__ import annotations

import time
from typing import List, Optional, Sequence, Tuple

from parsl.executors.globus_compute_multi.observe.report.accounting import (
    USES,
    Usage,
    phases_of_tasks,
)
from parsl.executors.globus_compute_multi.observe.report.columns import Run
from parsl.executors.globus_compute_multi.observe.report.paths import PARTS, Step
from parsl.executors.globus_compute_multi.observe.report.placing import Placed
from parsl.executors.globus_compute_multi.observe.report.style import (
    clip,
    percent,
    plural,
    span,
)

#: Most outages that are told one by one.
_MOST_OUTAGES = 6

#: An endpoint's clock that is off by more than so many seconds is told of.
CLOCK_SECONDS = 1.0

#: Why time goes to a use of threads, for those who wonder what to do.
_REASONS = {
    USES[1]: "so long attempts that failed or were lost had a thread, until that was known",
    USES[2]: "tasks were dispatched, and the endpoint had not begun its first one yet",
    USES[3]: "tasks were dispatched, and their functions had not begun, or their results had not come back yet: network and service",
    USES[4]: "tasks were pending, but none was given to the idle threads: the request budget, the choice of endpoint, or cores that do not fit",
    USES[5]: "no task was ready: all that were not given out waited for other tasks, or for the program to submit them",
    USES[6]: "the last tasks had been given out: the others were ready sooner than the last",
    USES[7]: "the endpoint had failed, and was given a task now and then to see whether it works again",
    USES[8]: "the endpoint was offline, or paused after failures",
}


def state_of_run(run: Run, now: Optional[float] = None) -> str:
    """Whether the run is over; empty if it was shut down."""
    if run.ended:
        return ""
    counts = run.counts
    left = sum(counts[state] for state in ("pending", "queued ahead", "running"))
    open_tasks = f"{plural(left, 'task')} not finished" if left else "all its tasks are finished"
    if run.ended is None:
        return "" if not left else f"The log ends with {open_tasks}: the run is going on, or was killed."
    age = span(max(0.0, (time.time() if now is None else now) - run.last_line))
    expected = f" It was expected to take {span(run.seconds_left)} more." if left and run.seconds_left is not None else ""
    return (f"This run has not ended: it is going on, or was killed. The log's last line was {age} old when this page was made; {open_tasks}."
            f"{expected}")


def headline(run: Run, usages: Sequence[Usage]) -> str:
    """The run in a sentence or two."""
    begin, end = run.window
    if not len(run.tasks) and run.first_submitted is None:
        return "No task was submitted in this run."
    counts = run.counts
    total = sum(counts[state] for state in counts if state != "unsubmitted")
    failed = f"{counts['failed']:,} failed" if counts["failed"] else "none failed"
    left = total - counts["done"] - counts["failed"]
    unfinished = f", {left:,} not finished" if left else ""
    retries = f" ({plural(run.retries, 'retry', 'retries')} by Parsl included)" if run.retries else ""
    said = f"{plural(total, 'task')}{retries} in {span(end - begin)}: {counts['done']:,} done, {failed}{unfinished}. "
    shares = sorted(((endpoint.completed, usages[number], endpoint) for number, endpoint in enumerate(run.pool)), key=lambda item: -item[0])
    if counts["done"]:
        parts = [f"{clip(endpoint.name, 40)} did {percent(completed / counts['done'])} ({plural(endpoint.threads, 'thread')})"
                 for completed, _, endpoint in shares[:4] if completed]
        idle = sum(1 for completed, _, _ in shares if not completed)
        parts += [f"{plural(len(shares) - 4 - max(0, idle), 'other endpoint')} the rest"] if len(shares) - idle > 4 else []
        parts += [f"{plural(idle, 'endpoint')} none"] if idle else []
        said += f"{', '.join(parts)}. "
    there = sum(usage.total for usage in usages)
    ran = sum(usage.uses[USES[0]] for usage in usages)
    if not there:
        return said
    losses = sorted(((sum(usage.uses[use] for usage in usages) / there, use) for use in USES[1:]), reverse=True)
    most = ", ".join(f"{use} ({percent(share)})" for share, use in losses[:3] if share > 0.01)
    return said + f"Functions that succeeded ran for {percent(ran / there)} of the threads' time{f'; most of the rest: {most}' if most else ''}."


def findings(run: Run, usages: Sequence[Usage], placed: Placed, steps: Sequence[Step]) -> List[Tuple[str, str]]:
    """Where time was lost, the most first, and what else there is to know: (what, more)."""
    found: List[Tuple[str, str]] = []
    there = sum(usage.total for usage in usages)
    uses = sorted(((sum(usage.uses[use] for usage in usages), use) for use in USES[1:]), reverse=True)
    for seconds, use in uses:
        if there and seconds > 0.005 * there:
            worst = max(range(len(usages)), key=lambda number: usages[number].uses[use])
            at = f", most of it on {clip(run.pool[worst].name, 40)}" if len(run.pool) > 1 else ""
            found.append((f"{percent(seconds / there)} of thread time: {use}", f"{span(seconds)}{at}; {_REASONS[use]}."))
    by_app = phases_of_tasks(run, placed).values()
    done = sum(count for count, _ in by_app)
    if done:
        means = {phase: sum(seconds[phase] for _, seconds in by_app) / done for phase in PARTS[1:]}
        found.append(("A task's time, on average", "; ".join(f"{phase} {span(mean)}" for phase, mean in means.items() if mean > 0) + "."))
    if steps:
        whole = sum(sum(step.seconds) for step in steps)
        parts = sorted(((sum(step.seconds[i] for step in steps), part) for i, part in enumerate(PARTS)), reverse=True)
        shares = ", ".join(f"{percent(s / whole)} {part}" for s, part in parts if whole and s > 0.005 * whole)
        found.append((f"Critical path: {plural(len(steps), 'task')}, {span(whole)}", f"what the run's end waited for was {shares}."))
    if run.failovers or run.copies:
        copies = f"; {plural(run.copies, 'copy', 'copies')} of tasks dispatched while another attempt was under way" if run.copies else ""
        found.append((plural(run.failovers, "failover"), f"attempts that failed or were lost, after which the task was tried again{copies}."))
    if run.duplicates:
        found.append((plural(run.duplicates, "late or second result"), "came of attempts that were over, or had been given up."))
    outages = sum(endpoint.outages for endpoint in run.pool)
    if outages:
        found.append((plural(outages, "outage"), f"of endpoints that were offline, or paused after failures: {'; '.join(_outages(run))}."))
    if run.lost_lines:
        found.append((f"{plural(run.lost_lines, 'line')} of the log could not be written", "what they said is missing in this page."))
    if run.rejected:
        found.append((f"{plural(run.rejected, 'dispatch', 'dispatches')} rejected by the service", "their tasks were tried again, or failed."))
    return found + clocks(run, placed)


def _outages(run: Run) -> List[str]:
    """The first few times when an endpoint was in trouble: from when on, why, and when it was in full use again."""
    found: List[str] = []
    begin = run.window[0]
    for number, endpoint in enumerate(run.pool):
        trouble = ""
        for event in (event for event in run.events if event.endpoint == number):
            at = span(max(0.0, event.time - begin))
            if event.state in ("offline", "paused") and not trouble:
                trouble = f"{clip(endpoint.name, 40)} at {at}, {event.state} {clip(event.detail, 80)}".rstrip()
            elif event.state in ("recovered", "online") and trouble:
                found.append(f"{trouble}, in full use again at {at}")
                trouble = ""
        if trouble:
            found.append(f"{trouble}, not in full use again")
    return found if len(found) <= _MOST_OUTAGES else [*found[:_MOST_OUTAGES], "and others"]


def clocks(run: Run, placed: Placed) -> List[Tuple[str, str]]:
    """Clocks that are clearly wrong."""
    found = []
    for (endpoint, host), shift in sorted(placed.clocks.items(), key=lambda item: -abs(item[1])):
        if abs(shift) > CLOCK_SECONDS:
            name, where = clip(run.pool[endpoint].name, 40), clip(run.hosts.names[host], 60)
            found.append((f"The clock of {name} is at least {span(abs(shift))} {'behind' if shift > 0 else 'ahead'}",
                          f"of that of the machine where Parsl ran{f' (host {where})' if where else ''}; its tasks are shown shifted."))
    more = f"{len(found) - 5} more hosts have clocks that are off by more than {CLOCK_SECONDS:.0f} s"
    return found if len(found) <= 6 else [*found[:5], (more, "their tasks are shown shifted too.")]
