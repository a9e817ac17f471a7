"""Finding and reading run logs, while they are written or afterwards."""
from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl.executors.globus_compute_multi.observe import logfile
from parsl.executors.globus_compute_multi.observe.logfile import (
    InconsistentLog,
    LogNotFound,
    find_log,
    follow_log,
    read_log,
)
from parsl.executors.globus_compute_multi.observe.replay import replay
from parsl.executors.globus_compute_multi.observe.runlog import RunLog

pytestmark = pytest.mark.local

#: Seconds within which whatever is waited for happens on the slowest machine.
DEADLINE = 120


def text(*lines):
    return "".join(json.dumps(line) + "\n" for line in lines)


def first(part=1, run_id="r", **more):
    return {"t": 1.0, "kind": "log", "log": "globus_compute_multi", "schema": 2, "part": part, "run_id": run_id, **more}


def continued(part):
    return {"t": 1.0, "kind": "log", "state": "continued", "part": part}


ENDED = {"t": 9.0, "kind": "log", "state": "ended"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


# reading

def test_a_last_line_that_is_cut_off_is_left_out(path):
    path.write_text('{"a": 1}\n{"b": 2')
    assert list(read_log(path)) == [{"a": 1}]


@pytest.mark.parametrize("bad", ["nonsense", '{"cut": ', "[1]", "\0\0\0", ""])
def test_a_line_that_is_no_json_object_is_named(path, bad):
    path.write_text(text(first()) + bad + "\n")
    with pytest.raises(InconsistentLog, match=re.escape(f"{path}, line 2")):
        list(read_log(path))


def test_lines_of_all_parts_are_read_without_what_belongs_to_the_parts(path):
    path.write_text(text(first(), {"n": 1}, continued(2)))
    path.with_name("run.jsonl.part2").write_text(text(first(2), {"n": 2}, continued(3)))
    path.with_name("run.jsonl.part3").write_text(text(first(3), {"n": 3}, ENDED))
    assert list(read_log(path)) == [first(), {"n": 1}, {"n": 2}, {"n": 3}, ENDED]


def test_a_part_whose_first_line_is_not_written_yet_has_no_lines(path):
    path.write_text(text(first(), continued(2)))
    path.with_name("run.jsonl.part2").write_text('{"t": 1.0, "kin')
    assert list(read_log(path)) == [first()]


def test_a_missing_part_is_named(path):
    path.write_text(text(first(), continued(2)))
    with pytest.raises(InconsistentLog, match=re.escape(f"{path}.part2 is missing")):
        list(read_log(path))


@pytest.mark.parametrize("header", [first(2, "another"), first(3), {"n": 1}])
def test_a_part_that_does_not_belong_to_the_log_is_named(path, header):
    path.write_text(text(first(), continued(2)))
    path.with_name("run.jsonl.part2").write_text(text(header))
    with pytest.raises(InconsistentLog, match=re.escape(f"{path}.part2 is not part 2 of the run log {path}, run r")):
        list(read_log(path))


def test_a_further_part_is_not_read_without_the_first(path):
    path.write_text(text(first(2)))
    with pytest.raises(InconsistentLog, match="is part 2 of a run log; give the first"):
        list(read_log(path))


def test_a_log_of_schema_1_is_read(path):
    path.write_text(text({"t": 1.0, "kind": "log", "log": "globus_compute_multi", "schema": 1}, {"n": 1}))
    assert [line.get("n") for line in read_log(path)] == [None, 1]


@given(block=st.integers(1, 100), parts=st.lists(st.lists(st.text(max_size=20), max_size=5), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_lines_are_the_same_wherever_a_block_ends(path, monkeypatch, block, parts):
    monkeypatch.setattr(logfile, "_BLOCK_BYTES", block)
    for number, values in enumerate(parts, 1):
        lines = [first(number), *({"value": value} for value in values), *([continued(number + 1)] if number < len(parts) else [])]
        logfile.part_path(path, number).write_text(text(*lines))
    assert [line["value"] for line in read_log(path) if "value" in line] == [value for values in parts for value in values]


# following

def test_a_log_is_waited_for_and_a_half_written_line_too(path):
    following = follow_log(path, poll=0.0)
    assert next(following) is None
    path.write_text(text(first()) + '{"n": ')
    assert [next(following), next(following), next(following)] == [first(), None, None]
    with path.open("a") as file:
        file.write("1}\n")
    assert [next(following), next(following)] == [{"n": 1}, None]
    with path.open("a") as file:
        file.write(text({"n": 2}, ENDED))
    assert list(following) == [{"n": 2}, ENDED]


def test_following_goes_on_in_the_next_part(path):
    path.write_text(text(first()))
    following = follow_log(path, poll=0.0)
    assert [next(following), next(following)] == [first(), None]
    path.with_name("run.jsonl.part2").write_text("")
    with path.open("a") as file:
        file.write(text({"n": 1}, continued(2)))
    assert [next(following), next(following)] == [{"n": 1}, None]
    path.with_name("run.jsonl.part2").write_text(text(first(2), ENDED))
    assert list(following) == [ENDED]


@pytest.mark.parametrize("content, before", [(None, None), ("", None), (text(first(), {"n": 1}), first())])
def test_following_stops_when_told(path, content, before):
    if content is not None:
        path.write_text(content)
    stopping = threading.Event()
    following = follow_log(path, stopping, poll=0.0)
    assert next(following) == before
    stopping.set()
    assert list(following) == []


@pytest.mark.parametrize("part_bytes", [1, 500, 20_000, 100_000_000])
def test_who_follows_while_lines_are_written_sees_each_once_and_in_order(path, part_bytes):
    seen = []

    def follow():
        started = time.monotonic()
        for line in follow_log(path, poll=0.001):
            if line is not None:
                seen.append(line)
            elif time.monotonic() - started > DEADLINE:
                return

    reader = threading.Thread(target=follow)
    reader.start()
    log = RunLog(path, part_bytes)
    log.start(run_id="r")
    for n in range(500):
        for m in range(4):
            log.write(time.monotonic(), (dict, {"kind": "task", "n": 4 * n + m}))
        if n % 100 == 0:
            time.sleep(0.06)  # the log's thread gets up, and writes
    assert log.stop(DEADLINE)
    reader.join(DEADLINE)
    assert [line["n"] for line in seen[1:-1]] == list(range(2000))
    assert (seen[0]["run_id"], seen[-1]["state"]) == ("r", "ended")
    assert (len(list(path.parent.iterdir())) > 1) == (part_bytes < 100_000_000)


def test_lines_can_be_read_while_a_burst_does_not_end(path):
    log = RunLog(path)
    log.start(run_id="r")
    enough = threading.Event()

    def burst():
        while not enough.wait(1e-6):
            log.write(time.monotonic(), (dict, {"kind": "task", "filler": "x" * 20}))

    writer = threading.Thread(target=burst)
    writer.start()
    try:
        following = (line for line in follow_log(path, poll=0.01) if line is not None)
        assert len(list(islice(following, 5000))) == 5000
    finally:
        enough.set()
        writer.join()
        assert log.stop(DEADLINE)


_WRITE_FOR_EVER = """
import itertools, sys, time
from pathlib import Path
from parsl.executors.globus_compute_multi.observe.runlog import RunLog
log = RunLog(Path(sys.argv[1]), part_bytes=200_000)
log.start(run_id="r", endpoints=[{"endpoint": "a", "threads": [{"cores": 1, "count": 1}]}])
for n in itertools.count():
    log.write(time.monotonic(), (dict, {"kind": "task", "task": n, "state": "pending"}))
    if n % 1000 == 0:
        time.sleep(0.001)
"""


def test_what_a_killed_process_has_written_is_read_up_to_its_last_complete_line(path):
    process = subprocess.Popen([sys.executable, "-c", _WRITE_FOR_EVER, str(path)], cwd=path.parent)
    try:
        following = (line for line in follow_log(path, poll=0.01) if line is not None or process.poll() is not None)
        seen = list(islice(following, 10_000))
    finally:
        process.kill()
        assert process.wait(DEADLINE) == -signal.SIGKILL
    lines = list(read_log(path))
    assert lines[:10_000] == seen and None not in seen
    assert [line["task"] for line in lines[1:]] == list(range(len(lines) - 1))
    state = replay(lines)
    assert (state.count("pending"), state.shut_down) == (len(lines) - 1, False)
    assert path.with_name("run.jsonl.part2").exists()


# finding

def test_a_file_is_the_log_itself_whatever_is_in_it(path):
    path.write_text("")
    assert find_log(path) == path


def test_the_log_of_a_run_directory_is_known_by_its_first_line_not_by_its_name(tmp_path):
    (tmp_path / "parsl.log").write_text("1 globus_compute_multi\n" * 100)
    (tmp_path / "records.json").write_text(text({"log": "another"}))
    (tmp_path / "half.jsonl").write_text(text(first())[:-10])
    (tmp_path / "binary").write_bytes(b"{\xff globus_compute_multi \0\n")
    (tmp_path / "block_0").mkdir()
    log = tmp_path / "my label"
    log.write_text(text(first(endpoints=["x" * 10_000]), {"n": 1}))
    assert find_log(tmp_path) == log


def test_further_parts_and_logs_put_aside_do_not_count(path):
    for _ in range(3):
        log = RunLog(path, 1)
        log.start(run_id="r")
        log.write(0.0, (dict, {"kind": "task"}))
        assert log.stop(DEADLINE)
    assert len(list(path.parent.iterdir())) > 3
    assert find_log(path.parent) == path


def test_of_run_directories_the_newest_that_has_a_log_counts(tmp_path):
    for name in ("000", "999", "1000", "1001", "not_a_run"):
        (tmp_path / name).mkdir()
    for name in ("000/a.jsonl", "999/a.jsonl", "1000/a.jsonl", "not_a_run/a.jsonl"):
        (tmp_path / name).write_text(text(first()))
    assert find_log(tmp_path) == tmp_path / "1000" / "a.jsonl"


def test_several_logs_in_one_run_directory_are_named(tmp_path):
    for name in ("one.jsonl", "two.jsonl"):
        (tmp_path / name).write_text(text(first()))
    with pytest.raises(LogNotFound, match="more than one run log; name one of one.jsonl, two.jsonl"):
        find_log(tmp_path)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(LogNotFound, match=f"{tmp_path}: there is no run log of GlobusComputeMultiExecutor in this folder$"):
        find_log(tmp_path)
    (tmp_path / "000").mkdir()
    with pytest.raises(LogNotFound, match="nor in the 1 run directories in it"):
        find_log(tmp_path)
    with pytest.raises(LogNotFound, match="nowhere: there is no such file or folder"):
        find_log(tmp_path / "nowhere")
