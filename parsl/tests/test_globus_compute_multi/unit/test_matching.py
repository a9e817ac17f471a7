"""Which attempt a result message belongs to."""
from __future__ import annotations

import json
import uuid

import pytest
from globus_compute_sdk.serialize import JSONData

from parsl.executors.globus_compute_multi.compute import runner
from parsl.executors.globus_compute_multi.compute.envelope import (
    decode_answer,
    encode_arguments,
)
from parsl.executors.globus_compute_multi.compute.matching import (
    HOLD_SECONDS,
    MOST_HELD,
    Matcher,
)
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.serialize import pack_apply_message

pytestmark = pytest.mark.local


def result(session="session", attempt_id="7.1", task_uuid="uuid"):
    """A message of our runner."""
    envelope = runner.globus_compute_multi_runner(*encode_arguments(session, attempt_id, pack_apply_message(int, (1,), {})))
    message = decode_answer(task_uuid, {"status": "success", "result": f"{JSONData.identifier}{json.dumps(envelope)}"})
    assert message.outcome is Outcome.OK
    return message


def failure(task_uuid="uuid"):
    """A message of the agent, which does not know the attempt."""
    return decode_answer(task_uuid, {"status": "failed", "exception": "WorkerLost"})


def test_our_attempt_id_is_enough():
    assert Matcher("session").match(result(), 0.0) == "7.1"


def test_without_attempt_id_the_tasks_id_decides():
    matcher = Matcher("session")
    assert matcher.learn([("uuid", "7.1")]) == []
    assert matcher.match(failure(), 0.0) == "7.1"


def test_a_duplicate_belongs_to_the_same_attempt():
    matcher = Matcher("session")
    matcher.learn([("uuid", "7.1")])
    assert [matcher.match(failure(), now) for now in (0.0, 1.0)] == ["7.1", "7.1"]


def test_a_message_before_the_answer_is_held_until_the_answer_comes():
    matcher, early = Matcher("session"), failure()
    assert matcher.match(early, 0.0) is None
    assert matcher.learn([("uuid", "7.1")]) == [("7.1", early)]
    assert not matcher.expire(HOLD_SECONDS + 1)


def test_a_message_that_no_answer_explains_is_given_up_in_the_end():
    matcher = Matcher("session")
    assert matcher.match(failure(), 0.0) is None
    assert not matcher.expire(HOLD_SECONDS)
    assert matcher.expire(HOLD_SECONDS + 1) == [("uuid", Outcome.TASK_FAILED)]
    assert not matcher.expire(HOLD_SECONDS + 2)


def test_another_executors_result_is_given_up_at_once_even_if_it_comes_under_the_id_of_a_task_of_ours():
    matcher = Matcher("mine")
    matcher.learn([("uuid", "7.1")])
    assert matcher.match(result("another"), 0.0) is None
    assert matcher.expire(0.0) == [("uuid", Outcome.OK)]


def test_a_queue_of_foreign_failures_pushes_out_the_oldest():
    matcher = Matcher("session")
    for n in range(MOST_HELD + 10):
        assert matcher.match(failure(f"uuid-{n}"), 0.0) is None
    assert matcher.expire(0.0) == [(f"uuid-{n}", Outcome.TASK_FAILED) for n in range(10)]
    assert not matcher.learn([("uuid-0", "1.1")])
    assert len(matcher.learn([(f"uuid-{MOST_HELD}", "2.1")])) == 1


def test_the_task_uuids_of_attempts_under_way_are_known_and_others_are_forgotten_before_long():
    matcher, running = Matcher("session"), ["1.1", "2.1"]
    matcher.learn([("first", "1.1"), ("second", "2.1")])
    for n in range(100_000):
        matcher.learn([(str(uuid.UUID(int=n)), f"{n + 3}.1")])
        matcher.forget_others(running)
    assert [matcher.uuid_of(attempt_id) for attempt_id in running] == ["first", "second"]
    assert len([n for n in range(100_000) if matcher.uuid_of(f"{n + 3}.1") is not None]) < 2000
    assert matcher.match(failure("first"), 0.0) == "1.1"
    assert matcher.match(failure(str(uuid.UUID(int=0))), 0.0) is None
