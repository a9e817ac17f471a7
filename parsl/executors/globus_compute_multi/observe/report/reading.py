"""From the lines of a run log to columns, in one pass."""
from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterable, List, Optional

from parsl.executors.globus_compute_multi.observe.logfile import InconsistentLog
from parsl.executors.globus_compute_multi.observe.report.columns import (
    MOST_EDGES,
    MOST_EVENTS,
    MOST_FAILURES,
    MOST_NODES,
    STATES,
    UNKNOWN,
    Event,
    Failure,
    Names,
    Pooled,
    Run,
)
from parsl.executors.globus_compute_multi.observe.report.sampling import Sampled

_UNSUBMITTED, _PENDING, _AHEAD, _RUNNING, _DONE, _FAILED = STATES

#: Most kinds of failures that are counted apart.
_MOST_KINDS = 300


class _Task:
    """A task that is not finished, and the rows of its attempts that are."""

    __slots__ = ("number", "app", "submitted", "dispatched", "state", "node", "held", "running", "rows", "failures")

    def __init__(self, number: int, app: int, submitted: float, node: Optional[int]) -> None:
        self.number, self.app, self.submitted, self.node = number, app, submitted, node
        self.dispatched = UNKNOWN
        self.state: Optional[str] = None
        self.held = self.running = 0
        self.rows: Dict[str, int] = {}
        self.failures: List[Failure] = []


class _Attempt:
    """An attempt that is not finished."""

    __slots__ = ("name", "task", "endpoint", "thread_class", "dispatched", "bound", "running")

    def __init__(self, name: str, task: _Task, endpoint: int, thread_class: int, dispatched: float) -> None:
        self.name, self.task, self.endpoint, self.thread_class, self.dispatched = name, task, endpoint, thread_class, dispatched
        self.bound = UNKNOWN
        self.running = False


def read_run(lines: Iterable[Dict[str, Any]]) -> Run:
    """Take in the lines of a run log, of schema 1 or 2.

    Raises
    ------
    InconsistentLog
        If it is not a run log, or a line is not as it should be.
    """
    iterator = iter(lines)
    header = next(iterator, None)
    if not isinstance(header, dict) or header.get("log") != "globus_compute_multi":
        raise InconsistentLog("not a run log of GlobusComputeMultiExecutor: its first line does not say so")
    try:
        reader = _Reader(header)
    except (KeyError, TypeError, ValueError) as e:
        raise InconsistentLog(f"the first line of the log does not describe the pool ({type(e).__name__}: {e})") from e
    for line in iterator:
        try:
            reader.take(line)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
            if not reader.run.lost_lines:
                raise InconsistentLog(f"{type(e).__name__}: {e}, in the line {json.dumps(line)}") from e
    return reader.end()


class _Reader:
    """Folds lines into a :class:`Run`."""

    def __init__(self, header: Dict[str, Any]) -> None:
        pool = [Pooled(str(e["endpoint"]), str(e.get("id", "")), [(int(c["cores"]), int(c["count"])) for c in e["threads"]],
                       e.get("cost_per_core_hour")) for e in header["endpoints"]]
        self.run = Run(header, pool)
        self.run.began = self.run.last_line = float(header.get("t", 0.0))
        self.run.completed = Sampled(len(pool))
        self._endpoints = Names()
        for endpoint in pool:
            self._endpoints.number(endpoint.name)
            endpoint.capacity.append((self.run.began, endpoint.threads, True))
        self._tasks: Dict[int, _Task] = {}
        self._attempts: Dict[str, _Attempt] = {}
        attempts, tasks = self.run.attempts, self.run.tasks
        self._attempt_columns: List[Callable[[Any], None]] = [column.append for column in (
            attempts.task, attempts.endpoint, attempts.thread_class, attempts.cores, attempts.app, attempts.host, attempts.outcome,
            attempts.dispatched, attempts.bound, attempts.received, attempts.started, attempts.finished)]
        self._task_columns: List[Callable[[Any], None]] = [column.append for column in (
            tasks.task, tasks.app, tasks.attempt, tasks.submitted, tasks.dispatched, tasks.ended, tasks.done)]
        self._failed_nodes: Dict[int, Failure] = {}
        self._kinds = {"task": self._task, "attempt": self._attempt, "endpoint": self._endpoint, "dispatch": self._dispatch,
                       "log": self._log, "run": self._progress}

    def take(self, line: Dict[str, Any]) -> None:
        """Take in a line; one of a kind that is not known says nothing here."""
        time = float(line.get("t", self.run.last_line))
        self.run.last_line = max(self.run.last_line, time)
        read = self._kinds.get(line["kind"])
        if read is not None:
            read(time, line)

    def end(self) -> Run:
        """Take what is still under way as it is at the end of the log."""
        self.run.ended = bool(self.run.ended) if self.run.header.get("schema", 1) >= 2 else None
        for attempt in list(self._attempts.values()):
            self._row(attempt, self.run.last_line, "under way", {})
        for task in self._tasks.values():
            for failure in task.failures:
                failure.came = failure.came or "not finished yet"
        return self.run

    # tasks

    def _task(self, time: float, line: Dict[str, Any]) -> None:
        state = line["state"]
        number = line["task"]
        if state in ("done", "failed"):
            self._end_task(time, self._tasks.pop(number), state, line)
            return
        task = self._tasks.get(number)
        if task is None:
            task = self._tasks[number] = self._new_task(time, number, line)
        elif state == "pending" and line.get("after") not in (None, "wait"):
            self.run.failovers += 1
        self._place(time, task, _PENDING)

    def _new_task(self, time: float, number: int, line: Dict[str, Any]) -> _Task:
        run, node = self.run, line.get("node")
        run.first_submitted = time if run.first_submitted is None else run.first_submitted
        run.last_submitted = time
        run.retries += bool(line.get("try"))
        task = _Task(number, run.apps.number(str(line.get("app", "unknown"))), time, node)
        if line.get("parents") and not line.get("try") and run.counts[_UNSUBMITTED]:
            run.counts[_UNSUBMITTED] -= 1  # which the next line about that will say too
        if node is not None:
            self._add_node(node, task.app, line.get("parents", ()))
            before = self._failed_nodes.pop(node, None)
            if before is not None and line.get("try"):
                before.came = f"failed; Parsl tried again, as task {number}"
        return task

    def _add_node(self, node: int, app: int, parents: Iterable[int]) -> None:
        graph = self.run.graph
        graph.apps[node] = app
        known = [parent for parent in dict.fromkeys(parents) if parent in graph.row]
        if known:
            ended = self.run.tasks.ended
            graph.last_parent[node] = max(known, key=lambda parent: ended[graph.row[parent]])
        graph.depth[node] = 1 + max((graph.depth[parent] for parent in known), default=-1)
        if graph.edges is not None:
            graph.edges.update((parent, node) for parent in known)
            if len(graph.apps) > MOST_NODES or len(graph.edges) > MOST_EDGES:
                graph.edges = None

    def _end_task(self, time: float, task: _Task, state: str, line: Dict[str, Any]) -> None:
        run, tasks = self.run, self.run.tasks
        row = task.rows.get(line.get("attempt", ""), -1)
        for append, value in zip(self._task_columns, (
                task.number, task.app, row, task.submitted, task.dispatched, time, state == "done")):
            append(value)
        if task.node is not None:
            if task.node in run.graph.row:
                run.graph.earlier.setdefault(task.node, []).append(run.graph.row[task.node])
            run.graph.row[task.node] = len(tasks) - 1
        run.last_ended = time
        self._place(time, task, state)
        where = None if row < 0 else run.attempts.endpoint[row]
        if where is not None and state == "done":
            run.pool[where].completed += 1
            run.completed.note(time, [endpoint.completed for endpoint in run.pool])
        if "reason" in line:
            self._fail(time, task, None, str(line["reason"]), str(line.get("message", "")))
        came = f"then done on {run.pool[where].name}" if state == "done" and where is not None else f"task {state}"
        for failure in task.failures:
            failure.came = came
        if state == "failed" and task.node is not None and task.failures:
            self._failed_nodes[task.node] = task.failures[-1]

    def _place(self, time: float, task: _Task, state: str) -> None:
        """Count a task under its new state."""
        counts = self.run.counts
        pressed = counts[_PENDING] > 0
        if task.state is not None:
            counts[task.state] -= 1
        task.state = state
        counts[state] += 1
        self.run.states.note(time, list(counts.values()))
        if (counts[_PENDING] > 0) != pressed:
            self._press(time, not pressed)

    def _press(self, time: float, pressed: bool) -> None:
        changes = self.run.pressure
        if changes and changes[-1][0] >= time:
            changes.pop()  # both at one moment: nothing has waited
        else:
            changes.append((time, pressed))

    # attempts

    def _attempt(self, time: float, line: Dict[str, Any]) -> None:
        state, name = line["state"], line["attempt"]
        if state in ("duplicate", "unmatched"):
            self.run.duplicates += 1
            return
        attempt = self._attempts.get(name)
        if state == "finished":
            self._finish(time, self._attempts.pop(name), line)
            return
        if attempt is None:
            task = self._tasks[line["task"]]
            attempt = self._attempts[name] = _Attempt(name, task, self._number(line["endpoint"]), int(line["thread_class"]), time)
            task.held += 1
            if not task.dispatched <= time:  # it is unknown
                task.dispatched = time
            self.run.copies += bool(line.get("again"))
        if state == "running" and not attempt.running:
            attempt.bound = time
        attempt.task.running += (state == "running") - attempt.running
        attempt.running = state == "running"
        self._replace(time, attempt.task)

    def _finish(self, time: float, attempt: _Attempt, line: Dict[str, Any]) -> None:
        outcome, task = line["outcome"], attempt.task
        endpoint = self.run.pool[attempt.endpoint]
        endpoint.done += outcome == "ok"
        endpoint.abandoned += outcome == "abandoned"
        task.rows[attempt.name] = self._row(attempt, time, outcome, line)
        task.held -= 1
        task.running -= attempt.running
        if line.get("started") is not None and line.get("finished") is not None:
            endpoint.busy_seconds += line["finished"] - line["started"]
        if outcome not in ("ok", "abandoned"):
            endpoint.failed += 1
            self._fail(time, task, endpoint.name, str(line.get("error") or outcome), str(line.get("message", "")))
        if task.held:  # else the next line says what becomes of it; until then it stays what it was
            self._replace(time, task)

    def _row(self, attempt: _Attempt, time: float, outcome: str, line: Dict[str, Any]) -> int:
        """Add a row for an attempt that is over; returns its number."""
        columns, run = self.run.attempts, self.run
        started, finished = line.get("started"), line.get("finished")
        known = started is not None and finished is not None and finished >= started
        classes = run.pool[attempt.endpoint].classes
        for append, value in zip(self._attempt_columns, (
                attempt.task.number, attempt.endpoint, attempt.thread_class, classes[attempt.thread_class][0], attempt.task.app,
                run.hosts.number(str(line.get("host", ""))), run.outcomes.number(str(outcome)), attempt.dispatched, attempt.bound,
                max(time, attempt.dispatched), started if known else UNKNOWN, finished if known else UNKNOWN)):
            append(value)
        return len(columns) - 1

    def _replace(self, time: float, task: _Task) -> None:
        """Count a task under the state that its attempts give it, if it is not finished."""
        if task.state not in (_DONE, _FAILED):
            state = _RUNNING if task.running else _AHEAD if task.held else _PENDING
            if state != task.state:
                self._place(time, task, state)

    def _fail(self, time: float, task: _Task, endpoint: Optional[str], outcome: str, message: str) -> None:
        run = self.run
        kind = (endpoint or "", run.apps.names[task.app], outcome)
        if kind not in run.failure_counts and len(run.failure_counts) >= _MOST_KINDS:
            kind = (endpoint or "", "(other apps)", "(others)")
        run.failure_counts[kind] = run.failure_counts.get(kind, 0) + 1
        if len(run.failures) < MOST_FAILURES:
            failure = Failure(time, task.number, run.apps.names[task.app], endpoint, outcome, message[:500])
            run.failures.append(failure)
            task.failures.append(failure)

    # endpoints, and the rest

    def _number(self, endpoint: str) -> int:
        number = self._endpoints.number(endpoint)
        if number >= len(self.run.pool):
            raise KeyError(f"endpoint {endpoint} is not in the pool")
        return number

    def _endpoint(self, time: float, line: Dict[str, Any]) -> None:
        number, state = self._number(line["endpoint"]), line["state"]
        endpoint = self.run.pool[number]
        detail = ""
        if state in ("online", "offline"):
            endpoint.online = state == "online"
        elif state in ("paused", "resumed", "recovered"):
            endpoint.paused = state == "paused"
            endpoint.probing = endpoint.probing and state != "recovered"
            detail = f"for {line['seconds']:.0f} s: {line.get('reason', '')}" if state == "paused" else ""
        elif state == "probing":
            endpoint.probing = True
        elif state == "threads":
            index = line["thread_class"]
            endpoint.classes[index] = endpoint.classes[index][0], int(line["count"])
            detail = f"{line['count']} of {endpoint.classes[index][0]} cores"
        elif state == "versions":
            versions = {key: str(line[key]) for key in ("python", "parsl", "dill", "sdk") if key in line}
            endpoint.versions[str(line.get("child", ""))] = versions
            detail = ", ".join(f"{key} {value}" for key, value in versions.items())
        elif state in ("child", "child_offline"):
            detail = str(line.get("child", ""))
        elif state not in ("warm", "cold"):
            return  # what the service answers to each question about a status is no event
        if endpoint.probing != bool(endpoint.probes and endpoint.probes[-1][1]):
            endpoint.probes.append((time, endpoint.probing))
        now = time, endpoint.threads, endpoint.online and not endpoint.paused
        if now[1:] != endpoint.capacity[-1][1:]:
            endpoint.outages += not now[2] and endpoint.capacity[-1][2]
            endpoint.capacity.append(now)
        self.run.event_count += 1
        if len(self.run.events) < MOST_EVENTS:
            self.run.events.append(Event(time, number, state, detail))

    def _dispatch(self, time: float, line: Dict[str, Any]) -> None:
        self.run.rejected += line["state"] == "rejected"

    def _log(self, time: float, line: Dict[str, Any]) -> None:
        self.run.ended = line.get("state") == "ended"
        self.run.lost_lines += line["lines"] if line.get("state") == "lost" else 0

    def _progress(self, time: float, line: Dict[str, Any]) -> None:
        self.run.seconds_left = line.get("seconds_left")
        if "unsubmitted" in line:
            self.run.counts[_UNSUBMITTED] = int(line["unsubmitted"])
            self.run.states.note(time, list(self.run.counts.values()))
