"""Bad messages of the result queue: each is refused, or ends its task with an error that says what is wrong."""
from __future__ import annotations

import base64
import json
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, List

import pytest
from globus_compute_sdk.serialize import JSONData

from parsl.executors.globus_compute_multi.compute import runner
from parsl.executors.globus_compute_multi.compute.envelope import (
    decode_result,
    encode_arguments,
)
from parsl.executors.globus_compute_multi.errors import ResultNotReadable
from parsl.executors.globus_compute_multi.messages import TaskInfo
from parsl.executors.globus_compute_multi.observe.records import Ended
from parsl.executors.globus_compute_multi.resolver import Resolver
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.runtimes import LONGEST
from parsl.serialize import pack_apply_message, serialize

pytestmark = pytest.mark.local

DEEP = 100_000


def answer_of(session="session", attempt_id="7.1", value=42):
    """What the runner returns for a task that gives ``value``."""
    return runner.globus_compute_multi_runner(*encode_arguments(session, attempt_id, pack_apply_message(int, (value,), {})))


ENVELOPE = answer_of()


def text(envelope):
    """An envelope as an endpoint serialises it."""
    return f"{JSONData.identifier}{json.dumps(envelope)}"


def body(data, details=None, **fields):
    """A result message with this text."""
    content = {"task_id": str(uuid.uuid4()), "data": data, "details": details, **fields}
    return b"\x01" + json.dumps({"message_type": "result", "data": content}).encode()


#: No result messages at all.
FOREIGN = [
    b"", b"\x01", b"\x00", b"x", b"\x02{}", b"\x01{}", b"\x01[]", b"\x01null", b"\x01{", b"\x01\xff\xfe", b"\xff" * 100, b"\x80\x04N.",
    b"\x01NaN", b"\x01" + b"[" * DEEP, b"\x01" + b'{"data":' * DEEP, b"\x01" + b"9" * 5000,
    b'\x01{"message_type":"task","data":{}}', b'\x01{"message_type":"result"}', b'\x01{"message_type":"result","data":{}}',
    b'\x01{"message_type":["result"],"data":{}}', b'\x01{"message_type":"result","data":[]}',
    body(None), body(3), body(["x"]), body({"a": 1}), body("x", task_id="not a UUID"), body("x", task_id=3), body("x", task_id=None),
    body("x", details="text"), body("x", error_details="text"), body("x", error_details={"code": 3}),
    body("x").replace(b'"x"', b'"\xe9"'),
]

#: What an answer of our runner is not, and what is not in its fields.
NO_ENVELOPES: List[Any] = [[], {}, 3, None, "text", True]
ATTEMPTS: List[Any] = [None, 3, [], {}, True, "", "/", "session", "session/", "/7.1", "session/7", "session/7.", "session/x.1", "session/-7.1",
                       "session/7.1 ", "a/b/7.1", "session/٧.١"]
OUTCOMES: List[Any] = [None, 3, [], {}, "", "OK", "odd", "rejected", "lost", "unreadable", "task_failed"]
PACKED: List[Any] = [3, True, [], {}, "A", "AAAAA", ENVELOPE["value"][:-1], "é"]
TIMES: List[Any] = ["now", [], {}, 10 ** 400]

#: Result messages with something else than an answer of our runner.
UNREADABLE = [
    "", "x", "\n", "00\nnot JSON", "01\ngASVKgAAAAAAAAA=", JSONData.identifier, f"{JSONData.identifier}{{", f"{JSONData.identifier}NaN",
    f"{JSONData.identifier}{'[' * DEEP}", f"{JSONData.identifier}{'9' * 5000}",
    *map(text, NO_ENVELOPES),
    *(text({key: value for key, value in ENVELOPE.items() if key != missing})
      for missing in ("attempt", "outcome", "value", "message", "started", "finished", "host", "python", "parsl", "dill", "error")),
    *(text({**ENVELOPE, "attempt": value}) for value in ATTEMPTS),
    *(text({**ENVELOPE, "outcome": value}) for value in OUTCOMES),
    *(text({**ENVELOPE, "value": value}) for value in PACKED),
    *(text({**ENVELOPE, key: value}) for key in ("started", "finished") for value in TIMES),
]

#: Values that do not unpickle.
VALUES = [b"", b"x", b"01\n", b"01\ngarbage", b"02\n\x80\x04N", b"odd header\nx", b"os path\n", b"parsl.serialize.concretes Nothing\n",
          serialize(42)[:-1], serialize("x" * 100)[:50], None]


@pytest.mark.parametrize("message", FOREIGN, ids=range(len(FOREIGN)))
def test_what_is_no_result_message_is_refused(message):
    with pytest.raises(ValueError, match="not a Globus Compute message|of type .* where a result was expected"):
        decode_result(message)


@pytest.mark.parametrize("data", UNREADABLE, ids=range(len(UNREADABLE)))
def test_a_result_that_is_not_our_runners_says_so_and_nothing_of_it_is_used(data):
    result = decode_result(body(data))
    assert result.outcome is Outcome.UNREADABLE
    assert (result.session, result.attempt_id, result.value, result.run_seconds) == (None, None, None, None)
    assert "not what our runner returns" in result.message and len(result.message) < 2000
    json.dumps(dict(result.info), allow_nan=False)


@pytest.mark.parametrize("child", [
    "text", "../../v2/whoami", "4b116d3c-1703-4f8f-9f6f-39921e5864df/x", "", 3, True, [], {}, "x" * 1000],
                         ids=["word", "path", "two", "empty", "number", "bool", "list", "dict", "long"])
def test_a_child_id_that_is_none_is_not_asked_about(child):
    assert decode_result(body(text(ENVELOPE), details={"endpoint_id": child})).child_id is None


@pytest.mark.parametrize("key", ["host", "python", "parsl", "dill", "error"])
@pytest.mark.parametrize("odd", [float("nan"), [[]], {"a": {}}, "x" * 1_000_000, 10 ** 400], ids=["nan", "list", "dict", "long", "huge"])
def test_what_goes_to_the_log_is_short_and_can_be_written(key, odd):
    result = decode_result(body(text({**ENVELOPE, key: odd})))
    assert result.outcome is Outcome.OK
    assert len(json.dumps(dict(result.info), allow_nan=False)) < 10_000


@pytest.mark.parametrize("started, finished", [
    (2.0, 1.0), (0, 1e300), (-1e300, 0), (-1e308, 1e308), (float("nan"), 1), (0, float("nan")), (0, float("inf")), (float("-inf"), 0)])
def test_a_run_time_that_cannot_be_true_costs_the_task_nothing(started, finished):
    result = decode_result(body(text({**ENVELOPE, "started": started, "finished": finished})))
    assert result.outcome is Outcome.OK
    json.dumps(dict(result.info), allow_nan=False)
    assert result.run_seconds is None or not 0 <= result.run_seconds <= LONGEST  # which the scheduler does not learn from


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_a_value_that_does_not_unpickle_fails_its_task_alone(value):
    resolver, futures = Resolver(), [Future(), Future()]
    resolver.start()
    packed = None if value is None else base64.b64encode(value).decode()
    for task_id, future, value_there in ((7, futures[0], packed), (8, futures[1], ENVELOPE["value"])):
        result = decode_result(body(text({**ENVELOPE, "value": value_there})))
        resolver.ended(Ended(TaskInfo(task_id, "int"), f"{task_id}.1", "a", 0, 1, 0.0, 0.0, 0.0, "ok", "", result, None, True, 1), future)
    resolver.finish()
    assert resolver.join(10)
    error = futures[0].exception(0)
    assert isinstance(error, ResultNotReadable) and "task 7 (int)" in str(error)
    assert futures[1].result(0) == 42


@pytest.mark.parametrize("odd", ["x" * 1_000_000, "[" * 10, {"a": [1] * 100_000}, 3, None], ids=["long", "text", "large", "number", "none"])
def test_what_is_told_of_a_task_is_short(odd):
    result = decode_result(body(text({**ENVELOPE, "message": odd, "monitoring_lost": odd})))
    assert result.outcome is Outcome.OK and len(result.message) <= 5000 and len(result.monitoring_lost) <= 1000


def test_a_deep_word_on_monitoring_costs_the_task_nothing():
    deep = text(ENVELOPE)[:-1] + ', "monitoring_lost": ' + "[" * 950 + "]" * 950 + "}"
    with ThreadPoolExecutor(1) as pool:  # as deep as can be read: a thread has less on its stack than a test
        assert pool.submit(decode_result, body(deep)).result().outcome is Outcome.OK
