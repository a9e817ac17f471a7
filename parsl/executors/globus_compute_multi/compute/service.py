"""Clients of the service's REST API, made from the user's ``globus_compute_sdk.Client``."""
from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import globus_sdk
from globus_compute_sdk import Client
from globus_compute_sdk.sdk.batch import Batch, create_user_runtime
from globus_compute_sdk.serialize import (
    ComputeSerializer,
    JSONData,
    PureSourceTextInspect,
)
from globus_sdk.transport import RequestsTransport, RetryConfig

from parsl.executors.globus_compute_multi.compute.runner import (
    globus_compute_multi_runner,
)

#: Seconds to wait for an answer, and bytes a second that an upload is given beyond that.
ANSWER_TIMEOUT = 15.0
SLOWEST_UPLOAD = 200_000

_JSON_SERIALIZER = ComputeSerializer(strategy_code=PureSourceTextInspect, strategy_data=JSONData)
_RESULT_SERIALIZERS = [f"{JSONData.__module__}.{JSONData.__name__}"]


class Service:
    """The REST API as the executor needs it: one instance for each thread, and exactly one try for each call.

    Parameters
    ----------
    client : globus_compute_sdk.Client
        Its address and credentials are used, nothing else of it: its own requests are serialised by a lock, and repeated unseen.
    """

    def __init__(self, client: Client) -> None:
        # not app=client.app: each client so made adds to the user's app, and may ask the user to log in on a thread where nobody looks
        authorizer = client.authorizer if client.app is None else client.app.get_authorizer(globus_sdk.ComputeClientV2.scopes.resource_server)
        self._transport = RequestsTransport(http_timeout=ANSWER_TIMEOUT)
        common: Dict[str, Any] = dict(base_url=client.web_service_address, transport=self._transport, authorizer=authorizer)
        self._v2 = globus_sdk.ComputeClientV2(retry_config=RetryConfig(max_retries=0), **common)
        self._v3 = globus_sdk.ComputeClientV3(retry_config=RetryConfig(max_retries=0), **common)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def register_runner(self) -> str:
        """Register the runner, by its source; returns its function ID."""
        code = _JSON_SERIALIZER.pack_buffers([_JSON_SERIALIZER.serialize(globus_compute_multi_runner)])
        runtime = create_user_runtime()
        answer = self._v3.register_function({
            "function_name": globus_compute_multi_runner.__name__,
            "function_code": code,
            "serialized": True,
            "description": "Runs Parsl tasks for GlobusComputeMultiExecutor",
            "meta": {"python_version": runtime.python.version, "sdk_version": runtime.globus_compute_sdk_version,
                     "serde_identifier": PureSourceTextInspect.identifier.strip()},
        })
        with _expected("the registration of the runner function"):
            return str(uuid.UUID(answer["function_uuid"]))

    def endpoint_status(self, endpoint_id: str) -> Dict[str, Any]:
        """Status of an endpoint or child: ``{"status": "online" or "offline", "details": {...}}``."""
        answer = self._v2.get_endpoint_status(endpoint_id).data
        with _expected(f"the status of endpoint {endpoint_id}"):
            return {"status": str(answer["status"]), "details": dict(answer.get("details") or {})}

    def result_queue(self) -> Tuple[str, str]:
        """Address of the broker, credentials included (never to be logged), and prefix of the result queues' names."""
        answer = self._v2.get_result_amqp_url()
        with _expected("the address of the result queue"):
            return str(answer["connection_url"]), str(answer["queue_prefix"])

    def submit(self, endpoint_id: str, runner_id: str, task_group_id: Optional[str],
               arguments: Sequence[Tuple[str, str, int]], user_endpoint_config: Optional[Dict[str, Any]] = None,
               resource_specification: Optional[Dict[str, Any]] = None) -> Tuple[str, List[str]]:
        """Submit a batch of tasks of the runner.

        Parameters
        ----------
        endpoint_id : str
        runner_id : str
            Function ID of the runner.
        task_group_id : str or None
            None: the service makes a new group.
        arguments : sequence of (str, str, int)
            Arguments of the runner, for each task.
        user_endpoint_config : dict, optional
            Values for the endpoint's configuration template: which child runs the batch.
        resource_specification : dict, optional
            MPI keys and values, for all tasks of the batch.

        Returns
        -------
        (str, list of str)
            The task group's ID, and the IDs of the tasks in the order of ``arguments``.

        Raises
        ------
        globus_sdk.GlobusAPIError, globus_sdk.NetworkError
            As the one try ended.
        MalformedAnswer
            If the answer does not tell these.
        """
        batch = Batch(task_group_id, resource_specification, user_endpoint_config, True, serializer=_JSON_SERIALIZER,
                      user_runtime=create_user_runtime(), result_serializers=_RESULT_SERIALIZERS)
        for task in arguments:
            batch.add(runner_id, task)
        upload_seconds = sum(len(packed) for _, packed, _ in arguments) / SLOWEST_UPLOAD
        with self._transport.tune(http_timeout=ANSWER_TIMEOUT + upload_seconds):
            answer = self._v3.submit(endpoint_id, batch.prepare()).data
        with _expected("the answer to a submission"):
            group = str(uuid.UUID(answer["task_group_id"]))
            task_ids = [str(uuid.UUID(task_id)) for task_id in answer["tasks"][runner_id]]
        if len(task_ids) != len(arguments):
            raise MalformedAnswer(f"{len(arguments)} tasks were submitted, and the answer names {len(task_ids)}")
        return group, task_ids


class MalformedAnswer(Exception):
    """The service answered something that its protocol does not foresee."""


@contextmanager
def _expected(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise MalformedAnswer(f"{what} is not as expected ({type(e).__name__}: {e})") from e


def explain(error: Exception) -> str:
    """What a failed request means, in one line for people, without credentials."""
    if isinstance(error, globus_sdk.GlobusAPIError):
        text = "; ".join(error.messages) or (error.raw_json or {}).get("reason") or error.text[:200]
        return f"HTTP {error.http_status}: {text}"
    return f"{type(error).__name__}: {error}"


def retry_after(error: globus_sdk.GlobusAPIError) -> Optional[float]:
    """Seconds after which the service wants to be asked again, if it says so."""
    value = error.headers.get("Retry-After")
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None  # an HTTP date: our own back-off will do
