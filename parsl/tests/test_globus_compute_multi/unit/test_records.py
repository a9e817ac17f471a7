"""Result records, those who read them, and the values that are kept."""
from __future__ import annotations

import gc
import pickle
import threading
import weakref
from dataclasses import replace

import pytest

from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.errors import ValuesNotKept
from parsl.executors.globus_compute_multi.messages import TaskInfo
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.executors.globus_compute_multi.observe.records import Ended, make_record
from parsl.executors.globus_compute_multi.scheduling.events import Outcome

pytestmark = pytest.mark.local

INFO = (("host", "node7"), ("python", "3.11"), ("parsl", "2026"), ("dill", "0.4"), ("sdk", "4"), ("started", 1003.0), ("finished", 1005.0))


def ended(task_id=1, outcome="ok", *, node=None, try_id=0, app="app", final=True, error=None, lines=1, message=""):
    """The end of a task's attempt; or of the task itself, if there is an error of the executor's own."""
    task = TaskInfo(task_id, app, node, try_id)
    if error is not None:
        return Ended(task, None, None, None, None, 1.0, None, 10.0, outcome, message, None, error, True, lines)
    result = ResultMessage("uuid", "session", f"{task_id}.1", Outcome(outcome), b"packed", message, 2.0, None, INFO)
    return Ended(task, f"{task_id}.1", "site", 1, 4, 1.0, 2.0, 10.0, outcome, message, result, None, final, lines)


def test_a_record_says_all_that_is_known():
    record = make_record(ended(5, node=7, try_id=1, app="relax"), 1000.0, [42], None)
    assert (record.task_id, record.node, record.try_id, record.app, record.attempt) == (5, 7, 1, "relax", "5.1")
    assert (record.endpoint, record.thread_class, record.cores, record.host) == ("site", 1, 4, "node7")
    assert (record.submitted, record.dispatched, record.started, record.finished, record.received) == (1001, 1002, 1003, 1005, 1010)
    assert (record.run_seconds, record.queue_seconds) == (2.0, 6.0)
    assert record.ok and record.has_value and record.value == [42] and record.final and record.result_bytes == 6
    assert record.versions == {"python": "3.11", "parsl": "2026", "dill": "0.4", "sdk": "4"}
    with pytest.raises(AttributeError):
        record.value = 3


def test_the_record_of_a_task_that_was_given_up_says_why():
    record = make_record(ended(outcome="impossible", error=ValueError("no thread"), message="no thread"), 0.0, None, ValueError("no thread"))
    assert not record.ok and not record.has_value and record.attempt is record.endpoint is record.dispatched is record.result_bytes is None
    assert record.run_seconds is record.queue_seconds is None and record.final and record.outcome == "impossible"


def test_clocks_that_are_set_back_give_no_negative_times():
    record = make_record(ended(), 1000.0, 1, None)
    assert replace(record, started=1005.0, finished=1003.0).run_seconds is None
    assert replace(record, received=1003.0).queue_seconds == 0.0


class Unshown:
    def __repr__(self):
        raise SystemExit


@pytest.mark.parametrize("record, shown", [
    (make_record(ended(), 0.0, [1, 2], None), "<ResultRecord of task 1 (app), attempt 1.1 on site: ok, ran 2 s, value [1, 2]>"),
    (make_record(ended(), 0.0, Unshown(), None),
     "<ResultRecord of task 1 (app), attempt 1.1 on site: ok, ran 2 s, value something of type Unshown that cannot be shown>"),
    (make_record(ended(outcome="task_failed", final=False, message="worker lost"), 0.0, None, None),
     "<ResultRecord of task 1 (app), attempt 1.1 on site: task_failed, ran 2 s, not final, worker lost>"),
    (make_record(ended(outcome="app_failed"), 0.0, None, KeyError("k")),
     "<ResultRecord of task 1 (app), attempt 1.1 on site: app_failed, ran 2 s, KeyError('k')>"),
    (make_record(ended(outcome="cancelled", error=ValueError("x"), message="it was"), 0.0, None, None),
     "<ResultRecord of task 1 (app): cancelled, it was>"),
])
def test_a_record_is_shown_in_one_line(record, shown):
    assert repr(record) == shown


def test_records_can_be_pickled_and_put_in_sets():
    record = make_record(ended(), 1000.0, [1], None)
    assert pickle.loads(pickle.dumps(record)) == record
    assert len({record, pickle.loads(pickle.dumps(record)), make_record(ended(2), 0.0, [1], None)}) == 2


class Unclear:
    """A value that cannot be compared, like an array of numpy."""

    def __eq__(self, other):
        raise ValueError("the truth is ambiguous")

    def __lt__(self, other):
        return True


def test_records_are_compared_by_what_they_tell_of_and_not_by_their_values():
    record = make_record(ended(), 1000.0, Unclear(), None)
    assert record == make_record(ended(), 1000.0, Unclear(), None) and record in [record]
    for other in (replace(record, has_value=False), replace(record, outcome="lost"), make_record(ended(2), 0.0, 1, None)):
        assert record != other
    assert record != tuple(record.as_dict().values())
    with pytest.raises(TypeError):
        sorted([record, record])
    with pytest.raises(TypeError):
        task_id, *_ = record


def test_records_make_a_table():
    record = make_record(ended(5), 1000.0, [1], None)
    row = record.as_dict()
    assert list(row)[:4] == ["task_id", "node", "try_id", "app"] and len(row) == 23 and row["value"] is record.value
    row["value"] = 3
    assert record.value == [1]


# readers

def keys(records):
    return [record.task_id for record in records]


def test_each_reader_sees_all_records_in_order():
    records = Records()
    readers = [records.reader() for _ in range(3)]
    for i in range(1, 101):
        records.publish(ended(i), i, None)
    assert keys(readers[0].available()) == list(range(1, 101))
    records.close()
    for reader in readers[1:]:
        assert keys(reader) == list(range(1, 101))
    assert readers[0].available() == [] and list(readers[0]) == []


def test_a_reader_waits_for_the_next_record_as_long_as_it_is_told_to():
    records = Records()
    with records.reader() as reader:
        assert reader.get(0) is None and reader.get(0.01) is None and reader.available() == []
        threading.Timer(0.05, records.publish, [ended(), "value", None]).start()
        assert reader.get(10).value == "value"
        threading.Timer(0.05, records.publish, [ended(), "next", None]).start()
        assert next(reader).value == "next"


def test_threads_that_share_a_reader_share_its_records_and_all_end():
    records = Records()
    reader, seen = records.reader(), []
    threads = [threading.Thread(target=lambda: seen.extend(reader)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(1, 201):
        records.publish(ended(i), i, None)
    records.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert sorted(keys(seen)) == list(range(1, 201))


def test_a_reader_that_is_closed_ends_for_those_who_wait_and_gets_nothing_more():
    records = Records()
    reader = records.reader()
    waiting = threading.Thread(target=lambda: list(reader))
    waiting.start()
    reader.close()
    waiting.join(10)
    assert not waiting.is_alive() and not records.wanted
    records.publish(ended(), 1, None)
    assert reader.get() is None and reader.available() == [] and list(reader) == []


class Value:
    pass


def test_records_are_kept_for_readers_that_live_and_are_not_closed_alone():
    records = Records()
    kept, closed, dropped = records.reader(), records.reader(), records.reader()
    value = Value()
    records.publish(ended(), value, None)
    seen = weakref.ref(value)
    del value
    closed.close()
    del dropped
    gc.collect()
    assert seen() is not None
    assert kept.get(0).value is seen()
    gc.collect()
    assert seen() is None
    records.publish(ended(2), 1, None)
    assert records.wanted
    del kept
    gc.collect()
    records.publish(ended(3), 1, None)
    assert not records.wanted


def test_without_anybody_who_looks_nothing_is_kept():
    records = Records()
    value = Value()
    seen = weakref.ref(value)
    records.publish(ended(), value, None)
    del value
    assert not records.wanted and seen() is None


def test_readers_from_before_the_start_and_from_after_the_end_are_good_for_nothing_but_work():
    records = Records()
    early = records.reader()
    records.close()
    assert list(early) == [] and list(records.reader()) == [] and records.reader().get() is None
    records.close()


def test_what_is_not_in_the_log_is_seen_by_readers_that_begin_later():
    records = Records()
    early = records.reader()
    crash = ended(1, "shutdown", error=ValueError("crash"), lines=0)
    records.publish(crash, None, crash.error)
    late = records.reader()
    records.publish(ended(2), 2, None)
    records.close()
    assert keys(early) == keys(late) == keys(records.reader()) + [2] == [1, 2]


def test_finalizers_may_use_the_records_while_one_is_published():
    records = Records(aggregate=True)
    found = []

    class Closing:
        def __del__(self):
            found.append((records.values(), records.reader()))

    records.publish(ended(1, node=1, outcome="app_failed"), None, ValueError(Closing()))
    gc.collect()
    done = threading.Thread(target=records.publish, args=[ended(2, node=1, try_id=1), 5, None])  # which drops the failure
    done.start()
    done.join(10)
    gc.collect()
    assert not done.is_alive() and len(found) == 1


# values

def test_values_come_in_the_order_of_submission_and_by_app():
    records = Records(aggregate=True)
    records.publish(ended(3, app="b"), "three", None)
    assert records.values() == ["three"]
    records.publish(ended(1, app="a"), "one", None)
    records.publish(ended(2, app="b"), "two", None)
    assert records.values() == ["one", "two", "three"]
    assert records.values("b") == ["two", "three"] and records.values("a") == ["one"] and records.values("c") == []

    def a():
        pass

    assert records.values(a) == ["one"]


def test_values_are_references_and_the_list_is_the_callers():
    records = Records(aggregate=True)
    value = [1]
    records.publish(ended(), value, None)
    records.values().clear()
    assert records.values()[0] is value


def test_a_failed_task_is_its_record_until_a_retry_ends_and_has_its_place():
    records = Records(aggregate=True)
    records.publish(ended(1, "task_failed", node=10, final=False), None, None)
    assert records.values() == []
    records.publish(ended(1, "app_failed", node=10), None, ValueError("first"))
    records.publish(ended(2, node=11), "two", None)
    first, second = records.values()
    assert second == "two" and (first.task_id, first.outcome) == (1, "app_failed") and first.exception.args == ("first",)
    records.publish(ended(3, "app_failed", node=10, try_id=1), None, ValueError("second"))
    assert records.values()[0].task_id == 3 and len(records.values()) == 2
    records.publish(ended(4, node=10, try_id=2), "at last", None)
    assert records.values() == ["at last", "two"]


def test_tasks_that_the_executor_gives_up_are_among_the_values():
    records = Records(aggregate=True)
    error = ValueError("no thread")
    records.publish(ended(1, "impossible", error=error), None, error)
    assert records.values()[0].exception is error


def test_attempts_that_come_too_late_change_no_value():
    records = Records(aggregate=True)
    records.publish(ended(1), "first", None)
    records.publish(ended(1, final=False), "second", None)
    assert records.values() == ["first"]


def test_values_that_were_not_asked_for_are_not_there():
    with pytest.raises(ValuesNotKept, match="aggregate_results=True"):
        Records().values()
