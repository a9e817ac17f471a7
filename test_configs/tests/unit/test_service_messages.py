"""AMQP messages, checked with the packages that the SDK and the agents read them with."""
import json
import uuid

import pytest
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import EPStatusReport, Result, Task
from globus_compute_sdk.serialize import ComputeSerializer
from hypothesis import given
from hypothesis import strategies as st

from local_globus_compute.service import messages
from local_globus_compute.service.messages import MessageError, Names

TASK, ENDPOINT, IDENTITY = str(uuid.uuid4()), str(uuid.uuid4()), str(uuid.uuid4())


@given(code=st.text(), payload=st.text())
def test_agents_can_read_a_task(code, payload):
    task = messagepack.unpack(messages.task(TASK, code, payload))
    assert isinstance(task, Task)
    assert (str(task.task_id), task.task_buffer) == (TASK, code + payload)


@given(reason=st.text())
def test_the_sdk_can_read_an_error_that_the_service_gives(reason):
    made = messages.error_result(TASK, "TOO_LARGE", reason)
    result = messagepack.unpack(made.body)
    assert isinstance(result, Result) and result.is_error
    assert (result.data, result.error_details.code, made.failed) == (reason, "TOO_LARGE", True)


@given(data=st.text())
def test_a_result_is_looked_into_without_being_changed(data):
    body = messagepack.pack(Result(task_id=TASK, data=data))
    read = messages.read_result(body)
    assert read == messages.ResultMessage(TASK, False, len(data.encode()), body)


@pytest.mark.parametrize("body", [
    b"",
    b"\x02{}",
    b"\x01",
    b"\x01[]",
    b'\x01{"message_type":"result"}',
    b'\x01{"message_type":"task","data":{}}',
    b'\x01{"message_type":"result","data":{"task_id":"me","data":""}}',
    b'\x01{"message_type":"result","data":{"task_id":"' + TASK.encode() + b'"}}',
    b'\x01{"message_type":"result","data":{"task_id":"' + TASK.encode() + b'","data":1}}',
])
def test_a_message_that_is_no_result_is_refused(body):
    with pytest.raises(MessageError):
        messages.read_result(body)


def test_a_heartbeat_of_the_agents_package_can_be_read():
    report = EPStatusReport(endpoint_id=ENDPOINT, global_state={"heartbeat_period": 5}, task_statuses={})
    data = messages.unpack(messagepack.pack(report), "ep_status_report")
    assert (data["endpoint_id"], data["global_state"]) == (ENDPOINT, {"heartbeat_period": 5})


def test_source_is_packed_as_the_sdk_would_have_serialised_the_function():
    buffer = messages.source_code_buffer("double", "def double(x):\n    return 2 * x  # ×\n")
    serializer = ComputeSerializer()
    function, args, kwargs = serializer.unpack_and_deserialize(
        buffer + serializer.pack_buffers([serializer.serialize((21,)), serializer.serialize({})]))
    assert function(*args, **kwargs) == 42


def test_a_child_is_the_same_for_the_same_parent_identity_and_configuration_only():
    child = messages.child_id(ENDPOINT, IDENTITY, {"workers": 2, "queue": "debug"})
    assert child == messages.child_id(ENDPOINT, IDENTITY, {"queue": "debug", "workers": 2})
    others = [
        messages.child_id(str(uuid.uuid4()), IDENTITY, {"workers": 2, "queue": "debug"}),
        messages.child_id(ENDPOINT, str(uuid.uuid4()), {"workers": 2, "queue": "debug"}),
        messages.child_id(ENDPOINT, IDENTITY, {"workers": "2", "queue": "debug"}),
        messages.child_id(ENDPOINT, IDENTITY, {}),
    ]
    assert len({child, ENDPOINT, *others}) == 6


def test_a_start_command_has_what_an_agent_looks_for():
    names = Names("p")
    child = messages.child_id(ENDPOINT, IDENTITY, {})
    command = json.loads(messages.start_command("amqp://x", names, ENDPOINT, child, IDENTITY, {"workers": 1}, {"python": {}}))
    creds = command["kwargs"]["amqp_creds"]
    assert command["command"] == "cmd_start_endpoint"
    assert (command["kwargs"]["user_opts"], command["kwargs"]["user_runtime"]) == ({"workers": 1}, {"python": {}})
    assert creds["endpoint_id"] == child
    assert creds["task_queue_info"] == {"connection_url": "amqp://x", "queue": names.tasks(child)}
    assert creds["result_queue_info"]["queue_publish_kwargs"]["exchange"] == names.results
    assert creds["heartbeat_queue_info"]["queue"] == names.heartbeats
    assert IDENTITY in {linked["sub"] for linked in command["globus_identity_set"]}


@pytest.mark.parametrize(("state", "age", "online"), [
    ({"heartbeat_period": 5}, 15, True),
    ({"heartbeat_period": 5}, 15.1, False),
    ({"heartbeat_period": 5, "active": True}, 0, True),
    ({"heartbeat_period": 5, "active": False}, 0, False),
    ({"heartbeat_period": 0}, 0, False),
    ({"heartbeat_period": 3, "error": "no"}, 0, False),
    ({"heartbeat_period": "often"}, 0, False),
    ({}, 90, True),
    ({}, 90.1, False),
])
def test_an_endpoint_is_online_until_it_says_otherwise_or_three_heartbeats_are_missed(state, age, online):
    assert messages.is_online(state, 1000.0, 1000.0 + age) is online
