"""One run of ``dfk_scale.py``, in a process of its own: reads from its input, as JSON, what to run, and prints what that took, as JSON."""
from __future__ import annotations

import json
import queue
import resource
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from unittest import mock

import psutil
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer

import parsl
from parsl.config import Config
from parsl.executors.base import ParslExecutor
from parsl.executors.globus_compute_multi import (
    Endpoint,
    GlobusComputeMultiExecutor,
    arguments,
)
from parsl.executors.globus_compute_multi import executor as executor_module
from soak_cloud import Cloud

ENDPOINTS, THREADS = 16, 32

#: Seconds to wait for a task.
PATIENCE = 600.0

#: Threads of the executor, by the beginnings of their names, and what they are called here.
OURS = {"globus-compute-multi-owner": "core", "globus-compute-multi-sender": "sending", "globus-compute-multi-results": "receiving",
        "globus-compute-multi-resolver": "resolver", "globus-compute-multi-log": "log"}

#: Likewise of all runs: the user's thread, and Parsl's that submits.
PARSLS = {"MainThread": "calling apps", "Task-Launch": "launching"}


class LeastExecutor(ParslExecutor):
    """Runs nothing, and says at once that it has: what is left is Parsl's own work."""

    def __init__(self) -> None:
        super().__init__()
        self.label = "least"
        self._futures: queue.SimpleQueue[Future[None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="least")

    def start(self) -> None:
        self._thread.start()

    def submit(self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any) -> Future[None]:
        future: Future[None] = Future()
        self._futures.put(future)
        return future

    def shutdown(self) -> None:
        self._futures.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (future := self._futures.get()) is not None:
            future.set_result(None)


class Meter:
    """Adds up processor time that the thread which submits spends in some functions; what one calls of the others is not its own.

    Reading the clock takes part of a microsecond, which is counted, too.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = 0.0

    def metered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, with its time added to that of ``name``."""
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not threading.current_thread().name.startswith("Task-Launch"):
                return function(*args, **kwargs)
            outer, self._inner = self._inner, 0.0
            started = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.thread_time() - started
                self.seconds[name] += took - self._inner
                self._inner = outer + took
        return wrapper


@parsl.python_app
def nothing(number: int, after: Any = None) -> None:
    pass


def used(names: dict[str, str]) -> dict[str, float]:
    """Processor time in seconds that the threads with these names have used."""
    found = dict.fromkeys(names.values(), 0.0)
    for thread in threading.enumerate():
        for beginning, told in names.items():
            if thread.name.startswith(beginning) and thread.ident is not None:
                found[told] += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return found


@contextmanager
def ours(meter: Meter, cloud: Cloud) -> Iterator[GlobusComputeMultiExecutor]:
    """The executor, with all that Globus Compute is to it in this process."""
    client = Client(authorizer=AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
    endpoints = [Endpoint(endpoint.id, name=f"fake-{number}", threads=THREADS) for number, endpoint in enumerate(cloud.endpoints)]
    executor = GlobusComputeMultiExecutor(endpoints, client=client, request_limit=None)
    with cloud.running(), mock.patch.object(executor_module, "pack_task", meter.metered("packing", arguments.pack_task)):
        for name, told in (("submit", "submit"), ("task_submitting", "hooks"), ("task_state_changed", "hooks")):
            setattr(executor, name, meter.metered(told, getattr(executor, name)))
        yield executor


def timed(executor: ParslExecutor, tasks: int) -> dict[str, float]:
    """Run the tasks, all submitted at once and every tenth after another one; what that took, in all."""
    names = {**PARSLS, **(OURS if isinstance(executor, GlobusComputeMultiExecutor) else {"least": "completing"})}
    with tempfile.TemporaryDirectory() as run_dir:
        with parsl.load(Config(executors=[executor], run_dir=run_dir, initialize_logging=False, strategy="none")):
            nothing(0).result(PATIENCE)
            before, wall, rss = used(names), time.monotonic(), psutil.Process().memory_info().rss
            futures: list[Any] = []
            for number in range(tasks):
                futures.append(nothing(number, futures[-1] if number % 10 == 9 else None))
            for future in futures:
                future.result(PATIENCE)
            wall, after = time.monotonic() - wall, used(names)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": wall, "bytes": peak - rss, **{name: after[name] - before[name] for name in after}}


def main() -> None:
    order = json.load(sys.stdin)
    if order["side"] == "least executor":
        told = timed(LeastExecutor(), order["tasks"])
    else:
        meter, cloud = Meter(), Cloud(ENDPOINTS, THREADS)
        with ours(meter, cloud) as executor:
            told = timed(executor, order["tasks"])
        told["sending"] -= sum(cloud.spent.values())
        told.update(meter.seconds)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
