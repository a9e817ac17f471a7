"""Results over HTTPS, from a service on the loopback interface that answers what the test says."""
from __future__ import annotations

import json
import queue
import threading
import uuid

import pytest
from globus_compute_sdk.serialize import JSONData

from parsl.executors.globus_compute_multi.compute import runner
from parsl.executors.globus_compute_multi.compute.backoff import Backoff
from parsl.executors.globus_compute_multi.compute.envelope import encode_arguments
from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.messages import (
    ResultArrived,
    ResultsFetched,
)
from parsl.executors.globus_compute_multi.compute.result_fetcher import (
    MOST_AT_ONCE,
    TRIES,
    ResultFetcher,
)
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.serialize import deserialize, pack_apply_message
from parsl.tests.test_globus_compute_multi.unit.answering import answering

pytestmark = pytest.mark.local

CHILD = "0c1d2a7e-0f1b-4a51-9df1-5d5e6b3a7c11"


def done(attempt_id, value=42):
    """What the service answers about a task that has given ``value``."""
    envelope = runner.globus_compute_multi_runner(*encode_arguments("session", attempt_id, pack_apply_message(int, (value,), {})))
    return {"status": "success", "completion_t": "1", "result": f"{JSONData.identifier}{json.dumps(envelope)}",
            "details": {"endpoint_id": CHILD, "python_version": "3.11.7"}}


class Bench:
    """A fetcher, and the service that it asks: ``answers`` by task UUID; ``misbehave`` may answer first."""

    def __init__(self):
        self.answers, self.asked, self.misbehave = {}, [], lambda task_uuids: None
        self.messages = queue.SimpleQueue()
        self.stopping, self.governor = threading.Event(), Governor(None, 1.0)

    def answer(self, path, body):
        assert path == "/v2/batch_status"
        self.asked.append(body["task_ids"])
        odd = self.misbehave(body["task_ids"])
        if odd is not None:
            return odd[0]
        return 200, {"response": "batch", "results": {
            task_uuid: {"task_id": task_uuid, **self.answers[task_uuid]} for task_uuid in body["task_ids"] if task_uuid in self.answers}}

    def fetch(self, attempts):
        self.fetcher.fetch((attempt_id, self.uuid_of(attempt_id)) for attempt_id in attempts)

    def uuid_of(self, attempt_id):
        return str(uuid.uuid5(uuid.NAMESPACE_OID, attempt_id))

    def give(self, attempt_id, answer):
        self.answers[self.uuid_of(attempt_id)] = answer

    def until_fetched(self, attempts):
        """Results that come until the service was asked for all of these."""
        results, missing = [], set(attempts)
        while missing:
            message = self.messages.get(timeout=30)
            if isinstance(message, ResultsFetched):
                missing -= set(message.attempts)
            else:
                assert isinstance(message, ResultArrived)
                results.append(message.message)
        return results


@pytest.fixture
def bench():
    bench = Bench()
    with answering(bench.answer) as client:
        bench.fetcher = ResultFetcher(client=client, governor=bench.governor, post=bench.messages.put, stopping=bench.stopping)
        bench.fetcher.start()
        yield bench
        bench.stopping.set()
        bench.governor.wake()
        bench.fetcher.stop()
        assert bench.fetcher.join(30)


def times(count, answer):
    """Misbehaves so often."""
    left = iter(range(count))
    return lambda task_uuids: (answer,) if next(left, None) is not None else None


def test_a_result_comes_before_the_word_that_the_service_was_asked(bench):
    bench.give("7.1", done("7.1"))
    bench.fetch(["7.1", "8.1"])
    [result] = bench.until_fetched(["7.1", "8.1"])
    assert (result.session, result.attempt_id, result.outcome, result.child_id) == ("session", "7.1", Outcome.OK, CHILD)
    assert deserialize(result.value) == 42 and dict(result.info)["task_uuid"] == bench.uuid_of("7.1")


def test_a_failure_of_the_agent_is_told_with_the_last_line_of_its_traceback(bench):
    bench.give("7.1", {"status": "failed", "completion_t": "1", "exception": "Traceback\n  ...\nWorkerLost: gone\n-----\n"})
    bench.fetch(["7.1"])
    [result] = bench.until_fetched(["7.1"])
    assert (result.outcome, result.session, result.task_uuid) == (Outcome.TASK_FAILED, None, bench.uuid_of("7.1"))
    assert "WorkerLost: gone" in result.message


def test_a_task_that_is_finished_without_a_result_has_failed(bench):
    bench.give("7.1", {"status": "failed", "completion_t": "1", "reason": "the result has expired"})
    bench.fetch(["7.1"])
    [result] = bench.until_fetched(["7.1"])
    assert result.outcome is Outcome.TASK_FAILED and "the result has expired" in result.message


@pytest.mark.parametrize("answer", [
    {"status": "pending", "completion_t": None}, {"status": "running"}, {}, {"result": None}, {"result": 3}, {"exception": None, "status": None},
    {"status": ["success"]}, {"details": "text"}])
def test_an_answer_that_tells_no_result_is_none(bench, answer):
    bench.give("7.1", answer)
    bench.fetch(["7.1"])
    assert bench.until_fetched(["7.1"]) == []


def test_a_result_that_is_not_our_runners_is_unreadable(bench):
    bench.give("7.1", {"status": "success", "result": "00\nodd", "details": ["odd"]})
    bench.fetch(["7.1"])
    [result] = bench.until_fetched(["7.1"])
    assert result.outcome is Outcome.UNREADABLE


@pytest.mark.parametrize("trouble", [
    (500, {"reason": "no"}), (404, {}), (401, {}), (429, {}), (200, b"not JSON"), (200, []), (200, {}), (200, {"results": None}),
    (200, {"results": [1]}), None], ids=str)
def test_a_request_that_fails_is_sent_again_until_the_service_answers(bench, trouble):
    bench.misbehave = times(2, trouble)
    bench.give("7.1", done("7.1"))
    bench.fetch(["7.1"])
    assert len(bench.until_fetched(["7.1"])) == 1
    assert len(bench.asked) == 3


def test_a_result_that_the_service_cannot_give_holds_up_no_other(bench):
    attempts = [f"{n}.1" for n in range(8)]
    for attempt_id in attempts:
        bench.give(attempt_id, done(attempt_id))
    bench.misbehave = lambda task_uuids: ((500, {}),) if bench.uuid_of("3.1") in task_uuids else None
    bench.fetch(attempts)
    assert len(bench.until_fetched(set(attempts) - {"3.1"})) == 7


def test_many_are_asked_for_in_several_requests(bench):
    attempts = [f"{n}.1" for n in range(2 * MOST_AT_ONCE + 1)]
    for attempt_id in attempts:
        bench.give(attempt_id, {"status": "failed", "exception": "x"})
    bench.fetch(attempts)
    assert len(bench.until_fetched(attempts)) == len(attempts)
    assert sorted(map(len, bench.asked)) == [1, MOST_AT_ONCE, MOST_AT_ONCE]


def test_what_is_asked_for_while_the_service_lets_us_wait_is_asked_for_once(bench):
    entered, go_on = threading.Event(), threading.Event()

    def wait(task_uuids):
        entered.set()
        assert go_on.wait(30)

    bench.misbehave = wait
    bench.fetch(["1.1"])
    assert entered.wait(30)
    for _ in range(100):
        bench.fetch(["2.1", "3.1"])
    go_on.set()
    bench.until_fetched(["1.1", "2.1", "3.1"])
    assert [len(asked) for asked in bench.asked] == [1, 2]


def test_a_service_that_fails_for_long_is_said_once_and_does_not_keep_the_thread_from_ending(bench, caplog):
    bench.misbehave = lambda task_uuids: ((503, {}),)
    bench.fetch(["7.1"])
    while len(bench.asked) < 3:
        assert not bench.stopping.wait(0.01)
    bench.stopping.set()
    bench.fetcher.stop()
    assert bench.fetcher.join(30)
    assert bench.messages.empty()
    assert len([record for record in caplog.records if record.levelname == "WARNING" and "did not give the results" in record.message]) == 1


def test_what_is_asked_for_later_does_not_wait_for_a_task_whose_result_the_service_cannot_give(bench, monkeypatch):
    monkeypatch.setattr(Backoff, "next", lambda *_: 3600.0)
    bench.misbehave = lambda task_uuids: ((500, {}),) if bench.uuid_of("3.1") in task_uuids else None
    bench.fetch(["3.1"])
    while not bench.fetcher._failed:
        assert not bench.stopping.wait(0.01)
    for attempt_id in ("4.1", "5.1"):
        bench.fetch([attempt_id, "3.1"])
        bench.until_fetched([attempt_id])
    assert [len(asked) for asked in bench.asked] == [1, 1, 1], "and the task is not asked for before its time"


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_task_of_which_the_service_refuses_to_speak_has_no_result(bench, status):
    bench.give("4.1", done("4.1"))
    bench.misbehave = lambda task_uuids: ((status, {"reason": "no such task"}),) if bench.uuid_of("3.1") in task_uuids else None
    bench.fetch(["3.1", "4.1"])
    assert [result.attempt_id for result in bench.until_fetched(["3.1", "4.1"])] == ["4.1"]
    assert not bench.fetcher._refusals and not bench.fetcher._failed


def test_while_the_credentials_are_refused_it_asks_on_and_says_once_what_to_do(bench, monkeypatch, caplog):
    monkeypatch.setattr(Backoff, "next", lambda *_: 0.01)
    bench.misbehave = times(2 * TRIES, (401, {}))
    bench.give("7.1", done("7.1"))
    bench.fetch(["7.1"])
    assert len(bench.until_fetched(["7.1"])) == 1
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1 and "GLOBUS_COMPUTE_CLIENT_ID" in said[0]
