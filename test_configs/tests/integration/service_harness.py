"""A service on a RabbitMQ node, and an endpoint agent that does, message by message, what a test tells it to."""
from __future__ import annotations

import contextlib
import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import dill
import pika
import pika.exceptions
import requests
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import (
    EPStatusReport,
    Result,
    ResultErrorDetails,
)

from local_globus_compute.broker import PrivateBroker
from local_globus_compute.service.admin import ServiceAdmin
from local_globus_compute.service_process import ServiceProcess

DEADLINE_SECONDS = 30.0
USER, OTHER_USER, AGENT, STRANGER = (str(uuid.UUID(int=number)) for number in range(1, 5))
TOKENS = {name: f"token-of-{name}" for name in (USER, OTHER_USER, AGENT, STRANGER)}
STRANGERS_IDENTITY = str(uuid.UUID(int=99))
ADMIN_TOKEN = "token-of-admin"

Found = TypeVar("Found")
Message = tuple[pika.BasicProperties, bytes]


def until(look: Callable[[], Found | None], what: str) -> Found:
    """What `look` returns as soon as that is true; fails after :data:`DEADLINE_SECONDS`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS:g} s in vain for {what}"
        time.sleep(0.01)


class Service:
    """A running service, with the clients that it knows.

    Parameters
    ----------
    broker_url : str
        Its broker.
    directory : Path
        Its folder; created.
    """

    def __init__(self, broker_url: str, directory: Path, **settings: Any) -> None:
        self.broker_url = broker_url
        self.log = directory / "service.log"
        self.ready = directory / "ready.json"
        clients = [
            {"client_id": USER, "client_secret": "secret-of-user", "token": TOKENS[USER]},
            {"client_id": OTHER_USER, "token": TOKENS[OTHER_USER]},
            {"client_id": AGENT, "token": TOKENS[AGENT]},
            {"client_id": STRANGER, "token": TOKENS[STRANGER], "identity": STRANGERS_IDENTITY},
        ]
        values = {"broker_url": broker_url, "admin_token": ADMIN_TOKEN, "clients": clients, "limits": {"requests": None}, **settings}
        self.process = ServiceProcess(directory, values, TOKENS[USER])

    def start(self) -> None:
        """Start, on the same port if it ran before, and wait until it is ready."""
        self.process.spawn()
        self.process.wait()

    def end(self) -> None:
        """Stop, and leave nothing in the broker."""
        if not self.ready.exists():
            self.start()
        try:
            self.admin.delete_queues()
        finally:
            self.process.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.process.port}"

    @property
    def admin(self) -> ServiceAdmin:
        """Its admin client."""
        return ServiceAdmin(self.url, ADMIN_TOKEN)

    def last_request(self) -> int:
        """Number of the last request in its log, 0 if there was none."""
        return max((request.number for request in self.admin.requests()), default=0)

    def send(self, method: str, path: str, client: str | None = USER, **arguments: Any) -> requests.Response:
        """One request, whatever its answer."""
        headers = {"Authorization": f"Bearer {TOKENS[client]}"} if client else {}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, headers=headers, timeout=DEADLINE_SECONDS, **arguments)

    def call(self, method: str, path: str, client: str = USER, **arguments: Any) -> Any:
        """One request, and the JSON of its answer, which must be a success."""
        response = self.send(method, path, client, **arguments)
        assert response.ok, response.text
        return response.json()

    def function(self, **more: Any) -> str:
        """Register a function and return its id."""
        return str(self.call("POST", "/v3/functions", json={"function_name": "f", "function_code": "3\n01\n", **more})["function_uuid"])

    def submit(self, endpoint_id: str, function_id: str, payloads: list[str], client: str = USER, **more: Any) -> dict[str, Any]:
        """Submit one batch for one function, with a result queue."""
        body = {"create_queue": True, "tasks": {function_id: payloads}, **more}
        answer: dict[str, Any] = self.call("POST", f"/v3/endpoints/{endpoint_id}/submit", client, json=body)
        return {**answer, "ids": answer["tasks"][function_id]}

    def status(self, endpoint_id: str) -> dict[str, Any]:
        """Status of an endpoint."""
        found: dict[str, Any] = self.call("GET", f"/v2/endpoints/{endpoint_id}/status")
        return found

    def wait_until_online(self, endpoint_id: str, online: bool = True) -> None:
        """Wait for a heartbeat to have been taken in."""
        wanted = "online" if online else "offline"
        until(lambda: self.status(endpoint_id)["status"] == wanted, f"{endpoint_id} to be {wanted}")


@contextlib.contextmanager
def running_broker(directory: Path) -> Iterator[str]:
    """URL of a broker: the one of ``RABBITMQ_URL``, else a private node."""
    if url := os.environ.get("RABBITMQ_URL"):
        yield url
        return
    broker = PrivateBroker(directory / "rabbitmq")
    try:
        broker.spawn()
        broker.wait()
        yield broker.url
    finally:
        broker.stop()


@contextlib.contextmanager
def running_service(directory: Path, **settings: Any) -> Iterator[Service]:
    """A service on a broker; nothing of either is left afterwards."""
    with running_broker(directory) as url:
        service = Service(url, directory / "service", **settings)
        try:
            service.start()
            yield service
        finally:
            service.end()


class RawAgent:
    """A parent endpoint, and all its children, by hand.

    Parameters
    ----------
    service : Service
        Where it registers.
    """

    def __init__(self, service: Service, **registration: Any) -> None:
        self.service = service
        body = {"endpoint_name": "raw", **registration}
        self.info: dict[str, Any] = service.call("POST", "/v3/endpoints", AGENT, json=body)
        self.id: str = self.info["endpoint_id"]
        self.children: dict[str, dict[str, Any]] = {}
        self.connect()

    def connect(self) -> None:
        """Connect to the broker, again if the connection was lost."""
        self._connection = pika.BlockingConnection(pika.URLParameters(self.info["command_queue_info"]["connection_url"]))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def close(self) -> None:
        """Lose the connection to the broker."""
        if self._connection.is_open:
            self._connection.close()

    def up(self) -> RawAgent:
        """Send a heartbeat and wait until the service has it."""
        self.heartbeat(heartbeat_period=30)
        self.service.wait_until_online(self.id)
        return self

    def take(self, queue: str, count: int = 1) -> list[Message]:
        """The next messages of a queue, acknowledged."""
        def one() -> Message | None:
            method, properties, body = self._channel.basic_get(queue, auto_ack=True)
            return (properties, body) if method else None

        return [until(one, f"message {number + 1} of {count} on {queue}") for number in range(count)]

    def queued(self, queue: str) -> int:
        """How many messages are ready in a queue."""
        return int(self._channel.queue_declare(queue, passive=True).method.message_count)

    def exists(self, queue: str = "", exchange: str = "") -> bool:
        """Whether the broker has this queue or exchange."""
        channel = self._connection.channel()
        try:
            if queue:
                channel.queue_declare(queue, passive=True)
            else:
                channel.exchange_declare(exchange, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        channel.close()
        return True

    def command(self) -> dict[str, Any]:
        """The next command."""
        (properties, body), = self.take(self.info["command_queue_info"]["queue"])
        assert properties.content_type == "application/json" and abs(properties.timestamp - time.time()) < 180
        command: dict[str, Any] = json.loads(body)
        creds = command["kwargs"]["amqp_creds"]
        self.children[creds["endpoint_id"]] = creds
        return command

    def start_child(self) -> str:
        """Do what the next command says: start a child, which reports at once; returns its id."""
        child: str = self.command()["kwargs"]["amqp_creds"]["endpoint_id"]
        self.heartbeat(child, heartbeat_period=30, active=True)
        self.service.wait_until_online(child)
        return child

    def tasks(self, child: str, count: int = 1) -> list[tuple[pika.BasicProperties, Any]]:
        """The next tasks of a child."""
        queue = self.children[child]["task_queue_info"]["queue"]
        return [(properties, messagepack.unpack(body)) for properties, body in self.take(queue, count)]

    def heartbeat(self, endpoint_id: str | None = None, **state: Any) -> None:
        """Send a heartbeat of a child, or of the parent."""
        info = self.children[endpoint_id]["heartbeat_queue_info"] if endpoint_id else self.info["heartbeat_queue_info"]
        report = EPStatusReport.model_validate({"endpoint_id": endpoint_id or self.id, "global_state": state, "task_statuses": {}})
        self._publish(info, messagepack.pack(report))

    def result(self, child: str, task_id: str, data: str = "", error: str | None = None) -> bytes:
        """Send a result; returns the message."""
        details = {"endpoint_id": child, "python_version": platform.python_version(), "dill_version": dill.__version__}
        failure = ResultErrorDetails(code="RemoteExecutionError", user_message=error) if error else None
        body = messagepack.pack(Result(task_id=uuid.UUID(task_id), data=error or data, details=details, error_details=failure, task_statuses=[]))
        self._publish(self.children[child]["result_queue_info"], body)
        return body

    def noise(self, child: str, body: bytes) -> None:
        """Send anything on the result and heartbeat exchanges."""
        self._publish(self.children[child]["result_queue_info"], body)
        self._publish(self.children[child]["heartbeat_queue_info"], body)

    def _publish(self, info: dict[str, Any], body: bytes) -> None:
        kwargs = dict(info["queue_publish_kwargs"])
        kwargs["properties"] = pika.BasicProperties(**kwargs["properties"])
        # As agents do: both must exist.
        self._channel.exchange_declare(info["exchange"], passive=True)
        self._channel.queue_declare(info["queue"], passive=True)
        self._channel.basic_publish(body=body, **kwargs)


class ResultQueue:
    """What the SDK would receive for a task group.

    Parameters
    ----------
    service : Service
        Which gave the task group out.
    group_id : str
        The task group.
    """

    def __init__(self, service: Service, group_id: str) -> None:
        info = service.call("GET", "/v2/get_amqp_result_connection_url")
        self.name = info["queue_prefix"] + group_id
        self._connection = pika.BlockingConnection(pika.URLParameters(info["connection_url"]))
        self._channel = self._connection.channel()

    def take(self, count: int) -> list[Message]:
        """The next results, acknowledged."""
        def one() -> Message | None:
            method, properties, body = self._channel.basic_get(self.name, auto_ack=True)
            return (properties, body) if method else None

        return [until(one, f"result {number + 1} of {count}") for number in range(count)]

    def task_ids(self, count: int) -> list[str]:
        """Ids of the tasks of the next results."""
        return [messagepack.unpack(body).model_dump(mode="json")["task_id"] for _, body in self.take(count)]

    def is_empty(self) -> bool:
        """Whether nothing is there now."""
        return self._channel.basic_get(self.name, auto_ack=True)[0] is None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
