"""Records of what ended before a reader began: from the log, exactly those, with all that it tells."""
from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter

import pytest

from parsl.executors.globus_compute_multi.observe import history
from parsl.executors.globus_compute_multi.observe.history import RecordBuilder
from parsl.executors.globus_compute_multi.observe.logfile import (
    InconsistentLog,
    read_log,
)
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.executors.globus_compute_multi.observe.runlog import RunLog
from parsl.executors.globus_compute_multi.scheduling.actions import (
    AttemptEnded,
    FailTask,
)
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.lines import fields
from parsl.tests.test_globus_compute_multi.unit.driver import header, spec
from parsl.tests.test_globus_compute_multi.unit.owning import running
from parsl.tests.test_globus_compute_multi.unit.test_memory import NAMES, Rounds
from parsl.tests.test_globus_compute_multi.unit.test_records import ended

pytestmark = pytest.mark.local


def test_the_log_tells_of_each_end_just_before_it_is_handed_over():
    """So that a reader which begins after so many lines sees what was published before, and nothing else."""
    rounds = Rounds()
    scheduler, builder, told, count = rounds.d.scheduler, RecordBuilder(), [], Counter()
    handle = scheduler.handle
    builder.take({"kind": "log", **header([spec(name, 2) for name in NAMES])})

    def watched(event, settle):
        actions = handle(event, settle)
        for action in actions:
            if type(action) is tuple:
                record = builder.take({"t": event.time, **json.loads(json.dumps(fields(action)))})
                if record is not None:
                    told.append(record)
            elif isinstance(action, AttemptEnded):
                record, = told
                told.clear()
                assert (record.task_id, record.attempt, record.endpoint, record.thread_class, record.cores, record.outcome, record.final) == (
                    action.task_id, action.attempt_id, action.endpoint, action.thread_class, action.cores, action.outcome.value,
                    action.resolves)
                assert (record.submitted, record.dispatched, record.received) == (action.submitted, action.dispatched, rounds.d.now)
                count[action.outcome.value] += 1
            elif isinstance(action, FailTask):
                record, = told
                told.clear()
                assert (record.task_id, record.attempt, record.outcome, record.final) == (action.task_id, None, action.kind.value, True)
                assert record.message == action.message and record.submitted == action.submitted
                count["given up"] += 1
        assert not told
        return actions

    scheduler.handle = watched
    for _ in range(8):
        rounds.run()
    assert all(count[what] for what in ("ok", "app_failed", "task_failed", "lost", "rejected", "given up"))


def test_a_record_from_the_log_has_all_but_value_and_exception(tmp_path):
    path = tmp_path / "run.jsonl"
    with running(path) as harness:
        live = harness.records.reader()
        first = harness.submit(1, node=7)
        harness.answer(harness.started(), 42, host="node7", python="3.11", started=1.0, finished=3.0)
        assert first.exception(10) is None
        harness.submit(2, cores=99)
        seen = [live.get(10), live.get(10)]
        again = harness.records.reader()
        rebuilt = [again.get(10), again.get(10)]
        assert again.get(0) is None
    assert list(again) == [] and list(live) == []
    assert [record.has_value for record in seen] == [True, False] and not any(record.has_value for record in rebuilt)
    assert [record.ok for record in seen] == [record.ok for record in rebuilt] == [True, False]
    assert seen[0].value == 42 and type(seen[1].exception).__name__ == "NoSuchThread" and seen[1].outcome == "impossible"
    for was, told in zip(seen, rebuilt):
        assert told.value is told.exception is None
        for field in ("submitted", "dispatched", "received"):
            assert getattr(told, field) == pytest.approx(getattr(was, field), abs=0.05)
        same = set(was.as_dict()) - {"value", "exception", "has_value", "submitted", "dispatched", "received", "cores", "result_bytes"}
        assert {field: getattr(told, field) for field in same} == {field: getattr(was, field) for field in same}


def test_after_the_end_a_reader_gives_all_from_the_log(tmp_path):
    with running(tmp_path / "run.jsonl", accepts=False) as harness:
        for task_id in range(1, 101):
            harness.submit(task_id)
        live = harness.records.reader()
        harness.stop()
    late = list(harness.records.reader())
    assert [record.task_id for record in late] == [record.task_id for record in live] == list(range(1, 101))
    assert {record.outcome for record in late} == {"shutdown"}


def test_readers_that_begin_at_any_moment_see_every_record_once_and_in_order(tmp_path):
    count, seen, stop = 500, [], threading.Event()
    path = tmp_path / "run.jsonl"

    def read(seed):
        draw = random.Random(seed)
        while not stop.is_set() and len(seen) < 40:
            time.sleep(draw.random() / 10)
            reader = harness.records.reader()
            if draw.random() < 0.3:  # or only a part of them
                for _ in range(draw.randrange(200)):
                    reader.get(0.001)
                reader.close()
            else:
                seen.append(reader)

    with running(path) as harness:
        threads = [threading.Thread(target=read, args=[seed]) for seed in range(4)]
        for thread in threads:
            thread.start()
        answering = threading.Thread(target=lambda: [harness.answer(harness.next_attempt(), i) for i in range(count)])
        answering.start()
        futures = [harness.submit(task_id) for task_id in range(1, count + 1)]
        for future in futures:
            future.exception(60)
        stop.set()
        for thread in [*threads, answering]:
            thread.join(60)
            assert not thread.is_alive()
        readers = seen + [harness.records.reader()]
    lines = list(read_log(path))
    order = [line["attempt"] for line in lines if line["kind"] == "attempt" and line["state"] == "finished"]
    assert len(order) == count
    with_history = 0
    for reader in readers:
        records = list(reader)
        assert [record.attempt for record in records] == order
        values = [record.has_value for record in records]
        assert values == sorted(values), "after the first one with a value, all have one"
        with_history += not values[0] and values[-1]
    assert with_history > 3, "no reader began in the middle"


@pytest.fixture
def log(tmp_path):
    log = RunLog(tmp_path / "run.jsonl")
    log.start(endpoints=[])
    yield log
    log.stop(10)


def late_reader(log, lines):
    records = Records()
    records.start(log.path, log.epoch)
    records.publish(ended(lines=lines), 1, None)
    return records, records.reader()


def test_a_log_that_never_gets_as_long_as_it_should_is_given_up(log, monkeypatch, caplog):
    monkeypatch.setattr(history, "_PATIENCE", 0.2)
    records, reader = late_reader(log, 5)
    records.publish(ended(2, lines=6), 2, None)
    assert reader.get(60).task_id == 2
    assert "lacks 4 lines" in caplog.text


def test_a_reader_does_not_wait_for_the_log_longer_than_it_is_told_to(log):
    _, reader = late_reader(log, 5)
    assert reader.get(0) is None and reader.available() == []
    reader.close()
    assert reader.get() is None


def test_a_log_that_cannot_be_read_is_said_once_and_what_comes_is_read_all_the_same(log):
    records, reader = late_reader(log, 5)
    log.write(time.monotonic(), (dict, {"kind": "task", "task": 1}))
    records.publish(ended(2, lines=6), 2, None)
    with pytest.raises(InconsistentLog, match="state"):
        reader.get(10)
    assert reader.get(10).task_id == 2


def test_lines_that_were_lost_are_not_waited_for(tmp_path):
    path = tmp_path / "lossy.jsonl"
    pending = {"t": 1.0, "kind": "task", "task": 1, "state": "pending", "app": "a"}
    failed = {"t": 2.0, "kind": "task", "task": 1, "state": "failed", "reason": "cancelled"}
    lines = [{"t": 0.0, "kind": "log", "log": "globus_compute_multi"}, pending, {"t": 1.5, "kind": "log", "state": "lost", "lines": 3}, failed]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = [record for record in history.read_history(path, 6) if record is not None]
    assert [(record.task_id, record.outcome, record.submitted, record.received) for record in records] == [(1, "cancelled", 1.0, 2.0)]


def test_attempts_that_are_abandoned_at_the_end_have_no_record_and_late_results_one():
    builder = RecordBuilder()
    at = iter(range(100))

    def take(**line):
        record = builder.take({"t": next(at), **line})
        return record and (record.attempt, record.outcome, record.final)

    begun = dict(kind="attempt", state="running", endpoint="a", thread_class=0, dispatch=1)
    for task in (1, 2):
        take(kind="task", task=task, state="pending", app="app")
        take(attempt=f"{task}.1", task=task, **begun)
    assert take(kind="attempt", attempt="1.1", state="finished", outcome="lost") == ("1.1", "lost", False)
    assert take(kind="attempt", attempt="1.1", state="duplicate", outcome="task_failed") is None
    assert take(kind="attempt", attempt="1.1", state="duplicate", outcome=Outcome.OK.value) == ("1.1", "ok", True)
    take(kind="task", task=1, state="done", attempt="1.1")
    assert take(kind="attempt", attempt="1.1", state="duplicate", outcome="ok") is None
    assert take(kind="attempt", attempt=None, state="unmatched", task_uuid="x", outcome="ok") is None
    assert take(kind="attempt", attempt="2.1", state="finished", outcome="abandoned") is None
    assert take(kind="task", task=2, state="failed", reason="shutdown") == (None, "shutdown", True)


HEADER = {"t": 0.0, "kind": "log", "log": "globus_compute_multi", "schema": 2, "part": 1, "endpoints": []}


def lines_of(task):
    """What the log tells of a task that is done."""
    attempt = {"t": 1.0, "kind": "attempt", "attempt": f"{task}.1"}
    return [{"t": 1.0, "kind": "task", "task": task, "state": "pending", "app": "app"},
            {**attempt, "state": "running", "task": task, "endpoint": "a", "thread_class": 0, "dispatch": task},
            {**attempt, "state": "finished", "outcome": "ok"},
            {"t": 1.0, "kind": "task", "task": task, "state": "done", "attempt": f"{task}.1"}]


@pytest.fixture
def written(tmp_path):
    """Writes a log of these lines; its path."""
    def write(*lines):
        path = tmp_path / "written.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path
    return write


def task_ids(records):
    return [record.task_id for record in records if record is not None]


def test_lines_that_go_on_with_lost_ones_are_left_out_and_the_others_are_read(written):
    path = written(HEADER, *lines_of(1), {"t": 1.0, "kind": "log", "state": "lost", "lines": 2}, *lines_of(2)[2:], *lines_of(3), *lines_of(4))
    assert task_ids(history.read_history(path, 17)) == [1, 3, 4]


def test_lines_that_do_not_fit_when_none_were_lost_are_an_error(written):
    with pytest.raises(InconsistentLog, match="2.1"):
        list(history.read_history(written(HEADER, *lines_of(2)[2:]), 3))


def test_what_is_not_in_the_log_is_seen_though_the_log_cannot_be_read(written):
    records = Records()
    records.start(written(HEADER, *lines_of(2)[2:]), 0.0)
    records.publish(ended(1, lines=3), 1, None)
    crash = ended(3, "shutdown", error=ValueError("crash"), lines=0)
    records.publish(crash, None, crash.error)
    reader = records.reader()
    records.publish(ended(4, lines=5), 4, None)
    with pytest.raises(InconsistentLog):
        reader.get(10)
    assert task_ids(reader.available()) == [3, 4]


def test_the_log_of_a_later_run_under_the_same_name_is_not_taken_for_that_of_this_run(tmp_path):
    path = tmp_path / "run.jsonl"
    first, second = Records(), Records()
    for records, task in ((first, 1), (second, 2)):
        log = RunLog(path)
        records.start(path, log.epoch, log.id)
        log.start(endpoints=[], run_id="the same")
        for line in lines_of(task):
            log.write(0.0, (dict, line))
        records.publish(ended(task, lines=5), task, None)
        assert task_ids([records.reader().get(10)]) == [task]
        assert log.stop(10)
    with pytest.raises(InconsistentLog, match="log of another run"):
        first.reader().get(10)
    assert task_ids([second.reader().get(10)]) == [2]


def test_a_reader_that_is_interrupted_goes_on_where_it_was(written, monkeypatch):
    records = Records()
    records.start(written(HEADER, *(line for task in range(1, 6) for line in lines_of(task))), 0.0)
    records.publish(ended(5, lines=21), 5, None)
    reader, take, left = records.reader(), RecordBuilder.take, [2]

    def interrupted(self, line):
        if line.get("task") == 3 and left[0]:
            left[0] -= 1
            raise KeyboardInterrupt
        return take(self, line)

    monkeypatch.setattr(RecordBuilder, "take", interrupted)
    assert task_ids([reader.get(10), reader.get(10)]) == [1, 2]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            reader.get(10)
    records.publish(ended(6, lines=25), 6, None)
    assert task_ids(reader.available()) == [3, 4, 5, 6]


def test_garbage_collection_may_close_a_reader_that_reads_the_log(written, monkeypatch):
    records = Records()
    records.start(written(HEADER, *lines_of(1), *lines_of(2)), 0.0)
    records.publish(ended(2, lines=9), 2, None)
    reader, take = records.reader(), RecordBuilder.take

    def collecting(self, line):  # as it may at any moment
        reader.close()
        return take(self, line)

    monkeypatch.setattr(RecordBuilder, "take", collecting)
    got = []
    reading = threading.Thread(target=lambda: got.extend(reader), daemon=True)
    reading.start()
    reading.join(10)
    assert not reading.is_alive() and len(got) <= 1 and not records.wanted


def test_what_was_read_before_the_log_turned_out_to_be_damaged_is_given_the_next_time(written):
    records = Records()
    records.start(written(HEADER, *lines_of(1), *lines_of(2), *lines_of(3)[2:]), 0.0)
    records.publish(ended(3, lines=11), 3, None)
    reader = records.reader()
    records.publish(ended(4, lines=15), 4, None)
    with pytest.raises(InconsistentLog, match="3.1"):
        reader.available()
    assert task_ids(reader.available()) == [1, 2, 4]
