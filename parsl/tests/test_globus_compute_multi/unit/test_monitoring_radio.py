"""The radio whose messages come back with the results."""
from __future__ import annotations

import base64
import json
import os
import pickle
import queue

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
    sender = radio.create_sender()
    for message in messages:
        sender.send((MessageType.RESOURCE_INFO, message))
    if error is not None:
        raise error
    return value


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The endpoint's folder for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def run(limit, function, *args, **kwargs):
    """What an endpoint returns for a task; its monitoring messages are unpacked."""
    packed = base64.b64encode(pack_apply_message(function, args, kwargs)).decode()
    envelope = json.loads(json.dumps(runner.globus_compute_multi_runner("session/1.1", packed, limit)))
    monitoring = envelope["monitoring"]
    return envelope, None if monitoring is None else [text for _, text in unpack_messages(base64.b64decode(monitoring))]


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


def test_a_task_that_is_not_monitored_makes_no_folder(temporary, monkeypatch):
    monkeypatch.setattr("tempfile.mkdtemp", None)
    assert run(10**6, divmod, 7, 3)[1] is None


def test_a_task_that_cannot_be_unpacked_leaves_no_folder(temporary):
    envelope, messages = run(10**6, Unreadable(), ResultRadio())
    assert envelope["outcome"] == "not_unpacked"
    assert messages is None
    assert os.listdir(temporary) == []


class Unreadable:
    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ImportError("not on this endpoint")


def test_where_there_is_room_for_few_messages_the_first_and_the_last_come(temporary):
    said = [f"{number} " + os.urandom(500).hex() for number in range(40)]
    envelope, messages = run(8000, say, ResultRadio(), said)
    assert len(envelope["monitoring"]) <= 8000
    assert 2 <= len(messages) < 40
    assert [messages[0], messages[-1]] == [said[0], said[-1]]
    assert messages == sorted(messages, key=said.index)


def test_a_value_that_fills_the_result_leaves_no_room_and_is_returned(temporary):
    value = os.urandom(3000).hex()
    envelope, messages = run(8192, say, ResultRadio(), [os.urandom(2000).hex()], value=value)
    assert envelope["outcome"] == "ok"
    assert messages is None
    assert len(envelope["value"]) <= 8192


def test_an_app_that_removes_its_messages_is_not_harmed(temporary):
    envelope, messages = run(10**6, remove_all, str(temporary), ResultRadio())
    assert envelope["outcome"] == "ok"
    assert messages is None
    assert "monitoring messages were lost" in envelope["message"]


def remove_all(folder, radio):
    import shutil
    radio.create_sender().send((MessageType.RESOURCE_INFO, "x"))
    for name in os.listdir(folder):
        shutil.rmtree(os.path.join(folder, name))


def monitored(radio):
    """As Parsl wraps an app for each task: the radio is in the function, and for the same app all but that is the same."""
    def wrapped(message):
        radio.create_sender().send((MessageType.RESOURCE_INFO, message))
    return wrapped


def test_each_task_of_an_app_in_one_worker_has_a_radio_of_its_own(temporary):
    radio = ResultRadio()
    assert [run(10**6, monitored(radio), message)[1] for message in ("one", "two", "three")] == [["one"], ["two"], ["three"]]
    assert os.listdir(temporary) == []


def test_the_radio_is_that_of_a_stock_parsl_on_the_endpoint():
    assert RADIO_ATTRIBUTE in pickle.dumps(ResultRadio()).decode("latin-1")
    assert b"ResultRadio" not in pickle.dumps(ResultRadio())


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
