"""Writing the run log, and replaying it."""
from __future__ import annotations

import errno
import logging
import os
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.executors.globus_compute_multi.observe import runlog
from parsl.executors.globus_compute_multi.observe.logfile import (
    InconsistentLog,
    read_log,
)
from parsl.executors.globus_compute_multi.observe.replay import replay
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
        log.write(time.monotonic(), (dict, {"task": i, "state": "pending"}))
    assert log.stop(10) and log.stop(10)
    written = list(read_log(path))
    assert (written[0]["log"], written[0]["schema"], written[0]["part"]) == ("globus_compute_multi", 2, 1)
    assert [line["task"] for line in written[1:-1]] == list(range(1000))
    assert written[-1]["state"] == "ended"
    assert abs(written[-1]["t"] - time.time()) < 60
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_what_cannot_be_made_or_written_as_json_costs_its_line_alone(path):
    log = RunLog(path)
    log.start()
    log.write(0.0, (dict, {"task": object()}))
    log.write(0.0, (sorted, (1, "a")))
    log.write(0.0, (next, iter(())))
    log.write(0.0, (dict, {"task": 1}))
    assert log.stop(10)
    assert [line.get("task") or line.get("lines") for line in read_log(path)] == [None, 3, 1, None]


def test_a_line_that_cannot_be_made_does_not_mix_up_those_that_wait_with_it(path):
    log = RunLog(path)
    log.start()
    log.write(0.0, (sorted, (1, "a")))
    log.write(0.0, (dict, {"task": 1, "list": [{}, ""]}))
    assert log.stop(10)
    assert [line.get("list") or line.get("lines") for line in read_log(path)] == [None, 1, [{}, ""], None]


@pytest.mark.parametrize("value", ['}, "", {"kind": 1}', '"}, \\"\\", {', "\u2028}, \n", "", [{}, "", {}], [[], ""], {"a": {}, "": ""}, {}])
def test_lines_that_wait_together_are_told_apart_whatever_is_in_them(path, value):
    log = RunLog(path)
    log.start()
    fields = [{"n": n, "value": value} for n in range(3)] + [{"n": 3}, {"value": value}]
    for line in fields:
        log.write(0.0, (dict, line))
    assert log.stop(10)
    assert [{key: of for key, of in line.items() if key != "t"} for line in list(read_log(path))[1:-1]] == fields


def test_a_time_is_that_of_the_line_plus_the_epoch(path):
    log = RunLog(path)
    log.start()
    log.write(12.25, (dict, {"kind": "task"}))
    assert log.stop(10)
    assert list(read_log(path))[1]["t"] == pytest.approx(12.25 + log.epoch, abs=1e-5)


def test_stopping_a_log_that_was_not_started_closes_its_file(path):
    log = RunLog(path)
    assert log.stop(1)
    assert not list(read_log(path))


@given(part_bytes=st.integers(1, 3000), texts=st.lists(st.text(max_size=300), max_size=40))
@settings(deadline=None)
def test_all_lines_written_are_read_whatever_the_size_of_a_part(part_bytes, texts):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        log = RunLog(path, part_bytes)
        log.start(run_id="r")
        for text in texts:
            log.write(0.0, (dict, {"text": text}))
        assert log.stop(10)
        written = list(read_log(path))
        assert [line["text"] for line in written[1:-1]] == texts
        assert (log.lines, written[-1]["state"]) == (len(written), "ended")
        for part in Path(folder).iterdir():
            # "continued" is not counted, and each part has a line, however long, beside its header
            assert part.stat().st_size <= part_bytes + 100 or part.read_bytes().count(b"\n") <= 3
            assert stat.S_IMODE(part.stat().st_mode) == 0o600


def test_the_log_of_an_earlier_run_is_kept_under_another_name(path):
    for run in range(3):
        log = RunLog(path)
        log.start(run=run)
        assert log.stop(10)
    assert [next(read_log(path.with_name(name)))["run"] for name in ("run.jsonl", "run.jsonl.1", "run.jsonl.2")] == [2, 0, 1]


def test_further_parts_of_an_earlier_run_are_kept_with_it(path):
    path.parent.mkdir()
    others = [path.with_name(name) for name in ("run.jsonl.part2.gz", "run-jsonl", "another.run.jsonl.part2")]
    for other in others:
        other.write_text("another's")
    for run in range(2):
        log = RunLog(path, part_bytes=1)
        log.start(run_id=str(run))
        for n in range(3 - run):
            log.write(0.0, (dict, {"n": 10 * run + n}))
        assert log.stop(10)
    assert [line.get("n") for line in read_log(path.with_name("run.jsonl.1"))] == [None, 0, 1, 2, None]
    assert [line.get("n") for line in read_log(path)] == [None, 10, 11, None]
    assert all(other.read_text() == "another's" for other in others)


def test_a_part_left_alone_by_an_earlier_run_is_not_written_to(path):
    path.parent.mkdir()
    path.with_name("run.jsonl.part2").write_text("left")
    log = RunLog(path, part_bytes=1)
    log.start(run_id="r")
    log.write(0.0, (dict, {"n": 1}))
    assert log.stop(10)
    assert [line.get("n") for line in read_log(path)] == [None, 1, None]
    assert path.with_name("run.jsonl.1.part2").read_text() == "left"


class Disk:
    """Has room for so many bytes of the files in a folder."""

    def __init__(self, monkeypatch, folder):
        self.room = None
        self.failures = 0
        self.failed = threading.Event()
        self._lock = threading.Lock()  # the log has a thread of its own
        self._folder = folder
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(runlog, "_RETRY_SECONDS", 0.01)

    def write(self, file, data):
        with self._lock:
            return self._write_what_there_is_room_for(file, data)

    def make_room(self):
        """As if others had deleted their files."""
        with self._lock:
            self.room = None

    def _write_what_there_is_room_for(self, file, data):
        if self.room is None or all(not os.path.samestat(os.fstat(file), path.stat()) for path in self._folder.iterdir()):
            return self._write(file, data)
        if self.room == 0:
            self.failures += 1
            self.failed.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(file, bytes(data[:self.room]))
        self.room -= written
        return written


@pytest.fixture
def disk(monkeypatch, path):
    path.parent.mkdir()
    return Disk(monkeypatch, path.parent)


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("part_bytes", [400, 100_000_000])
@pytest.mark.parametrize("room", [0, 1, 500])
def test_a_full_disk_costs_no_line_if_there_is_room_again_in_time(path, disk, caplog, room, part_bytes):
    log = RunLog(path, part_bytes)
    disk.room = room
    log.start(run_id="r")
    for n in range(20):
        log.write(0.0, (dict, {"n": n}))
    wait_until(lambda: disk.failures > 2)
    assert len([record for record in caplog.records if "cannot be written: " in record.message]) == 1
    disk.make_room()
    wait_until(lambda: any("can be written again; 0 lines were lost" in record.message for record in caplog.records))
    for n in range(20, 40):
        log.write(0.0, (dict, {"n": n}))
    assert log.stop(10)
    assert [line["n"] for line in list(read_log(path))[1:-1]] == list(range(40))
    assert len(caplog.records) == 2


def test_what_a_full_disk_has_cost_is_in_the_log(path, disk, caplog, monkeypatch):
    monkeypatch.setattr(runlog, "_KEPT_BYTES", 1000)
    log = RunLog(path)
    log.start(run_id="r")
    log.write(0.0, (dict, {"n": 0}))
    wait_until(lambda: path.read_bytes().count(b"\n") == 2)
    disk.room = 10
    log.write(0.0, (dict, {"n": 1}))
    assert disk.failed.wait(60)
    for n in range(2, 1000):
        log.write(0.0, (dict, {"n": n}))
    failures = disk.failures
    wait_until(lambda: disk.failures > failures + 1)  # the second after the last line follows when that was taken from the queue
    disk.make_room()
    wait_until(lambda: any("can be written again" in record.message for record in caplog.records))
    log.write(0.0, (dict, {"n": 1000}))
    assert log.stop(10)
    lines = list(read_log(path))
    kept = [line["n"] for line in lines if "n" in line]
    hole = next(line for line in lines if line.get("state") == "lost")
    assert kept == [*range(len(kept) - 1), 1000]
    assert hole["lines"] == 1000 - (len(kept) - 1) > 0
    assert lines[lines.index(hole) + 1]["n"] == 1000
    assert log.lines == len(lines) - 1 + hole["lines"]


def test_a_disk_that_stays_full_does_not_hinder_the_end(path, disk, caplog):
    log = RunLog(path)
    disk.room = 0
    log.start()
    log.write(0.0, (dict, {"n": 0}))
    assert log.stop(10)
    assert path.read_bytes() == b""
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]
    assert "The last 3 lines" in caplog.records[-1].message


def test_a_part_that_cannot_be_begun_costs_no_line(path, caplog, monkeypatch):
    log = RunLog(path, part_bytes=300)

    def fail(path):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(runlog, "_create", fail)
    log.start(run_id="r")
    for n in range(40):
        log.write(0.0, (dict, {"n": n}))
    assert log.stop(10)
    assert [line["n"] for line in list(read_log(path))[1:-1]] == list(range(40))
    assert [file.name for file in path.parent.iterdir()] == ["run.jsonl"]
    assert 1 <= sum("cannot be begun" in record.message for record in caplog.records) < 10


def test_replay_rebuilds_tasks_and_endpoints():
    state = replay(lines(PENDING, RUNNING))
    assert (state.count("dispatched"), state.endpoints["a"].running) == (1, {"1.1"})
    state = replay(lines(PENDING, RUNNING, FINISHED, DONE))
    assert (state.count("done"), state.endpoints["a"].running, state.endpoints["a"].done) == (1, set(), 1)
    assert state.endpoints["a"].busy_seconds == 2.0


def test_replay_knows_how_the_run_stands():
    state = replay(lines(PENDING))
    assert (state.shut_down, state.unsubmitted, state.seconds_left) == (False, None, None)
    state = replay(lines(PENDING, {"kind": "run", "state": "progress", "unsubmitted": 3, "seconds_left": 1.5}))
    assert (state.shut_down, state.unsubmitted, state.seconds_left) == (False, 3, 1.5)
    state = replay(lines(PENDING, {"kind": "run", "state": "progress", "unsubmitted": 0, "seconds_left": None},
                         {"kind": "log", "state": "ended"}))
    assert (state.shut_down, state.unsubmitted, state.seconds_left) == (True, 0, None)


def test_replay_knows_what_an_endpoint_costs():
    item = {"endpoint": "a", "id": "0c1d", "cost_per_core_hour": 0.5, "threads": [{"cores": 4, "count": 1}]}
    header, *rest = lines(PENDING, RUNNING, {**FINISHED, "finished": 1801.0}, DONE)
    endpoint = replay([{**header, "endpoints": [item]}, *rest]).endpoints["a"]
    assert (endpoint.id, endpoint.busy_seconds, endpoint.core_seconds, endpoint.cost) == ("0c1d", 1800.0, 7200.0, 1.0)
    assert replay([header, *rest]).endpoints["a"].cost is None


def test_replay_takes_no_time_from_a_clock_that_was_set_back():
    assert replay(lines(PENDING, RUNNING, {**FINISHED, "finished": 0.5}, DONE)).endpoints["a"].busy_seconds == 0.0


def test_replay_goes_on_after_lines_that_are_lost():
    hole = {"kind": "log", "state": "lost", "lines": 2}
    state = replay(lines(PENDING, hole, FINISHED, {**PENDING, "task": 2}, {**RUNNING, "attempt": "2.1", "task": 2}))
    assert (state.lost, state.count("pending"), state.count("dispatched")) == (2, 1, 1)


@pytest.mark.parametrize("schema", [1, 2])
def test_replay_accepts_each_schema_so_far(schema):
    assert replay([{**HEADER, "schema": schema}, PENDING | {"t": 1.0}]).count("pending") == 1


@pytest.mark.parametrize("schema", [3, "4", None])
def test_replay_refuses_a_newer_schema(schema):
    with pytest.raises(InconsistentLog, match=f"schema {schema}.*use a newer version.*Parsl 2099.1"):
        replay([{**HEADER, "schema": schema, "parsl": "2099.1"}])


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
