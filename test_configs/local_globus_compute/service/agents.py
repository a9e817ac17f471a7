"""Endpoints as the service knows them: registration, heartbeats, children, start commands."""
from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from . import messages
from .broker import Broker, BrokerError, Outgoing
from .results import Results
from .state import Controls
from .storage import Child, Endpoint, Storage
from .tasks import end_tasks

log = logging.getLogger(__name__)

START_AGAIN_SECONDS = 20.0
# An agent ignores commands that are older than 180 s and reports them as failures, which would fail the waiting tasks.
COMMAND_SECONDS = 120.0
LOOK_SECONDS = 1.0


class Agents:
    """Keeps each endpoint's own last heartbeat and sees to it that children with queued tasks are started.

    Parameters
    ----------
    storage, broker, results, controls
        The service's parts.
    """

    def __init__(self, storage: Storage, broker: Broker, results: Results, controls: Controls) -> None:
        self._storage = storage
        self._broker = broker
        self._results = results
        self._controls = controls
        self._heartbeats = storage.heartbeats()
        self._children = {child.child_id: child for child in storage.children()}
        self._started: dict[str, float] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Consume heartbeats and watch over the children."""
        await self._broker.consume(self._broker.names.heartbeats, self.handle)
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            await end_tasks([self._watcher])

    # status

    def knows(self, endpoint_id: str) -> bool:
        """Whether there is such an endpoint, parent or child."""
        return endpoint_id in self._children or self._storage.endpoint(endpoint_id) is not None

    def parent_of(self, endpoint_id: str) -> str | None:
        """The parent of a child; None for others."""
        child = self._children.get(endpoint_id)
        return child.parent_id if child else None

    def is_online(self, endpoint_id: str) -> bool:
        """By the endpoint's own last heartbeat."""
        received, state = self._heartbeats.get(endpoint_id, (0.0, {}))
        return messages.is_online(state, received, time.time())

    def details(self, endpoint_id: str) -> dict[str, Any]:
        """What the endpoint's own last heartbeat said; empty when there was none."""
        return self._heartbeats.get(endpoint_id, (0.0, {}))[1]

    # registration

    async def register(self, endpoint_id: str, identity: str, registration: dict[str, Any]) -> dict[str, Any]:
        """Register an endpoint or renew its registration, and return what its agent needs to know."""
        queue = self._broker.names.commands(endpoint_id)
        await self._broker.declare(queue)
        self._storage.put_endpoint(endpoint_id, identity, registration)
        # The agent is new, so its children are gone or going: what was sent to its predecessor does not count.
        for child in self._children.values():
            if child.parent_id == endpoint_id:
                self._started.pop(child.child_id, None)
        return {
            "endpoint_id": endpoint_id,
            "command_queue_info": {"connection_url": self._broker.url, "queue": queue},
            "heartbeat_queue_info": messages.publish_info(self._broker.url, self._broker.names.heartbeats, f"{endpoint_id}.heartbeats"),
        }

    async def drop(self, endpoint: Endpoint) -> None:
        """Take the command queue away: the agent loses its connection and, after some tries, stops."""
        await self._broker.delete(self._broker.names.commands(endpoint.endpoint_id))

    async def delete(self, endpoint: Endpoint) -> None:
        """Forget an endpoint and its children, with what is queued for them."""
        await self.drop(endpoint)
        children = [child.child_id for child in self._children.values() if child.parent_id == endpoint.endpoint_id]
        for child_id in children:
            await self._broker.delete(self._broker.names.tasks(child_id))
            del self._children[child_id]
        for endpoint_id in [endpoint.endpoint_id, *children]:
            self._heartbeats.pop(endpoint_id, None)
        self._storage.delete_endpoint(endpoint.endpoint_id)

    def queues(self) -> list[str]:
        """Names of the queues of all endpoints, parents and children."""
        names = self._broker.names
        return [*(names.commands(endpoint.endpoint_id) for endpoint in self._storage.endpoints()), *map(names.tasks, self._children)]

    # children

    async def child(self, parent_id: str, identity: str, user_opts: dict[str, Any], user_runtime: dict[str, Any]) -> str:
        """Id of the child for this configuration, known and with a queue from now on."""
        child = Child(messages.child_id(parent_id, identity, user_opts), parent_id, identity, user_opts, user_runtime)
        if self._children.get(child.child_id) != child:
            self._storage.put_child(child)
            self._children[child.child_id] = child
        await self._broker.ensure(self._broker.names.tasks(child.child_id))
        return child.child_id

    async def queue_tasks(self, child_id: str, tasks: Sequence[Outgoing]) -> None:
        """Put tasks on the child's queue and have it started when it is not up; raises :class:`.broker.BrokerError`."""
        async with self._locks[child_id]:
            await self._broker.publish(tasks)
        try:
            await self._start_child(child_id)
        except BrokerError as error:
            log.warning("child %s cannot be started now, only in a while: %s", child_id, error)

    async def _start_child(self, child_id: str) -> None:
        child, now = self._children[child_id], time.monotonic()
        recently = now - self._started.get(child_id, -START_AGAIN_SECONDS) < START_AGAIN_SECONDS
        if recently or self.is_online(child_id) or not self.is_online(child.parent_id):
            return
        # Noted before it is sent: the watcher must not send another one meanwhile.
        self._started[child_id] = now
        names = self._broker.names
        body = messages.start_command(
            self._broker.url, names, child.parent_id, child_id, child.identity, child.user_opts, child.user_runtime)
        command = Outgoing(names.commands(child.parent_id), body, content_type="application/json", expiration_seconds=COMMAND_SECONDS)
        try:
            await self._broker.publish([command])
        except BrokerError:
            self._started.pop(child_id, None)
            raise
        self._controls.counters["start_commands"] += 1
        log.info("endpoint %s was told to start child %s", child.parent_id, child_id)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                for child_id in self._storage.children_with_unfinished_tasks():
                    if child_id in self._children and not self.is_online(child_id):
                        # Tasks that a child took and lost with its life never come back; only queued ones are worth a new one.
                        if await self._broker.declare(self._broker.names.tasks(child_id)):
                            await self._start_child(child_id)
            except BrokerError as error:
                log.warning("cannot look after the children now: %s", error)
            except Exception:
                log.exception("looking after the children failed; trying again")

    # heartbeats

    async def handle(self, bodies: Sequence[bytes]) -> None:
        """Take a batch of heartbeats as agents sent them."""
        for body in bodies:
            try:
                data = messages.unpack(body, "ep_status_report")
                endpoint_id, state = str(data["endpoint_id"]), dict(data["global_state"])
            except (messages.MessageError, KeyError, TypeError, ValueError) as error:
                log.warning("dropped a message on the heartbeat queue: %s", error)
                continue
            if self.knows(endpoint_id):
                await self._heartbeat(endpoint_id, state)
            else:
                log.warning("dropped a heartbeat of unknown endpoint %s", endpoint_id)

    async def _heartbeat(self, endpoint_id: str, state: dict[str, Any]) -> None:
        self._controls.counters["heartbeats"] += 1
        was_online = self.is_online(endpoint_id)
        received = time.time()
        self._heartbeats[endpoint_id] = received, state
        self._storage.put_heartbeat(endpoint_id, received, state)
        if self.is_online(endpoint_id) != was_online:
            log.info("endpoint %s is %s", endpoint_id, "offline" if was_online else "online")
        if endpoint_id in self._children and not self.is_online(endpoint_id):
            self._started.pop(endpoint_id, None)
        if "error" in state and endpoint_id in self._children:
            await self._fail_child(endpoint_id, str(state["error"]))

    async def _fail_child(self, child_id: str, message: str) -> None:
        # Nothing may be queued between purge and look-up, or it would be failed and run.
        async with self._locks[child_id]:
            await self._broker.purge(self._broker.names.tasks(child_id))
            unfinished = self._storage.unfinished_tasks(child_id)
        log.warning("child %s reports an error; failing its %d unfinished task(s)", child_id, len(unfinished))
        await self._results.fail(unfinished, "ENDPOINT_ERROR", message)
