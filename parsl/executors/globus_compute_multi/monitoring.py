"""Parsl's monitoring over many sites: what a task has to say comes back with its result."""
from __future__ import annotations

import base64
import pickle
import threading
import uuid
import zlib
from multiprocessing.queues import Queue
from typing import Any, Callable, List, Tuple

from parsl.executors.globus_compute_multi.errors import EndpointConfigurationError
from parsl.monitoring.message_type import MessageType
from parsl.monitoring.radios.base import (
    MonitoringRadioReceiver,
    MonitoringRadioSender,
    RadioConfig,
)
from parsl.monitoring.radios.htex import HTEXRadio
from parsl.monitoring.radios.multiprocessing import MultiprocessingQueueRadio
from parsl.monitoring.types import TaggedMonitoringMessage
from parsl.utils import RepresentationMixin

#: Where the runner puts an attempt's radio, as an attribute of the thread that unpacks and runs the task (see ``compute/runner.py``).
RADIO_ATTRIBUTE = "globus_compute_multi_radio"


class ResultRadio(RadioConfig, RepresentationMixin):
    """Sends the monitoring messages of a task with its result, so they reach the database from wherever results come.

    Nothing must be reachable from the endpoint: no port of the submitting machine, no shared file system. In return the messages
    arrive when the task has ended. For messages while it runs use one of Parsl's other radios, where endpoints can reach it.

    The endpoint's name is in the database: in the column ``block_id`` of the table ``try``, before the number of the block if there is one
    (``perlmutter/0``).

    On the endpoint, the runner puts a radio of its own in this one's place (``compute/runner.py``), since Parsl there may not have this
    package. At most 1 MB of a task's messages comes back, compressed; what is left out is said in Parsl's log.
    """

    def create_receiver(self, *, run_dir: str, resource_msgs: "Queue[TaggedMonitoringMessage]") -> MonitoringRadioReceiver:
        """Return a receiver with nothing to do: the executor takes the messages out of the results."""
        return _ReceivedWithResults()

    def create_sender(self) -> MonitoringRadioSender:
        """Not to be called: on an endpoint, another radio is in this one's place.

        Raises
        ------
        RuntimeError
            Always.
        """
        raise RuntimeError("ResultRadio sends from tasks of GlobusComputeMultiExecutor only")

    def __reduce__(self) -> Tuple[Callable[..., Any], Tuple[Any, ...]]:
        # The last one is there for its text, which the runner makes different for each attempt.
        return getattr, (_CurrentThread(), RADIO_ATTRIBUTE, f"globus_compute_multi_mark_{uuid.uuid4().hex}")


class _CurrentThread:
    """Unpickles to the thread that unpickles it."""

    def __reduce__(self) -> Tuple[Callable[..., Any], Tuple[Any, ...]]:
        return threading.current_thread, ()


class _ReceivedWithResults(MonitoringRadioReceiver):

    def shutdown(self) -> None:
        pass


def check_radio(radio: RadioConfig) -> RadioConfig:
    """Refuse a radio that cannot reach anything from an endpoint.

    Raises
    ------
    EndpointConfigurationError
        Naming it, and what can be used.
    """
    if isinstance(radio, (HTEXRadio, MultiprocessingQueueRadio)):
        raise EndpointConfigurationError(
            f"remote_monitoring_radio cannot be {type(radio).__name__}, which works within one machine or one HighThroughputExecutor. "
            "Leave it out (messages come with the results), or use UDPRadio or FilesystemRadio if all endpoints can reach its port or folder.")
    return radio


def unpack_messages(packed: Any) -> List[TaggedMonitoringMessage]:
    """Monitoring messages as the runner packs them.

    Parameters
    ----------
    packed : str or None
        A list of messages, pickled, compressed by zlib, in base64; or nothing.

    Returns
    -------
    list
        In the order in which they were sent.

    Raises
    ------
    Exception
        Whatever reading or unpickling them raises.
    """
    # They came with the result of the task, which is unpickled too.
    return [] if packed is None else list(pickle.loads(zlib.decompress(base64.b64decode(packed))))  # nosec B301


def name_endpoint(message: TaggedMonitoringMessage, endpoint: str) -> TaggedMonitoringMessage:
    """A message that says on which endpoint the task ran, where the database has a place for that.

    Parameters
    ----------
    message : tuple
        As the task has sent it. Blocks have their numbers there, which mean nothing without the endpoint.
    endpoint : str
        Its name.
    """
    kind, content = message
    if kind is not MessageType.WORKER_TASK_INFO:
        return message
    block = content["block_id"]
    return kind, {**content, "block_id": endpoint if block is None else f"{endpoint}/{block}"}
