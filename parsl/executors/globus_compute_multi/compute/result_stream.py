"""The stream of results from the service's broker."""
from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Optional

import globus_sdk
from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.compute.backoff import (
    LONGEST_SECONDS,
    Backoff,
)
from parsl.executors.globus_compute_multi.compute.calls import call
from parsl.executors.globus_compute_multi.compute.consumer import (
    ConnectionLost,
    Consumer,
    connection_parameters,
)
from parsl.executors.globus_compute_multi.compute.envelope import decode_result
from parsl.executors.globus_compute_multi.compute.governor import (
    Governor,
    Kind,
    Stopped,
)
from parsl.executors.globus_compute_multi.compute.messages import (
    Message,
    ResultArrived,
    StreamChanged,
)
from parsl.executors.globus_compute_multi.compute.service import (
    Service,
    explain,
    retry_after,
)

logger = logging.getLogger(__name__)


class ResultStream:
    """One thread that consumes the result queue of a task group, and passes each message on the moment it arrives.

    It reconnects for ever, with back-off and with a fresh address each time, and tells whether it is connected. A message is acknowledged
    when it has been passed on.

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
        self._consumer: Optional[Consumer] = None
        self._connected: Optional[bool] = None
        self._since = 0.0
        self._said = ""
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
            if self._consumer is not None:
                self._consumer.stop()
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
                    self._lost(e)
        finally:
            service.close()

    def _lost(self, error: Exception) -> None:
        if self._connected and time.monotonic() - self._since > LONGEST_SECONDS:
            self._backoff.reset()  # not sooner: a broker that takes connections and drops them must not be asked again at once
        self._note(False)
        wait = self._backoff.next(retry_after(error) if isinstance(error, globus_sdk.GlobusAPIError) else None)
        # other errors' texts may hold the broker's address with its password; their type must do
        reason = explain(error) if isinstance(error, (globus_sdk.GlobusAPIError, globus_sdk.NetworkError)) else type(error).__name__
        if isinstance(error, ConnectionLost):
            reason = str(error)
        logger.log(logging.INFO if reason == self._said else logging.WARNING,
                   "Results: connection lost or refused (%s); trying again in %.1f s", reason, wait)
        self._said = reason
        self._wake.wait(wait)

    def _consume_once(self, service: Service) -> None:
        url, queue_prefix = call(self._governor, service, self._stopping, Kind.OTHER, service.result_queue)
        consumer = Consumer(connection_parameters(url, self._amqp_port), f"{queue_prefix}{self._task_group_id}", self._on_consuming,
                            self._on_message)
        try:
            with self._lock:
                if self._stopping.is_set():
                    return
                self._consumer = consumer
            consumer.run()
        finally:
            with self._lock:
                self._consumer = None
            consumer.close()

    def _on_consuming(self) -> None:
        logger.info("Results: connected")
        self._since = time.monotonic()
        self._said = ""
        self._note(True)

    def _note(self, connected: bool) -> None:
        if connected is not self._connected:
            self._connected = connected
            self._post(StreamChanged(connected))

    def _on_message(self, body: bytes) -> None:
        self._backoff.reset()
        try:
            message = decode_result(body)
        except Exception as e:  # whatever is wrong with it: were it not acknowledged, it would come again and again
            logger.warning("Results: dropped a message of %d bytes (%s: %s)", len(body), type(e).__name__, str(e)[:1000])
        else:
            self._post(ResultArrived(message))
