"""Misbehaviour on demand, as a client sees it."""
import threading

import pytest
import requests
from globus_compute_common import messagepack

from local_globus_compute.service.admin import AdminError

from .service_harness import (
    AGENT,
    OTHER_USER,
    USER,
    RawAgent,
    ResultQueue,
    running_service,
    until,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture
def admin(service):
    yield service.admin
    service.admin.clear_faults()


@pytest.fixture(scope="module")
def function(service):
    return service.function()


class Case:
    """A child that is up, and a group with five tasks."""

    def __init__(self, service, function):
        self.agent = RawAgent(service).up()
        self.submission = service.submit(self.agent.id, function, list("abcde"))
        self.child = self.agent.start_child()
        self.ids = self.submission["ids"]
        self.queue = ResultQueue(service, self.submission["task_group_id"])

    def answer(self, *numbers):
        for number in numbers:
            self.agent.result(self.child, self.ids[number])

    def received(self, count):
        return [self.ids.index(task_id) for task_id in self.queue.task_ids(count)]


@pytest.fixture
def case(service, function):
    made = Case(service, function)
    yield made
    made.queue.close()
    made.agent.close()


# requests

@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504])
def test_a_status_is_answered_as_often_as_asked_for(service, admin, status):
    admin.add_fault("reply_status", route="version", count=2, status=status, reason="because")
    answers = [service.send("GET", "/v2/version") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].json()["reason"] == "because"


def test_a_refusal_can_say_when_to_come_back(service, admin):
    admin.add_fault("reply_status", count=1, status=429, retry_after=2.5)
    assert service.send("GET", "/v2/version").headers["Retry-After"] == "3"


def test_a_fault_hits_only_what_matches(service, admin):
    agent = RawAgent(service)
    admin.add_fault("reply_status", route="endpoint_status", endpoint_id=agent.id, client_id=OTHER_USER, status=500)
    path = f"/v2/endpoints/{agent.id}/status"
    assert service.send("GET", path, OTHER_USER).status_code == 500
    assert service.send("GET", path, USER).ok
    assert service.send("GET", f"/v2/endpoints/{agent.id}", OTHER_USER).ok
    agent.close()


def test_a_dropped_request_is_not_handled(service, admin, function, case):
    before = admin.counters()["tasks_submitted"]
    admin.add_fault("drop_connection", route="submit", count=1)
    with pytest.raises(requests.ConnectionError):
        service.submit(case.agent.id, function, ["p"])
    assert admin.counters()["tasks_submitted"] == before
    assert admin.requests()[-1].status is None
    assert service.submit(case.agent.id, function, ["p"])["ids"]


def test_a_lost_answer_leaves_the_tasks_running(service, admin, function, case):
    admin.add_fault("lose_answer", route="submit", count=1)
    group = case.submission["task_group_id"]
    with pytest.raises(requests.ConnectionError):
        service.submit(case.agent.id, function, ["lost"], task_group_id=group)
    tasks = [task for _, task in case.agent.tasks(case.child, 6)]
    lost, = [task for task in tasks if task.task_buffer.endswith("lost")]
    case.agent.result(case.child, str(lost.task_id))
    assert case.queue.task_ids(1) == [str(lost.task_id)]


def test_a_large_request_can_be_dropped_too(service, admin, function, case):
    admin.add_fault("drop_connection", route="submit", count=1)
    with pytest.raises(requests.ConnectionError):
        service.submit(case.agent.id, function, ["p" * 9_000_000])


@pytest.mark.parametrize("kind", ["delay_request", "delay_answer"])
def test_a_slow_service_lets_clients_time_out(service, admin, kind):
    admin.add_fault(kind, route="version", count=1, seconds=3600)
    with pytest.raises(requests.Timeout), requests.Session() as session:
        session.trust_env = False
        session.get(f"{service.url}/v2/version", headers={"Authorization": f"Bearer token-of-{USER}"}, timeout=0.5)
    assert service.send("GET", "/v2/version").ok


def test_a_result_can_be_there_before_the_answer_to_its_submission(service, admin, function, case):
    admin.add_fault("result_before_answer", count=1)
    answers = []
    group = case.submission["task_group_id"]
    thread = threading.Thread(target=lambda: answers.append(service.submit(case.agent.id, function, ["early"], task_group_id=group)))
    thread.start()
    early, = [task for _, task in case.agent.tasks(case.child, 6) if task.task_buffer.endswith("early")]
    assert not answers
    case.agent.result(case.child, str(early.task_id))
    result_at_client = case.queue.task_ids(1)
    thread.join(30)
    assert answers[0]["ids"] == result_at_client


def test_an_answer_that_waits_for_a_result_does_not_wait_for_ever(service, admin, function, case):
    admin.add_fault("result_before_answer", count=1, deadline_seconds=0.1)
    assert service.submit(case.agent.id, function, ["p"])["ids"]
    assert admin.counters()["fault_result_before_answer_gave_up"] >= 1


def test_an_answer_can_name_fewer_tasks_than_were_taken(service, admin, function, case):
    before = admin.counters()["tasks_submitted"]
    admin.add_fault("partial_answer", route="submit", count=1, missing=2)
    assert len(service.submit(case.agent.id, function, list("abc"))["ids"]) == 1
    assert admin.counters()["tasks_submitted"] == before + 3
    assert len(service.submit(case.agent.id, function, list("abc"))["ids"]) == 3


def test_an_answer_can_be_a_page_of_html(service, admin, function, case):
    before = admin.counters()["tasks_submitted"]
    admin.add_fault("bad_answer", route="submit", count=1)
    body = {"tasks": {function: ["p"]}}
    answer = service.send("POST", f"/v3/endpoints/{case.agent.id}/submit", json=body)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")
    assert admin.counters()["tasks_submitted"] == before + 1


# results

def test_a_result_can_come_several_times(case, admin):
    admin.add_fault("duplicate_result", endpoint_id=case.child, count=1, copies=3)
    case.answer(0, 1)
    assert case.received(4) == [0, 0, 0, 1]


def test_a_lost_result_is_known_to_the_service_only(service, case, admin):
    admin.add_fault("lose_result", endpoint_id=case.agent.id, count=1)
    case.answer(0, 1)
    assert case.received(1) == [1]
    assert case.queue.is_empty()
    assert service.call("GET", f"/v2/tasks/{case.ids[0]}")["status"] == "success"


def test_a_late_result_comes_after_those_that_came_later(case, admin):
    admin.add_fault("late_result", endpoint_id=case.child, count=1, seconds=8)
    case.answer(0, 1)
    assert case.received(2) == [1, 0]


def test_results_can_come_in_reverse_order(case, admin):
    admin.add_fault("reorder_results", endpoint_id=case.child, size=3)
    case.answer(0, 1, 2)
    assert case.received(3) == [2, 1, 0]


def test_results_that_wait_to_be_reordered_do_not_wait_for_ever(case, admin):
    admin.add_fault("reorder_results", endpoint_id=case.child, size=3, deadline_seconds=0.2)
    case.answer(0, 1)
    assert sorted(case.received(2)) == [0, 1]


def test_a_result_that_is_kept_back_is_given_after_a_restart(service, case, admin):
    admin.add_fault("late_result", endpoint_id=case.child, count=1, seconds=3600)
    case.answer(0)
    until(lambda: service.call("GET", f"/v2/tasks/{case.ids[0]}")["status"] == "success", "the result at the service")
    service.process.stop()
    service.start()
    assert case.received(1) == [0]


def test_an_error_that_the_service_gives_can_be_duplicated_too(case, admin):
    admin.add_fault("duplicate_result", endpoint_id=case.child, count=1)
    case.agent.heartbeat(case.child, error="gone", heartbeat_period=3)
    failures = [messagepack.unpack(body) for _, body in case.queue.take(6)]
    assert all(failure.data == "gone" for failure in failures)
    assert len({failure.task_id for failure in failures}) == 5


# statuses

def test_a_status_can_be_wrong(service, case, admin):
    admin.add_fault("force_status", endpoint_id=case.agent.id, status="offline", count=1)
    assert [service.status(case.agent.id)["status"] for _ in range(2)] == ["offline", "online"]
    admin.add_fault("force_status", endpoint_id=case.child, status="offline")
    assert service.status(case.agent.id)["status"] == "online"
    assert service.status(case.child)["status"] == "offline"


# rules

def test_rules_can_be_listed_and_taken_out(service, admin):
    first = admin.add_fault("reply_status", route="version", status=500)
    admin.add_fault("drop_connection", route="version", count=3)
    assert [(rule["kind"], rule["count"], rule["hits"]) for rule in admin.faults()] == [("reply_status", None, 0), ("drop_connection", 3, 0)]
    assert service.send("GET", "/v2/version").status_code == 500
    assert admin.faults()[0]["hits"] == 1
    admin.remove_fault(first)
    with pytest.raises(AdminError):
        admin.remove_fault(first)
    admin.clear_faults()
    assert service.send("GET", "/v2/version").ok


def test_a_rule_that_makes_no_sense_is_refused(admin):
    with pytest.raises(AdminError, match="kind"):
        admin.add_fault("explode")
    assert admin.faults() == []


def test_the_admin_routes_never_fail_and_are_not_in_the_request_log(service, admin):
    admin.add_fault("reply_status", status=500)
    before = len(admin.requests())
    admin.counters()
    admin.limits()
    assert len(admin.requests()) == before
    assert service.send("GET", "/v2/version", AGENT).status_code == 500
