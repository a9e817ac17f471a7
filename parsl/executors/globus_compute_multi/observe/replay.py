"""Rebuilds the state of a run from its log."""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional, Set

from parsl.executors.globus_compute_multi.observe.logfile import InconsistentLog


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
    id : str or None
    cost_per_core_hour : float or None
        As the user gave it.

    Attributes
    ----------
    done, failed : int
        Attempts that ended with a value, or otherwise; those abandoned at shutdown are neither.
    busy_seconds, core_seconds : float
        Seconds that functions ran there, and the same times the cores of their threads.
    """

    name: str
    classes: List[ClassState]
    id: Optional[str] = None
    cost_per_core_hour: Optional[float] = None
    online: bool = True
    paused_until: Optional[float] = None
    probing: bool = False
    children: List[str] = field(default_factory=list)
    versions: Dict[Optional[str], Dict[str, str]] = field(default_factory=dict)  # of Python and packages, by child
    done: int = 0
    failed: int = 0
    busy_seconds: float = 0.0
    core_seconds: float = 0.0

    @property
    def available(self) -> bool:
        """Whether it may be given tasks."""
        return self.online and self.paused_until is None

    @property
    def threads(self) -> int:
        """Number of its threads, of all classes."""
        return sum(c.count for c in self.classes)

    @property
    def cost(self) -> Optional[float]:
        """What the time that functions ran there costs; None if no price was given."""
        return None if self.cost_per_core_hour is None else self.cost_per_core_hour * self.core_seconds / 3600

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

    Attributes
    ----------
    endpoints : dict
        Of :class:`EndpointState`, by name.
    tasks : dict
        State of each task, by ID: ``pending``, ``waiting``, ``dispatched``, ``done`` or ``failed``.
    attempts : dict
        Of :class:`AttemptState`, by ID.
    duplicates : int
        Results that were dropped.
    began, ended : float or None
        Times of the first line after the header and of the last one, in seconds since the epoch.
    shut_down : bool
        Whether the run was shut down; if not, it goes on, or was killed.
    unsubmitted : int or None
        Tasks of the DataFlowKernel that wait for others, as last told.
    seconds_left : float or None
        Until all known tasks are done, as last estimated.
    lost : int
        Lines that are missing in the log, since they could not be written. What comes after them may contradict what is known, and is left out
        then.

    Raises
    ------
    InconsistentLog
        If the log was written by a newer version, with another schema.
    """

    header: Dict[str, Any]
    endpoints: Dict[str, EndpointState] = field(default_factory=dict)
    tasks: Dict[int, str] = field(default_factory=dict)
    attempts: Dict[str, AttemptState] = field(default_factory=dict)
    duplicates: int = 0
    began: Optional[float] = None
    ended: Optional[float] = None
    shut_down: bool = False
    unsubmitted: Optional[int] = None
    seconds_left: Optional[float] = None
    lost: int = 0

    def __post_init__(self) -> None:
        schema = self.header.get("schema", 1)
        if schema not in (1, 2):
            raise InconsistentLog(f"the log has schema {schema}, but this version of the executor reads schemas 1 and 2: use a newer version, "
                                  f"such as the one that wrote it (Parsl {self.header.get('parsl', 'unknown')})")
        self._counts = dict.fromkeys(("pending", "waiting", "dispatched", "done", "failed"), 0)
        for item in self.header["endpoints"]:
            classes = [ClassState(c["cores"], c["count"], c.get("config")) for c in item["threads"]]
            self.endpoints[item["endpoint"]] = EndpointState(item["endpoint"], classes, item.get("id"), item.get("cost_per_core_hour"))

    def count(self, state: str) -> int:
        """How many tasks are ``pending``, ``waiting``, ``dispatched``, ``done`` or ``failed``."""
        return self._counts[state]

    def apply(self, line: Dict[str, Any]) -> None:
        """Take in one line.

        Raises
        ------
        InconsistentLog
            If it cannot follow the lines before it.
        """
        try:
            self.ended = line["t"]
            if self.began is None:
                self.began = line["t"]
            _READERS[line["kind"]](self, line)
        except (KeyError, TypeError, AttributeError, IndexError) as e:
            if not self.lost:
                raise InconsistentLog(f"{type(e).__name__}: {e}, in the line {json.dumps(line)}") from e
        except InconsistentLog:
            if not self.lost:
                raise

    def _task(self, line: Dict[str, Any]) -> None:
        task, state = line["task"], line["state"]
        before = self.tasks.get(task)
        # a task may be completed while it is pending again, by an attempt that was given up and ran all the same
        if before not in _TASK_STEPS[state]:
            raise _contradiction(f"task {task} goes from {before} to {state}", line)
        self._set_task(task, before, state)

    def _set_task(self, task: int, before: Optional[str], state: str) -> None:
        if before is not None:
            self._counts[before] -= 1
        self._counts[state] += 1
        self.tasks[task] = state

    def _attempt(self, line: Dict[str, Any]) -> None:
        name, state = line["attempt"], line["state"]
        if state in ("duplicate", "unmatched"):
            self.duplicates += 1
            return
        known = self.attempts.get(name)
        if known is None:
            self._begin(name, state, line)
            return
        before = known.state
        if (before, state) not in _ATTEMPT_STEPS:
            raise _contradiction(f"attempt {name} goes from {before} to {state}", line)
        endpoint = self.endpoints[known.endpoint]
        threads = endpoint.classes[known.thread_class]
        (threads.running if before == "running" else threads.ahead).discard(name)
        known.state = state
        if state == "running":
            self._bind(name, endpoint, threads, line)
        elif state == "queued_ahead":  # it has lost its thread, because the endpoint turned out to have fewer
            self._queue(name, endpoint, threads, line)
        else:
            known.outcome = outcome = line["outcome"]
            if outcome == "ok":
                endpoint.done += 1
            elif outcome != "abandoned":
                endpoint.failed += 1
            if "finished" in line and "started" in line:
                seconds = max(0.0, line["finished"] - line["started"])  # clocks are set back
                endpoint.busy_seconds += seconds
                endpoint.core_seconds += seconds * threads.cores

    def _begin(self, name: str, state: str, line: Dict[str, Any]) -> None:
        if state not in ("running", "queued_ahead"):
            raise _contradiction(f"attempt {name} begins as {state}", line)
        task = line["task"]
        before = self.tasks.get(task)
        if before not in (("dispatched",) if line.get("again") else ("pending", "waiting")):
            raise _contradiction(f"task {task} is dispatched while it is {before}", line)
        endpoint = self.endpoints[line["endpoint"]]
        threads = endpoint.classes[line["thread_class"]]
        self._set_task(task, before, "dispatched")
        self.attempts[name] = AttemptState(task, endpoint.name, line["thread_class"], state)
        if state == "running":
            self._bind(name, endpoint, threads, line)
            return
        self._queue(name, endpoint, threads, line)
        bound = self.header.get("prefetch")
        if bound is not None and len(threads.ahead) > bound * threads.count:
            raise _contradiction(f"more is queued ahead on endpoint {endpoint.name} than allowed", line)

    def _bind(self, name: str, endpoint: EndpointState, threads: ClassState, line: Dict[str, Any]) -> None:
        threads.running.add(name)
        if len(threads.running) > threads.count:
            raise _contradiction(f"endpoint {endpoint.name} runs more attempts than it has threads", line)

    def _queue(self, name: str, endpoint: EndpointState, threads: ClassState, line: Dict[str, Any]) -> None:
        threads.ahead.add(name)
        if len(endpoint.classes) > 1 and sum(c.config == threads.config for c in endpoint.classes) > 1:
            raise _contradiction(f"an attempt is queued ahead on endpoint {endpoint.name} where thread classes share a child", line)

    def _dispatch(self, line: Dict[str, Any]) -> None:
        pass  # what a dispatch changes is in the lines of its attempts

    def _run(self, line: Dict[str, Any]) -> None:
        if line["state"] == "progress":
            self.unsubmitted, self.seconds_left = line["unsubmitted"], line["seconds_left"]

    def _log(self, line: Dict[str, Any]) -> None:
        if line["state"] == "ended":
            self.shut_down = True
        elif line["state"] == "lost":
            self.lost += line["lines"]

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


_READERS = {"task": RunState._task, "attempt": RunState._attempt, "dispatch": RunState._dispatch, "endpoint": RunState._endpoint,
            "run": RunState._run, "log": RunState._log}

_TASK_STEPS: Dict[str, Set[Optional[str]]] = {
    "pending": {None, "dispatched", "waiting", "pending"}, "waiting": {"pending"},
    "done": {"pending", "waiting", "dispatched"}, "failed": {"pending", "waiting", "dispatched"}}

_ATTEMPT_STEPS = {("queued_ahead", "running"), ("queued_ahead", "finished"), ("running", "finished"), ("running", "queued_ahead")}


def _contradiction(what: str, line: Dict[str, Any]) -> InconsistentLog:
    return InconsistentLog(f"{what}, in the line {json.dumps(line)}")


def replay(lines: Iterable[Dict[str, Any]]) -> RunState:
    """Rebuild the state of a run from the lines of its log, as :func:`.logfile.read_log` gives them.

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
