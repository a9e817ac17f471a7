"""The radio whose messages come back with the results."""
from __future__ import annotations

import base64
import json
import os
import pickle
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from parsl.executors.globus_compute_multi import (
    Endpoint,
    GlobusComputeMultiExecutor,
)
from parsl.executors.globus_compute_multi.compute import runner
from parsl.executors.globus_compute_multi.errors import EndpointConfigurationError
from parsl.executors.globus_compute_multi.monitoring import (
    RADIO_ATTRIBUTE,
    ResultRadio,
    unpack_messages,
)
from parsl.monitoring.message_type import MessageType
from parsl.monitoring.radios.htex import HTEXRadio
from parsl.monitoring.radios.multiprocessing import MultiprocessingQueueRadio
from parsl.monitoring.radios.udp import UDPRadio
from parsl.serialize import pack_apply_message

pytestmark = pytest.mark.local


def say(radio, messages, value=None, error=None):
    """An app that sends over its radio, as Parsl's wrapper for monitoring does."""
    for message in messages:
        kind = MessageType.WORKER_TASK_INFO if message in ("begins", "ends") else MessageType.RESOURCE_INFO
        radio.create_sender().send((kind, message))
    if error is not None:
        raise error
    return value


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The endpoint's folder for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def run(limit, function, *args, **kwargs):
    """What an endpoint returns for a task, and its monitoring messages."""
    return run_packed(limit, base64.b64encode(pack_apply_message(function, args, kwargs)).decode())


def run_packed(limit, packed):
    envelope = json.loads(json.dumps(runner.globus_compute_multi_runner("session/1.1", packed, limit)))
    return envelope, [text for _, text in unpack_messages(envelope["monitoring"])]


def test_messages_come_with_the_result_in_order(temporary):
    envelope, messages = run(10**6, say, ResultRadio(), ["first", "then", "last"], value=7)
    assert envelope["outcome"] == "ok"
    assert messages == ["first", "then", "last"]
    assert os.listdir(temporary) == []


def test_messages_of_an_app_that_fails_come_too(temporary):
    envelope, messages = run(10**6, say, ResultRadio(), ["first"], error=ValueError("no"))
    assert envelope["outcome"] == "raised"
    assert messages == ["first"]
    assert os.listdir(temporary) == []


def test_messages_of_processes_that_the_app_forks_come_too(temporary):
    envelope, messages = run(10**6, say_from_a_fork, ResultRadio())
    assert envelope["outcome"] == "ok"
    assert messages == ["begins", "from the fork", "ends"]


def say_from_a_fork(radio):
    from parsl.multiprocessing import ForkProcess
    say(radio, ["begins"])
    fork = ForkProcess(target=say, args=(radio, ["from the fork"]))
    fork.start()
    fork.join()
    say(radio, ["ends"])


def test_a_task_that_is_not_monitored_makes_no_file(temporary, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", None)
    assert run(10**6, divmod, 7, 3)[1] == []


def test_a_task_that_cannot_be_unpacked_leaves_nothing(temporary):
    envelope, messages = run(10**6, Unreadable(), ResultRadio())
    assert envelope["outcome"] == "not_unpacked"
    assert messages == []
    assert os.listdir(temporary) == []
    assert not hasattr(threading.current_thread(), RADIO_ATTRIBUTE)


class Unreadable:
    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ImportError("not on this endpoint")


@pytest.mark.parametrize("count", [39, 40, 41])
def test_where_there_is_little_room_some_records_of_resources_are_left_out_but_not_the_last(temporary, count):
    records = [f"{number} " + os.urandom(500).hex() for number in range(count)]
    envelope, messages = run(8000, say, ResultRadio(), ["begins", *records, "ends"])
    assert len(envelope["monitoring"]) <= 8000
    assert [messages[0], *messages[-2:]] == ["begins", records[-1], "ends"]
    assert 3 < len(messages) < count
    assert [message for message in records if message in messages] == messages[1:-1]
    assert envelope["monitoring_lost"] == f"{count + 2 - len(messages)} of {count + 2} messages, for want of room in the result"


def test_messages_have_a_megabyte_at_most(temporary):
    envelope, messages = run(10**7, say, ResultRadio(), [os.urandom(400_000).hex() for _ in range(5)])
    assert 0 < len(envelope["monitoring"]) <= 10**6
    assert envelope["monitoring_lost"].startswith("4 of 5")


def test_a_value_that_fills_the_result_leaves_no_room_and_is_returned(temporary):
    value = os.urandom(3000).hex()
    envelope, messages = run(8192, say, ResultRadio(), [os.urandom(2000).hex()], value=value)
    assert envelope["outcome"] == "ok"
    assert messages == []
    assert envelope["monitoring_lost"].startswith("1 of 1")
    assert len(envelope["value"]) <= 8192


def test_where_no_file_can_be_made_the_app_runs_and_the_loss_is_told(temporary, monkeypatch):
    def refuse(**_):
        raise OSError("disk full")
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    envelope, messages = run(10**6, say, ResultRadio(), ["begins", "ends"], value=7)
    assert envelope["outcome"] == "ok"
    assert messages == []
    assert "disk full" in envelope["monitoring_lost"]


def test_what_a_finished_task_sends_late_is_dropped(temporary):
    envelope, messages = run(10**6, keep_radio, ResultRadio())
    kept, = kept_radios
    kept_radios.clear()
    say(kept, ["late"])
    assert envelope["outcome"] == "ok" and messages == []


kept_radios = []


def keep_radio(radio):
    kept_radios.append(radio)


def monitored(radio):
    """As Parsl wraps an app for each task: the radio is in the function, and for the same app all but that is the same."""
    def wrapped(message):
        radio.create_sender().send((MessageType.RESOURCE_INFO, message))
    return wrapped


def test_each_task_of_an_app_in_one_worker_has_a_radio_of_its_own(temporary):
    radio = ResultRadio()
    assert [run(10**6, monitored(radio), message)[1] for message in ("one", "two", "three")] == [["one"], ["two"], ["three"]]
    assert os.listdir(temporary) == []


def test_each_attempt_of_a_task_has_a_radio_of_its_own(temporary):
    packed = base64.b64encode(pack_apply_message(monitored(ResultRadio()), ("said",), {})).decode()
    with ThreadPoolExecutor(4) as threads:
        for envelope, messages in threads.map(lambda _: run_packed(10**6, packed), range(20)):
            assert envelope["outcome"] == "ok"
            assert messages == ["said"]


def test_an_endpoint_needs_nothing_of_this_package_to_unpickle_the_radio():
    assert b"parsl" not in pickle.dumps(ResultRadio())


def test_the_radio_sends_from_nowhere_else():
    with pytest.raises(RuntimeError, match="tasks of GlobusComputeMultiExecutor"):
        ResultRadio().create_sender()
    receiver = ResultRadio().create_receiver(run_dir="", resource_msgs=queue.Queue())
    receiver.shutdown()


ID = "4b116d3c-1703-4f8f-9f6f-39921e5864df"


def test_the_radio_is_the_executors_default():
    assert isinstance(GlobusComputeMultiExecutor([ID]).remote_monitoring_radio, ResultRadio)
    radio = UDPRadio(address="localhost")
    assert GlobusComputeMultiExecutor([Endpoint(ID)], remote_monitoring_radio=radio).remote_monitoring_radio is radio


@pytest.mark.parametrize("radio", [HTEXRadio(), MultiprocessingQueueRadio()])
def test_a_radio_that_reaches_nothing_is_refused(radio):
    with pytest.raises(EndpointConfigurationError, match=f"cannot be {type(radio).__name__}.*UDPRadio or FilesystemRadio"):
        GlobusComputeMultiExecutor([ID], remote_monitoring_radio=radio)
