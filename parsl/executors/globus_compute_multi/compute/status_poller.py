"""Asks the service for statuses, one at a time."""
from __future__ import annotations

import logging
import math
import queue
import threading
from typing import Any, Callable, Dict, Optional, Set, Tuple

import globus_sdk
from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.compute.calls import call
from parsl.executors.globus_compute_multi.compute.governor import (
    Governor,
    Kind,
    Stopped,
)
from parsl.executors.globus_compute_multi.compute.messages import (
    Message,
    StatusAnswered,
)
from parsl.executors.globus_compute_multi.compute.service import (
    Service,
    explain,
    http_status,
)

logger = logging.getLogger(__name__)

#: More tasks or seconds than an endpoint has, and more workers. Far larger numbers could not be computed with.
_MOST = 1_000_000_000
_MOST_WORKERS = 1_000_000

#: An endpoint by its name, and one of its children or none.
_Target = Tuple[str, Optional[str]]


class StatusPoller:
    """One thread that asks for the statuses it is told to, each with a permit of the governor.

    What goes wrong is said once, until it goes right or wrong in another way: the same is asked every few seconds.

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
        self._queries: "queue.SimpleQueue[Optional[_Target]]" = queue.SimpleQueue()
        self._queued: Set[_Target] = set()
        self._troubles: Dict[_Target, str] = {}
        self._thread = threading.Thread(target=self._run, args=(Service(client),), name="globus-compute-multi-status", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(self, endpoint: str, child_id: Optional[str]) -> None:
        """Ask for the status of the endpoint of this name, or of its child; nothing if that has not been asked yet since the last time."""
        target = endpoint, child_id
        if target not in self._queued:  # else they would pile up while the service lets us wait
            self._queued.add(target)
            self._queries.put(target)

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
                self._queued.discard(query)
                self._post(self._query(service, *query))
        except Stopped:
            return
        finally:
            service.close()

    def _query(self, service: Service, endpoint: str, child_id: Optional[str]) -> StatusAnswered:
        target = endpoint, child_id
        try:
            asked = child_id or self._endpoint_ids[endpoint]
            answer = call(self._governor, service, self._stopping, Kind.STATUS, service.endpoint_status, asked)
            details = answer["details"]
            managers = "managers" in details  # an engine without them always says that it has no tasks
            status = StatusAnswered(
                endpoint, child_id, answer["status"] == "online",
                _count(details.get("total_workers"), _MOST_WORKERS), _count(details.get("pending_tasks")),
                heartbeat=_seconds(details.get("heartbeat_period")),
                outstanding=_count(details.get("outstanding_tasks")) if managers else None,
                tasks=_count(details.get("total_tasks")) if managers else None)
        except Stopped:
            raise
        except globus_sdk.GlobusAPIError as e:
            refused = http_status(e) in (403, 404)
            self._say(target, f"HTTP {http_status(e)}", explain(e))
            return StatusAnswered(endpoint, child_id, None, gone=refused and child_id is None)
        except Exception as e:  # a status is not worth a thread, whatever went wrong
            self._say(target, type(e).__name__, explain(e))
            return StatusAnswered(endpoint, child_id, None)
        self._troubles.pop(target, None)
        return status

    def _say(self, target: _Target, trouble: str, explanation: str) -> None:
        if self._troubles.get(target) != trouble:
            self._troubles[target] = trouble
            endpoint, child_id = target
            logger.warning("No status of endpoint %s%s: %s", endpoint, "" if child_id is None else f" (child {child_id})", explanation)


def _count(value: Any, most: int = _MOST) -> Optional[int]:
    """What an endpoint says of itself, if it can be true: it runs whatever version its owner likes."""
    return value if type(value) is int and 0 <= value <= most else None


def _seconds(value: Any) -> Optional[float]:
    return float(value) if type(value) in (int, float) and math.isfinite(value) and 0 <= value <= _MOST else None
