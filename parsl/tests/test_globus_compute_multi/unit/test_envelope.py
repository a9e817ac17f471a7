"""Runner, envelope and matching: what happens to a task between here and the endpoint, without a network."""
from __future__ import annotations

import json
import multiprocessing
import os
import sys
import uuid
from concurrent.futures import ProcessPoolExecutor

import pytest
from globus_compute_common.messagepack import pack
from globus_compute_common.messagepack.message_types import Result
from globus_compute_sdk.serialize import JSONData

from parsl.app.errors import RemoteExceptionWrapper, wrap_error
from parsl.executors.globus_compute_multi.compute import runner
from parsl.executors.globus_compute_multi.compute.envelope import (
    decode_result,
    encode_arguments,
    wire_size,
)
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.serialize import deserialize, pack_apply_message

pytestmark = pytest.mark.local


class NotHere(Exception):
    pass


def add(a, b=1):
    return a + b


def fail():
    raise NotHere("on purpose")


class OddText(Exception):
    def __str__(self):
        return 3


def fail_oddly():
    raise OddText()


def large():
    return b"x" * 8_000_000


def leave():
    sys.exit(3)


def give_a_generator():
    return (x for x in "ab")


def message_of(envelope, **fields) -> bytes:
    data = envelope if isinstance(envelope, str) else JSONData().serialize(envelope)
    return pack(Result(task_id=fields.pop("task_id", uuid.uuid4()), data=data, **fields))


def run(function, *args, **kwargs):
    """What comes back of a call, packed and sent as JSON both ways."""
    packed = pack_apply_message(function, args, kwargs)
    arguments = json.loads(json.dumps(encode_arguments("session", "7.1", packed)))
    return decode_result(message_of(json.loads(json.dumps(runner.globus_compute_multi_runner(*arguments)))))


def test_a_value_comes_back_with_its_attempt_and_run_time():
    result = run(add, 1, b=2)
    assert (result.session, result.attempt_id, result.outcome) == ("session", "7.1", Outcome.OK)
    assert deserialize(result.value) == 3
    assert result.run_seconds >= 0
    assert {"host", "python", "parsl", "dill"} <= dict(result.info).keys()


def test_an_exception_of_an_app_comes_back_in_parsls_wrapper():
    result = run(wrap_error(fail))
    assert result.outcome is Outcome.APP_FAILED and "on purpose" in result.message
    value = deserialize(result.value)
    assert isinstance(value, RemoteExceptionWrapper)
    with pytest.raises(NotHere, match="on purpose"):
        value.reraise()


def test_an_exception_past_the_wrapper_keeps_its_type():
    result = run(fail)
    assert result.outcome is Outcome.RAISED
    assert isinstance(deserialize(result.value).get_exception(), NotHere)


@pytest.mark.parametrize("function, outcome", [(wrap_error(fail_oddly), Outcome.APP_FAILED), (fail_oddly, Outcome.RAISED)])
def test_an_exception_whose_text_cannot_be_had_keeps_its_type(function, outcome):
    result = run(function)
    assert (result.outcome, result.message) == (outcome, "OddText")
    assert isinstance(deserialize(result.value).get_exception(), OddText)


def test_a_value_larger_than_a_result_may_be_is_not_sent():
    result = run(large)
    assert result.outcome is Outcome.TOO_LARGE and result.value is None and "10666" in result.message


def test_an_app_that_exits_does_not_take_the_worker_with_it():
    result = run(leave)
    assert result.outcome is Outcome.RAISED
    assert "sys.exit(3)" in str(deserialize(result.value).get_exception())


def test_a_value_that_does_not_pickle_is_an_error_of_that_task():
    result = run(give_a_generator)
    assert result.outcome is Outcome.RAISED and "does not pickle" in result.message
    assert isinstance(deserialize(result.value).get_exception(), TypeError)


def test_a_task_that_cannot_be_unpacked_is_told_apart():
    envelope = runner.globus_compute_multi_runner("session/7.1", "AAAA", 1000)
    result = decode_result(message_of(envelope))
    assert result.outcome is Outcome.NOT_UNPACKED and result.value is None and result.run_seconds is None


def test_a_failure_reported_by_the_endpoint_has_no_attempt_but_the_tasks_id():
    task_id = uuid.uuid4()
    result = decode_result(message_of("text", task_id=task_id, error_details={"code": "WorkerLost", "user_message": "the worker died"}))
    assert (result.outcome, result.attempt_id, result.task_uuid) == (Outcome.TASK_FAILED, None, str(task_id))
    assert "WorkerLost" in result.message


@pytest.mark.parametrize("code, by_service", [("ENDPOINT_ERROR", True), ("whatever", True), ("RemoteExecutionError", False),
                                              ("UNKNOWN_TASK_FAILURE", False), ("FUNCTION_NOT_ALLOWED", False)])
def test_a_failure_that_names_no_child_is_the_agents_by_its_code_or_else_the_services(code, by_service):
    assert decode_result(message_of("text", error_details={"code": code, "user_message": "no"}, details=None)).by_service is by_service


def test_a_failure_reported_by_the_endpoint_says_what_happened_there():
    told = "Traceback (most recent call last):\n  File ...\n\nValueError: no such launcher\n  -------\n\n"
    details = {"code": "RemoteExecutionError", "user_message": "An error occurred"}
    assert decode_result(message_of(told, error_details=details)).message == (
        "RemoteExecutionError: An error occurred (ValueError: no such launcher)")
    assert len(decode_result(message_of("x" * 100_000, error_details=details)).message) < 2000


def test_monitoring_messages_come_along_unread():
    envelope = {**runner.globus_compute_multi_runner(*encode_arguments("session", "7.1", pack_apply_message(add, (1,), {})))}
    assert decode_result(message_of({**envelope, "monitoring": "not base64!", "monitoring_lost": "two"})).outcome is Outcome.OK
    result = decode_result(message_of({**envelope, "monitoring": "AAAA", "monitoring_lost": "two"}))
    assert (result.monitoring, result.monitoring_lost) == ("AAAA", "two")
    for key in ("monitoring", "monitoring_lost"):  # a runner that was registered before there was monitoring
        del envelope[key]
    result = decode_result(message_of(envelope))
    assert (result.outcome, result.monitoring, result.monitoring_lost) == (Outcome.OK, None, "")


@pytest.mark.parametrize("data", [
    "00\nnot JSON", "11\n", "11\n[]", "11\n{}", '11\n{"attempt": 3}', '11\n{"attempt": "a/b", "outcome": "odd", "value": null}',
    '11\n{"attempt": "session/x", "outcome": "ok", "value": null}'])
def test_a_result_that_is_not_ours_is_unreadable_and_nothing_is_unpickled(data):
    assert decode_result(message_of(data)).outcome is Outcome.UNREADABLE


@pytest.mark.parametrize("body", [b"", b"x", b"\x01", b"\x01{}", b"\x02{}", b'\x01{"message_type":"task","data":{}}', b"\xff" * 100])
def test_a_message_that_is_no_result_is_refused(body):
    with pytest.raises(ValueError):
        decode_result(body)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1000, 100_001])
def test_the_size_on_the_wire_is_never_underestimated(size):
    packed = b"x" * size
    serializer = JSONData()
    payload = f"0000000\n{serializer.serialize(encode_arguments('s' * 32, '123456789.99', packed))}0000000\n{serializer.serialize({})}"
    assert len(json.dumps(payload)) + 2 <= wire_size(packed) <= len(json.dumps(payload)) + 256


def start_a_session():
    import os
    os.setsid()


def packed_for_runner(function):
    return encode_arguments("s", "1.1", pack_apply_message(function, (), {}))


def test_the_mark_of_a_process_is_that_of_the_engine_whatever_apps_do_in_the_workers_of_its_pool(monkeypatch):
    monkeypatch.delenv("PARSL_WORKER_RANK", raising=False)
    here = runner.globus_compute_multi_runner(*packed_for_runner(int))["process"]
    assert here.endswith(f"/{os.getpid()}")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for function in (int, start_a_session, int):
            envelope = pool.submit(runner.globus_compute_multi_runner, *packed_for_runner(function)).result(60)
            assert (envelope["outcome"], envelope["process"]) == ("ok", here)
    monkeypatch.setenv("PARSL_WORKER_RANK", "0")
    assert runner.globus_compute_multi_runner(*packed_for_runner(int))["process"] is None
