"""Rebuilds the state of a run from its log."""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set


class InconsistentLog(ValueError):
    """A line of a run log contradicts the lines before it, or an invariant of the executor."""


@dataclass
class ClassState:
    """What the log says of a thread class: its cores, number of threads, ``user_endpoint_config``, and the attempts that it holds."""

    cores: int
    count: int
    config: Optional[str] = None
    running: Set[str] = field(default_factory=set)
    ahead: Set[str] = field(default_factory=set)


@dataclass
class EndpointState:
    """What the log says of an endpoint.

    Parameters
    ----------
    name : str
    classes : list of ClassState
    """

    name: str
    classes: List[ClassState]
    online: bool = True
    paused_until: Optional[float] = None
    probing: bool = False
    children: List[str] = field(default_factory=list)
    versions: Dict[Optional[str], Dict[str, str]] = field(default_factory=dict)  # of Python and packages, by child
    done: int = 0
    failed: int = 0
    busy_seconds: float = 0.0

    @property
    def available(self) -> bool:
        """Whether it may be given tasks."""
        return self.online and self.paused_until is None

    @property
    def threads(self) -> int:
        """Number of its threads, of all classes."""
        return sum(c.count for c in self.classes)

    @property
    def running(self) -> Set[str]:
        """Attempts bound to its threads."""
        return set().union(*(c.running for c in self.classes))

    @property
    def ahead(self) -> Set[str]:
        """Attempts queued ahead on it."""
        return set().union(*(c.ahead for c in self.classes))


@dataclass
class AttemptState:
    """What the log says of an attempt: its task, endpoint, thread class, and state (``running``, ``queued_ahead``, ``finished``)."""

    task: int
    endpoint: str
    thread_class: int
    state: str
    outcome: Optional[str] = None


@dataclass
class RunState:
    """State of a run, as far as the log goes.

    Parameters
    ----------
    header : dict
        First line of the log.
    """

    header: Dict[str, Any]
    endpoints: Dict[str, EndpointState] = field(default_factory=dict)
    tasks: Dict[int, str] = field(default_factory=dict)
    attempts: Dict[str, AttemptState] = field(default_factory=dict)
    duplicates: int = 0
    began: Optional[float] = None
    ended: Optional[float] = None

    def __post_init__(self) -> None:
        for item in self.header["endpoints"]:
            classes = [ClassState(c["cores"], c["count"], c.get("config")) for c in item["threads"]]
            self.endpoints[item["endpoint"]] = EndpointState(item["endpoint"], classes)

    def count(self, state: str) -> int:
        """How many tasks are ``pending``, ``waiting``, ``dispatched``, ``done`` or ``failed``."""
        return sum(1 for s in self.tasks.values() if s == state)

    def apply(self, line: Dict[str, Any]) -> None:
        """Take in one line.

        Raises
        ------
        InconsistentLog
            If it cannot follow the lines before it.
        """
        try:
            self.began = line["t"] if self.began is None else self.began
            self.ended = line["t"]
            _READERS[line["kind"]](self, line)
        except (KeyError, TypeError, AttributeError) as e:
            raise InconsistentLog(f"{type(e).__name__}: {e}, in the line {json.dumps(line)}") from e

    def _task(self, line: Dict[str, Any]) -> None:
        task, state = line["task"], line["state"]
        before = self.tasks.get(task)
        # a task may be completed while it is pending again, by an attempt that was given up and ran all the same
        _require(before in _TASK_STEPS[state], f"task {task} goes from {before} to {state}", line)
        self.tasks[task] = state

    def _attempt(self, line: Dict[str, Any]) -> None:
        name, state = line["attempt"], line["state"]
        if state in ("duplicate", "unmatched"):
            self.duplicates += 1
            return
        known = self.attempts.get(name)
        demoted = False  # it lost its thread, because the endpoint turned out to have fewer
        if known is None:
            _require(state in ("running", "queued_ahead"), f"attempt {name} begins as {state}", line)
            before = self.tasks.get(line["task"])
            _require(before == "dispatched" if line.get("again") else before in ("pending", "waiting"),
                     f"task {line['task']} is dispatched while it is {before}", line)
            self.tasks[line["task"]] = "dispatched"
            known = self.attempts[name] = AttemptState(line["task"], line["endpoint"], line["thread_class"], state)
        else:
            _require((known.state, state) in _ATTEMPT_STEPS, f"attempt {name} goes from {known.state} to {state}", line)
            demoted = state == "queued_ahead"
            known.state = state
        endpoint = self.endpoints[known.endpoint]
        threads = endpoint.classes[known.thread_class]
        threads.running.discard(name)
        threads.ahead.discard(name)
        if state == "running":
            threads.running.add(name)
            _require(len(threads.running) <= threads.count, f"endpoint {endpoint.name} runs more attempts than it has threads", line)
        elif state == "queued_ahead":
            threads.ahead.add(name)
            _require(sum(c.config == threads.config for c in endpoint.classes) == 1,
                     f"an attempt is queued ahead on endpoint {endpoint.name} where thread classes share a child", line)
            bound = self.header.get("prefetch")
            _require(bound is None or demoted or len(threads.ahead) <= bound * threads.count,
                     f"more is queued ahead on endpoint {endpoint.name} than allowed", line)
        else:
            known.outcome = line["outcome"]
            endpoint.done += known.outcome == "ok"
            endpoint.failed += known.outcome not in ("ok", "abandoned")
            if line.get("finished") is not None:
                endpoint.busy_seconds += line["finished"] - line["started"]

    def _dispatch(self, line: Dict[str, Any]) -> None:
        pass  # what a dispatch changes is in the lines of its attempts

    def _endpoint(self, line: Dict[str, Any]) -> None:
        endpoint = self.endpoints[line["endpoint"]]
        if line["state"] in ("online", "offline"):
            endpoint.online = line["state"] == "online"
        elif line["state"] in ("paused", "resumed", "recovered"):
            endpoint.paused_until = line["t"] + line["seconds"] if line["state"] == "paused" else None
            endpoint.probing = endpoint.probing and line["state"] != "recovered"
        elif line["state"] == "probing":
            endpoint.probing = True
        elif line["state"] == "child":
            endpoint.children.append(line["child"])
        elif line["state"] == "versions":
            endpoint.versions[line.get("child")] = {key: line[key] for key in ("python", "parsl", "dill", "sdk") if key in line}
        elif line["state"] == "threads":
            endpoint.classes[line["thread_class"]].count = line["count"]


_READERS = {"task": RunState._task, "attempt": RunState._attempt, "dispatch": RunState._dispatch, "endpoint": RunState._endpoint}

_TASK_STEPS: Dict[str, Set[Optional[str]]] = {
    "pending": {None, "dispatched", "waiting", "pending"}, "waiting": {"pending"},
    "done": {"pending", "waiting", "dispatched"}, "failed": {"pending", "waiting", "dispatched"}}

_ATTEMPT_STEPS = {("queued_ahead", "running"), ("queued_ahead", "finished"), ("running", "finished"), ("running", "queued_ahead")}


def _require(condition: bool, what: str, line: Dict[str, Any]) -> None:
    if not condition:
        raise InconsistentLog(f"{what}, in the line {json.dumps(line)}")


def read_log(path: Path) -> Iterator[Dict[str, Any]]:
    """The lines of a run log; a last line that is not complete (the log is being written, or the process was killed) is left out.

    Raises
    ------
    InconsistentLog
        If a complete line is not JSON.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, text in enumerate(file, 1):
            if not text.endswith("\n"):
                return
            try:
                yield json.loads(text)
            except ValueError as e:
                raise InconsistentLog(f"{path}, line {number} is not JSON: {e}") from e


def replay(lines: Iterable[Dict[str, Any]]) -> RunState:
    """Rebuild the state of a run from the lines of its log, as :func:`read_log` gives them.

    Raises
    ------
    InconsistentLog
        If it is not a run log, or lines contradict each other.
    """
    iterator = iter(lines)
    header = next(iterator, None)
    if not isinstance(header, dict) or header.get("log") != "globus_compute_multi":
        raise InconsistentLog("not a run log of GlobusComputeMultiExecutor: its first line does not say so")
    try:
        state = RunState(header)
    except (KeyError, TypeError) as e:
        raise InconsistentLog(f"the first line of the log does not describe the pool ({type(e).__name__}: {e})") from e
    for line in iterator:
        state.apply(line)
    return state
