"""The stream of results from the service's broker."""
from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Optional

import globus_sdk
import pika
import pika.exceptions
from globus_compute_sdk import Client
from pika.adapters.blocking_connection import BlockingChannel

from parsl.executors.globus_compute_multi.compute.backoff import Backoff
from parsl.executors.globus_compute_multi.compute.envelope import decode_result
from parsl.executors.globus_compute_multi.compute.governor import (
    Governor,
    Stopped,
)
from parsl.executors.globus_compute_multi.compute.messages import Message, ResultArrived
from parsl.executors.globus_compute_multi.compute.service import (
    Service,
    explain,
)

logger = logging.getLogger(__name__)

#: Messages that the broker sends before it waits for acknowledgements.
_PREFETCH = 500

_CONNECT_TIMEOUT = 10.0


class ResultStream:
    """One thread that consumes the result queue of a task group, and passes each message on the moment it arrives.

    It reconnects for ever, with back-off and with a fresh address each time. A message is acknowledged when it has been passed on.

    Parameters
    ----------
    client : globus_compute_sdk.Client
    governor : Governor
    post : callable
        Takes the messages.
    stopping : threading.Event
        Set when the executor shuts down.
    amqp_port : int or None
        Port of the broker, instead of the one that the service names.
    """

    def __init__(self, *, client: Client, governor: Governor, post: Callable[[Message], None], stopping: threading.Event,
                 amqp_port: Optional[int] = None) -> None:
        self._governor = governor
        self._post = post
        self._amqp_port = amqp_port
        self._task_group_id: Optional[str] = None
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._stopping = stopping
        self._backoff = Backoff()
        self._connection: Optional[pika.BlockingConnection] = None
        self._thread = threading.Thread(target=self._run, args=(Service(client),), name="globus-compute-multi-results", daemon=True)

    def start(self) -> None:
        """Start the thread; it waits for :meth:`consume`."""
        self._thread.start()

    def consume(self, task_group_id: str) -> None:
        """Consume the queue of this task group, which exists."""
        self._task_group_id = task_group_id
        self._wake.set()

    def stop(self) -> None:
        """Tell the thread to end, after ``stopping`` is set."""
        with self._lock:
            if self._connection is not None:
                try:
                    self._connection.add_callback_threadsafe(self._connection.close)
                except pika.exceptions.ConnectionWrongStateError:
                    pass  # it has just closed by itself, and the thread is about to see so
        self._wake.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self, service: Service) -> None:
        self._wake.wait()
        self._wake.clear()
        try:
            while not self._stopping.is_set():
                try:
                    self._consume_once(service)
                except Stopped:
                    return
                except Exception as e:  # results must go on, whatever went wrong
                    if self._stopping.is_set():
                        return
                    wait = self._backoff.next()
                    # other errors' texts may hold the broker's address with its password; their type must do
                    reason = explain(e) if isinstance(e, (globus_sdk.GlobusAPIError, globus_sdk.NetworkError)) else type(e).__name__
                    logger.warning("Results: connection lost or refused (%s); trying again in %.1f s", reason, wait)
                    self._wake.wait(wait)
        finally:
            service.close()

    def _consume_once(self, service: Service) -> None:
        with self._governor.permit(self._stopping):
            url, queue_prefix = service.result_queue()
        connection = pika.BlockingConnection(connection_parameters(url, self._amqp_port))
        try:
            with self._lock:
                if self._stopping.is_set():
                    return
                self._connection = connection
            channel = connection.channel()
            channel.basic_qos(prefetch_count=_PREFETCH)
            channel.basic_consume(f"{queue_prefix}{self._task_group_id}", self._on_message)
            logger.info("Results: connected")
            channel.start_consuming()
        finally:
            with self._lock:
                self._connection = None
            if connection.is_open:
                connection.close()

    def _on_message(self, channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        self._backoff.reset()  # not before: a broker that takes connections and drops them must not be asked again at once
        try:
            self._post(ResultArrived(decode_result(body)))
        except ValueError as e:
            logger.warning("Results: dropped a message of %d bytes: %s", len(body), e)
        channel.basic_ack(method.delivery_tag)


def connection_parameters(url: str, port: Optional[int]) -> pika.URLParameters:
    """How to connect to the broker at ``url``, which holds its password: on another ``port``, if given, and not waiting for ever."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = _CONNECT_TIMEOUT
    parameters.stack_timeout = _CONNECT_TIMEOUT
    if port is not None:
        parameters.port = port
    return parameters
