"""Attempts elsewhere are counted over Parsl's retries, where the scheduler is told that they are of one task of the workflow."""
from __future__ import annotations

from typing import Optional

import pytest

from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec

pytestmark = pytest.mark.local

NODE = 7


def attempts_until_it_fails(d: Driver, node: Optional[int], last: Outcome = Outcome.TASK_FAILED, failures: int = 10) -> int:
    """Submit a task of which so many attempts fail outside the app, and then one in it."""
    task, attempts = d.submit(node=node), 0
    while task not in d.failed and task not in d.resolved:
        dispatch = d.turn()
        assert dispatch is not None
        d.result(dispatch.attempts[0][0], Outcome.TASK_FAILED if attempts < failures else last)
        attempts += 1
    return attempts


def test_a_retry_gets_the_attempts_elsewhere_that_are_left():
    d = Driver([spec("a")], failover_attempts=2)
    d.announce(NODE)
    assert attempts_until_it_fails(d, NODE, Outcome.APP_FAILED, failures=1) == 2
    assert attempts_until_it_fails(d, NODE) == 2
    assert attempts_until_it_fails(d, NODE) == 1
    assert attempts_until_it_fails(d, NODE) == 1


def test_failures_of_the_app_alone_use_up_no_attempts_elsewhere():
    d = Driver([spec("a")], failover_attempts=2)
    d.announce(NODE)
    for _ in range(5):
        assert attempts_until_it_fails(d, NODE, Outcome.APP_FAILED, failures=0) == 1
    assert attempts_until_it_fails(d, NODE) == 3


def test_rejections_that_are_no_fault_of_the_task_use_up_none():
    d = Driver([spec("a")], failover_attempts=1)
    d.announce(NODE)
    for _ in range(2):
        task = d.submit(node=NODE)
        for _ in range(3):
            d.reject(d.turn().dispatch_id, 503)
            d.tick(100)
        d.result(d.turn().attempts[0][0], Outcome.APP_FAILED)
        assert task in d.resolved
    assert attempts_until_it_fails(d, NODE) == 2


def test_a_late_task_that_was_started_elsewhere_too_has_not_failed():
    d = Driver([spec("cold", speed=1.0, startup_seconds=1.0), spec("warm", speed=1.0)], failover_attempts=2)
    d.announce(NODE)
    d.warm("warm", runs=1)
    busy = d.put(endpoints=frozenset({"warm"}))
    task = d.put(node=NODE)
    assert d.where(task) == ("cold", 1)
    d.result(f"{busy}.1")
    d.tick(1000)
    assert d.turn().attempts == ((f"{task}.2", task),)
    d.result(f"{task}.2", Outcome.APP_FAILED)
    d.result(f"{task}.1", Outcome.APP_FAILED)  # too late
    assert attempts_until_it_fails(d, NODE) == 3


def test_a_rejection_that_is_no_fault_of_the_task_makes_up_for_no_failure():
    d = Driver([spec("a")], failover_attempts=2)
    d.announce(NODE)
    attempts_until_it_fails(d, NODE, Outcome.APP_FAILED, failures=2)
    d.submit(node=NODE)
    d.reject(d.turn().dispatch_id, 503)
    d.tick(100)
    d.result(d.turn().attempts[0][0], Outcome.APP_FAILED)
    assert attempts_until_it_fails(d, NODE) == 1


def test_a_retry_begins_elsewhere_than_where_the_task_failed():
    d = Driver([spec("a"), spec("b")], failover_attempts=2)
    d.announce(NODE)
    d.submit(node=NODE)
    failing = d.turn()
    d.result(failing.attempts[0][0], Outcome.TASK_FAILED)
    working = d.turn()
    assert working.endpoint != failing.endpoint
    d.result(working.attempts[0][0], Outcome.APP_FAILED)
    retried = d.submit(node=NODE)
    assert d.turn().endpoint == working.endpoint
    assert [(line.get("failures"), line.get("avoids")) for line in d.lines if line.get("task") == retried and line["state"] == "pending"] == [
        (1, [failing.endpoint])]


def test_the_error_counts_what_failed_before_the_retry():
    d = Driver([spec("a")], failover_attempts=1)
    d.announce(NODE)
    attempts_until_it_fails(d, NODE)
    attempts_until_it_fails(d, NODE)
    first, second = d.failed.values()
    assert "gave up after 2 attempts on a;" in first.message
    assert "gave up after 1 attempt on a (3 failures with those before Parsl retried it);" in second.message


@pytest.mark.parametrize("one, other", [(NODE, NODE + 1), (NODE, None), (None, None)])
def test_other_tasks_have_attempts_of_their_own(one, other):
    d = Driver([spec("a")], failover_attempts=2)
    assert attempts_until_it_fails(d, one) == attempts_until_it_fails(d, other) == 3


def test_nothing_is_remembered_of_a_task_that_is_finished():
    d = Driver([spec("a")], failover_attempts=2)
    d.announce(NODE)
    attempts_until_it_fails(d, NODE)
    d.leave(NODE)
    assert attempts_until_it_fails(d, NODE) == 3
