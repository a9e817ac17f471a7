"""The ASGI application: what every request passes through on its way to a route and back."""
from __future__ import annotations

import asyncio
import logging
import math
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import auth, faults
from .admin_routes import AdminRoutes
from .auth import Authenticator
from .broker import BrokerError
from .errors import INTERNAL, MALFORMED, RATE_LIMITED, TOO_LARGE, ApiError
from .requestlog import LoggedRequest
from .routes import ApiRoute, Call, Routes
from .schemas import parse_uuid
from .state import Controls

log = logging.getLogger(__name__)

# What the SDK calls the service when it is told that it is local.
SDK_PORT = 5000
HOSTS = ("localhost", "127.0.0.1")


class _Dropped(Exception):
    """The connection is to be closed without an answer."""


class Gate:
    """Admits requests that are meant for this service, given in either form.

    A client that reaches the service as its ``http_proxy`` sends ``GET http://localhost:5000/… HTTP/1.1``; such a request is
    served as if it had been sent to this service. Everything for another host or port is refused.

    Parameters
    ----------
    app : ASGI application
        Gets the admitted requests.
    port : int
        The port this service listens on.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._ports = (port, SDK_PORT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        target = scope["raw_path"].decode("latin-1")
        if scope["method"] == "CONNECT" or not target.startswith(("/", "http://")):
            await self._refuse(405, f"{scope['method']} {target[:100]} is not served: this is no general proxy", scope, receive, send)
            return
        named = target if target.startswith("http://") else f"//{Headers(scope=scope).get('host', 'localhost')}"
        try:
            url = urlsplit(named)
            host, port = url.hostname, url.port or (80 if target.startswith("http://") else SDK_PORT)
        except ValueError:
            host, port = None, 0
        if host not in HOSTS or port not in self._ports:
            await self._refuse(403, f"{named[:100]} is not served: only localhost:{SDK_PORT} and this service itself are", scope, receive, send)
            return
        if target.startswith("http://"):
            path = scope["path"].split("/", 3)
            scope = {**scope, "path": "/" + (path[3] if len(path) > 3 else ""), "raw_path": (url.path or "/").encode("latin-1")}
        await self._app(scope, receive, send)

    @staticmethod
    async def _refuse(status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        log.warning("refused: %s", reason)
        await JSONResponse(ApiError(status, MALFORMED, reason).body(), status)(scope, receive, send)


class Endpoint:
    """One route as an ASGI application: log, authorise, limit, misbehave if asked to, handle, answer."""

    def __init__(self, route: ApiRoute, authenticator: Authenticator, controls: Controls) -> None:
        self._route = route
        self._authenticator = authenticator
        self._controls = controls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        entry = self._controls.log.open(scope["method"], self._route.name, int(length) if length.isdecimal() else 0)
        self._controls.counters["requests"] += 1
        try:
            response = await self._respond(entry, scope, receive, headers.get("authorization"))
        except _Dropped:
            await _drop(scope, receive)
            return
        entry.status = response.status_code
        await response(scope, receive, send)

    async def _respond(self, entry: LoggedRequest, scope: Scope, receive: Receive, authorization: str | None) -> Response:
        try:
            client = None
            if self._route.server is not None:
                client = self._authenticator.identify(authorization, self._route.server)
                entry.client_id = client.client_id
                self._limit(entry)
            known: dict[str, tuple[str, ...]] = {"route": (self._route.name,), "method": (scope["method"],)}
            id_ = ""
            if "id" in scope["path_params"]:
                id_ = parse_uuid(scope["path_params"]["id"], "The id in the path")
                known["endpoint_id"] = (id_,)
            if client is not None:
                known["client_id"] = (client.client_id,)
            await self._before(known)
            body = await self._body(entry, receive)
            answer = await self._route.handler(Call(client, id_, scope["query_string"].decode("latin-1"), body, authorization))
        except ApiError as error:
            headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
            return JSONResponse(error.body(), error.status, headers)
        except BrokerError as error:
            return JSONResponse(ApiError(503, INTERNAL, str(error)).body(), 503)
        except _Dropped:
            raise
        except Exception:
            log.exception("%s %s failed", scope["method"], self._route.name)
            return JSONResponse(ApiError(500, INTERNAL, "Internal error; see the log of the local service").body(), 500)
        return await self._after(known, answer)

    def _limit(self, entry: LoggedRequest) -> None:
        if self._route.server != auth.COMPUTE or entry.client_id is None:
            return
        entry.counted = True
        wait = self._controls.window.admit(entry.client_id, entry.arrived)
        if wait is not None:
            self._controls.counters["rate_limited"] += 1
            limits = self._controls.limits
            raise ApiError(429, RATE_LIMITED, f"Too many requests: the limit is {limits.requests} in {limits.window_seconds:g} seconds", wait)

    async def _body(self, entry: LoggedRequest, receive: Receive) -> bytes:
        """The whole body. One that is too large is read to its end (a client looks for the answer no earlier), but not kept."""
        limit = self._controls.limits.batch_bytes
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Dropped
            size += len(message.get("body", b""))
            if limit is None or size <= limit:
                chunks.append(message.get("body", b""))
            else:
                chunks.clear()
            if not message.get("more_body", False):
                break
        entry.body_bytes = size
        if limit is not None and size > limit:
            raise ApiError(413, TOO_LARGE, f"The request has {size:,} bytes; the limit of the service is {limit:,} bytes")
        return b"".join(chunks)

    async def _before(self, known: dict[str, tuple[str, ...]]) -> None:
        rule = self._controls.faults.strike(faults.REQUEST, **known)
        if rule is None:
            return
        self._controls.counters[f"fault_{rule.kind}"] += 1
        if rule.kind == "drop_connection":
            raise _Dropped
        if rule.kind == "reply_status":
            code = RATE_LIMITED if rule.params["status"] == 429 else INTERNAL
            raise ApiError(rule.params["status"], code, rule.params["reason"], rule.params["retry_after"])
        await asyncio.sleep(rule.params["seconds"])

    async def _after(self, known: dict[str, tuple[str, ...]], answer: Any) -> Response:
        rule = self._controls.faults.strike(faults.ANSWER, **known)
        if rule is None:
            return JSONResponse(answer)
        self._controls.counters[f"fault_{rule.kind}"] += 1
        if rule.kind == "lose_answer":
            raise _Dropped
        if rule.kind == "bad_answer":
            return HTMLResponse("<html><body>One moment, please.</body></html>")
        if rule.kind == "partial_answer" and "tasks" in answer:
            missing = rule.params["missing"]
            answer = {**answer, "tasks": {function: ids[:max(0, len(ids) - missing)] for function, ids in answer["tasks"].items()}}
        if rule.kind == "delay_answer":
            await asyncio.sleep(rule.params["seconds"])
        return JSONResponse(answer)


async def _drop(scope: Scope, receive: Receive) -> None:
    scope["extensions"]["drop"]()
    # The server takes a return without an answer for a failure of ours unless it knows that the connection is gone.
    while (await receive())["type"] != "http.disconnect":
        pass


def build(routes: Routes, admin: AdminRoutes, authenticator: Authenticator, controls: Controls, port: int) -> ASGIApp:
    """Put the application together."""

    async def unknown(call: Call) -> Any:
        raise ApiError(404, MALFORMED, "There is no such route")

    table: list[BaseRoute] = [Mount("/_admin", routes=admin.routes())]
    table += [Route(route.path, Endpoint(route, authenticator, controls), methods=[route.method]) for route in routes.table()]
    anything = ApiRoute("unknown", "", "/{path:path}", unknown)
    table.append(Route(anything.path, Endpoint(anything, authenticator, controls)))
    controls.faults.routes |= {anything.name, *(route.name for route in routes.table())}
    return Gate(Starlette(routes=table), port)
