"""What the service answers about endpoints, over HTTP on the loopback interface."""
from __future__ import annotations

import queue
import threading

import pytest
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer

from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.messages import StatusAnswered
from parsl.executors.globus_compute_multi.compute.status_poller import (
    StatusPoller,
)
from parsl.tests.test_globus_compute_multi.unit.answering import answering

pytestmark = pytest.mark.local

ENDPOINT, CHILD = "4b116d3c-1703-4f8f-9f6f-39921e5864df", "0c1d2a7e-0f1b-4a51-9df1-5d5e6b3a7c11"


@pytest.fixture
def ask():
    """Asks for the status of the endpoint or its child, with what the service is to answer; gives the poller's message."""
    answers, paths, messages = queue.SimpleQueue(), [], queue.SimpleQueue()

    def answer_next(path, _):
        paths.append(path)
        return answers.get()

    with answering(answer_next) as client:
        poller = StatusPoller(client=client, endpoint_ids={"delta": ENDPOINT}, governor=Governor(None, 1.0), post=messages.put,
                              stopping=threading.Event())
        poller.start()

        def ask(answer, child=None, http_status=200):
            answers.put((http_status, answer))
            poller.ask("delta", child)
            message = messages.get(timeout=30)
            assert paths.pop().endswith(f"/endpoints/{child or ENDPOINT}/status")
            return message

        yield ask
        poller.stop()
        assert poller.join(30)


def test_it_tells_whether_an_endpoint_is_online_and_how_many_workers_and_tasks_its_child_has(ask):
    assert ask({"status": "online"}) == StatusAnswered("delta", None, True)
    assert ask({"status": "offline", "details": None}, CHILD) == StatusAnswered("delta", CHILD, False)
    counts = {"total_workers": 8, "pending_tasks": 0}
    assert ask({"status": "online", "details": counts}, CHILD) == StatusAnswered("delta", CHILD, True, 8, 0)


@pytest.mark.parametrize("count", [-3, True, False, "8", 8.0, None, [8], 10 ** 400])
def test_a_count_that_cannot_be_one_is_taken_as_unknown(ask, count):
    answer = {"status": "online", "details": {"total_workers": count, "pending_tasks": count}}
    message = ask(answer, CHILD)
    assert message == StatusAnswered("delta", CHILD, True) and message.workers is None and message.pending is None


@pytest.mark.parametrize("answer, http_status", [({}, 200), ([], 200), ({"status": "online", "details": 3}, 200), ({"reason": "no"}, 500)])
def test_an_answer_that_tells_nothing_is_no_status_and_the_next_one_is(ask, answer, http_status):
    assert ask(answer, http_status=http_status) == StatusAnswered("delta", None, None)
    assert ask({"status": "online"}) == StatusAnswered("delta", None, True)


def test_it_tells_how_often_an_endpoint_gives_a_sign_of_life(ask):
    assert ask({"status": "online", "details": {"heartbeat_period": 30}}).heartbeat == 30.0
    for nonsense in (-1, True, "30", None, float("inf"), float("nan"), 10 ** 400):
        assert ask({"status": "online", "details": {"heartbeat_period": nonsense}}).heartbeat is None


def test_it_tells_what_an_engine_with_managers_has_to_do_and_has_had(ask):
    details = {"outstanding_tasks": 3, "total_tasks": 40}
    message = ask({"status": "online", "details": {**details, "managers": 1}}, CHILD)
    assert (message.outstanding, message.tasks) == (3, 40)
    message = ask({"status": "online", "details": details}, CHILD)
    assert (message.outstanding, message.tasks) == (None, None), "other engines always say 0"


@pytest.mark.parametrize("http_status, gone", [(403, True), (404, True), (401, False), (429, False), (500, False)])
def test_only_an_endpoint_that_is_not_there_for_the_user_is_gone(ask, http_status, gone):
    assert ask({"reason": "no"}, http_status=http_status) == StatusAnswered("delta", None, None, gone=gone)
    assert ask({"reason": "no"}, CHILD, http_status=http_status) == StatusAnswered("delta", CHILD, None)


def test_what_goes_wrong_is_said_once_until_it_changes(ask, caplog):
    for http_status in (500, 500, 500, 404, 404, 200, 404):
        ask({"status": "online", "reason": "no such luck"}, http_status=http_status)
    said = [record.message for record in caplog.records if "No status of endpoint delta" in record.message]
    assert [message.split(": ")[1] for message in said] == ["HTTP 500", "HTTP 404", "HTTP 404"]


def test_a_question_that_waits_to_be_asked_is_not_asked_twice():
    client = Client(authorizer=AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
    client.web_service_address = "http://127.0.0.1:9"  # where nobody answers
    messages = []
    poller = StatusPoller(client=client, endpoint_ids={"delta": ENDPOINT}, governor=Governor(None, 1.0), post=messages.append,
                          stopping=threading.Event())
    for child in (None, CHILD, CHILD, None, CHILD):
        poller.ask("delta", child)
    poller.start()
    poller.stop()
    assert poller.join(30)
    assert messages == [StatusAnswered("delta", None, None), StatusAnswered("delta", CHILD, None)]


def test_no_endpoint_has_more_than_a_million_workers(ask):
    assert ask({"status": "online", "details": {"total_workers": 1_000_000, "pending_tasks": 2_000_000}}, CHILD).workers == 1_000_000
    message = ask({"status": "online", "details": {"total_workers": 1_000_001, "pending_tasks": 2_000_000}}, CHILD)
    assert (message.workers, message.pending) == (None, 2_000_000)
