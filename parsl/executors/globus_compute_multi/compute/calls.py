"""How a request is sent: within the budget, with a token that is renewed if need be."""
from __future__ import annotations

import threading
from typing import Any, Callable, ContextManager, Optional, TypeVar

import globus_sdk

from parsl.executors.globus_compute_multi.compute.governor import Governor, Kind
from parsl.executors.globus_compute_multi.compute.service import (
    Service,
    http_status,
    may_be_on_its_way,
    retry_after,
)

Answer = TypeVar("Answer")


def call(governor: Governor, service: Service, stopping: threading.Event, kind: Kind, request: Callable[..., Answer], *args: Any,
         permit: Optional[ContextManager[Any]] = None, timeout: Optional[float] = None) -> Answer:
    """Send a request, each try of it with a permit, and tell the governor if it was one too many.

    There is a second try only if the service does not accept the token (HTTP 401) and the credentials may bring another: globus-sdk renews
    tokens before they expire, but not those that were revoked, since it is kept from repeating requests unseen.

    Parameters
    ----------
    governor : Governor
    service : Service
        Whose method ``request`` is.
    stopping : threading.Event
        See :meth:`Governor.permit`.
    kind : Kind
    request : callable
    args
        For ``request``.
    permit : context manager, optional
        Permit for the first try, if the caller has one already.
    timeout : float, optional
        Most seconds to wait for each permit.

    Raises
    ------
    globus_sdk.GlobusAPIError, globus_sdk.NetworkError, MalformedAnswer
        As ``request`` does.
    Stopped, TimeoutError
        If there was no permit.
    """
    renewed = False
    while True:
        try:
            with permit if permit is not None else governor.permit(stopping, kind, timeout):
                try:
                    return request(*args)
                except globus_sdk.GlobusAPIError as e:
                    if http_status(e) == 429:
                        governor.refused(retry_after(e))  # while the permit is held: nobody else is to get it
                    raise
                except globus_sdk.NetworkError as e:
                    if may_be_on_its_way(e):
                        governor.given_up(kind)
                    raise
        except globus_sdk.GlobusAPIError as e:
            if renewed or http_status(e) != 401 or not service.renew_token():
                raise
            renewed, permit = True, None
