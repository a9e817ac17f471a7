"""What goes over AMQP: commands, tasks, results and heartbeats, with an agent played by the test."""
import json
import signal
import subprocess
import sys
import uuid
from urllib.parse import urlsplit

import psutil
import pytest
from globus_compute_common import messagepack
from globus_compute_sdk.serialize import ComputeSerializer

from local_globus_compute.broker import PrivateBroker
from local_globus_compute.client import LocalClient

from .service_harness import (
    AGENT,
    TOKENS,
    USER,
    RawAgent,
    ResultQueue,
    Service,
    running_service,
    until,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("routing")) as running:
        yield running


@pytest.fixture
def agent(service):
    raw = RawAgent(service)
    yield raw
    raw.close()


@pytest.fixture(scope="module")
def function(service):
    return service.function()


@pytest.fixture
def results(service):
    """Opens the result queue of a submission."""
    opened = []

    def open_(submission):
        opened.append(ResultQueue(service, submission["task_group_id"]))
        return opened[-1]

    yield open_
    for queue in opened:
        queue.close()


def one_child(service, agent, function, payloads=("p",), **more):
    """Submit to a parent that is up and start the child; returns the submission and the child's id."""
    submission = service.submit(agent.up().id, function, list(payloads), **more)
    return submission, agent.start_child()


# tasks and commands

def test_an_answer_has_the_task_ids_in_the_order_of_the_payloads(service, agent, function):
    other = service.function()
    body = {"tasks": {function: ["a", "b"], other: ["c"]}}
    answer = service.call("POST", f"/v3/endpoints/{agent.up().id}/submit", json=body)
    child = agent.start_child()
    tasks = {str(task.task_id): task.task_buffer for _, task in agent.tasks(child, 3)}
    assert [tasks[task_id][-1] for task_id in answer["tasks"][function] + answer["tasks"][other]] == ["a", "b", "c"]
    assert answer["endpoint_id"] == agent.id
    assert {uuid.UUID(answer[key]).version for key in ("task_group_id", "request_id")} == {4}


def test_a_task_carries_its_function_its_arguments_and_what_the_agent_wants_in_the_headers(service, agent, function):
    submission, child = one_child(service, agent, function, ["payload"], resource_specification={"num_nodes": 2}, result_serializers=["a.B"])
    (properties, task), = agent.tasks(child)
    assert task.task_buffer == "3\n01\n" + "payload"
    assert properties.headers["task_uuid"] == str(task.task_id) == submission["ids"][0]
    assert properties.headers["function_uuid"] == function
    assert json.loads(properties.headers["resource_specification"]) == {"num_nodes": 2}
    assert properties.headers["result_serializers"] == ["a.B"]


def test_a_child_belongs_to_a_configuration_and_is_told_of_it(service, agent, function):
    agent.up()
    for config in ({"workers": 1}, {"workers": 2}, {"workers": 1}):
        service.submit(agent.id, function, ["p"], user_endpoint_config=config, user_runtime={"python": {"version": "3.11.7"}})
    commands = [agent.command(), agent.command()]
    assert [command["kwargs"]["user_opts"] for command in commands] == [{"workers": 1}, {"workers": 2}]
    assert commands[0]["kwargs"]["user_runtime"] == {"python": {"version": "3.11.7"}}
    first, second = agent.children
    assert (len(agent.tasks(first, 2)), len(agent.tasks(second, 1))) == (2, 1)
    assert agent.queued(agent.info["command_queue_info"]["queue"]) == 0


def test_a_child_that_is_up_is_not_told_to_start_again(service, agent, function):
    _, child = one_child(service, agent, function)
    before = service.admin.counters()["start_commands"]
    service.submit(agent.id, function, ["p"])
    assert len(agent.tasks(child, 2)) == 2
    assert service.admin.counters()["start_commands"] == before


def test_tasks_for_an_endpoint_that_is_down_wait_and_the_child_is_started_when_it_comes_up(service, agent, function):
    service.submit(agent.id, function, ["p"])
    assert agent.queued(agent.info["command_queue_info"]["queue"]) == 0
    agent.up()
    assert len(agent.tasks(agent.start_child())) == 1


def test_a_child_that_stopped_with_tasks_in_its_queue_is_started_again(service, agent, function):
    _, child = one_child(service, agent, function)
    agent.heartbeat(child, heartbeat_period=30, active=False)
    assert agent.start_child() == child
    assert len(agent.tasks(child)) == 1


def test_a_child_that_took_its_tasks_and_died_is_not_started_for_them(service, agent, function):
    submission, child = one_child(service, agent, function)
    agent.tasks(child)
    agent.heartbeat(child, heartbeat_period=30, active=False)
    service.wait_until_online(child, False)
    # The service looks at all children in turn: when it has started two others again, one after the other, it has also looked at this one.
    for config in ({"n": 1}, {"n": 2}):
        service.submit(agent.id, function, ["p"], user_endpoint_config=config)
        other = agent.start_child()
        assert other != child
        agent.heartbeat(other, heartbeat_period=30, active=False)
        assert agent.start_child() == other
    assert service.call("GET", f"/v2/tasks/{submission['ids'][0]}")["status"] == "pending"


# results

def test_a_result_reaches_the_group_unchanged_with_an_integer_timestamp(service, agent, function, results):
    submission, child = one_child(service, agent, function)
    body = agent.result(child, submission["ids"][0])
    (properties, received), = results(submission).take(1)
    assert received == body
    assert isinstance(properties.timestamp, int)
    assert not (properties.headers or {}).get("high_assurance")


def test_a_result_that_comes_twice_is_given_once(service, agent, function, results):
    submission, child = one_child(service, agent, function, ["p", "q"])
    first, second = submission["ids"]
    before = service.admin.counters().get("results_dropped", 0)
    agent.result(child, first)
    agent.result(child, first, error="changed its mind")
    queue = results(submission)
    assert queue.task_ids(1) == [first]
    agent.result(child, first)
    agent.result(child, second)
    assert queue.task_ids(1) == [second]
    assert queue.is_empty()
    assert service.admin.counters()["results_dropped"] == before + 2
    assert service.call("GET", f"/v2/tasks/{first}")["status"] == "success"


def test_groups_get_their_own_results_only(service, agent, function, results):
    one, child = one_child(service, agent, function)
    other = service.submit(agent.id, function, ["q"])
    agent.result(child, other["ids"][0])
    agent.result(child, one["ids"][0])
    assert results(one).task_ids(1) == one["ids"]
    assert results(other).task_ids(1) == other["ids"]


def test_a_group_goes_on_over_several_submissions(service, agent, function, results):
    one, child = one_child(service, agent, function)
    other = service.submit(agent.id, function, ["q", "r"], task_group_id=one["task_group_id"])
    assert other["task_group_id"] == one["task_group_id"]
    for task_id in one["ids"] + other["ids"]:
        agent.result(child, task_id)
    assert sorted(results(one).task_ids(3)) == sorted(one["ids"] + other["ids"])
    group = service.call("GET", f"/v2/taskgroup/{one['task_group_id']}")
    assert {task["id"] for task in group["tasks"]} == {*one["ids"], *other["ids"]}


def test_results_and_failures_can_be_asked_for_by_the_sdk(service, agent, function):
    submission, child = one_child(service, agent, function, ["p", "q", "r"], create_queue=False)
    done, failed, open_ = submission["ids"]
    agent.result(child, done, ComputeSerializer().serialize(42))
    agent.result(child, failed, error="it broke")
    until(lambda: service.call("GET", f"/v2/tasks/{failed}")["completion_t"], "the last result")
    client = LocalClient(service.url, TOKENS[USER])
    assert client.get_result(done) == 42
    answers = service.call("POST", "/v2/batch_status", json={"task_ids": [*submission["ids"], str(uuid.uuid4())]})["results"]
    assert {task_id: answers[task_id]["status"] for task_id in answers} == {done: "success", failed: "failed", open_: "pending"}
    assert (answers[failed]["exception"], answers[open_]["completion_t"]) == ("it broke", None)
    assert answers[done]["details"]["endpoint_id"] == child
    with pytest.raises(Exception, match="it broke"):
        client.get_task(failed)
    assert client.get_batch_result([done, open_])[done]["result"] == 42


def test_a_result_over_the_limit_becomes_an_error_that_names_size_and_limit(service, agent, function, results):
    submission, child = one_child(service, agent, function, ["p", "q"])
    fits, too_large = submission["ids"]
    agent.result(child, fits, "x" * 10_000_000)
    agent.result(child, too_large, "x" * 10_000_001)
    (_, first), (_, second) = results(submission).take(2)
    assert messagepack.unpack(first).error_details is None
    error = messagepack.unpack(second)
    assert str(error.task_id) == too_large
    assert "10,000,001" in error.data and "10,000,000" in error.data


def test_messages_that_make_no_sense_are_dropped_and_disturb_nothing(service, agent, function, results):
    submission, child = one_child(service, agent, function)
    for body in (b"", b"\x01{}", b"\x02", messagepack.pack(messagepack.message_types.Result(task_id=uuid.uuid4(), data=""))):
        agent.noise(child, body)
    agent.result(child, submission["ids"][0])
    assert results(submission).task_ids(1) == submission["ids"]


# heartbeats

def test_each_endpoint_is_answered_for_by_its_own_last_heartbeat(service, agent, function):
    _, child = one_child(service, agent, function)
    agent.heartbeat(child, heartbeat_period=30, active=True, total_workers=4)
    until(lambda: service.status(child)["details"].get("total_workers") == 4, "the child's heartbeat")
    assert service.status(agent.id) == {"status": "online", "details": {"heartbeat_period": 30}}
    agent.heartbeat(heartbeat_period=0)
    service.wait_until_online(agent.id, False)
    assert service.status(child)["status"] == "online"


def test_an_endpoint_that_misses_three_heartbeats_is_offline(service, agent):
    agent.heartbeat(heartbeat_period=2)
    service.wait_until_online(agent.id)
    service.wait_until_online(agent.id, False)
    assert service.status(agent.id)["details"] == {"heartbeat_period": 2}


def test_a_child_that_reports_an_error_fails_its_unfinished_tasks_and_no_others(service, agent, function, results):
    submission, child = one_child(service, agent, function, ["p", "q", "r"])
    done, taken, queued = submission["ids"]
    other = service.submit(agent.id, function, ["s"], user_endpoint_config={"n": 1})
    agent.command()
    agent.tasks(child, 2)
    agent.result(child, done)
    queue = results(submission)
    assert queue.task_ids(1) == [done]
    agent.heartbeat(child, error="no such partition", heartbeat_period=3)
    failures = [messagepack.unpack(body) for _, body in queue.take(2)]
    assert {str(failure.task_id) for failure in failures} == {taken, queued}
    assert {failure.data for failure in failures} == {"no such partition"}
    assert all(failure.is_error for failure in failures)
    assert agent.queued(agent.children[child]["task_queue_info"]["queue"]) == 0
    assert service.call("GET", f"/v2/tasks/{other['ids'][0]}")["status"] == "pending"
    assert service.status(child)["status"] == "offline"


def test_a_child_that_failed_is_started_for_the_next_task(service, agent, function):
    _, child = one_child(service, agent, function)
    agent.heartbeat(child, error="try again", heartbeat_period=3)
    service.wait_until_online(child, False)
    service.submit(agent.id, function, ["q"])
    assert agent.start_child() == child


def test_a_locked_endpoint_loses_its_command_queue(service, agent):
    service.call("POST", f"/v3/endpoints/{agent.id}/lock", AGENT)
    with pytest.raises(Exception, match="404"):
        agent.queued(agent.info["command_queue_info"]["queue"])


# the process

def test_a_restarted_service_goes_on_where_it_was(tmp_path):
    with running_service(tmp_path) as service:
        function = service.function()
        agent = RawAgent(service).up()
        submission, child = one_child(service, agent, function, ["p", "q", "r"])
        before, meanwhile, after = submission["ids"]
        agent.result(child, before)
        queue = ResultQueue(service, submission["task_group_id"])
        assert queue.task_ids(1) == [before]

        service.process.stop()
        agent.result(child, meanwhile)
        agent.result(child, before)
        service.start()

        assert queue.task_ids(1) == [meanwhile]
        agent.result(child, after)
        assert queue.task_ids(1) == [after]
        assert queue.is_empty()
        assert service.status(child)["status"] == "online"
        more = service.submit(agent.id, function, ["s"], task_group_id=submission["task_group_id"])
        assert len(agent.tasks(child, 4)) == 4
        agent.result(child, more["ids"][0])
        assert queue.task_ids(1) == more["ids"]
        queue.close()
        agent.close()


@pytest.fixture
def stopped(tmp_path):
    """A service that ran and was stopped, and the command with which it was run."""
    with running_service(tmp_path) as service:
        service.process.stop()
        service.start()  # now its configuration names the port that it was given
        service.process.stop()
        yield service, [sys.executable, "-m", "local_globus_compute.service", "--config", str(tmp_path / "service" / "config.json")]


def test_the_service_ends_cleanly_when_told_to_even_with_a_request_in_hand(stopped):
    service, command = stopped
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            until(service.ready.exists, "the service")
            service.admin.add_fault("delay_request", route="version", seconds=3600)
            slow = subprocess.Popen([sys.executable, "-c", SLOW_REQUEST, service.url, TOKENS[USER]])
            until(lambda: any(request.route == "version" for request in service.admin.requests()), "the request")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert slow.wait(30) == 0
    assert not service.ready.exists()


def test_the_service_ends_when_its_parent_does(stopped):
    service, command = stopped
    starter = f"import subprocess, time; subprocess.Popen({command!r}); time.sleep(3600)"
    parent = subprocess.Popen([sys.executable, "-c", starter], stderr=subprocess.DEVNULL)
    try:
        until(service.ready.exists, "the service")
        child = psutil.Process(json.loads(service.ready.read_text())["pid"])
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the service to end")
    assert not service.ready.exists()


def test_a_broker_that_refuses_the_password_is_named_and_the_password_is_not(stopped, tmp_path):
    service, command = stopped
    config = tmp_path / "wrong.json"
    config.touch(mode=0o600)
    wrong = service.broker_url.replace(str(urlsplit(service.broker_url).password), "wrong-password")
    config.write_text((tmp_path / "service" / "config.json").read_text().replace(service.broker_url, wrong))
    ended = subprocess.run([*command[:-1], str(config)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "RabbitMQ" in ended.stderr and "wrong-password" not in ended.stderr


def test_nothing_is_left_in_the_broker_when_the_service_is_told_so(tmp_path):
    with running_service(tmp_path) as service:
        function = service.function()
        agent = RawAgent(service)
        submission, child = one_child(service, agent, function)
        group = ResultQueue(service, submission["task_group_id"])
        creds = agent.children[child]
        queues = [agent.info["command_queue_info"]["queue"], agent.info["heartbeat_queue_info"]["queue"], group.name,
                  creds["task_queue_info"]["queue"], creds["result_queue_info"]["queue"]]
        exchanges = [creds["result_queue_info"]["exchange"], creds["heartbeat_queue_info"]["exchange"]]
        assert all(agent.exists(queue=queue) for queue in queues) and all(agent.exists(exchange=name) for name in exchanges)
        service.end()
        assert not [queue for queue in queues if agent.exists(queue=queue)]
        assert not [name for name in exchanges if agent.exists(exchange=name)]
        group.close()
        agent.close()


def test_work_goes_on_over_a_restart_of_the_broker(tmp_path):
    broker = PrivateBroker(tmp_path / "rabbitmq")
    broker.spawn()
    service = Service(broker.url, tmp_path / "service")
    try:
        broker.wait()
        service.start()
        function = service.function()
        agent = RawAgent(service)
        submission, child = one_child(service, agent, function, ["p", "q"])
        broker.stop(gently=True)
        broker.spawn()
        broker.wait()
        agent.connect()
        (_, task), _ = agent.tasks(child, 2)
        agent.result(child, str(task.task_id))
        queue = ResultQueue(service, submission["task_group_id"])
        assert queue.task_ids(1) == [str(task.task_id)]
        more = service.submit(agent.id, function, ["r"], task_group_id=submission["task_group_id"])
        agent.result(child, str(agent.tasks(child)[0][1].task_id))
        assert queue.task_ids(1) == more["ids"]
    finally:
        service.process.stop()
        broker.stop()


SLOW_REQUEST = """
import sys, requests
session = requests.Session()
session.trust_env = False
try:
    answer = session.get(sys.argv[1] + "/v2/version", headers={"Authorization": "Bearer " + sys.argv[2]})
    sys.exit(0 if answer.status_code >= 500 else 1)
except requests.ConnectionError:
    sys.exit(0)
"""
