"""Tasks and results as they go over the wire.

A task's payload and its result are JSON (strategy ``JSONData`` of the Globus Compute SDK), so that nothing is unpickled before a
message is matched to an attempt. Only the packed value in the envelope is a pickle, and only the resolver opens it.
"""
from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Result
from globus_compute_sdk.serialize import JSONData

from parsl.executors.globus_compute_multi.scheduling.events import Outcome

_ATTEMPT = re.compile(r"([^/]+)/([0-9]+\.[0-9]+)", re.ASCII)

#: What a task adds to a submission beside its packed function and arguments: attempt ID, JSON punctuation, lengths. Measured: under 200 bytes.
TASK_OVERHEAD_BYTES = 256

#: Most bytes of a value in base64 in a result, which may have 10 MB in all (documentation of the hosted service, "Limits").
RESULT_BYTES = 9_900_000

#: What a submission has beside its tasks: IDs, serializers, description of this machine. Measured: under 2 kB.
BATCH_OVERHEAD_BYTES = 8192


def wire_size(packed: bytes) -> int:
    """Bytes that a packed task adds to a submission: base64, and what is around it."""
    return (len(packed) + 2) // 3 * 4 + TASK_OVERHEAD_BYTES


def encode_arguments(session: str, attempt_id: str, packed: bytes) -> Tuple[str, str, int]:
    """Arguments of the runner for one attempt.

    Parameters
    ----------
    session : str
        Tells the attempts of this executor from those of all others.
    attempt_id : str
    packed : bytes
    """
    return f"{session}/{attempt_id}", base64.b64encode(packed).decode("ascii"), RESULT_BYTES


@dataclass(frozen=True)
class ResultMessage:
    """What a result message says, its value still packed.

    Parameters
    ----------
    task_uuid : str
        The service's ID of the task.
    session : str or None
        Session of the executor whose attempt it was; None if the message does not come from our runner.
    attempt_id : str or None
    outcome : Outcome
    value : bytes or None
        ``parsl.serialize.serialize`` of the value, or of a ``RemoteExceptionWrapper``.
    message : str
        What went wrong, for people.
    run_seconds : float or None
    child_id : str or None
        Endpoint ID of the child process that ran it.
    info : tuple of (str, object)
        Times, host and versions, for the log.
    monitoring : object
        What the task sent over ``ResultRadio``, to be read by :func:`monitoring.unpack_messages`; None if that is nothing.
    monitoring_lost : str
        Which of that is missing and why, for people; empty if none is.
    """

    task_uuid: str
    session: Optional[str]
    attempt_id: Optional[str]
    outcome: Outcome
    value: Optional[bytes]
    message: str
    run_seconds: Optional[float]
    child_id: Optional[str]
    info: Tuple[Tuple[str, Any], ...]
    monitoring: Any = None
    monitoring_lost: str = ""


def decode_result(body: bytes) -> ResultMessage:
    """Read a message of the result queue.

    Parameters
    ----------
    body : bytes
        As published by the endpoint: Globus Compute's message pack.

    Raises
    ------
    ValueError
        If it is not a result message at all.
    """
    try:
        message = messagepack.unpack(body)
    except (messagepack.InvalidMessageError, messagepack.UnrecognizedProtocolVersion, ValueError) as e:
        raise ValueError(f"not a Globus Compute message: {e}") from e
    if not isinstance(message, Result):
        raise ValueError(f"a message of type {type(message).__name__} where a result was expected")
    details = message.details or {}
    child_id = details.get("endpoint_id")
    about: Dict[str, Any] = {"python": details.get("python_version"), "dill": details.get("dill_version"),
                             "sdk": details.get("globus_compute_sdk_version"), "task_uuid": str(message.task_id)}
    common: Dict[str, Any] = {"task_uuid": str(message.task_id), "child_id": str(child_id) if child_id else None}

    if message.error_details is not None:
        about["code"] = message.error_details.code
        # The details say which kind of failure it was; what it was is in the last line of the agent's traceback, which may have a ruler below.
        last = next((line.strip()[:1000] for line in reversed(message.data.splitlines()) if any(map(str.isalnum, line))), "no reason given")
        text = f"{message.error_details.code}: {message.error_details.user_message} ({last})"
        return _without_envelope(Outcome.TASK_FAILED, text, about, common)
    try:
        if not message.data.startswith(JSONData.identifier):
            raise ValueError(f"serialised as {message.data[:2]!r}, where JSON was asked for")
        envelope = json.loads(message.data[len(JSONData.identifier):])
        session, attempt_id = _ATTEMPT.fullmatch(envelope["attempt"]).groups()  # type: ignore[union-attr]
        outcome = Outcome(envelope["outcome"])
        value = None if envelope["value"] is None else base64.b64decode(envelope["value"])
        started, finished = envelope["started"], envelope["finished"]
        run_seconds = None if started is None or finished is None else float(finished) - float(started)
        about.update({key: envelope[key] for key in ("started", "finished", "host", "python", "parsl", "dill", "error")})
        text = str(envelope["message"])
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        reason = f"the endpoint's answer is not what our runner returns ({type(e).__name__}: {e})"
        return _without_envelope(Outcome.UNREADABLE, reason, about, common)
    return ResultMessage(session=session, attempt_id=attempt_id, outcome=outcome, value=value, message=text, run_seconds=run_seconds,
                         info=_known(about), monitoring=envelope.get("monitoring"), monitoring_lost=str(envelope.get("monitoring_lost", "")),
                         **common)


def _without_envelope(outcome: Outcome, message: str, about: Dict[str, Any], common: Dict[str, Any]) -> ResultMessage:
    return ResultMessage(session=None, attempt_id=None, outcome=outcome, value=None, message=message, run_seconds=None,
                         info=_known(about), **common)


def _known(about: Dict[str, Any]) -> Tuple[Tuple[str, Any], ...]:
    return tuple((key, value) for key, value in about.items() if value is not None)
