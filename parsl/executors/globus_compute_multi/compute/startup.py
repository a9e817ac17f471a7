"""What is asked of the service before any task is accepted, and the errors that say what to do if that fails."""
from __future__ import annotations

import logging
import threading
import time
from typing import Any, Callable

import globus_sdk
from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.compute.calls import call
from parsl.executors.globus_compute_multi.compute.governor import Governor, Kind
from parsl.executors.globus_compute_multi.compute.messages import StatusAnswered
from parsl.executors.globus_compute_multi.compute.service import (
    HOW_TO_LOG_IN,
    MalformedAnswer,
    Service,
    explain,
    http_status,
    not_accepted,
    shows_no_credentials,
)
from parsl.executors.globus_compute_multi.errors import (
    CredentialsMissing,
    ServiceUnavailable,
    UnknownEndpoint,
)

logger = logging.getLogger(__name__)

#: Seconds that ``start`` waits for the request budget, if other programs of the user have used it up.
_BUDGET_PATIENCE = 60.0


def stored_login() -> Client:
    """The SDK's own client, provided that nobody has to be asked to log in: a workflow may run where nobody sees the question.

    Raises
    ------
    CredentialsMissing
    """
    client = Client(do_version_check=False)
    if isinstance(client.app, globus_sdk.UserApp) and client.app.login_required():
        raise CredentialsMissing(f"there is no login for Globus Compute. {HOW_TO_LOG_IN}")
    return client


def register_runner(governor: Governor, service: Service) -> str:
    """Register the runner function; its ID.

    Raises
    ------
    CredentialsMissing, ServiceUnavailable
    """
    return str(_ask(governor, service, "register the runner function", service.register_runner))


def first_status(governor: Governor, service: Service, name: str, endpoint_id: str) -> StatusAnswered:
    """Ask for the status of an endpoint.

    Raises
    ------
    CredentialsMissing, ServiceUnavailable, UnknownEndpoint
    """
    try:
        answer = _ask(governor, service, f"ask for the status of endpoint {name} ({endpoint_id})", service.endpoint_status, endpoint_id)
    except _Refused as e:
        raise UnknownEndpoint(f"Globus Compute does not know endpoint {name} ({endpoint_id}), or you may not use it ({e}). "
                              "'globus-compute-endpoint start' on its machine prints its ID.") from e
    online = answer["status"] == "online"
    if not online:
        logger.warning("Endpoint %s (%s) is offline; it gets no tasks until it is back", name, endpoint_id)
    return StatusAnswered(name, None, online)


class _Refused(ServiceUnavailable):
    """The service answered 403 or 404."""


def _ask(governor: Governor, service: Service, what: str, request: Callable[..., Any], *args: Any) -> Any:
    """Send a request at start, and turn its failure into an error that says what to do.

    Only 429 is waited out: the budget is one for all programs of the user, and others may have used it up.
    """
    nobody, deadline = threading.Event(), time.monotonic() + _BUDGET_PATIENCE  # nobody can stop it yet
    while True:
        try:
            return call(governor, service, nobody, Kind.OTHER, request, *args, timeout=deadline - time.monotonic())
        except globus_sdk.GlobusAPIError as e:
            if http_status(e) != 429 or time.monotonic() > deadline:
                raise _start_error(what, e) from e
        except (globus_sdk.NetworkError, MalformedAnswer, TimeoutError, ValueError) as e:  # ValueError: of a token that cannot be one
            raise _start_error(what, e) from (e if shows_no_credentials(e) else None)


def _start_error(what: str, error: Exception) -> Exception:
    reason = f"cannot {what}: {explain(error)}"
    if isinstance(error, TimeoutError):
        return ServiceUnavailable(f"{reason}. Other programs of yours may have used it up.")
    if not isinstance(error, globus_sdk.GlobusAPIError):
        return ServiceUnavailable(f"{reason}. Check the network, and https://status.globus.org.")
    status = http_status(error)
    if status == 401:
        return CredentialsMissing(f"{reason}: {not_accepted()}")
    return _Refused(reason) if status in (403, 404) else ServiceUnavailable(reason)
