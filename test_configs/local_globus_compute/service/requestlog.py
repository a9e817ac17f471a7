"""What was asked of the service, when, by whom, and what came of it: for tests to assert on."""
from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

CAPACITY = 100_000


@dataclass
class LoggedRequest:
    """One request.

    Parameters
    ----------
    number : int
        Counts up by one a request, from 1.
    arrived : float
        When its header had been read, in seconds of the machine's monotonic clock.
    wall : float
        The same in seconds since the epoch.
    client_id : str or None
        Who sent it; None when not authorised.
    method, route : str
        HTTP method and name of the route (``submit``, ``endpoint_status``, … or ``unknown``).
    counted : bool
        Whether the request limit applies to it (Compute API, authorised).
    body_bytes : int
        Length of the request's body.
    status : int or None
        HTTP status answered; None while it is handled, and for good when the connection was dropped instead.
    """

    number: int
    arrived: float
    wall: float
    client_id: str | None
    method: str
    route: str
    counted: bool = False
    body_bytes: int = 0
    status: int | None = None


class RequestLog:
    """A ring of the last :data:`CAPACITY` requests."""

    def __init__(self) -> None:
        self._ring: deque[LoggedRequest] = deque(maxlen=CAPACITY)
        self._count = 0

    def open(self, method: str, route: str, body_bytes: int) -> LoggedRequest:
        """Note a request that has just arrived; the caller fills in the rest as it becomes known."""
        self._count += 1
        entry = LoggedRequest(self._count, time.monotonic(), time.time(), None, method, route, body_bytes=body_bytes)
        self._ring.append(entry)
        return entry

    def since(self, number: int) -> list[dict[str, Any]]:
        """Requests with a higher number, oldest first."""
        return [asdict(entry) for entry in self._ring if entry.number > number]
