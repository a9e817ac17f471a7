"""What an executor says of itself while it runs, which is what its log says."""
from __future__ import annotations

from concurrent.futures import Future
from itertools import islice

import pytest

from parsl.executors.globus_compute_multi.messages import StatusRequested
from parsl.executors.globus_compute_multi.observe.logfile import follow_log, read_log
from parsl.executors.globus_compute_multi.observe.replay import replay
from parsl.executors.globus_compute_multi.observe.status import Status
from parsl.executors.globus_compute_multi.observe.wording import failure
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.tests.test_globus_compute_multi.unit.owning import running

pytestmark = pytest.mark.local


def ask(harness):
    reply = Future()
    harness.owner.post(StatusRequested(reply))
    return reply.result(10)


def from_log(harness, count, now):
    return Status.of(replay(islice((line for line in follow_log(harness.path, poll=0.01) if line is not None), count)), now)


def test_at_any_moment_it_is_what_the_log_tells_up_to_there(tmp_path):
    with running(tmp_path / "run.jsonl") as harness:
        statuses = [ask(harness)]
        futures = [harness.submit(task_id) for task_id in range(1, 4)]
        attempts = [harness.started(), harness.started()]
        statuses.append(ask(harness))
        harness.answer(harness.attempts[0][0], 1, started=10.0, finished=10.5)
        assert futures[0].result(10) == 1
        attempts.append(harness.started())
        statuses.append(ask(harness))
        harness.answer(harness.attempts[1][0], ValueError("no"), Outcome.RAISED)
        assert futures[1].exception(10)
        statuses.append(ask(harness))
        for status, count in statuses:
            assert from_log(harness, count, status.time) == status
        first, second, third, fourth = [status for status, _ in statuses]
        assert (first.tasks, first.in_flight, first.threads) == (0, 0, 2)
        assert (second.pending, second.dispatched, second.running) == (1, 2, 2)
        assert (third.done, third.pending, third.running) == (1, 0, 2)
        assert (fourth.done, fourth.failed, fourth.running) == (1, 1, 1)
        assert fourth.progress.failures == ((failure("raised"), 1),) and fourth.progress.ended is None
    last = harness.owner.last_status(10)
    assert last == Status.of(replay(read_log(harness.path)), 0.0)
    assert (last.done, last.failed, last.in_flight) == (1, 2, 0) and last.progress.ended is not None


def test_an_attempt_that_was_given_up_and_brings_its_result_all_the_same_counts_once(tmp_path):
    with running(tmp_path / "run.jsonl") as harness:
        future = harness.submit(1)
        first = harness.started()
        harness.answer(first, None, Outcome.TASK_FAILED)
        second = harness.started()
        harness.answer(first, 1, started=10.0, finished=11.0)
        assert future.result(10) == 1
        harness.answer(second, 1, started=10.0, finished=11.0)
        status, count = ask(harness)
        while status.in_flight:
            status, count = ask(harness)
        assert from_log(harness, count, status.time) == status
        assert (status.done, status.failed) == (1, 0) and sum(e.done for e in status.endpoints) == 1
        assert sum(e.failed for e in status.endpoints) == 1
    late, = [line for line in read_log(harness.path) if line.get("state") == "duplicate"]
    assert late["started"] == 10.0 and late["finished"] == 11.0


def test_tasks_that_the_executor_gives_up_are_counted_by_the_reason(tmp_path):
    with running(tmp_path / "run.jsonl") as harness:
        with pytest.raises(Exception, match="no thread"):
            harness.submit(1, cores=99).result(10)
        status, _ = ask(harness)
        assert status.failed == 1 and status.progress.failures == ((failure("impossible"), 1),)


def test_rates_are_known_after_a_while(tmp_path):
    with running(tmp_path / "run.jsonl") as harness:
        future = harness.submit(1)
        harness.answer(harness.started(), 1)
        future.result(10)
        progress = ask(harness)[0].progress
        assert progress.overall_rate > 0 and progress.minute_rate > 0
