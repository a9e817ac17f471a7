"""Asks the service for statuses, one at a time."""
from __future__ import annotations

import logging
import queue
import threading
from typing import Any, Callable, Dict, Optional, Tuple

from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.compute.governor import (
    Governor,
    Stopped,
)
from parsl.executors.globus_compute_multi.compute.messages import (
    Message,
    StatusAnswered,
)
from parsl.executors.globus_compute_multi.compute.service import (
    Service,
    explain,
)

logger = logging.getLogger(__name__)

#: More workers or tasks than an endpoint has. Far larger numbers could not be computed with.
_MOST = 1_000_000_000


class StatusPoller:
    """One thread that asks for the statuses it is told to, each with a permit of the governor.

    Parameters
    ----------
    client : globus_compute_sdk.Client
    endpoint_ids : dict
        Endpoint IDs by name.
    governor : Governor
    post : callable
        Takes the answers.
    stopping : threading.Event
        Set when the executor shuts down.
    """

    def __init__(self, *, client: Client, endpoint_ids: Dict[str, str], governor: Governor, post: Callable[[Message], None],
                 stopping: threading.Event) -> None:
        self._endpoint_ids = endpoint_ids
        self._governor = governor
        self._post = post
        self._stopping = stopping
        self._queries: "queue.SimpleQueue[Optional[Tuple[str, Optional[str]]]]" = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(Service(client),), name="globus-compute-multi-status", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(self, endpoint: str, child_id: Optional[str]) -> None:
        """Ask for the status of the endpoint of this name, or of its child."""
        self._queries.put((endpoint, child_id))

    def stop(self) -> None:
        """Tell the thread to end."""
        self._queries.put(None)

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self, service: Service) -> None:
        try:
            while True:
                query = self._queries.get()
                if query is None:
                    return
                self._post(self._query(service, *query))
        except Stopped:
            return
        finally:
            service.close()

    def _query(self, service: Service, endpoint: str, child_id: Optional[str]) -> StatusAnswered:
        try:
            with self._governor.permit(self._stopping):
                answer = service.endpoint_status(child_id or self._endpoint_ids[endpoint])
            details = answer["details"]
            return StatusAnswered(endpoint, child_id, answer["status"] == "online", _count(details.get("total_workers")),
                                  _count(details.get("pending_tasks")))
        except Stopped:
            raise
        except Exception as e:  # a status is not worth a thread, whatever went wrong
            logger.warning("No status of endpoint %s: %s", endpoint, explain(e))
            return StatusAnswered(endpoint, child_id, None)


def _count(value: Any) -> Optional[int]:
    """What an endpoint says of itself, if it can be true: it runs whatever version its owner likes."""
    return value if type(value) is int and 0 <= value <= _MOST else None
