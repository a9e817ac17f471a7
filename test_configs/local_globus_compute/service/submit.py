"""POST /v3/endpoints/{id}/submit: from a request to tasks in a child's queue."""
from __future__ import annotations

import asyncio
import json
import logging
import uuid
from typing import Any

from . import faults, messages
from .agents import Agents
from .broker import Broker, BrokerError, Outgoing
from .config import Client
from .errors import (
    FUNCTION_NOT_PERMITTED,
    TASK_GROUP_NOT_FOUND,
    ApiError,
    endpoint_forbidden,
    endpoint_not_found,
    function_forbidden,
    function_not_found,
)
from .results import Results
from .schemas import Submission
from .state import Controls
from .storage import Storage

log = logging.getLogger(__name__)


class Submitter:
    """Accepts batches of tasks.

    Parameters
    ----------
    storage, broker, agents, results, controls
        The service's parts.
    """

    def __init__(self, storage: Storage, broker: Broker, agents: Agents, results: Results, controls: Controls) -> None:
        self._storage = storage
        self._broker = broker
        self._agents = agents
        self._results = results
        self._controls = controls

    async def submit(self, client: Client, endpoint_id: str, submission: Submission) -> dict[str, Any]:
        """Queue all tasks of the batch or none; raises :class:`ApiError`."""
        code = self._functions(client, endpoint_id, submission)
        group_id = self._group(client, submission)
        child_id = await self._agents.child(endpoint_id, client.identity, submission.user_endpoint_config or {}, submission.user_runtime or {})
        if submission.create_queue:
            await self._broker.ensure(self._broker.names.group(group_id), messages.RESULT_QUEUE_ARGUMENTS)

        queue = self._broker.names.tasks(child_id)
        answer: dict[str, list[str]] = {}
        queued: list[Outgoing] = []
        for function, payloads in submission.tasks.items():
            task_ids = [str(uuid.uuid4()) for _ in payloads]
            answer[str(function)] = task_ids
            queued += [self._message(queue, submission, task_id, str(function), code[str(function)], payload)
                       for task_id, payload in zip(task_ids, payloads)]
        pairs = [(task_id, function_id) for function_id, task_ids in answer.items() for task_id in task_ids]
        all_ids = [task_id for task_id, _ in pairs]

        # Stored before queued: a result must find its task.
        self._storage.add_tasks(group_id, client.identity, submission.create_queue, child_id, pairs)
        rule = self._controls.faults.strike(
            faults.SUBMIT, route=("submit",), method=("POST",), endpoint_id=(endpoint_id,), client_id=(client.client_id,))
        published = self._results.watch(all_ids) if rule else None
        try:
            await self._agents.queue_tasks(child_id, queued)
        except BrokerError:
            self._storage.remove_tasks(all_ids)
            self._results.unwatch(all_ids)
            raise
        self._controls.counters["submissions"] += 1
        self._controls.counters["tasks_submitted"] += len(pairs)
        if rule and published:
            await self._hold(rule, published, all_ids)
        return {"tasks": answer, "task_group_id": group_id, "request_id": str(uuid.uuid4()), "endpoint_id": endpoint_id}

    def _functions(self, client: Client, endpoint_id: str, submission: Submission) -> dict[str, str]:
        endpoint = self._storage.endpoint(endpoint_id)
        if endpoint is None:
            raise endpoint_not_found(endpoint_id)
        if not endpoint.open_to(client.identity):
            raise endpoint_forbidden(endpoint_id)
        code = {}
        allowed = endpoint.registration.get("allowed_functions")
        for function_id in map(str, submission.tasks):
            function = self._storage.function(function_id)
            if function is None:
                raise function_not_found(function_id)
            if not function.open_to(client.identity):
                raise function_forbidden(function_id)
            code[function_id] = function.code
            if allowed is not None and function_id not in allowed:
                raise ApiError(403, FUNCTION_NOT_PERMITTED, f"Function {function_id} not permitted on endpoint {endpoint_id}")
        return code

    def _group(self, client: Client, submission: Submission) -> str:
        if submission.task_group_id is None:
            return str(uuid.uuid4())
        group_id = str(submission.task_group_id)
        if self._storage.group_identity(group_id) != client.identity:
            raise ApiError(404, TASK_GROUP_NOT_FOUND, f"Task Group {group_id} could not be resolved")
        return group_id

    @staticmethod
    def _message(queue: str, submission: Submission, task_id: str, function_id: str, code: str, payload: str) -> Outgoing:
        headers: dict[str, Any] = {"function_uuid": function_id, "task_uuid": task_id}
        if submission.resource_specification:
            headers["resource_specification"] = json.dumps(submission.resource_specification)
        if submission.result_serializers:
            headers["result_serializers"] = submission.result_serializers
        return Outgoing(queue, messages.task(task_id, code, payload), headers)

    async def _hold(self, rule: faults.Rule, published: asyncio.Queue[None], task_ids: list[str]) -> None:
        """Keep the answer back until results were published, or the rule's deadline is over."""
        self._controls.counters[f"fault_{rule.kind}"] += 1

        async def enough() -> None:
            for _ in range(min(rule.params["results"], len(task_ids))):
                await published.get()

        try:
            await asyncio.wait_for(enough(), rule.params["deadline_seconds"])
        except asyncio.TimeoutError:
            self._controls.counters[f"fault_{rule.kind}_gave_up"] += 1
            log.warning("no result in %s s; answering the submission without", rule.params["deadline_seconds"])
        finally:
            self._results.unwatch(task_ids)
