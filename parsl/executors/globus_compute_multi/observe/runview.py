"""What people want to know of a run, from the lines of its log."""
from __future__ import annotations

from collections import Counter, deque
from typing import Any, Deque, Dict, Iterable, List, NamedTuple, Optional, Tuple

from parsl.executors.globus_compute_multi.observe.replay import replay
from parsl.executors.globus_compute_multi.observe.status import Progress, Status
from parsl.executors.globus_compute_multi.observe.wording import (
    duration,
    failure,
    plain,
)
from parsl.executors.globus_compute_multi.scheduling.events import Outcome

#: Endpoints' statuses come more often than this, in seconds, even if no task ends: after so long without a line the process may be gone.
SILENT_SECONDS = 120.0

_MINUTE = 60.0

#: Of an attempt: it ended well, or its end is the task's, too.
_OF_THE_TASK = frozenset({*(outcome.value for outcome in Outcome if outcome.is_final), "abandoned"})

_KEPT_FAILURES = 20

#: What is told of an endpoint, by the state in its line.
_EVENTS = {"online": "online again", "offline": "offline", "resumed": "tried again", "warm": "has begun to run tasks",
           "cold": "has no workers any more", "probing": "gets one task at a time", "recovered": "works again",
           "child_offline": "its child process is offline"}


class Happening(NamedTuple):
    """Something worth telling.

    Parameters
    ----------
    t : float
        When, in seconds since the epoch.
    text : str
        In words, on one line.
    """

    t: float
    text: str


class RunView:
    """Follows a run by its log, line by line.

    Parameters
    ----------
    header : dict or None
        First line of the log; None: there is none.

    Attributes
    ----------
    state : RunState
    events : dict
        What last happened to an endpoint, by name.
    failures : deque of Happening
        The last failures of tasks and of attempts.

    Raises
    ------
    InconsistentLog
        If it is not the first line of a run log.
    """

    def __init__(self, header: Optional[Dict[str, Any]]) -> None:
        self.state = replay([] if header is None else [header])
        self.events: Dict[str, Happening] = {}
        self.failures: Deque[Happening] = deque(maxlen=_KEPT_FAILURES)
        self._began: Optional[float] = self.state.header.get("t")
        self._last: Optional[float] = self._began
        self._apps: Dict[int, str] = {}
        self._nodes: Dict[int, int] = {}  # numbers of tasks in Parsl
        self._kinds: "Counter[str]" = Counter()  # of failed tasks
        self._tried_again: "Counter[str]" = Counter()  # failed attempts that do not end their task
        self._endings: Dict[str, Dict[str, Any]] = {}  # of attempts, until the line that tells what became of their task
        self._alike, self._last_why = 0, ""  # of the last failure
        self._troubles: Dict[str, str] = {}
        self._done_each_second: Deque[Tuple[int, int]] = deque()  # second, tasks done; of the last minute
        self._forecast_at = 0.0  # the last line of progress
        self._submitted_since = 0
        self._readers = {"task": self._task, "attempt": self._attempt, "endpoint": self._endpoint, "run": self._run}

    @property
    def label(self) -> str:
        """Label of the executor."""
        return str(self.state.header.get("label", ""))

    def apply(self, line: Dict[str, Any]) -> None:
        """Take in one line.

        Raises
        ------
        InconsistentLog
            If it cannot follow the lines before it.
        """
        self.state.apply(line)
        self._last = line["t"]
        if self._began is None:
            self._began = self._last
        reader = self._readers.get(line["kind"])
        if reader is not None:
            reader(line)

    def status(self, now: float) -> Status:
        """How the run stands, at ``now`` in seconds since the epoch; what has ended stands as it did then."""
        if self.state.shut_down and self._last is not None:
            now = self._last
        return Status.of(self.state, now, self._progress(now), self._troubles)

    def _progress(self, now: float) -> Progress:
        state = self.state
        silent = None if state.shut_down or self._last is None or now - self._last < SILENT_SECONDS else now - self._last
        upto = now if silent is None else now - silent
        elapsed = None if self._began is None else max(upto - self._began, 0.0)
        while self._done_each_second and self._done_each_second[0][0] <= upto - _MINUTE:
            self._done_each_second.popleft()
        recent = sum(n for _, n in self._done_each_second)
        goes_on = not (state.shut_down or silent)
        # it is told about once a second; those that were submitted since then are among the pending ones already
        unsubmitted = None if state.unsubmitted is None or state.shut_down else max(0, state.unsubmitted - self._submitted_since)
        return Progress(
            label=self.label, began=self._began, ended=self._last if state.shut_down else None, unsubmitted=unsubmitted,
            minute_rate=recent / min(elapsed, _MINUTE) if elapsed and goes_on else None,
            overall_rate=state.count("done") / elapsed if elapsed else None,
            seconds_left=max(0.0, state.seconds_left - (now - self._forecast_at)) if state.seconds_left is not None and goes_on else None,
            failures=tuple(self._kinds.most_common()), tried_again=tuple(self._tried_again.most_common()), silent=silent,
            lost_lines=state.lost)

    # lines

    def _task(self, line: Dict[str, Any]) -> None:
        task, state = line["task"], line["state"]
        if state == "pending":
            if "app" in line:
                self._apps[task] = line["app"]
            if "node" in line:
                self._nodes[task] = line["node"]
            self._submitted_since += "parents" in line and "try" not in line
        elif state == "done":
            second = int(line["t"])
            if self._done_each_second and self._done_each_second[-1][0] == second:
                second, before = self._done_each_second.pop()
                self._done_each_second.append((second, before + 1))
            else:
                self._done_each_second.append((second, 1))
                while self._done_each_second[0][0] <= second - _MINUTE:
                    self._done_each_second.popleft()
        elif state == "failed":
            self._failed(line)
        if state in ("done", "failed"):
            self._apps.pop(task, None)
            self._nodes.pop(task, None)
            self._endings.pop(line.get("attempt", ""), None)

    def _failed(self, line: Dict[str, Any]) -> None:
        ending = self._endings.get(line.get("attempt", ""), {})
        reason = line.get("reason") or ending.get("outcome") or "app_failed"
        kind = failure(reason, ending.get("error"))
        self._kinds[kind] += 1
        if reason != "shutdown":  # that is no news of a task
            known = self.state.attempts.get(line.get("attempt", ""))
            self._tell(line, line["task"], None if known is None else known.endpoint, kind)

    def _tell(self, line: Dict[str, Any], task: int, endpoint: Optional[str], kind: str) -> None:
        """Note a failure; those alike that follow one another, as of all attempts of a dispatch, are told together."""
        message = f": {line['message']}" if line.get("message") else ""
        number = f"task {self._nodes[task]}" if task in self._nodes else f"submission {task}"  # Parsl's number, or the executor's
        app = f" ({self._apps[task]})" if task in self._apps else ""
        where = "" if endpoint is None else f" on {endpoint}"
        why = f"{where}: {kind}{message}"
        if self.failures and self._last_why == why:
            self._alike += 1
            self.failures[-1] = Happening(line["t"], plain(f"{self._alike} tasks{why}"))
        else:
            self._alike, self._last_why = 1, why
            self.failures.append(Happening(line["t"], plain(f"{number}{app}{why}")))

    def _attempt(self, line: Dict[str, Any]) -> None:
        outcome = line.get("outcome")
        if outcome is None or outcome == "ok":
            return
        if outcome in _OF_THE_TASK:
            if outcome != "abandoned" and self._is_open(line["attempt"]):
                self._endings[line["attempt"]] = line
        elif line["state"] == "finished":
            kind = failure(outcome)
            self._tried_again[kind] += 1
            known = self.state.attempts.get(line["attempt"])
            if known is not None:
                self._tell(line, known.task, known.endpoint, kind)

    def _is_open(self, attempt: Optional[str]) -> bool:
        known = None if attempt is None else self.state.attempts.get(attempt)
        return known is not None and self.state.tasks[known.task] not in ("done", "failed")

    def _endpoint(self, line: Dict[str, Any]) -> None:
        name, state = line["endpoint"], line["state"]
        text = _EVENTS.get(state)
        if state == "paused":
            text = f"left alone for {duration(line['seconds'])}: {line.get('reason', '')}"
            self._troubles[name] = plain(str(line.get("reason", "")))
        elif state == "threads":
            text = f"has {line['count']} threads"
        elif state in ("recovered", "online"):
            self._troubles.pop(name, None)
        elif state == "offline":
            self._troubles[name] = "the service says that it is offline"
        if text is not None:
            self.events[name] = Happening(line["t"], plain(text))

    def _run(self, line: Dict[str, Any]) -> None:
        if line["state"] == "progress":
            self._forecast_at, self._submitted_since = line["t"], 0

    def last_failures(self, count: int) -> List[Happening]:
        """The last failures, at most so many, the latest last."""
        return list(self.failures)[-count:] if count > 0 else []


def view_of(lines: Iterable[Dict[str, Any]]) -> RunView:
    """The run that these lines are the log of.

    Raises
    ------
    InconsistentLog
        If it is not a run log, or lines contradict each other.
    """
    iterator = iter(lines)
    view = RunView(next(iterator, None))
    for line in iterator:
        view.apply(line)
    return view
