"""Synchronous client of the service's ``/_admin`` routes, for tests and tools."""
from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import requests

from .config import Limits
from .requestlog import LoggedRequest

TIMEOUT_SECONDS = 30.0


class AdminError(RuntimeError):
    """The service refused; the message is its reason."""


class ServiceAdmin:
    """Makes the service misbehave, changes its limits, and tells what it saw.

    Parameters
    ----------
    base_url : str
        ``http://127.0.0.1:PORT`` of the service.
    admin_token : str
        From its configuration.

    Examples
    --------
    >>> admin = ServiceAdmin("http://127.0.0.1:8000", "token")                              # doctest: +SKIP
    >>> admin.add_fault("reply_status", route="submit", count=2, status=429, retry_after=1)  # doctest: +SKIP
    """

    def __init__(self, base_url: str, admin_token: str) -> None:
        self._base_url = f"{base_url}/_admin"
        self._session = requests.Session()
        # Not by way of http_proxy, which may well be the service itself.
        self._session.trust_env = False
        # A connection for each request: tests look for sockets that others leave open.
        self._session.headers.update({"Authorization": f"Bearer {admin_token}", "Connection": "close"})

    def add_fault(
        self,
        kind: str,
        *,
        route: str | None = None,
        method: str | None = None,
        endpoint_id: str | None = None,
        client_id: str | None = None,
        count: int | None = None,
        probability: float = 1.0,
        seed: int = 0,
        **params: Any,
    ) -> int:
        """Add a rule and return its id; see :class:`~.faults.Rule` for the arguments.

        Parameters
        ----------
        kind : str
            One of :data:`~.faults.KINDS`, which also has the `params` of each.

        Raises
        ------
        AdminError
            When the rule makes no sense.
        """
        match = {"route": route, "method": method, "endpoint_id": endpoint_id, "client_id": client_id}
        rule = {"kind": kind, "match": {key: value for key, value in match.items() if value is not None},
                "count": count, "probability": probability, "seed": seed, "params": params}
        return int(self._call("POST", "/faults", rule)["id"])

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force, with ``hits`` and what is left of ``count``."""
        return list(self._call("GET", "/faults"))

    def remove_fault(self, fault_id: int) -> None:
        """Take one rule out; raises :class:`AdminError` when there is none with this id."""
        self._call("DELETE", f"/faults/{fault_id}")

    def clear_faults(self) -> None:
        """Take all rules out."""
        self._call("DELETE", "/faults")

    def limits(self) -> Limits:
        """The limits in force."""
        return Limits(**self._call("GET", "/limits"))

    def set_limits(self, limits: Limits) -> None:
        """Put other limits in force at once."""
        self._call("PUT", "/limits", asdict(limits))

    def expire_tokens(self, client_id: str) -> None:
        """Have all tokens of a client expired: requests with them are answered with 401.

        The token route grants new ones; the static token, for which there is no grant, is accepted again after
        :meth:`renew_static_tokens`, or a restart.

        Raises
        ------
        AdminError
            When there is no such client.
        """
        self._call("POST", "/expired_tokens", {"client_id": client_id})

    def renew_static_tokens(self) -> None:
        """Accept all static tokens again."""
        self._call("DELETE", "/expired_tokens")

    def requests(self, since: int = 0) -> list[LoggedRequest]:
        """Requests with a number above `since`, oldest first (the service keeps the last 100,000)."""
        return [LoggedRequest(**entry) for entry in self._call("GET", f"/requests?since={since}")]

    def counters(self) -> dict[str, int]:
        """What happened how often since the service started (``tasks_submitted``, ``results_published``, ``fault_…``, …)."""
        return dict(self._call("GET", "/counters"))

    def delete_queues(self) -> None:
        """Take all queues and exchanges of the service out of the broker, when it is to be gone for good."""
        self._call("DELETE", "/queues")

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        response = self._session.request(method, self._base_url + path, json=body, timeout=TIMEOUT_SECONDS)
        if not response.ok:
            raise AdminError(f"{method} /_admin{path}: {response.status_code} {response.text}")
        return response.json()


def busiest_window(requests: Iterable[LoggedRequest], seconds: float = 10.0) -> int:
    """The most requests of any one client that arrived within less than `seconds`, of those that the limit counts."""
    windows: defaultdict[str | None, deque[float]] = defaultdict(deque)
    most = 0
    for request in requests:
        if request.counted:
            window = windows[request.client_id]
            while window and window[0] <= request.arrived - seconds:
                window.popleft()
            window.append(request.arrived)
            most = max(most, len(window))
    return most
