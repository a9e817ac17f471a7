"""Names and bodies of AMQP messages, and what a heartbeat says. Pure.

A message is the byte ``0x01`` and a compact JSON object ``{"message_type", "data"}``; commands are bare JSON.
"""
from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

# The hosted service gives results up that nobody fetched for half an hour.
RESULT_QUEUE_ARGUMENTS = {"x-message-ttl": 30 * 60 * 1000}
MISSED_HEARTBEATS = 3
DEFAULT_HEARTBEAT_PERIOD = 30.0

_VERSION = b"\x01"


class MessageError(ValueError):
    """A message from an agent that is not what the protocol says."""


@dataclass(frozen=True)
class ResultMessage:
    """What the service needs to know of a result; the body itself goes on unchanged."""

    task_id: str
    failed: bool
    data_bytes: int
    body: bytes


@dataclass(frozen=True)
class Names:
    """Names of queues and exchanges.

    Parameters
    ----------
    prefix : str
        Different for every service, so that several can use one broker.
    """

    prefix: str

    @property
    def results(self) -> str:
        """Exchange, and queue, on which agents give results."""
        return f"{self.prefix}.results"

    @property
    def heartbeats(self) -> str:
        """Exchange, and queue, on which agents give heartbeats."""
        return f"{self.prefix}.heartbeats"

    @property
    def group_prefix(self) -> str:
        """What a client puts before the id of its task group."""
        return f"{self.prefix}.task_group."

    def group(self, group_id: str) -> str:
        """Queue from which a client takes the results of a task group."""
        return self.group_prefix + group_id

    def commands(self, endpoint_id: str) -> str:
        """Queue from which a core endpoint takes commands."""
        return f"{self.prefix}.{endpoint_id}.commands"

    def tasks(self, child: str) -> str:
        """Queue from which a user endpoint takes tasks."""
        return f"{self.prefix}.{child}.tasks"


def child_id(parent_id: str, identity: str, user_endpoint_config: dict[str, Any]) -> str:
    """UUID of the child that runs `identity`'s tasks on `parent_id` with this configuration; always the same one."""
    canonical = json.dumps(user_endpoint_config, sort_keys=True, separators=(",", ":"))
    return str(uuid.uuid5(uuid.UUID(parent_id), f"{identity}\n{canonical}"))


def source_code_buffer(function_name: str, source: str) -> str:
    """Pack plain source as the SDK packs a function it serialised itself (its strategy ``st``: name, colon, source)."""
    buffer = f"st\n{function_name}:{source}"
    return f"{len(buffer)}\n{buffer}"


def pack(message_type: str, data: dict[str, Any]) -> bytes:
    """One message of the wire protocol."""
    return _VERSION + json.dumps({"message_type": message_type, "data": data}, separators=(",", ":")).encode()


def unpack(body: bytes, message_type: str) -> dict[str, Any]:
    """The ``data`` of a message; raises :class:`MessageError` when it is not a `message_type`."""
    if body[:1] != _VERSION:
        raise MessageError(f"expected a {message_type}, found a message of another protocol version")
    try:
        envelope = json.loads(body[1:])
        found, data = envelope["message_type"], envelope["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise MessageError(f"expected a {message_type}, found a message that cannot be read: {error!r}") from error
    if found != message_type or not isinstance(data, dict):
        raise MessageError(f"expected a {message_type}, found a {found!r}")
    return data


def task(task_id: str, function_code: str, payload: str) -> bytes:
    """Body of a task for a child: the function and its packed arguments, one after the other."""
    return pack("task", {"task_id": task_id, "container_id": None, "task_buffer": function_code + payload})


def read_result(body: bytes) -> ResultMessage:
    """Look into a result; raises :class:`MessageError`."""
    data = unpack(body, "result")
    try:
        text = data["data"]
        size = len(text) if text.isascii() else len(text.encode())
        return ResultMessage(str(uuid.UUID(data["task_id"])), data.get("error_details") is not None, size, body)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise MessageError(f"a result without a valid task_id or data: {error!r}") from error


def error_result(task_id: str, code: str, message: str) -> ResultMessage:
    """A result that the service itself gives, for a task that cannot have another one."""
    error = {"code": code, "user_message": message}
    data: dict[str, Any] = {"task_id": task_id, "data": message, "details": None, "error_details": error, "task_statuses": []}
    return ResultMessage(task_id, True, len(message.encode()), pack("result", data))


def publish_info(connection_url: str, exchange: str, routing_key: str) -> dict[str, Any]:
    """Where and how an agent publishes its results or heartbeats; the queue has the exchange's name."""
    kwargs = {"exchange": exchange, "routing_key": routing_key, "mandatory": True, "properties": {"delivery_mode": 2}}
    return {"connection_url": connection_url, "exchange": exchange, "queue": exchange, "queue_publish_kwargs": kwargs}


def start_command(
    connection_url: str, names: Names, parent_id: str, child: str, identity: str, user_opts: dict[str, Any], user_runtime: dict[str, Any]
) -> bytes:
    """Body of the command that makes a core endpoint start, or keep, a child."""
    creds = {
        "endpoint_id": child,
        "task_queue_info": {"connection_url": connection_url, "queue": names.tasks(child)},
        "result_queue_info": publish_info(connection_url, names.results, f"{child}.results"),
        "heartbeat_queue_info": publish_info(connection_url, names.heartbeats, f"{child}.heartbeats"),
    }
    command = {
        "command": "cmd_start_endpoint",
        "args": [],
        "kwargs": {"name": f"uep.{parent_id}.{child}", "amqp_creds": creds, "user_opts": user_opts, "user_runtime": user_runtime},
        "globus_effective_identity": identity,
        "globus_username": username(identity),
        "globus_identity_set": [{"sub": identity, "id": identity, "status": "used", "username": username(identity)}],
    }
    return json.dumps(command, separators=(",", ":")).encode()


def username(identity: str) -> str:
    """Name of an identity, as agents log it."""
    return f"{identity}@localhost.invalid"


def is_online(state: dict[str, Any], received: float, now: float) -> bool:
    """Whether an endpoint whose last heartbeat was `state`, received at `received`, counts as online at `now` (seconds).

    A heartbeat that reports an error, that it is not active, or a period of 0 (shutting down) means offline at once;
    otherwise three missed periods do.
    """
    period = state.get("heartbeat_period", DEFAULT_HEARTBEAT_PERIOD)
    if "error" in state or state.get("active") is False or not isinstance(period, (int, float)) or period <= 0:
        return False
    return now - received <= MISSED_HEARTBEATS * period
