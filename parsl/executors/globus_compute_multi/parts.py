"""The threads of an executor that runs."""
from __future__ import annotations

import logging
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.compute.dispatcher import Dispatcher
from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.matching import Matcher
from parsl.executors.globus_compute_multi.compute.result_fetcher import ResultFetcher
from parsl.executors.globus_compute_multi.compute.result_stream import ResultStream
from parsl.executors.globus_compute_multi.compute.status_poller import StatusPoller
from parsl.executors.globus_compute_multi.messages import OwnerMessage
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.executors.globus_compute_multi.observe.runlog import RunLog
from parsl.executors.globus_compute_multi.owner import Owner
from parsl.executors.globus_compute_multi.resolver import Resolver
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.scheduler import Scheduler
from parsl.monitoring.types import TaggedMonitoringMessage
from parsl.version import VERSION

logger = logging.getLogger(__name__)

#: Seconds that stopping takes in all, of which so many are waited for the scheduler at most, and so many are left for what comes after the
#: user's callbacks.
_STOP_SECONDS = 8.0
_SCHEDULER_SECONDS = 3.0
_LAST_SECONDS = 1.0

#: Seconds that are waited for a callback of the user's.
_CALLBACK_PATIENCE = 5.0


class Parts:
    """Makes the threads, ties them together, starts and stops them.

    Parameters
    ----------
    label : str
        Of the executor, for messages.
    client : globus_compute_sdk.Client
    governor : Governor
    runner_id : str
        Function ID of the runner.
    scheduler : Scheduler
    endpoint_ids : dict
        Endpoint IDs by name.
    log_path : Path
        Where the run log is written.
    amqp_port : int or None
        Port of the broker, instead of the one that the service names.
    monitor : callable or None
        Takes the monitoring messages that come with results.
    ran_on : callable
        ``ran_on(node, endpoint)``: told before a task's future is completed.
    records : Records
        Told of all that ends.

    Raises
    ------
    OSError
        If the run log cannot be written.
    """

    def __init__(self, *, label: str, client: Client, governor: Governor, runner_id: str, scheduler: Scheduler, endpoint_ids: Dict[str, str],
                 log_path: Path, amqp_port: Optional[int], monitor: Optional[Callable[[TaggedMonitoringMessage], None]],
                 ran_on: Callable[[int, str], None], records: Records) -> None:
        session = uuid.uuid4().hex
        self._label = label
        self._endpoint_ids = endpoint_ids
        self._governor = governor
        self._stopping = threading.Event()
        self._run_log = RunLog(log_path)
        self._records = records
        records.start(self._run_log.path, self._run_log.epoch, self._run_log.id)
        self._resolver = Resolver(monitor, records)
        self.owner = Owner(scheduler=scheduler, matcher=Matcher(session), governor=governor, resolver=self._resolver, run_log=self._run_log,
                           endpoint_ids=endpoint_ids, ran_on=ran_on, label=label)
        common: Dict[str, Any] = dict(client=client, governor=governor, post=self.owner.post, stopping=self._stopping)
        self.stream = ResultStream(amqp_port=amqp_port, **common)
        self.dispatcher = Dispatcher(runner_id=runner_id, session=session, on_task_group=self.stream.consume, **common)
        self._poller = StatusPoller(endpoint_ids=endpoint_ids, **common)
        self.fetcher = ResultFetcher(**common)

    def start(self, specs: Sequence[EndpointSpec], **header: Any) -> None:
        """Start the threads; the first line of the run log describes the pool, and has what is in ``header``."""
        self._run_log.start(parsl=VERSION, endpoints=[described(spec, self._endpoint_ids[spec.name]) for spec in specs], **header)
        self._resolver.start()
        self.stream.start()
        self.dispatcher.start()
        self._poller.start()
        self.fetcher.start()
        self.owner.start(self.dispatcher, self._poller, self.fetcher)

    def post(self, message: OwnerMessage) -> None:
        """Tell the owner of the scheduler, from any thread."""
        self.owner.post(message)

    def stop(self) -> None:
        """Fail the tasks that are not finished, stop all threads and close the connections, in eight seconds or so whatever hangs."""
        deadline = time.monotonic() + _STOP_SECONDS
        self._stopping.set()
        self._governor.wake()
        self.dispatcher.stop()
        self._poller.stop()
        self.fetcher.stop()
        self.stream.stop()
        ended = {"scheduler": self.owner.shut_down(_SCHEDULER_SECONDS)}
        ended["resolver"] = self._resolver.join(_CALLBACK_PATIENCE, deadline - _LAST_SECONDS - time.monotonic())
        ended["response queue"] = self._records.close()
        for part, join in (("status poller", self._poller.join), ("result stream", self.stream.join), ("result fetcher", self.fetcher.join),
                           ("dispatcher", self.dispatcher.join), ("run log", self._run_log.stop)):
            ended[part] = join(max(0.1, deadline - time.monotonic()))
        late = [part for part, done in ended.items() if not done]
        if late:
            logger.warning("Executor %s shut down; still busy, and left alone: %s", self._label, ", ".join(late))


def described(spec: EndpointSpec, endpoint_id: str) -> Dict[str, Any]:
    """An endpoint, as the run log's first line has it."""
    given = {"speed": spec.speed, "startup_seconds": spec.startup_seconds, "cost_per_core_hour": spec.cost_per_core_hour or None}
    return {"endpoint": spec.name, "id": endpoint_id, "filesystem": spec.filesystem,
            **{key: value for key, value in given.items() if value is not None},
            "threads": [{"cores": c.cores, "count": c.count, "config": c.config} for c in spec.classes]}
