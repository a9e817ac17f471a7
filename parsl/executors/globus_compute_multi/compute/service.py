"""Clients of the service's REST API, made from the user's ``globus_compute_sdk.Client``."""
from __future__ import annotations

import functools
import math
import os
import ssl
import time
import uuid
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import globus_sdk
from globus_compute_sdk import Client
from globus_compute_sdk.sdk.batch import Batch, UserRuntime, create_user_runtime
from globus_compute_sdk.serialize import (
    ComputeSerializer,
    JSONData,
    PureSourceTextInspect,
)
from globus_sdk.transport import RequestsTransport, RetryConfig
from requests import RequestException
from urllib3.exceptions import (
    ConnectTimeoutError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from parsl.executors.globus_compute_multi.compute.registration import (
    NAME,
    function_code,
)

#: Seconds to wait for an answer, and bytes a second that an upload is given beyond that.
ANSWER_TIMEOUT = 15.0
SLOWEST_UPLOAD = 200_000

HOW_TO_LOG_IN = ("Run globus_compute_sdk.Client().app.login() in Python once (or 'globus-compute-endpoint login', where the agent is "
                 "installed), or set GLOBUS_COMPUTE_CLIENT_ID and GLOBUS_COMPUTE_CLIENT_SECRET.")

_CLIENT_VARIABLES = ("GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET")

_JSON_SERIALIZER = ComputeSerializer(strategy_code=PureSourceTextInspect, strategy_data=JSONData)
_RESULT_SERIALIZERS = [f"{JSONData.__module__}.{JSONData.__name__}"]


def not_accepted() -> str:
    """That credentials are not accepted, and what to do: those in the environment come before the user's login."""
    if all(os.environ.get(name) for name in _CLIENT_VARIABLES):
        return f"the credentials in {' and '.join(_CLIENT_VARIABLES)} are not accepted: correct them, or unset both to use your login"
    return f"the credentials are not accepted. {HOW_TO_LOG_IN}"


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
        self._authorizer = authorizer
        self._transport = RequestsTransport(http_timeout=ANSWER_TIMEOUT)
        common: Dict[str, Any] = dict(base_url=client.web_service_address, transport=self._transport, authorizer=authorizer)
        self._v2 = globus_sdk.ComputeClientV2(retry_config=RetryConfig(max_retries=0), **common)
        self._v3 = globus_sdk.ComputeClientV3(retry_config=RetryConfig(max_retries=0), **common)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def renew_token(self) -> bool:
        """Have the next request bring a fresh token, after the service has refused one; whether there may be one."""
        return self._authorizer is not None and self._authorizer.handle_missing_authorization()

    def register_runner(self) -> str:
        """Register the runner, by its source; returns its function ID."""
        code = _JSON_SERIALIZER.pack_buffers([function_code()])
        answer = self._v3.register_function({
            "function_name": NAME,
            "function_code": code,
            "serialized": True,
            "description": "Runs Parsl tasks for GlobusComputeMultiExecutor",
            "meta": {"python_version": _runtime().python.version, "sdk_version": _runtime().globus_compute_sdk_version,
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

    def task_results(self, task_uuids: Sequence[str]) -> Dict[str, Any]:
        """What the service knows of these tasks, by their IDs; those that it does not know are left out."""
        answer = self._v2.get_task_batch(task_uuids).data
        with _expected("the answer about results"):
            return dict(answer["results"])

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
                      user_runtime=_runtime(), result_serializers=_RESULT_SERIALIZERS)
        for task in arguments:
            batch.add(runner_id, task)
        upload_seconds = sum(len(packed) for _, packed, _ in arguments) / SLOWEST_UPLOAD
        self._transport.http_timeout = ANSWER_TIMEOUT + upload_seconds  # not by tune(), which forgets to undo it after an exception
        try:
            answer = self._v3.submit(endpoint_id, batch.prepare()).data
        finally:
            self._transport.http_timeout = ANSWER_TIMEOUT
        with _expected("the answer to a submission"):
            group = str(uuid.UUID(answer["task_group_id"]))
            task_ids = [str(uuid.UUID(task_id)) for task_id in answer["tasks"][runner_id]]
        if len(task_ids) != len(arguments) or len(set(task_ids)) != len(task_ids):
            raise MalformedAnswer(f"{len(arguments)} tasks were submitted, and the answer names {len(set(task_ids))}")
        if task_group_id is not None and group != task_group_id:
            raise MalformedAnswer(f"tasks were submitted to task group {task_group_id}, and the answer says {group}")
        return group, task_ids


@functools.lru_cache(maxsize=None)
def _runtime() -> UserRuntime:
    """Description of this machine, which takes milliseconds to make."""
    return create_user_runtime()


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
        whose = "Globus Auth answers " if isinstance(error, globus_sdk.AuthAPIError) else ""
        return f"{whose}HTTP {error.http_status}: {' '.join(str(text).split())}"
    if isinstance(error, globus_sdk.NetworkError):
        return f"{type(error).__name__}: {error}, {_told(_root(error.underlying_exception))}"
    return _told(error)


def shows_no_credentials(error: BaseException) -> bool:
    """Whether the text of an error is known to hold none. Others may quote a header with the token, or a proxy's address with its password."""
    if isinstance(error, globus_sdk.NetworkError):
        return shows_no_credentials(_root(error.underlying_exception))
    if isinstance(error, ProxyError):
        return shows_no_credentials(error.original_error)
    return isinstance(error, (MalformedAnswer, globus_sdk.GlobusError, NewConnectionError, ConnectTimeoutError, ReadTimeoutError, SSLError,
                              ProtocolError, OSError)) and not isinstance(error, RequestException)  # which are OSErrors, too


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if shows_no_credentials(error) else type(error).__name__


def http_status(error: globus_sdk.GlobusAPIError) -> int:
    """HTTP status of a failed request to the service.

    The service is not even asked when Globus Auth gives no token for it: a refusal is like one of the token (401), all else like a failure of
    the service (503).
    """
    if isinstance(error, globus_sdk.AuthAPIError):
        return 401 if 400 <= error.http_status < 500 and error.http_status != 429 else 503
    return error.http_status


def not_sent(error: globus_sdk.NetworkError) -> bool:
    """Whether it is sure that the service has not seen the request: there was no connection."""
    if isinstance(error, globus_sdk.GlobusConnectionTimeoutError):
        return True
    cause = _root(error.underlying_exception)
    if isinstance(cause, ProxyError):  # urllib3 says so of whatever breaks behind a proxy, also after the request was sent
        cause = cause.original_error
        if isinstance(cause, OSError) and str(cause).startswith("Tunnel connection failed"):
            return True
    return isinstance(cause, (NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError))


def may_be_on_its_way(error: globus_sdk.NetworkError) -> bool:
    """Whether the service may yet see the request: it was sent, and nothing came back, not even the end of the connection."""
    return isinstance(error, globus_sdk.GlobusTimeoutError) and not not_sent(error)


def _root(error: BaseException) -> BaseException:
    """The error of urllib3 from which ``requests`` made this one."""
    while True:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, Exception):
            return error
        error = inner


def retry_after(error: globus_sdk.GlobusAPIError) -> Optional[float]:
    """Seconds after which the service wants to be asked again, if it says so."""
    value = error.headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):  # or a year that no clock has
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
