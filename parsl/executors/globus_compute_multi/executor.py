"""The executor: the only place that knows all parts."""
from __future__ import annotations

import itertools
import logging
import os
import random
import threading
import uuid
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import typeguard

from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.ftp import FTPInTaskStaging
from parsl.data_provider.http import HTTPInTaskStaging
from parsl.data_provider.zip import ZipFileStaging
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import TaskRecord
from parsl.errors import OptionalModuleMissing
from parsl.executors.base import ParslExecutor
from parsl.executors.globus_compute_multi.arguments import (
    check_count,
    check_not_negative,
    check_path,
    check_positive,
    check_staging,
    check_uuid,
    pack_task,
    shown,
)
from parsl.executors.globus_compute_multi.asking import Asking
from parsl.executors.globus_compute_multi.endpoint import Endpoint, check_endpoints
from parsl.executors.globus_compute_multi.errors import (
    EndpointConfigurationError,
    ExecutorNotRunning,
    TaskTooLarge,
)
from parsl.executors.globus_compute_multi.monitoring import ResultRadio, check_radio
from parsl.executors.globus_compute_multi.observe.live import LiveView, need_rich
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.executors.globus_compute_multi.observe.results import GivesResults
from parsl.executors.globus_compute_multi.resources import SpecificationReader
from parsl.executors.globus_compute_multi.scheduling.policy import (
    EarliestFinish,
    Policy,
)
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from parsl.executors.globus_compute_multi.workflow import (
    Announced,
    Left,
    Workflow,
)
from parsl.monitoring.radios.base import RadioConfig
from parsl.utils import RepresentationMixin

try:
    from globus_compute_sdk import Client

    from parsl.executors.globus_compute_multi.compute.envelope import (
        BATCH_OVERHEAD_BYTES,
        wire_size,
    )
    from parsl.executors.globus_compute_multi.compute.governor import (
        Governor,
        governor_for,
    )
    from parsl.executors.globus_compute_multi.compute.service import Service
    from parsl.executors.globus_compute_multi.compute.startup import (
        first_status,
        register_runner,
        stored_login,
    )
    from parsl.executors.globus_compute_multi.messages import NewTask, TaskInfo
    from parsl.executors.globus_compute_multi.parts import Parts
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


class GlobusComputeMultiExecutor(Asking, GivesResults, ParslExecutor, RepresentationMixin):
    """Runs tasks on many Globus Compute endpoints at once, as if they were one machine.

    Each task is given to an endpoint only when one of its threads is free (or about to be), so a busy or slow endpoint takes
    fewer tasks, and a task never waits behind one endpoint's queue while another is idle. Tasks on which much of the workflow waits
    go first, where Parsl's DataFlowKernel tells the executor the dependencies.

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
        Tasks that run at once on an endpoint for which no threads are given, until it has told how many workers it has.
    cores_per_thread : int
        Cores of each thread of an endpoint that does not say.
    policy : Policy, optional
        Which of the threads that could run a task it is given to. Default: :class:`EarliestFinish`.
    redispatch : bool
        Whether tasks may run twice: those that are lost with their endpoint are tried elsewhere, and those that wait on one which is late to
        start (behind a batch queue, say) are started elsewhere as well, when threads there have nothing else to do; the first result counts.
        If not, what may be lost is a :class:`TaskLost` error. A task may say otherwise in its resource specification.
    failover_attempts : int
        How often a task is tried again, elsewhere if possible, after a failure that is not the app's own. Parsl's ``retries`` come on top.
    silence_seconds : float, optional
        How long an endpoint may be silent, beyond what its tasks are expected to take, before they are taken to be lost and it is left alone
        (only if they can go where tasks are known to run, while it has sent nothing at all yet). None: for ever. An endpoint of which the
        service says that it is dead is not waited for.
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
        Staging providers. Default: those of Parsl's that transfer a file within the task that needs it, since a task of its own for
        that could run on another endpoint.
    remote_monitoring_radio : RadioConfig, optional
        How tasks send their monitoring data. Default: with their results.
    response_queue : object, optional
        Gets a copy of each :class:`ResultRecord`, by its ``put``. What it does not take in time is dropped, and said: of a queue of
        :mod:`multiprocessing`, at most 10,000 records or 100 MB may be unread.
    aggregate_results : bool
        Whether the values of all tasks are kept for :meth:`values`.
    progress : bool
        Whether the terminal, if there is one, shows how the workflow goes on (rich must be installed). Subprocesses may write over it.

    Raises
    ------
    EndpointConfigurationError
        If an argument cannot be used.
    OptionalModuleMissing
        If the Globus Compute SDK is not installed.
    """

    observes_tasks = True

    @typeguard.typechecked
    def __init__(
        self,
        endpoints: Sequence[Union[Endpoint, str, uuid.UUID]],
        client: Any = None,
        label: str = "globus_compute_multi",
        threads_per_endpoint: int = 1,
        cores_per_thread: int = 1,
        policy: Optional[Policy] = None,
        redispatch: bool = True,
        failover_attempts: int = 2,
        silence_seconds: Union[int, float, None] = 60.0,
        prefetch: Optional[int] = None,
        request_limit: Optional[Tuple[int, Union[int, float]]] = (20, 10.0),
        status_interval: Union[int, float] = 30.0,
        runner_id: Optional[str] = None,
        amqp_port: Optional[int] = None,
        log_file: Union[str, os.PathLike, None] = None,
        working_dir: Union[str, os.PathLike, None] = None,
        storage_access: Optional[List[Any]] = None,
        remote_monitoring_radio: Optional[RadioConfig] = None,
        response_queue: Any = None,
        aggregate_results: bool = False,
        progress: bool = False,
    ) -> None:
        if not _globus_compute_enabled:
            raise OptionalModuleMissing(["globus-compute-sdk>=4.19", "pika"], f"GlobusComputeMultiExecutor needs them, and found: {_missing}")
        super().__init__()
        self.endpoints = check_endpoints(endpoints)
        if client is not None and not isinstance(client, Client):
            raise EndpointConfigurationError(f"client must be a globus_compute_sdk.Client, not {shown(client)}")
        self.client = client
        if not label or os.sep in label or "\0" in label:
            raise EndpointConfigurationError(f"label must be a name that can be one of a file, not {shown(label)}")
        self.label = label
        self.threads_per_endpoint = check_count("threads_per_endpoint", threads_per_endpoint)
        self.cores_per_thread = check_count("cores_per_thread", cores_per_thread)
        self.policy = policy if policy is not None else EarliestFinish()
        self.redispatch = redispatch
        self.failover_attempts = check_not_negative("failover_attempts", failover_attempts)
        self.silence_seconds = None if silence_seconds is None else check_positive("silence_seconds", silence_seconds)
        self.prefetch = None if prefetch is None else check_not_negative("prefetch", prefetch)
        self.request_limit = request_limit
        if request_limit is not None:
            check_count("request_limit[0]", request_limit[0])
            check_positive("request_limit[1]", request_limit[1])
        self.status_interval = check_positive("status_interval", status_interval)
        self.runner_id = None if runner_id is None else check_uuid("runner_id", runner_id)
        if amqp_port is not None and not (0 < amqp_port < 65536 and not isinstance(amqp_port, bool)):
            raise EndpointConfigurationError(f"amqp_port must be a port number, not {shown(amqp_port)}")
        self.amqp_port = amqp_port
        if log_file is not None:
            check_path("log_file", log_file)
        self.log_file = log_file
        self.working_dir = working_dir
        self.storage_access: List[Any] = check_staging(storage_access) if storage_access is not None else [
            NoOpFileStaging(), FTPInTaskStaging(), HTTPInTaskStaging(), ZipFileStaging()]
        self.remote_monitoring_radio = ResultRadio() if remote_monitoring_radio is None else check_radio(remote_monitoring_radio)

        self.response_queue = response_queue
        self.aggregate_results = aggregate_results
        self._records = Records(response_queue, aggregate_results)
        self.progress = progress
        if progress:
            need_rich()
        self._view: Optional[LiveView] = None

        self._lock = threading.RLock()  # garbage collection may run code of the user's anywhere, which may call us
        self._state = "not started"  # then "starting", "running", "shut down"
        self._task_ids = itertools.count(1)
        classes = [c for e in self.endpoints for c in e.thread_classes(self.threads_per_endpoint, self.cores_per_thread)]
        self._specifications = SpecificationReader(
            label, {str(e.name) for e in self.endpoints}, {c.config_text for c in classes if c.config_text is not None})
        self._filesystems = {str(e.name): e.filesystem or f"own file system of {e.name}" for e in self.endpoints}
        self._workflow = Workflow(self._post_if_running, label)

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
            client = self.client if self.client is not None else stored_login()
            governor = governor_for(client.web_service_address, self.request_limit)
            service = Service(client)
            try:
                runner_id = self.runner_id or register_runner(governor, service)
                statuses = [first_status(governor, service, str(endpoint.name), endpoint.id) for endpoint in self.endpoints[:_CHECKED_AT_START]]
            finally:
                service.close()
            self._start_threads(client, governor, runner_id)
        except BaseException:
            with self._lock:
                if self._state == "starting":
                    self._state = "not started"
            raise
        for status in statuses:
            self._parts.post(status)
        with self._lock:
            if self._state == "starting":
                self._state = "running"
                return
        self._parts.stop()  # shutdown came in between

    def submit(self, func: Callable, resource_specification: Dict[str, Any], *args: Any, **kwargs: Any) -> Future:
        """Submit a task to the pool.

        Parameters
        ----------
        func : callable
        resource_specification : dict
            All optional: ``cores`` (core requirement), ``priority`` (lower runs first), ``estimated_seconds`` (run time on an endpoint of speed
            1), ``endpoints`` (names of those that it is restricted to), ``user_endpoint_config`` (of the thread class that it is restricted to),
            ``redispatch`` (whether it may be started a second time; default: the executor's), and the MPI keys ``num_nodes``,
            ``ranks_per_node``, ``num_ranks``, ``launcher_options``.
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
        FilesNotShared
            If its input files lie in several file-system groups.
        TaskTooLarge
            If function and arguments are more than the service takes in one submission.
        TaskNotPickled
            If function or arguments do not pickle, naming which.
        """
        submission = self._workflow.take_submitted()
        requirement = self._specifications.read({} if resource_specification is None else resource_specification)
        app = submission.app if submission is not None else getattr(func, "__name__", type(func).__name__)
        packed = pack_task(app, func, args, kwargs)
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
            if submission is None:
                task = NewTask(TaskInfo(task_id, app), requirement, None, (), packed, future)
            else:
                info = TaskInfo(task_id, app, submission.node, submission.try_id)
                task = NewTask(info, requirement, submission.filesystem, submission.parents, packed, future)
            self._parts.post(task)
        return future

    def task_state_changed(self, task_record: TaskRecord, new_state: States) -> None:
        """Learn of the workflow; called by the DataFlowKernel."""
        self._workflow.state_changed(task_record, new_state)

    def task_submitting(self, task_record: TaskRecord, try_id: int) -> None:
        """Learn what the next ``submit`` is for; called by the DataFlowKernel."""
        self._workflow.submitting(task_record, try_id)

    def _post_if_running(self, message: Union[Announced, Left]) -> None:
        if self._state == "running":
            self._parts.post(message)

    def shutdown(self) -> None:
        """Fail the tasks that are not finished, stop all threads and close the connections. Does nothing the second time."""
        with self._lock:
            before, self._state = self._state, "shut down"
        if before == "shut down":
            return
        if before == "running":
            self._parts.stop()
        self._records.close()
        if self._view is not None:
            self._view.stop()
        super().shutdown()

    def _start_threads(self, client: "Client", governor: "Governor", runner_id: str) -> None:
        endpoint_ids = {str(endpoint.name): endpoint.id for endpoint in self.endpoints}
        specs = [endpoint.spec(self.threads_per_endpoint, self.cores_per_thread, self._filesystems[str(endpoint.name)])
                 for endpoint in self.endpoints]
        settings = Settings(
            ahead=AheadRule(governor.requests_per_second, self.prefetch),
            batch_bytes=BATCH_BYTES - BATCH_OVERHEAD_BYTES,
            failover_attempts=self.failover_attempts,
            redispatch=self.redispatch,
            silence=self.silence_seconds,
            random=random.random,
            status_interval=self.status_interval,
            status_spacing=governor.status_spacing,
        )
        log_path = Path(self.log_file) if self.log_file is not None else Path(self.run_dir) / f"{self.label}.jsonl"
        self._parts = Parts(
            label=self.label, client=client, governor=governor, runner_id=runner_id, scheduler=Scheduler(specs, settings, self.policy),
            endpoint_ids=endpoint_ids, amqp_port=self.amqp_port, log_path=log_path, records=self._records,
            monitor=self.monitoring_messages.put if self.monitoring_messages is not None else None,
            ran_on=lambda node, endpoint: self._workflow.ran_in(node, self._filesystems[endpoint], endpoint))
        # Not upstream: begin
        if not hasattr(ParslExecutor, "task_submitting"):
            self._tell_what_lacks()
        # Not upstream: end
        self._parts.start(specs, label=self.label, run_id=self.run_id, prefetch=self.prefetch, policy=repr(self.policy))
        if self.progress:
            self._view = LiveView(log_path)
            self._view.start()

    # Not upstream: begin
    def _tell_what_lacks(self) -> None:
        logger.info("Executor %s: this Parsl's DataFlowKernel has no hooks, so tasks of equal priority are first come, first served", self.label)
        if len(set(self._filesystems.values())) > 1:
            logger.warning(
                "Executor %s: this Parsl's DataFlowKernel has no hooks, so a task that reads a file which another task has written may run on "
                "an endpoint that does not have it. Restrict such tasks by 'endpoints' in parsl_resource_specification, or give endpoints that "
                "share files the same filesystem=.", self.label)
    # Not upstream: end
