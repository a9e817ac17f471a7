"""What was wrong with a run: over what became of the futures, the run log, and the requests at the service."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parsl.executors.globus_compute_multi.observe.logfile import (
    InconsistentLog,
    read_log,
)
from parsl.executors.globus_compute_multi.observe.replay import RunState, replay

#: The service's limits (documentation of the hosted service, "Limits").
MOST_REQUESTS = 20
MOST_BYTES = 10_000_000

#: Seconds that shutdown may take, whatever the state.
SHUTDOWN_SECONDS = 10.0


@dataclass
class Verdict:
    """What was found in a run log.

    Attributes
    ----------
    violations : list of str
        Each names the line or the task.
    failovers : int
        Attempts that were given up because their endpoint, or their result, was lost.
    duplicates : int
        Results of attempts that had ended, dropped.
    """

    violations: list[str] = field(default_factory=list)
    failovers: int = 0
    duplicates: int = 0


def check_log(lines: Iterable[dict[str, Any]], tasks: int | None) -> Verdict:
    """Check the invariants that a run log can show.

    Parameters
    ----------
    lines : iterable of dict
        As :func:`parsl.executors.globus_compute_multi.observe.logfile.read_log` gives them.
    tasks : int or None
        How many tasks must be in it; None if that is not known (a task whose input failed is never submitted).
    """
    verdict = Verdict()
    try:
        kept = list(lines)
        state = replay(kept[:1])
        check = _LineChecks(state)
        for line in kept[1:]:
            state.apply(line)
            verdict.violations += check(line)
    except InconsistentLog as error:
        verdict.violations.append(f"the log does not replay: {error}")
        return verdict
    verdict.duplicates = state.duplicates
    verdict.failovers = sum(attempt.outcome == "lost" for attempt in state.attempts.values())
    unfinished = sorted(task for task, status in state.tasks.items() if status not in ("done", "failed"))
    if unfinished:
        verdict.violations.append(f"tasks {_some(unfinished)} have no end in the log")
    if tasks is not None and len(state.tasks) != tasks:
        verdict.violations.append(f"the log has {len(state.tasks)} tasks, but {tasks} were submitted")
    for endpoint in state.endpoints.values():
        held = sorted(endpoint.running | endpoint.ahead)
        if held:
            verdict.violations.append(f"endpoint {endpoint.name} holds attempts {_some(held)} at the end of the log")
    return verdict


class _LineChecks:
    """What the replay does not look at: where attempts begin, sizes, and what ends a task. To be called with each line that was replayed."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._groups = {item["endpoint"]: item.get("filesystem") for item in state.header["endpoints"]}
        self._needs: dict[int, dict[str, Any]] = {}
        self._came: set[str] = set()
        self._ended: set[int] = set()

    def __call__(self, line: dict[str, Any]) -> Iterable[str]:
        if line["kind"] == "task":
            return self._task(line)
        if line["kind"] == "attempt" and line["state"] in ("finished", "duplicate"):
            if line["outcome"] == "ok":
                self._came.add(line["attempt"])
        elif line["kind"] == "attempt" and "thread_class" in line:
            return [f"attempt {line['attempt']} {what}" for what in self._begins(line)]
        elif line["kind"] == "dispatch" and line.get("bytes", 0) > MOST_BYTES:
            return [f"dispatch {line['dispatch']} has {line['bytes']:,} bytes, more than {MOST_BYTES:,}"]
        return []

    def _task(self, line: dict[str, Any]) -> Iterator[str]:
        task, attempt = line["task"], line.get("attempt")
        self._needs.setdefault(task, line)  # the first line of a task says what it needs
        if line["state"] not in ("done", "failed"):
            return
        if task in self._ended:
            yield f"task {task} ends twice in the log"
        self._ended.add(task)
        known = self._state.attempts.get(str(attempt))
        if line["state"] == "done" and (attempt not in self._came or known is None or known.task != task):
            yield f"task {task} is done by attempt {attempt}, of which no result of this task came"

    def _begins(self, line: dict[str, Any]) -> Iterator[str]:
        endpoint, needs = self._state.endpoints[line["endpoint"]], self._needs[line["task"]]
        has, cores = endpoint.classes[line["thread_class"]].cores, needs.get("cores", 1)
        if has < cores:
            yield f"needs {cores} cores, and went to a thread of {endpoint.name} with {has}"
        if not endpoint.online:
            yield f"begins on {endpoint.name}, which is offline"
        if endpoint.paused_until is not None and line["t"] < endpoint.paused_until:
            yield f"begins on {endpoint.name}, which is left alone"
        if needs.get("filesystem") not in (None, self._groups[endpoint.name]):
            yield f"needs the file system {needs['filesystem']}, and went to {endpoint.name}, which has {self._groups[endpoint.name]}"


def check_log_file(path: Path, tasks: int | None) -> Verdict:
    """The same of a file."""
    if not path.exists():
        return Verdict([f"there is no run log {path.name}"])
    try:
        return check_log(list(read_log(path)), tasks)
    except InconsistentLog as error:
        return Verdict([str(error)])


def check_requests(busiest: int, refused: int, largest: int) -> list[str]:
    """Whether the limits of the service were kept, as it saw it.

    Parameters
    ----------
    busiest : int
        Most requests in any 10 s.
    refused : int
        Requests answered with 429.
    largest : int
        Bytes of the largest submission.
    """
    wrong = []
    if busiest > MOST_REQUESTS:
        wrong.append(f"{busiest} requests in 10 s, more than {MOST_REQUESTS}")
    if refused:
        wrong.append(f"{refused} requests were refused as too many")
    if largest > MOST_BYTES:
        wrong.append(f"a submission of {largest:,} bytes, more than {MOST_BYTES:,}")
    return wrong


def check_shutdown(shutdown: dict[str, Any] | None) -> list[str]:
    """Whether clean-up ended, soon enough, and left nothing.

    Parameters
    ----------
    shutdown : dict or None
        As :mod:`chaos.client` says it; None if it never did.
    """
    if shutdown is None:
        return ["the clean-up did not end"]
    wrong = []
    if shutdown["seconds"] > SHUTDOWN_SECONDS:
        wrong.append(f"the clean-up took {shutdown['seconds']:.1f} s, more than {SHUTDOWN_SECONDS:.0f}")
    if shutdown["threads"]:
        wrong.append(f"threads left: {', '.join(shutdown['threads'])}")
    for what in ("sockets", "processes"):
        if shutdown[what]:
            wrong.append(f"{shutdown[what]} {what} left")
    return wrong


def _some(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:10])) + (f" and {len(items) - 10} more" if len(items) > 10 else "")
