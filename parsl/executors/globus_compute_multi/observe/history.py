"""Result records of a run so far, from its log."""
from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional

from parsl.executors.globus_compute_multi.observe.logfile import (
    InconsistentLog,
    follow_log,
)
from parsl.executors.globus_compute_multi.observe.records import (
    VERSION_KEYS,
    ResultRecord,
)
from parsl.executors.globus_compute_multi.scheduling.events import Outcome

logger = logging.getLogger(__name__)

#: Seconds between two looks at a log that is not written as far as it will be.
_POLL = 0.02

#: Seconds after which what a log lacks is not expected any more: the disk is full, say.
_PATIENCE = 5.0


class _Task(NamedTuple):
    node: Optional[int]
    try_id: int
    app: str
    submitted: float


class _Attempt(NamedTuple):
    task_id: int
    task: _Task
    endpoint: str
    thread_class: int
    dispatched: float


class RecordBuilder:
    """Makes records from the lines of a run log, given one after the other, of any version.

    After lines were lost (the disk was full), those that do not fit are left out, since what they go on with is not known.
    """

    def __init__(self) -> None:
        self._cores: Dict[str, Any] = {}  # of each thread class, by endpoint
        self._tasks: Dict[int, _Task] = {}  # that are not finished
        self._attempts: Dict[str, _Attempt] = {}
        self._lost: Dict[int, Dict[str, _Attempt]] = {}  # finished ones that may complete their task all the same
        self._incomplete = False

    def take(self, line: Dict[str, Any]) -> Optional[ResultRecord]:
        """Take in a line; the record of what has ended with it, if anything has.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it cannot be, and no lines before it were lost.
        """
        try:
            return self._take(line)
        except (KeyError, TypeError, ValueError):
            if self._incomplete:
                return None
            raise

    def _take(self, line: Dict[str, Any]) -> Optional[ResultRecord]:
        kind = line.get("kind")
        if kind == "attempt":
            return self._take_attempt(line)
        if kind == "task":
            return self._take_task(line)
        if "endpoints" in line:
            self._cores = {e["endpoint"]: [c["cores"] for c in e["threads"]] for e in line["endpoints"]}
        elif kind == "log" and line.get("state") == "lost":
            self._incomplete = True
        return None

    def _take_task(self, line: Dict[str, Any]) -> Optional[ResultRecord]:
        task_id, state = line["task"], line["state"]
        if state == "pending" and "app" in line:
            self._tasks[task_id] = _Task(line.get("node"), line.get("try", 0), line["app"], line["t"])
        if state not in ("done", "failed"):
            return None
        self._lost.pop(task_id, None)
        task = self._tasks.pop(task_id, None)
        if task is None or "attempt" in line:
            return None  # the attempt's line has told it
        return ResultRecord(
            task_id, task.node, task.try_id, task.app, None, None, None, None, task.submitted, None, None, None, line["t"], line["reason"],
            None, None, None, line.get("message", ""), None, {}, None, True, False)

    def _take_attempt(self, line: Dict[str, Any]) -> Optional[ResultRecord]:
        name, state = line["attempt"], line["state"]
        if state == "finished":
            attempt = self._attempts.pop(name)
            if line["outcome"] == "abandoned":
                return None
            task_goes_on = attempt.task_id in self._tasks
            final = task_goes_on and Outcome(line["outcome"]).is_final
            if task_goes_on and not final:
                self._lost.setdefault(attempt.task_id, {})[name] = attempt
            return self._record(name, attempt, line, final)
        if state == "duplicate":
            given_up = self._lost.get(int(name.partition(".")[0]), {}).get(name)
            return self._record(name, given_up, line, True) if given_up is not None and Outcome(line["outcome"]).is_final else None
        if state != "unmatched" and name not in self._attempts:
            task_id = line["task"]
            self._attempts[name] = _Attempt(task_id, self._tasks[task_id], line["endpoint"], line["thread_class"], line["t"])
        return None

    def _record(self, name: str, attempt: _Attempt, line: Dict[str, Any], final: bool) -> ResultRecord:
        task = attempt.task
        cores = self._cores.get(attempt.endpoint, [])
        return ResultRecord(
            attempt.task_id, task.node, task.try_id, task.app, name, attempt.endpoint, attempt.thread_class,
            cores[attempt.thread_class] if attempt.thread_class < len(cores) else None, task.submitted, attempt.dispatched,
            line.get("started"), line.get("finished"), line["t"], line["outcome"], None, None, line.get("error"), line.get("message", ""),
            line.get("host"), {key: line[key] for key in VERSION_KEYS if key in line}, line.get("result_bytes"), final, False)


def read_history(path: Path, lines: int, log_id: Optional[str] = None) -> Iterator[Optional[ResultRecord]]:
    """The records that the first lines of a run log tell of.

    Parameters
    ----------
    path : Path
        Of a log that is perhaps being written.
    lines : int
        How many lines to read. If the log does not get so long, it is given up after five seconds, with a warning.
    log_id : str, optional
        What the first line must have under this name. Default: any.

    Yields
    ------
    ResultRecord or None
        None now and then, when what is missing is waited for.

    Raises
    ------
    OSError
        If the log cannot be read.
    InconsistentLog
        If it is damaged, or that of another run.
    """
    builder, left, last = RecordBuilder(), lines, time.monotonic()
    for line in follow_log(path, poll=_POLL):
        if line is not None:
            if left == lines and log_id not in (None, line.get("log_id")):
                raise InconsistentLog(f"{path} is the log of another run by now; that of this run is beside it, under its name and a number")
            # a line may tell that others were lost
            left, last = left - (line["lines"] if line.get("state") == "lost" and line["kind"] == "log" else 1), time.monotonic()
            try:
                record = builder.take(line)
            except (KeyError, TypeError, ValueError) as e:
                raise InconsistentLog(f"{path}: {type(e).__name__}: {e}, in the line {json.dumps(line)}") from e
            if record is not None:
                yield record
            if left <= 0:
                return
        elif time.monotonic() - last < _PATIENCE:
            yield None
        else:
            break
    logger.warning("The run log %s lacks %d lines that it should have; who begins to read results now may not see some earlier ones", path, left)
