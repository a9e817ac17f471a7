"""The service's AMQP connection: declare, publish with confirmation, consume in batches."""
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aio_pika
import aiormq.exceptions
from aio_pika.abc import (
    AbstractIncomingMessage,
    AbstractRobustChannel,
    AbstractRobustConnection,
)

from .messages import Names
from .tasks import end_tasks

log = logging.getLogger(__name__)

CONNECT_SECONDS = 30.0
ANSWER_SECONDS = 30.0
BATCH = 500
_LOGIN_REFUSED = (aiormq.exceptions.AuthenticationError, aiormq.exceptions.ProbableAuthenticationError)

Result = TypeVar("Result")
Handler = Callable[[Sequence[bytes]], Awaitable[None]]


class BrokerError(RuntimeError):
    """The broker cannot be reached or did not take a message."""


@dataclass(frozen=True)
class Outgoing:
    """A message to publish on the default exchange, to the queue of this name."""

    queue: str
    body: bytes
    headers: dict[str, Any] = field(default_factory=dict)
    content_type: str | None = None
    expiration_seconds: float | None = None


class Broker:
    """One connection, made again by itself when it is lost.

    Parameters
    ----------
    url : str
        ``amqp://…`` URL, which agents and clients are given, too.
    names : Names
        Of queues and exchanges.
    """

    def __init__(self, url: str, names: Names) -> None:
        self.url = url
        self.names = names
        self._connection: AbstractRobustConnection | None = None
        self._publishing: AbstractRobustChannel | None = None
        self._declaring: AbstractRobustChannel | None = None
        self._declared: set[str] = set()
        self._consumers: list[tuple[AbstractRobustChannel, asyncio.Task[None]]] = []

    async def connect(self) -> None:
        """Connect, trying for :data:`CONNECT_SECONDS`; raises :class:`BrokerError`."""
        deadline = time.monotonic() + CONNECT_SECONDS
        while self._connection is None:
            try:
                self._connection = await aio_pika.connect_robust(self.url, timeout=5, reconnect_interval=1)
            except (OSError, aiormq.exceptions.AMQPError, asyncio.TimeoutError) as error:
                if isinstance(error, _LOGIN_REFUSED) or time.monotonic() > deadline:
                    raise BrokerError(f"cannot connect to RabbitMQ ({type(error).__name__}); is the node up, and is broker_url right?") from None
                await asyncio.sleep(0.2)
        self._publishing = await self._channel()
        self._declaring = await self._channel()
        for name in (self.names.results, self.names.heartbeats):
            exchange = await self._declaring.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await self._declaring.declare_queue(name, durable=True)
            await queue.bind(exchange, "#")

    async def _channel(self) -> AbstractRobustChannel:
        assert self._connection is not None
        channel = await self._connection.channel(publisher_confirms=True)
        assert isinstance(channel, AbstractRobustChannel)
        return channel

    async def declare(self, queue: str, arguments: dict[str, Any] | None = None) -> int:
        """Declare a durable queue (again, if it was) and return how many messages are ready in it; raises :class:`BrokerError`."""
        assert self._declaring is not None
        declared = await _answered(f"declare {queue}", self._declaring.declare_queue(queue, durable=True, arguments=arguments, robust=False))
        self._declared.add(queue)
        return declared.declaration_result.message_count or 0

    async def ensure(self, queue: str, arguments: dict[str, Any] | None = None) -> None:
        """Declare a durable queue unless this process has done so; raises :class:`BrokerError`."""
        if queue not in self._declared:
            await self.declare(queue, arguments)

    async def delete(self, queue: str) -> None:
        """Delete a queue with all that is in it; raises :class:`BrokerError`."""
        assert self._declaring is not None
        self._declared.discard(queue)
        await _answered(f"delete {queue}", self._declaring.queue_delete(queue))

    async def purge(self, queue: str) -> None:
        """Drop the messages that are ready in a queue; raises :class:`BrokerError`."""
        assert self._declaring is not None
        found = await _answered(f"find {queue}", self._declaring.declare_queue(queue, durable=True, robust=False))
        await _answered(f"purge {queue}", found.purge())

    async def delete_all(self, queues: Sequence[str]) -> None:
        """Delete these queues, and what :meth:`connect` declared; nothing works any more then. Raises :class:`BrokerError`."""
        assert self._declaring is not None
        await self._stop_consuming()
        for queue in [*queues, self.names.results, self.names.heartbeats]:
            await self.delete(queue)
        for name in (self.names.results, self.names.heartbeats):
            await _answered(f"delete exchange {name}", self._declaring.exchange_delete(name))

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish all, and return when the broker has confirmed all; raises :class:`BrokerError`.

        The messages are persistent and carry the integer ``timestamp`` that agents and the SDK look at.
        """
        assert self._publishing is not None
        exchange = self._publishing.default_exchange
        now = int(time.time())
        publishes = [
            exchange.publish(
                aio_pika.Message(message.body, headers=message.headers, content_type=message.content_type, timestamp=now,
                                 expiration=message.expiration_seconds, delivery_mode=aio_pika.DeliveryMode.PERSISTENT),
                message.queue, mandatory=False)
            for message in outgoing
        ]
        await _answered(f"take {len(outgoing)} message(s)", asyncio.gather(*publishes))

    async def consume(self, queue: str, handler: Handler) -> None:
        """Give all messages of `queue` to `handler`, in order, in batches; a batch is acknowledged when the handler returns.

        A handler that raises is logged, and gets its batch again after a second.
        """
        channel = await self._channel()
        await channel.set_qos(prefetch_count=BATCH)
        arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        await (await channel.declare_queue(queue, durable=True)).consume(arrived.put)
        self._consumers.append((channel, asyncio.create_task(self._handle(arrived, handler))))

    async def _handle(self, arrived: asyncio.Queue[AbstractIncomingMessage], handler: Handler) -> None:
        while True:
            batch = [await arrived.get()]
            while len(batch) < BATCH and not arrived.empty():
                batch.append(arrived.get_nowait())
            while True:
                try:
                    await handler([message.body for message in batch])
                    break
                except Exception:
                    log.exception("handling %d message(s) failed; trying again", len(batch))
                    await asyncio.sleep(1)
            await _acknowledge(batch)

    async def close(self) -> None:
        """Stop consuming and close the connection; what was not acknowledged stays in the broker."""
        await self._stop_consuming()
        if self._connection is not None:
            await self._connection.close()

    async def _stop_consuming(self) -> None:
        await end_tasks(consumer for _, consumer in self._consumers)
        for channel, _ in self._consumers:
            await channel.close()
        self._consumers.clear()


async def _answered(what: str, work: Awaitable[Result]) -> Result:
    try:
        return await asyncio.wait_for(work, ANSWER_SECONDS)
    except (aiormq.exceptions.AMQPError, ConnectionError, asyncio.TimeoutError, RuntimeError) as error:
        raise BrokerError(f"RabbitMQ did not {what}: {type(error).__name__}") from error


async def _acknowledge(batch: Sequence[AbstractIncomingMessage]) -> None:
    # A batch may span a reconnection. Tags of the lost channel mean nothing on the new one, and the broker delivers
    # those messages again; handlers must not mind.
    last = {id(message.channel): message for message in batch}
    for message in last.values():
        try:
            await message.ack(multiple=True)
        except (aiormq.exceptions.AMQPError, ConnectionError, RuntimeError) as error:
            log.info("%d message(s) handled but not acknowledged (%s): they will come again", len(batch), type(error).__name__)
