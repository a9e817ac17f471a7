"""The checker finds each kind of violation in a log made up for it."""
from __future__ import annotations

import pytest

from chaos.checker import check_log, check_log_file, check_requests, check_shutdown

HEADER = {"kind": "log", "log": "globus_compute_multi", "prefetch": None, "endpoints": [
    {"endpoint": "a", "filesystem": "home", "threads": [{"cores": 1, "count": 1}]},
    {"endpoint": "b", "filesystem": "scratch", "threads": [{"cores": 2, "count": 1}]}]}


def pending(task, **more):
    return {"kind": "task", "task": task, "state": "pending", "cores": 1, **more}


def sent(dispatch=1, endpoint="a", size=100):
    return {"kind": "dispatch", "dispatch": dispatch, "state": "sent", "endpoint": endpoint, "attempts": 1, "bytes": size}


def running(attempt, task, endpoint="a"):
    return {"kind": "attempt", "attempt": attempt, "state": "running", "task": task, "endpoint": endpoint, "thread_class": 0, "dispatch": 1}


def finished(attempt, outcome="ok"):
    return {"kind": "attempt", "attempt": attempt, "state": "finished", "outcome": outcome}


def done(task, state="done", attempt=None):
    return {"kind": "task", "task": task, "state": state, "attempt": attempt or f"{task}.1"}


def endpoint(name, state, **more):
    return {"kind": "endpoint", "endpoint": name, "state": state, **more}


DUPLICATE = {"kind": "attempt", "attempt": "1.1", "state": "duplicate", "outcome": "ok"}

GOOD = [pending(1), running("1.1", 1), sent(), finished("1.1", "lost"), pending(1), running("1.2", 1, "b"), finished("1.2"),
        done(1, attempt="1.2"), DUPLICATE]


def check(lines, tasks=1):
    return check_log([HEADER, *({"t": float(number), **line} for number, line in enumerate(lines))], tasks)


def test_a_good_log_has_no_violation_and_its_failovers_and_duplicates_are_counted():
    verdict = check(GOOD)
    assert verdict.violations == []
    assert (verdict.failovers, verdict.duplicates) == (1, 1)


@pytest.mark.parametrize("lines, complaint", [
    ([pending(1), running("1.1", 1), pending(2), running("2.1", 2)], "runs more attempts than it has threads"),
    ([pending(1), running("1.1", 1), finished("1.1"), finished("1.1"), done(1)], "goes from finished to finished"),
    ([pending(1), running("1.1", 1), finished("1.1"), done(1), done(1)], "goes from done to done"),
    ([running("1.1", 1)], "is dispatched while it is None"),
    ([pending(1), running("1.1", 1), finished("1.1")], "tasks 1 have no end"),
    ([pending(1), running("1.1", 1), done(1)], "endpoint a holds attempts 1.1"),
    ([pending(1, cores=2), running("1.1", 1), finished("1.1"), done(1)], "needs 2 cores, and went to a thread of a with 1"),
    ([*GOOD, sent(7, size=10_000_001)], "dispatch 7 has 10,000,001 bytes"),
    ([pending(1), running("1.1", 1), finished("1.1"), done(1), pending(2), running("2.1", 2), finished("2.1"), done(2, "failed")],
     "the log has 2 tasks, but 1 were submitted"),
    ([endpoint("a", "offline"), pending(1), running("1.1", 1), finished("1.1"), done(1)], "attempt 1.1 begins on a, which is offline"),
    ([endpoint("a", "paused", seconds=2.5), pending(1), running("1.1", 1), finished("1.1"), done(1)], "1.1 begins on a, which is left alone"),
    ([pending(1, filesystem="scratch"), running("1.1", 1), finished("1.1"), done(1)], "file system scratch, and went to a, which has home"),
    ([pending(1), running("1.1", 1), finished("1.1", "lost"), done(1)], "task 1 is done by attempt 1.1, of which no result"),
    ([pending(1), running("1.1", 1), done(1), finished("1.1")], "task 1 is done by attempt 1.1, of which no result"),
    ([*GOOD, pending(2), running("2.1", 2), finished("2.1"), done(2, attempt="1.2")], "task 2 is done by attempt 1.2, of which no result"),
])
def test_each_violation_is_found_and_named(lines, complaint):
    assert any(complaint in violation for violation in check(lines).violations)


def test_a_task_of_two_cores_may_run_on_two():
    assert check([pending(1, cores=2), running("1.1", 1, "b"), finished("1.1"), done(1)]).violations == []


def test_a_task_may_be_done_by_an_attempt_that_was_given_up_and_came_all_the_same():
    assert check([pending(1), running("1.1", 1), finished("1.1", "lost"), pending(1), DUPLICATE, done(1)]).violations == []


@pytest.mark.parametrize("before", [
    [endpoint("a", "offline"), endpoint("a", "online")], [endpoint("a", "paused", seconds=60.0), endpoint("a", "resumed")],
    [endpoint("a", "paused", seconds=1.5)], [endpoint("b", "offline")]])
def test_an_endpoint_that_is_back_may_be_given_tasks(before):
    assert check([*before, pending(1, filesystem="home"), running("1.1", 1), finished("1.1"), done(1)]).violations == []


def test_tasks_that_were_never_submitted_are_not_missed_if_it_is_not_known_how_many_were():
    assert check(GOOD, tasks=None).violations == []


def test_a_log_that_is_not_there_or_not_readable_is_a_violation(tmp_path):
    assert "no run log" in check_log_file(tmp_path / "run.jsonl", 1).violations[0]
    (tmp_path / "run.jsonl").write_text("{}\n{nonsense\n")
    assert "not JSON" in check_log_file(tmp_path / "run.jsonl", 1).violations[0]


def test_requests_within_the_limits_are_fine():
    assert check_requests(20, 0, 10_000_000) == []


@pytest.mark.parametrize("busiest, refused, largest, complaint", [
    (21, 0, 1, "21 requests in 10 s"), (20, 2, 1, "2 requests were refused"), (20, 0, 10_000_001, "10,000,001 bytes")])
def test_requests_over_the_limits_are_found(busiest, refused, largest, complaint):
    found = check_requests(busiest, refused, largest)
    assert len(found) == 1 and complaint in found[0]


CLEAN = {"seconds": 0.1, "threads": [], "sockets": 0, "processes": 0}


def test_a_clean_shutdown_is_fine():
    assert check_shutdown(CLEAN) == []


@pytest.mark.parametrize("shutdown, complaint", [
    (None, "did not end"),
    ({**CLEAN, "seconds": 11.0}, "took 11.0 s"),
    ({**CLEAN, "threads": ["globus-compute-multi-owner"]}, "threads left: globus-compute-multi-owner"),
    ({**CLEAN, "sockets": 2}, "2 sockets left"),
    ({**CLEAN, "processes": 1}, "1 processes left"),
])
def test_what_a_shutdown_leaves_is_found(shutdown, complaint):
    found = check_shutdown(shutdown)
    assert len(found) == 1 and complaint in found[0]
