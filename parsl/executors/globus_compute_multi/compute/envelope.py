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

# Lengths are limited because what the network brings is made a number of.
_ATTEMPT = re.compile(r"([^/]+)/([0-9]{1,18}\.[0-9]{1,18})", re.ASCII)

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

#: No clock is further than this, in seconds since 1970.
_LATEST = 1e10

#: What an envelope may say; the other outcomes are not the runner's to tell.
_RUNNERS_OUTCOMES = frozenset({Outcome.OK, Outcome.APP_FAILED, Outcome.RAISED, Outcome.NOT_UNPACKED, Outcome.TOO_LARGE})

#: Most characters that are kept of a line from the network.
_LONGEST_LINE = 1000

#: Most characters that are kept of what the runner says went wrong; it says less.
_LONGEST_MESSAGE = 5000

#: Codes of failures that an endpoint's agent tells, which does not say then which child it is. All others are the service's, in its stead.
_AGENTS_CODES = frozenset({"RemoteExecutionError", "UNKNOWN_TASK_FAILURE", "FUNCTION_NOT_ALLOWED", "CouldNotExecuteUserTaskError",
                           "MaxResultSizeExceeded"})

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
    by_service : bool
        Whether it is a failure that the service tells in the child's stead, which has not started, say.
    process : str or None
        Mark of the child process that ran it, if the worker could tell.
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
    process: Optional[str] = None
    by_service: bool = False


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
    except (messagepack.InvalidMessageError, messagepack.UnrecognizedProtocolVersion, ValueError, RecursionError) as e:
        raise ValueError(f"not a Globus Compute message: {_first_line(str(e))}") from e
    if not isinstance(message, Result):
        raise ValueError(f"a message of type {type(message).__name__} where a result was expected")
    task_uuid = str(message.task_id)
    if message.error_details is None:
        return _read_data(task_uuid, message.data, message.details)
    code = message.error_details.code
    return _failed(task_uuid, f"{code}: {message.error_details.user_message}", message.data, message.details, code)


def decode_answer(task_uuid: str, answer: Any) -> Optional[ResultMessage]:
    """Read what the service answers about a task when it is asked for the result.

    Parameters
    ----------
    task_uuid : str
    answer : object
        ``{"status": ..., "result": ... or "exception": ..., "details": ...}``.

    Returns
    -------
    ResultMessage or None
        None if the task is not finished, or the answer does not tell.
    """
    if not isinstance(answer, dict):
        return None
    details = answer.get("details")
    if isinstance(answer.get("result"), str):
        return _read_data(task_uuid, answer["result"], details)
    if isinstance(answer.get("exception"), str):
        return _failed(task_uuid, "the endpoint could not run it", answer["exception"], details)
    if answer.get("status") in ("success", "failed"):
        return _failed(task_uuid, f"the service says {answer['status']}, and gives no result", _text(answer.get("reason")) or "", details)
    return None


def _read_data(task_uuid: str, data: str, details: Any) -> ResultMessage:
    """Read what the runner returned, as the endpoint serialised it."""
    about, common = _about(task_uuid, details)
    try:
        if not data.startswith(JSONData.identifier):
            raise ValueError(f"serialised as {data[:2]!r}, where JSON was asked for")
        envelope = json.loads(data[len(JSONData.identifier):])
        session, attempt_id = _ATTEMPT.fullmatch(envelope["attempt"]).groups()  # type: ignore[union-attr]
        outcome = Outcome(envelope["outcome"])
        if outcome not in _RUNNERS_OUTCOMES:
            raise ValueError(f"no outcome of the runner: {outcome.value}")
        value = None if envelope["value"] is None else base64.b64decode(envelope["value"], validate=True)
        started, finished = _time(envelope["started"]), _time(envelope["finished"])
        run_seconds = None if started is None or finished is None or finished < started else finished - started  # clocks are set back
        about.update({key: _text(envelope[key]) for key in ("host", "python", "parsl", "dill", "error")}, started=started, finished=finished,
                     result_bytes=None if value is None else len(value))
        text = str(envelope["message"])[:_LONGEST_MESSAGE]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as e:
        reason = f"the endpoint's answer is not what our runner returns ({type(e).__name__}: {_first_line(str(e))})"
        return _without_envelope(Outcome.UNREADABLE, reason, about, common)
    return ResultMessage(session=session, attempt_id=attempt_id, outcome=outcome, value=value, message=text, run_seconds=run_seconds,
                         info=_known(about), monitoring=envelope.get("monitoring"), monitoring_lost=_text(envelope.get("monitoring_lost")) or "",
                         process=_text(envelope.get("process")), **common)


def _failed(task_uuid: str, what: str, trace: str, details: Any, code: Optional[str] = None) -> ResultMessage:
    """A failure that the endpoint or the service tells: ``what`` kind it was; what it was is in the last line of the agent's traceback."""
    about, common = _about(task_uuid, details)
    if code is not None:
        about["code"] = _first_line(code)
    # there may be a ruler below the last line
    last = next((line.strip()[:_LONGEST_LINE] for line in reversed(trace.splitlines()) if any(map(str.isalnum, line))), "no reason given")
    common["by_service"] = code is not None and common["child_id"] is None and code not in _AGENTS_CODES
    return _without_envelope(Outcome.TASK_FAILED, f"{what[:_LONGEST_LINE]} ({last})", about, common)


def _about(task_uuid: str, details: Any) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """What is said about the attempt: for the log, and fields that every message has."""
    said = details if isinstance(details, dict) else {}
    about = {"python": _text(said.get("python_version")), "dill": _text(said.get("dill_version")),
             "sdk": _text(said.get("globus_compute_sdk_version")), "task_uuid": task_uuid}
    child_id = str(said.get("endpoint_id"))
    return about, {"task_uuid": task_uuid, "child_id": child_id if _UUID.fullmatch(child_id) else None}


def _text(value: Any) -> Optional[str]:
    """What an endpoint says of itself, for the log."""
    return _first_line(value) if isinstance(value, str) else None


def _time(value: Any) -> Optional[float]:
    """A time that the runner has taken; None if it has not, or it cannot be one.

    Raises
    ------
    TypeError, OverflowError
        If it is not even a number, or one that no clock could give.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"a {type(value).__name__} where a time was expected")
    number = float(value)
    return number if 0 <= number <= _LATEST else None


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:_LONGEST_LINE]


def _without_envelope(outcome: Outcome, message: str, about: Dict[str, Any], common: Dict[str, Any]) -> ResultMessage:
    return ResultMessage(session=None, attempt_id=None, outcome=outcome, value=None, message=message, run_seconds=None,
                         info=_known(about), **common)


def _known(about: Dict[str, Any]) -> Tuple[Tuple[str, Any], ...]:
    return tuple((key, value) for key, value in about.items() if value is not None)
