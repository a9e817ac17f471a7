"""One connection to the service's broker."""
from __future__ import annotations

import os
import socket
from typing import Any, Callable, Optional, Set, Tuple

import pika.exceptions
from pika import SelectConnection, URLParameters
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel

#: Messages that the broker sends before it waits for acknowledgements.
PREFETCH = 500

#: Seconds for each step from the name of the broker to the first message.
STEP_SECONDS = 10.0

#: Heartbeat asked of the broker, in seconds. pika looks at intervals of five seconds more whether anything came, so that a dead peer is
#: noticed after 15 to 30 s.
HEARTBEAT_SECONDS = 10

#: Seconds that closing waits for the broker before the connection is cut.
_CLOSE_SECONDS = 1.0


class ConnectionLost(Exception):
    """The connection could not be made, or has ended. The text has no address and no password."""


def connection_parameters(url: str, port: Optional[int]) -> URLParameters:
    """How to connect to the broker at ``url``, which holds its password: on another ``port``, if given, and not waiting for ever."""
    parameters = URLParameters(url)
    parameters.socket_timeout = STEP_SECONDS
    parameters.stack_timeout = STEP_SECONDS
    # as a function: a number would be taken even where the broker proposes less
    parameters.heartbeat = lambda _, proposed: min(proposed or HEARTBEAT_SECONDS, HEARTBEAT_SECONDS)
    if port is not None:
        parameters.port = port
    return parameters


class Consumer:
    """Consumes one queue over one connection, until that is lost or :meth:`stop` is called. It can be used once.

    Everything but :meth:`stop` happens on the thread that calls :meth:`run`, on a loop of its own: so it can be stopped at any moment, while
    it connects too, and while the broker does not answer.

    Parameters
    ----------
    parameters : pika.URLParameters
    queue : str
    on_consuming : callable
        Called when the broker has begun to send messages.
    on_message : callable
        Takes the body of a message, which is acknowledged when this has returned, together with those that came along with it.
    """

    def __init__(self, parameters: URLParameters, queue: str, on_consuming: Callable[[], None], on_message: Callable[[bytes], None]) -> None:
        self._parameters = parameters
        self._queue = queue
        self._on_consuming = on_consuming
        self._on_message = on_message
        self._loop = _Loop()
        self._workflow: Any = None
        self._connection: Optional[SelectConnection] = None
        self._reason: Optional[BaseException] = None
        self._stopped = False
        self._consuming = False
        self._taken: Optional[Tuple[Channel, int]] = None  # the last message of those that are not acknowledged

    def run(self) -> None:
        """Connect and consume; returns after :meth:`stop`.

        Raises
        ------
        ConnectionLost
        """
        try:
            self._workflow = SelectConnection.create_connection([self._parameters], self._on_connected, custom_ioloop=self._loop)
            self._loop.start()
        finally:
            self._loop.cut()
        if not self._stopped:
            raise ConnectionLost(_describe(self._reason))

    def stop(self) -> None:
        """Close the connection, from any thread; nothing if it is closed."""
        self._loop.add_callback_threadsafe(self._stop)

    def close(self) -> None:
        """Give back what the loop uses, after the last call of :meth:`stop`."""
        self._loop.close()

    def _stop(self) -> None:
        self._stopped = True
        self._end(None)

    def _end(self, reason: Optional[BaseException]) -> None:
        """Close what there is, and see to it that this comes to an end if the broker does not answer."""
        self._reason = self._reason or reason
        self._acknowledge()
        if self._connection is None:
            self._workflow.abort()
        elif self._connection.is_open:
            self._connection.close()
        self._loop.call_later(_CLOSE_SECONDS, self._loop.cut)
        self._loop.call_later(2 * _CLOSE_SECONDS, self._loop.stop)

    def _on_connected(self, result: Any) -> None:
        if isinstance(result, BaseException):
            self._reason = self._reason or result
            self._loop.stop()
            return
        self._connection = result
        self._connection.add_on_close_callback(self._on_closed)
        self._loop.call_later(STEP_SECONDS, self._check)
        self._connection.channel(on_open_callback=self._on_channel)

    def _check(self) -> None:
        if not self._consuming:
            self._end(TimeoutError())

    def _on_closed(self, _: SelectConnection, reason: BaseException) -> None:
        self._reason = self._reason or reason
        self._loop.stop()

    def _on_channel(self, channel: Channel) -> None:
        channel.add_on_close_callback(lambda _, reason: self._end(reason))
        channel.add_on_cancel_callback(lambda _: self._end(pika.exceptions.ConsumerCancelled()))
        channel.basic_qos(prefetch_count=PREFETCH, callback=lambda _: channel.basic_consume(
            self._queue, self._on_delivery, callback=self._on_consume_ok))

    def _on_consume_ok(self, _: Any) -> None:
        self._consuming = True
        self._on_consuming()

    def _on_delivery(self, channel: Channel, method: Any, _: Any, body: bytes) -> None:
        self._on_message(body)
        if self._taken is None:
            self._loop.call_later(0, self._acknowledge)
        self._taken = channel, method.delivery_tag

    def _acknowledge(self) -> None:
        """Acknowledge what was taken since the last time: one by one would take the broker and this thread as long as the rest."""
        if self._taken is not None:
            (channel, tag), self._taken = self._taken, None
            if channel.is_open:
                channel.basic_ack(tag, multiple=True)


class _Loop(IOLoop):  # type: ignore[misc]  # pika has no annotations
    """pika's loop, which can also cut the connections it serves: pika itself waits for the other side before it closes one."""

    def __init__(self) -> None:
        super().__init__()
        self._served: Set[int] = set()

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        """Serve a socket."""
        super().add_handler(fd, handler, events)
        self._served.add(fd)

    def remove_handler(self, fd: int) -> None:
        """Serve it no more."""
        self._served.discard(fd)
        super().remove_handler(fd)

    def cut(self) -> None:
        """Shut down all that is served; pika then sees them closed."""
        for fd in list(self._served):
            with socket.socket(fileno=os.dup(fd)) as duplicate:
                try:
                    duplicate.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it is not connected (any more)


def _describe(reason: Optional[BaseException]) -> str:
    """Which kind of failure it was. Texts of exceptions may hold the broker's address with its password; their types must do."""
    while True:
        inner = getattr(reason, "exceptions", None) or getattr(reason, "exception", None)
        last = inner[-1] if isinstance(inner, (list, tuple)) else inner
        if not isinstance(last, BaseException):
            break
        reason = last
    code = getattr(reason, "reply_code", None)
    return type(reason).__name__ if code is None else f"{type(reason).__name__} {code}"
