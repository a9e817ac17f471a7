"""The Compute API and Globus Auth routes, apart from submission."""
from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from . import auth, faults, messages
from .agents import Agents
from .auth import Authenticator
from .broker import Broker
from .config import Client
from .errors import (
    ENDPOINT_LOCKED,
    TASK_GROUP_NOT_FOUND,
    TASK_NOT_FOUND,
    ApiError,
    endpoint_forbidden,
    endpoint_not_found,
    function_forbidden,
    function_not_found,
)
from .schemas import (
    EndpointRegistration,
    FunctionRegistration,
    Submission,
    TaskIds,
    parse,
)
from .state import Controls
from .storage import Endpoint, Function, Outcome, Storage
from .submit import Submitter

MINIMUM_VERSION = "2.0.0"
LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Call:
    """One authorised request: who sent it, the id in its path (if the route has one), query and body.

    `authorization` is the raw header, for the token route, where `client` is None.
    """

    client: Client | None
    id: str
    query: str
    body: bytes
    authorization: str | None

    @property
    def sender(self) -> Client:
        """The client; only the token route is without one."""
        assert self.client is not None
        return self.client


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class ApiRoute:
    """One route. `server` is the resource server whose tokens it takes (None: the token route, which takes none);
    the request limit applies to those of Compute.
    """

    name: str
    method: str
    path: str
    handler: Handler
    server: str | None = auth.COMPUTE


class Routes:
    """All routes and what they do.

    Parameters
    ----------
    authenticator, storage, broker, agents, submitter, controls
        The service's parts.
    """

    def __init__(
        self, authenticator: Authenticator, storage: Storage, broker: Broker, agents: Agents, submitter: Submitter, controls: Controls
    ) -> None:
        self._authenticator = authenticator
        self._storage = storage
        self._broker = broker
        self._agents = agents
        self._submitter = submitter
        self._controls = controls

    def table(self) -> list[ApiRoute]:
        """The routes."""
        return [
            ApiRoute("token", "POST", "/v2/oauth2/token", self._token, None),
            ApiRoute("userinfo", "GET", "/v2/oauth2/userinfo", self._userinfo, auth.AUTH),
            ApiRoute("identities", "GET", "/v2/api/identities", self._identities, auth.AUTH),
            ApiRoute("version", "GET", "/v2/version", self._version),
            ApiRoute("register_function", "POST", "/v3/functions", self._register_function),
            ApiRoute("function", "GET", "/v2/functions/{id}", self._function),
            ApiRoute("delete_function", "DELETE", "/v2/functions/{id}", self._delete_function),
            ApiRoute("submit", "POST", "/v3/endpoints/{id}/submit", self._submit),
            ApiRoute("result_queue", "GET", "/v2/get_amqp_result_connection_url", self._result_queue),
            ApiRoute("endpoint_status", "GET", "/v2/endpoints/{id}/status", self._endpoint_status),
            ApiRoute("endpoints", "GET", "/v2/endpoints", self._endpoints),
            ApiRoute("endpoint", "GET", "/v2/endpoints/{id}", self._endpoint),
            ApiRoute("delete_endpoint", "DELETE", "/v2/endpoints/{id}", self._delete_endpoint),
            ApiRoute("register_endpoint", "POST", "/v3/endpoints", self._register_endpoint),
            ApiRoute("update_endpoint", "PUT", "/v3/endpoints/{id}", self._update_endpoint),
            ApiRoute("lock_endpoint", "POST", "/v3/endpoints/{id}/lock", self._lock_endpoint),
            ApiRoute("allowed_functions", "GET", "/v3/endpoints/{id}/allowed_functions", self._allowed_functions),
            ApiRoute("task", "GET", "/v2/tasks/{id}", self._task),
            ApiRoute("batch_status", "POST", "/v2/batch_status", self._batch_status),
            ApiRoute("task_group", "GET", "/v2/taskgroup/{id}", self._task_group),
        ]

    # Globus Auth

    async def _token(self, call: Call) -> Any:
        form = dict(parse_qsl(call.body.decode("utf-8", "replace")))
        return self._authenticator.grant(call.authorization, form)

    async def _userinfo(self, call: Call) -> Any:
        identity = call.sender.identity
        name = messages.username(identity)
        return {"sub": identity, "preferred_username": name, "identity_set": [{"sub": identity, "username": name}]}

    async def _identities(self, call: Call) -> Any:
        wanted = dict(parse_qsl(call.query)).get("ids", "").split(",")
        known = self._authenticator.identities()
        return {"identities": [
            {"id": identity, "username": messages.username(identity), "status": "used"} for identity in wanted if identity in known]}

    # functions

    async def _version(self, call: Call) -> Any:
        return {"api": MINIMUM_VERSION, "min_sdk_version": MINIMUM_VERSION, "min_ep_version": MINIMUM_VERSION}

    async def _register_function(self, call: Call) -> Any:
        registration = parse(FunctionRegistration, call.body)
        code = registration.function_code
        if not registration.serialized:
            code = messages.source_code_buffer(registration.function_name, code)
        function_id = str(uuid.uuid4())
        self._storage.add_function(function_id, call.sender.identity, registration.function_name, code, registration.model_dump(mode="json"))
        return {"function_uuid": function_id}

    async def _function(self, call: Call) -> Any:
        function = self._function_of(call)
        if not function.open_to(call.sender.identity):
            raise function_forbidden(call.id)
        return {**function.registration, "function_uuid": call.id}

    async def _delete_function(self, call: Call) -> Any:
        if self._function_of(call).identity != call.sender.identity:
            raise function_forbidden(call.id)
        self._storage.delete_function(call.id)
        return {"result": 302}

    def _function_of(self, call: Call) -> Function:
        function = self._storage.function(call.id)
        if function is None:
            raise function_not_found(call.id)
        return function

    # endpoints

    async def _submit(self, call: Call) -> Any:
        return await self._submitter.submit(call.sender, call.id, parse(Submission, call.body))

    async def _result_queue(self, call: Call) -> Any:
        return {"queue_prefix": self._broker.names.group_prefix, "connection_url": self._broker.url}

    async def _endpoint_status(self, call: Call) -> Any:
        if not self._agents.knows(call.id):
            raise endpoint_not_found(call.id)
        endpoint = self._storage.endpoint(self._agents.parent_of(call.id) or call.id)
        if endpoint is not None and not endpoint.open_to(call.sender.identity):
            raise endpoint_forbidden(call.id)
        rule = self._controls.faults.strike(faults.STATUS, route=("endpoint_status",), method=("GET",), endpoint_id=(call.id,),
                                            client_id=(call.sender.client_id,))
        if rule:
            self._controls.counters[f"fault_{rule.kind}"] += 1
        status = rule.params["status"] if rule else "online" if self._agents.is_online(call.id) else "offline"
        return {"status": status, "details": self._agents.details(call.id)}

    async def _endpoints(self, call: Call) -> Any:
        role = dict(parse_qsl(call.query)).get("role", "owner")
        identity = call.sender.identity
        return [self._describe(endpoint) for endpoint in self._storage.endpoints() if role == "any" or endpoint.identity == identity]

    async def _endpoint(self, call: Call) -> Any:
        parent_id = self._agents.parent_of(call.id)
        if parent_id is not None:
            return {"uuid": call.id, "name": f"uep.{parent_id}.{call.id}", "parent": parent_id}
        return self._describe(self._registered(call))

    async def _delete_endpoint(self, call: Call) -> Any:
        await self._agents.delete(self._owned(call))
        return {"result": "deleted"}

    async def _register_endpoint(self, call: Call) -> Any:
        registration = parse(EndpointRegistration, call.body)
        return await self._agents.register(str(uuid.uuid4()), call.sender.identity, registration.model_dump(mode="json"))

    async def _update_endpoint(self, call: Call) -> Any:
        registration = parse(EndpointRegistration, call.body)
        endpoint = self._owned(call)
        if endpoint.locked_until > time.time():
            raise ApiError(423, ENDPOINT_LOCKED, f"Endpoint {call.id} is locked; it was stopped remotely. Try again later")
        return await self._agents.register(call.id, endpoint.identity, registration.model_dump(mode="json"))

    async def _lock_endpoint(self, call: Call) -> Any:
        endpoint = self._owned(call)
        until = time.time() + LOCK_SECONDS
        self._storage.lock_endpoint(call.id, until)
        await self._agents.drop(endpoint)
        return {"endpoint_id": call.id, "lock_expiration_timestamp": int(until)}

    async def _allowed_functions(self, call: Call) -> Any:
        allowed = self._registered(call).registration.get("allowed_functions")
        return {"restricted": allowed is not None, "functions": allowed or []}

    def _registered(self, call: Call) -> Endpoint:
        endpoint = self._storage.endpoint(call.id)
        if endpoint is None:
            raise endpoint_not_found(call.id)
        return endpoint

    def _owned(self, call: Call) -> Endpoint:
        endpoint = self._registered(call)
        if endpoint.identity != call.sender.identity:
            raise endpoint_forbidden(call.id)
        return endpoint

    def _describe(self, endpoint: Endpoint) -> dict[str, Any]:
        registration = endpoint.registration
        return {
            "uuid": endpoint.endpoint_id,
            "name": registration["endpoint_name"],
            "display_name": registration.get("display_name"),
            "multi_user": registration.get("multi_user", False),
            "owner_id": endpoint.identity,
            "metadata": registration.get("metadata") or {},
        }

    # tasks

    async def _task(self, call: Call) -> Any:
        found = self._outcomes(call, [call.id])
        if not found:
            raise ApiError(404, TASK_NOT_FOUND, f"Task {call.id} could not be resolved")
        return found[call.id]

    async def _batch_status(self, call: Call) -> Any:
        wanted = [str(task_id) for task_id in parse(TaskIds, call.body).task_ids]
        # Tasks that do not exist are left out; the SDK looks out for that.
        return {"response": "batch", "results": self._outcomes(call, wanted)}

    async def _task_group(self, call: Call) -> Any:
        if self._storage.group_identity(call.id) != call.sender.identity:
            raise ApiError(404, TASK_GROUP_NOT_FOUND, f"Task Group {call.id} could not be resolved")
        return {"taskgroup_id": call.id, "tasks": [{"id": task_id} for task_id in self._storage.tasks_of_group(call.id)]}

    def _outcomes(self, call: Call, task_ids: list[str]) -> dict[str, dict[str, Any]]:
        return {outcome.task_id: _describe_outcome(outcome) for outcome in self._storage.outcomes(task_ids)
                if self._storage.group_identity(outcome.group_id) == call.sender.identity}


def _describe_outcome(outcome: Outcome) -> dict[str, Any]:
    if outcome.body is None:
        return {"task_id": outcome.task_id, "status": "pending", "completion_t": None}
    data = messages.unpack(outcome.body, "result")
    status, key = ("failed", "exception") if outcome.failed else ("success", "result")
    answer = {"task_id": outcome.task_id, "status": status, "completion_t": str(outcome.completed), "details": data.get("details")}
    return {**answer, key: data["data"]}
