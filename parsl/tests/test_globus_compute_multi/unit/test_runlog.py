"""The run log and its replay."""
from __future__ import annotations

import os
import stat
import time

import pytest

from parsl.executors.globus_compute_multi.observe.replay import (
    InconsistentLog,
    read_log,
    replay,
)
from parsl.executors.globus_compute_multi.observe.runlog import RunLog

pytestmark = pytest.mark.local

HEADER = {"log": "globus_compute_multi", "endpoints": [{"endpoint": "a", "threads": [{"cores": 1, "count": 1}]}]}


def lines(*fields):
    return [HEADER, *({"t": float(i), **f} for i, f in enumerate(fields))]


PENDING = {"kind": "task", "task": 1, "state": "pending"}
RUNNING = {"kind": "attempt", "attempt": "1.1", "state": "running", "task": 1, "endpoint": "a", "thread_class": 0, "dispatch": 1}
FINISHED = {"kind": "attempt", "attempt": "1.1", "state": "finished", "outcome": "ok", "started": 1.0, "finished": 3.0}
DONE = {"kind": "task", "task": 1, "state": "done", "attempt": "1.1"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "run.jsonl"


def test_lines_are_written_in_order_for_the_user_only(path):
    log = RunLog(path)
    log.start(label="x", endpoints=[])
    for i in range(1000):
        log.write(time.monotonic(), {"task": i, "state": "pending"})
    assert log.stop(10)
    written = list(read_log(path))
    assert written[0]["log"] == "globus_compute_multi" and written[0]["schema"] == 1
    assert [line["task"] for line in written[1:]] == list(range(1000))
    assert abs(written[-1]["t"] - time.time()) < 60
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_what_cannot_be_written_as_json_costs_its_line_alone(path):
    log = RunLog(path)
    log.start()
    log.write(0.0, {"task": object()})
    log.write(0.0, {"task": 1})
    assert log.stop(10)
    assert [line.get("task") for line in read_log(path)] == [None, 1]


def test_stopping_a_log_that_was_not_started_closes_its_file(path):
    log = RunLog(path)
    assert log.stop(1)
    assert not list(read_log(path))


def test_the_log_of_an_earlier_run_is_kept_under_another_name(path):
    for run in range(3):
        log = RunLog(path)
        log.start(run=run)
        assert log.stop(10)
    assert [next(read_log(path.with_name(name)))["run"] for name in ("run.jsonl", "run.jsonl.1", "run.jsonl.2")] == [2, 0, 1]


def test_a_last_line_that_is_cut_off_is_left_out(path):
    path.parent.mkdir()
    path.write_text('{"a": 1}\n{"b": 2')
    assert list(read_log(path)) == [{"a": 1}]


def test_replay_rebuilds_tasks_and_endpoints():
    state = replay(lines(PENDING, RUNNING))
    assert (state.count("dispatched"), state.endpoints["a"].running) == (1, {"1.1"})
    state = replay(lines(PENDING, RUNNING, FINISHED, DONE))
    assert (state.count("done"), state.endpoints["a"].running, state.endpoints["a"].done) == (1, set(), 1)
    assert state.endpoints["a"].busy_seconds == 2.0


@pytest.mark.parametrize("bad, message", [
    ((RUNNING,), "dispatched while it is None"),
    ((DONE,), "from None to done"),
    ((PENDING, {"kind": "odd"}), "odd"),
    ((PENDING, {"kind": "task"}), "KeyError"),
    ((PENDING, RUNNING, FINISHED, FINISHED), "from finished to finished"),
    ((PENDING, RUNNING, FINISHED, DONE, DONE), "from done to done"),
    ((PENDING, {**PENDING, "task": 2}, RUNNING, {**RUNNING, "task": 2, "attempt": "2.1"}), "more attempts than it has threads"),
])
def test_replay_refuses_what_cannot_have_happened(bad, message):
    with pytest.raises(InconsistentLog, match=message):
        replay(lines(*bad))


@pytest.mark.parametrize("content", [[], [{"no": "header"}], [[1]], [{"log": "globus_compute_multi"}]])
def test_replay_refuses_what_is_no_run_log(content):
    with pytest.raises(InconsistentLog, match="not a run log|does not describe the pool"):
        replay(content)
