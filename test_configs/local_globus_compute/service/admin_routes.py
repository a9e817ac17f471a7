"""The ``/_admin`` routes: faults, limits, request log, counters. Never counted, logged or made to fail."""
from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .auth import Authenticator
from .config import ConfigError, Limits
from .errors import UNAUTHENTICATED, ApiError, malformed
from .faults import FaultError
from .state import Controls


class AdminRoutes:
    """Look at and change the :class:`~.state.Controls`.

    Parameters
    ----------
    token : str
        The bearer token that every request must carry.
    controls : Controls
        What is looked at and changed.
    authenticator : Authenticator
        Whose tokens can be had expired.
    delete_queues : coroutine function
        Takes all that is ours out of the broker.
    """

    def __init__(self, token: str, controls: Controls, authenticator: Authenticator, delete_queues: Callable[[], Awaitable[None]]) -> None:
        self._token = token
        self._authenticator = authenticator
        self._controls = controls
        self._delete_queues = delete_queues

    def routes(self) -> list[Route]:
        """Routes below ``/_admin``."""
        return [
            Route("/faults", self._guarded(self._faults), methods=["GET", "POST", "DELETE"]),
            Route("/faults/{id:int}", self._guarded(self._fault), methods=["DELETE"]),
            Route("/limits", self._guarded(self._limits), methods=["GET", "PUT"]),
            Route("/expired_tokens", self._guarded(self._expired_tokens), methods=["POST", "DELETE"]),
            Route("/requests", self._guarded(self._requests), methods=["GET"]),
            Route("/queues", self._guarded(self._queues), methods=["DELETE"]),
            Route("/counters", self._guarded(self._counters), methods=["GET"]),
        ]

    def _guarded(self, handler: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            try:
                given = request.headers.get("authorization", "")
                if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                    raise ApiError(401, UNAUTHENTICATED, "The admin token is required here.")
                return JSONResponse(await handler(request))
            except ApiError as error:
                return JSONResponse(error.body(), error.status)

        return endpoint

    async def _faults(self, request: Request) -> Any:
        if request.method == "POST":
            try:
                return self._controls.faults.add(await _json_object(request)).as_dict()
            except FaultError as error:
                raise malformed(str(error)) from None
        if request.method == "DELETE":
            self._controls.faults.clear()
        return [rule.as_dict() for rule in self._controls.faults.rules()]

    async def _fault(self, request: Request) -> Any:
        if not self._controls.faults.remove(request.path_params["id"]):
            raise ApiError(404, malformed("").code, f"There is no fault {request.path_params['id']}")
        return {}

    async def _limits(self, request: Request) -> Any:
        if request.method == "PUT":
            try:
                self._controls.set_limits(Limits(**{**asdict(self._controls.limits), **await _json_object(request)}))
            except (ConfigError, TypeError) as error:
                raise malformed(str(error)) from None
        return asdict(self._controls.limits)

    async def _expired_tokens(self, request: Request) -> Any:
        if request.method == "DELETE":
            self._authenticator.renew_static()
            return {}
        client_id = (await _json_object(request)).get("client_id")
        if not isinstance(client_id, str) or not self._authenticator.expire(client_id):
            raise malformed(f"There is no client {client_id!r}")
        return {}

    async def _requests(self, request: Request) -> Any:
        try:
            return self._controls.log.since(int(request.query_params.get("since", "0")))
        except ValueError:
            raise malformed("since must be an integer") from None

    async def _queues(self, request: Request) -> Any:
        await self._delete_queues()
        return {}

    async def _counters(self, request: Request) -> Any:
        return dict(self._controls.counters)


async def _json_object(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.body())
    except ValueError as error:
        raise malformed(f"The body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise malformed("The body must be a JSON object")
    return found
