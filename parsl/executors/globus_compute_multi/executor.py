"""The executor: the only place that knows all parts."""
from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import uuid
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import typeguard

from parsl.data_provider.staging import Staging
from parsl.errors import OptionalModuleMissing
from parsl.executors.base import ParslExecutor
from parsl.executors.globus_compute_multi.endpoint import (
    Endpoint,
    check_count,
    check_endpoints,
)
from parsl.executors.globus_compute_multi.errors import (
    CredentialsMissing,
    EndpointConfigurationError,
    ExecutorNotRunning,
    ServiceUnavailable,
    TaskTooLarge,
    UnknownEndpoint,
)
from parsl.executors.globus_compute_multi.resources import SpecificationReader
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from parsl.monitoring.radios.base import RadioConfig
from parsl.serialize import pack_apply_message
from parsl.utils import RepresentationMixin

try:
    import globus_sdk
    from globus_compute_sdk import Client

    from parsl.executors.globus_compute_multi.compute.backoff import Backoff
    from parsl.executors.globus_compute_multi.compute.dispatcher import Dispatcher
    from parsl.executors.globus_compute_multi.compute.envelope import (
        BATCH_OVERHEAD_BYTES,
        wire_size,
    )
    from parsl.executors.globus_compute_multi.compute.governor import (
        Governor,
        governor_for,
    )
    from parsl.executors.globus_compute_multi.compute.matching import Matcher
    from parsl.executors.globus_compute_multi.compute.messages import (
        NewTask,
        StatusAnswered,
    )
    from parsl.executors.globus_compute_multi.compute.result_stream import ResultStream
    from parsl.executors.globus_compute_multi.compute.service import (
        MalformedAnswer,
        Service,
        explain,
        retry_after,
    )
    from parsl.executors.globus_compute_multi.compute.status_poller import StatusPoller
    from parsl.executors.globus_compute_multi.observe.runlog import RunLog
    from parsl.executors.globus_compute_multi.owner import Owner
    from parsl.executors.globus_compute_multi.resolver import Resolver
    _globus_compute_enabled = True
except ImportError as e:
    if (e.name or "").startswith("parsl"):
        raise
    _globus_compute_enabled = False
    _missing = str(e)

logger = logging.getLogger(__name__)

#: Most bytes in one submission (documentation of the hosted service, "Limits").
BATCH_BYTES = 10_000_000

#: Endpoints whose status ``start`` asks for; the others are asked later, so that a large pool does not use up the request budget at once.
_CHECKED_AT_START = 10

_HOW_TO_LOG_IN = ("Run globus_compute_sdk.Client().app.login() in Python once (or 'globus-compute-endpoint login', where the agent is "
                  "installed), or set GLOBUS_COMPUTE_CLIENT_ID and GLOBUS_COMPUTE_CLIENT_SECRET.")

#: Seconds that ``start`` waits for the request budget, if other programs of the user have used it up.
_BUDGET_PATIENCE = 60.0

#: Seconds that shutdown waits for each part.
_SHUTDOWN_PATIENCE = 5.0


class GlobusComputeMultiExecutor(ParslExecutor, RepresentationMixin):
    """Runs tasks on many Globus Compute endpoints at once, as if they were one machine.

    Each task is given to an endpoint only when one of its threads is free (or about to be), so a busy or slow endpoint takes
    fewer tasks, and a task never waits behind one endpoint's queue while another is idle.

    Delivery is at-least-once: after a failure of endpoint or network a task may run twice; its future is completed once.

    Parameters
    ----------
    endpoints : list of Endpoint or str
        The pool: registered endpoints, or their IDs alone.
    client : globus_compute_sdk.Client, optional
        Whose credentials and service are used. Default: the SDK's own, with the user's stored login.
    label : str
        Name of the executor.
    threads_per_endpoint : int
        Tasks that run at once on an endpoint that does not say.
    cores_per_thread : int
        Cores of each thread of an endpoint that does not say.
    failover_attempts : int
        How often a task is tried again, elsewhere if possible, after a failure that is not the app's own. Parsl's ``retries`` come on top.
    prefetch : int, optional
        Most tasks queued ahead on an endpoint for each of its threads; 0: none. Default: as much work as bridges the delays of results
        and requests.
    request_limit : tuple of (int, float), optional
        Requests that the service allows in so many seconds. None: no limit (only on a service of one's own).
    status_interval : float
        Seconds after which the status of an endpoint that has been silent is asked for.
    runner_id : str, optional
        ID of the runner function if it is registered already, for endpoints that allow only listed functions. Default: it is
        registered at start.
    amqp_port : int, optional
        Port of the service's broker (5671, 5672 or 443). Default: the one the service names.
    log_file : str, optional
        Where the run log is written. Default: ``<label>.jsonl`` in Parsl's run directory.
    working_dir : str, optional
        Directory for file staging.
    storage_access : list of parsl.data_provider.staging.Staging, optional
        Staging providers. Default: Parsl's.
    remote_monitoring_radio : RadioConfig, optional
        How tasks send their monitoring data.

    Raises
    ------
    EndpointConfigurationError
        If an argument cannot be used.
    OptionalModuleMissing
        If the Globus Compute SDK is not installed.
    """

    @typeguard.typechecked
    def __init__(
        self,
        endpoints: Sequence[Union[Endpoint, str, uuid.UUID]],
        client: Any = None,
        label: str = "globus_compute_multi",
        threads_per_endpoint: int = 1,
        cores_per_thread: int = 1,
        failover_attempts: int = 2,
        prefetch: Optional[int] = None,
        request_limit: Optional[Tuple[int, Union[int, float]]] = (20, 10.0),
        status_interval: Union[int, float] = 30.0,
        runner_id: Optional[str] = None,
        amqp_port: Optional[int] = None,
        log_file: Union[str, os.PathLike, None] = None,
        working_dir: Union[str, os.PathLike, None] = None,
        storage_access: Optional[List[Any]] = None,
        remote_monitoring_radio: Optional[RadioConfig] = None,
    ) -> None:
        if not _globus_compute_enabled:
            raise OptionalModuleMissing(["globus-compute-sdk>=4.19", "pika"], f"GlobusComputeMultiExecutor needs them, and found: {_missing}")
        super().__init__()
        self.endpoints = check_endpoints(endpoints)
        if client is not None and not isinstance(client, Client):
            raise EndpointConfigurationError(f"client must be a globus_compute_sdk.Client, not {client!r}")
        self.client = client
        if not label or os.sep in label:
            raise EndpointConfigurationError(f"label must be a name that can be one of a file, not {label!r}")
        self.label = label
        self.threads_per_endpoint = check_count("threads_per_endpoint", threads_per_endpoint)
        self.cores_per_thread = check_count("cores_per_thread", cores_per_thread)
        self.failover_attempts = _check_not_negative("failover_attempts", failover_attempts)
        self.prefetch = None if prefetch is None else _check_not_negative("prefetch", prefetch)
        self.request_limit = request_limit
        if request_limit is not None:
            check_count("request_limit[0]", request_limit[0])
            _check_positive("request_limit[1]", request_limit[1])
        self.status_interval = _check_positive("status_interval", status_interval)
        self.runner_id = None if runner_id is None else _check_uuid("runner_id", runner_id)
        if amqp_port is not None and not (0 < amqp_port < 65536 and not isinstance(amqp_port, bool)):
            raise EndpointConfigurationError(f"amqp_port must be a port number, not {amqp_port!r}")
        self.amqp_port = amqp_port
        self.log_file = log_file
        self.working_dir = working_dir
        for provider in storage_access or []:
            if not isinstance(provider, Staging):
                raise EndpointConfigurationError(f"storage_access must be a list of staging providers, and {provider!r} is none")
        self.storage_access = storage_access
        self.remote_monitoring_radio = remote_monitoring_radio

        self._lock = threading.Lock()
        self._state = "not started"  # then "starting", "running", "shut down"
        self._task_ids = itertools.count(1)
        self._specifications = SpecificationReader(label)

    def start(self) -> None:
        """Check credentials, service and endpoints, and start the threads.

        Raises
        ------
        CredentialsMissing, ServiceUnavailable, UnknownEndpoint, OSError
            The last if the run log cannot be written. Nothing is left running then.
        ExecutorNotRunning
            If it was started before.
        """
        with self._lock:
            if self._state != "not started":
                raise ExecutorNotRunning(f"executor {self.label} cannot be started: it is {self._state}; make a new one")
            self._state = "starting"
        try:
            client = self.client if self.client is not None else _stored_login()
            governor = governor_for(client.web_service_address, self.request_limit)
            service = Service(client)
            try:
                runner_id = self.runner_id or _ask(governor, "register the runner function", service.register_runner)
                statuses = [self._first_status(governor, service, endpoint) for endpoint in self.endpoints[:_CHECKED_AT_START]]
            finally:
                service.close()
            self._start_threads(client, governor, runner_id)
        except BaseException:
            with self._lock:
                if self._state == "starting":
                    self._state = "not started"
            raise
        for status in statuses:
            self._owner.post(status)
        with self._lock:
            if self._state == "starting":
                self._state = "running"
                return
        self._stop_threads()  # shutdown came in between

    def submit(self, func: Callable, resource_specification: Dict[str, Any], *args: Any, **kwargs: Any) -> Future:
        """Submit a task to the pool.

        Parameters
        ----------
        func : callable
        resource_specification : dict
            ``cores`` (core requirement) and ``priority`` (lower runs first), both optional.
        args, kwargs
            Arguments of ``func``. They are packed before this returns, so they may be changed afterwards.

        Returns
        -------
        Future
            Completed with the value of ``func``.

        Raises
        ------
        ExecutorNotRunning
            Before ``start`` and after ``shutdown``.
        InvalidResourceSpecification
            Naming the key.
        TaskTooLarge
            If function and arguments are more than the service takes in one submission.
        Exception
            Whatever pickling function or arguments raises.
        """
        requirement = self._specifications.read(resource_specification or {})
        packed = pack_apply_message(func, args, kwargs)
        app = getattr(func, "__name__", type(func).__name__)
        limit = BATCH_BYTES - BATCH_OVERHEAD_BYTES
        if wire_size(packed) > limit:
            raise TaskTooLarge(f"function and arguments of {app} take {wire_size(packed):,} bytes on the wire, and Globus Compute accepts "
                               f"at most {limit:,}. Pass large data as files, or through ProxyStore.")
        future: "Future[Any]" = Future()
        future.set_running_or_notify_cancel()  # a Future's own cancel() would pull it from under the executor
        with self._lock:
            if self._state != "running":
                raise ExecutorNotRunning(f"executor {self.label} is {self._state}; it takes no tasks")
            task_id = next(self._task_ids)
            future.parsl_executor_task_id = task_id  # type: ignore[attr-defined]
            self._owner.post(NewTask(task_id, app, requirement.cores, requirement.priority, packed, future))
        return future

    def shutdown(self) -> None:
        """Fail the tasks that are not finished, stop all threads and close the connections. Does nothing the second time."""
        with self._lock:
            before, self._state = self._state, "shut down"
        if before == "shut down":
            return
        if before == "running":
            self._stop_threads()
        super().shutdown()

    def _start_threads(self, client: "Client", governor: "Governor", runner_id: str) -> None:
        session = uuid.uuid4().hex
        path = Path(self.log_file) if self.log_file is not None else Path(self.run_dir) / f"{self.label}.jsonl"
        endpoint_ids = {str(endpoint.name): endpoint.id for endpoint in self.endpoints}
        specs = [EndpointSpec(str(e.name), e.threads or self.threads_per_endpoint, e.cores_per_thread or self.cores_per_thread)
                 for e in self.endpoints]
        settings = Settings(
            ahead=AheadRule(governor.requests_per_second, self.prefetch),
            batch_bytes=BATCH_BYTES - BATCH_OVERHEAD_BYTES,
            failover_attempts=self.failover_attempts,
            status_interval=self.status_interval,
            status_spacing=governor.status_spacing,
        )
        self._governor = governor
        self._stopping = threading.Event()
        self._run_log = RunLog(path)
        self._resolver = Resolver()
        self._owner = Owner(scheduler=Scheduler(specs, settings), matcher=Matcher(session), governor=governor, resolver=self._resolver,
                            run_log=self._run_log, endpoint_ids=endpoint_ids)
        self._stream = ResultStream(client=client, governor=governor, post=self._owner.post, stopping=self._stopping,
                                    amqp_port=self.amqp_port)
        self._dispatcher = Dispatcher(client=client, runner_id=runner_id, session=session, governor=governor, post=self._owner.post,
                                      on_task_group=self._stream.consume, stopping=self._stopping)
        self._poller = StatusPoller(client=client, endpoint_ids=endpoint_ids, governor=governor, post=self._owner.post,
                                    stopping=self._stopping)
        self._run_log.start(label=self.label, run_id=self.run_id, prefetch=self.prefetch, endpoints=[
            {"endpoint": s.name, "id": endpoint_ids[s.name], "threads": s.threads, "cores": s.cores} for s in specs])
        self._resolver.start()
        self._stream.start()
        self._dispatcher.start()
        self._poller.start()
        self._owner.start(self._dispatcher, self._poller)

    def _stop_threads(self) -> None:
        self._stopping.set()
        self._governor.wake()
        self._dispatcher.stop()
        self._poller.stop()
        self._stream.stop()
        ended = {"scheduler": self._owner.shut_down(_SHUTDOWN_PATIENCE), "resolver": self._resolver.join(_SHUTDOWN_PATIENCE)}
        deadline = time.monotonic() + _SHUTDOWN_PATIENCE
        for part, join in (("status poller", self._poller.join), ("result stream", self._stream.join), ("dispatcher", self._dispatcher.join),
                           ("run log", self._run_log.stop)):
            ended[part] = join(max(0.1, deadline - time.monotonic()))
        late = [part for part, done in ended.items() if not done]
        if late:
            logger.warning("Executor %s shut down; still busy, and left alone: %s", self.label, ", ".join(late))

    def _first_status(self, governor: "Governor", service: "Service", endpoint: Endpoint) -> "StatusAnswered":
        try:
            answer = _ask(governor, f"ask for the status of endpoint {endpoint.name} ({endpoint.id})", service.endpoint_status, endpoint.id)
        except _Refused as e:
            raise UnknownEndpoint(f"Globus Compute does not know endpoint {endpoint.name} ({endpoint.id}), or you may not use it ({e}). "
                                  "'globus-compute-endpoint start' on its machine prints its ID.") from e
        online = answer["status"] == "online"
        if not online:
            logger.warning("Endpoint %s (%s) is offline; it gets no tasks until it is back", endpoint.name, endpoint.id)
        return StatusAnswered(str(endpoint.name), None, online)


class _Refused(ServiceUnavailable):
    """The service answered 403 or 404."""


def _ask(governor: "Governor", what: str, request: Callable[..., Any], *args: Any) -> Any:
    """Send a request at start, and turn its failure into an error that says what to do.

    Only 429 is waited out: the budget is one for all programs of the user, and others may have used it up.
    """
    backoff, deadline = Backoff(), time.monotonic() + _BUDGET_PATIENCE
    while True:
        try:
            with governor.permit(threading.Event()):  # nobody can stop it yet
                return request(*args)
        except globus_sdk.GlobusAPIError as e:
            wait = backoff.next(retry_after(e))
            if e.http_status != 429 or time.monotonic() + wait > deadline:
                raise _start_error(what, e) from e
            time.sleep(wait)
        except (globus_sdk.NetworkError, MalformedAnswer) as e:
            raise _start_error(what, e) from e


def _start_error(what: str, error: Exception) -> Exception:
    reason = f"cannot {what}: {explain(error)}"
    if not isinstance(error, globus_sdk.GlobusAPIError):
        return ServiceUnavailable(f"{reason}. Check the network, and https://status.globus.org.")
    if error.http_status == 401:
        return CredentialsMissing(f"{reason}. The service does not accept the credentials. {_HOW_TO_LOG_IN}")
    return _Refused(reason) if error.http_status in (403, 404) else ServiceUnavailable(reason)


def _stored_login() -> "Client":
    """The SDK's own client, provided that nobody has to be asked to log in: a workflow may run where nobody sees the question."""
    client = Client(do_version_check=False)
    if isinstance(client.app, globus_sdk.UserApp) and client.app.login_required():
        raise CredentialsMissing(f"there is no login for Globus Compute. {_HOW_TO_LOG_IN}")
    return client


def _check_not_negative(what: str, value: int) -> int:
    if isinstance(value, bool) or value < 0:
        raise EndpointConfigurationError(f"{what} must be a whole number of at least 0, not {value!r}")
    return value


def _check_positive(what: str, value: Union[int, float]) -> float:
    if isinstance(value, bool) or not 0 < value < float("inf"):
        raise EndpointConfigurationError(f"{what} must be a positive number, not {value!r}")
    return value


def _check_uuid(what: str, value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise EndpointConfigurationError(f"{what} must be a UUID, not {value!r}") from None
