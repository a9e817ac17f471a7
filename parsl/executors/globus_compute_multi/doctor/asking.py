"""Requests to the service, and what their failures mean."""
from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, Optional, TypeVar

import globus_sdk
from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.compute.calls import call
from parsl.executors.globus_compute_multi.compute.governor import (
    Governor,
    Kind,
    governor_for,
)
from parsl.executors.globus_compute_multi.compute.service import (
    MalformedAnswer,
    Service,
    explain,
    http_status,
    not_accepted,
)
from parsl.executors.globus_compute_multi.doctor.findings import (
    TRY_LATER,
    Finding,
    look_in_between,
    problem,
    warning,
)

Answer = TypeVar("Answer")

#: Requests, and seconds, that the hosted service allows; and most seconds to wait for a share of it.
REQUEST_LIMIT = (20, 10.0)
PATIENCE = 30.0

#: What a request may end with. ValueError: of a token that cannot be one.
FAILURES = (globus_sdk.GlobusError, MalformedAnswer, TimeoutError, ValueError)


class Inquiry(Service):
    """The REST API as somebody needs it who only looks."""

    def version(self) -> Dict[str, Any]:
        """What the service says of itself and of the SDK's versions that it accepts."""
        answer = self._v2.get_version(service="all").data
        if not isinstance(answer, dict):
            raise MalformedAnswer("the service does not tell its version")
        return answer

    def endpoint(self, endpoint_id: str) -> Dict[str, Any]:
        """What is known of a registered endpoint."""
        answer = self._v2.get_endpoint(endpoint_id).data
        if not isinstance(answer, dict):
            raise MalformedAnswer(f"the description of endpoint {endpoint_id} is none")
        return answer

    def endpoints(self, role: str) -> List[Dict[str, Any]]:
        """The endpoints of this user: those of which he is the ``owner``, or ``any``."""
        answer = self._v2.get_endpoints(role=role).data
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            raise MalformedAnswer("the list of endpoints is none")
        return answer


def budget(address: str) -> Governor:
    """The governor of the requests to a service, the one of the executors in this process."""
    return governor_for(address, REQUEST_LIMIT)


class Asker:
    """Sends requests within the budget; to be closed.

    Parameters
    ----------
    client : globus_compute_sdk.Client

    Raises
    ------
    globus_sdk.GlobusError
        If there is no token, and Globus Auth gives none.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.governor = budget(client.web_service_address)
        self.service = Inquiry(client)

    def close(self) -> None:
        """Close the connections."""
        self.service.close()

    def ask(self, request: Callable[..., Answer], *args: Any) -> Answer:
        """Send a request; what is refused because there were too many (HTTP 429) is sent again when the service allows it, within reason.

        Raises
        ------
        FAILURES
        """
        nobody, deadline = threading.Event(), time.monotonic() + PATIENCE
        while True:
            try:
                return call(self.governor, self.service, nobody, Kind.OTHER, request, *args, timeout=max(0.0, deadline - time.monotonic()))
            except globus_sdk.GlobusAPIError as e:
                if http_status(e) != 429 or time.monotonic() > deadline:
                    raise


def status_of(error: Exception) -> Optional[int]:
    """HTTP status of a failed request; None if there was no answer."""
    return http_status(error) if isinstance(error, globus_sdk.GlobusAPIError) else None


def explained(check: str, what: str, error: Exception, address: str, unexamined: str = "") -> Finding:
    """What the failure of a request means.

    Parameters
    ----------
    check : str
        Name of the check.
    what : str
        What was asked for, for people.
    error : Exception
        One of ``FAILURES``.
    address : str
        Of the service.
    unexamined : str
        What somebody wants to know about and is now not looked at, for people: then it is a problem, even if it will go by itself.
    """
    found = f"cannot {what}: {_explain(error)}"
    status = status_of(error)
    if status == 429 or isinstance(error, TimeoutError):
        remedy = (f"the service answers {REQUEST_LIMIT[0]} requests in {REQUEST_LIMIT[1]:g} s, to all programs of yours together: stop "
                  "others, or wait, and try again")
        return problem(check, f"{unexamined} was not examined: {found}", remedy) if unexamined else warning(check, found, remedy)
    return problem(check, found, _remedy(status, error, address))


def _explain(error: Exception) -> str:
    """As :func:`explain`; of an answer that is not the service's, which part of it could not be read first says nothing."""
    if not isinstance(error, MalformedAnswer):
        return explain(error)
    return str(error).removesuffix(f" ({type(error.__cause__).__name__}: {error.__cause__})")


def _remedy(status: Optional[int], error: Exception, address: str) -> str:
    if status == 401:
        return not_accepted()
    if status == 403:
        return "the credentials are accepted, and this is not allowed to them: log in as somebody who may, or ask whoever grants it"
    if status is not None and status >= 500:
        return f"the service has trouble: {TRY_LATER}"
    if status is not None:
        return "the service does not take the request: update globus-compute-sdk, and report it if that does not help"
    if isinstance(error, MalformedAnswer):
        return look_in_between(address)
    if isinstance(error, globus_sdk.NetworkError):
        return "check the network, the proxies in the environment, and https://status.globus.org"
    return not_accepted()
