"""Does the executor need more and more memory, threads or files, the longer it runs?

``make soak`` (or ``.venv/bin/python benchmarks/soak.py``) runs 100,000 tasks that do nothing through the executor, of which every tenth
waits for another one, while endpoints die 50 times with all that they hold; Globus Compute is a fake in this process (``soak_cloud.py``).
With ``--agents`` it runs 20,000 on three real endpoints on localhost, of which none dies.

Every tenth of the way all tasks are waited for, and then memory, objects, threads and open files of this process are printed. Status 1 if
a task has failed, or if something has grown between the second tenth and the last.
"""
from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer

import parsl
from local_globus_compute import Limits, LocalEndpoint, LocalGlobusCompute
from parsl.config import Config
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor
from soak_cloud import Cloud

#: Tasks that are not finished at any moment, at most.
WINDOW = 2000

#: What may be added from the second tenth to the last: garbage of the memory allocator, caches that fill up.
MOST_BYTES = 8_000_000
MOST_OBJECTS = 2000

FAKE_ENDPOINTS, FAKE_THREADS = 8, 8
REAL_THREADS = {"alpha": 1, "beta": 2, "gamma": 8}

#: Seconds to wait for a task.
PATIENCE = 300.0


@dataclass(frozen=True)
class Use:
    """What this process uses, garbage not counted.

    Parameters
    ----------
    tasks : int
        How many have been run.
    rss : int
        Resident memory in bytes.
    objects : int
        That the garbage collector knows.
    threads : int
    files : int
        Open file descriptors.
    """

    tasks: int
    rss: int
    objects: int
    threads: int
    files: int

    def __str__(self) -> str:
        return f"{self.tasks:>8} tasks {self.rss / 1e6:8.1f} MB {self.objects:>9} objects {self.threads:>4} threads {self.files:>4} files"


def use(tasks: int) -> Use:
    """What this process uses after so many tasks."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # what the allocator keeps for the next requests, which have megabytes, is free
        libc.malloc_trim(0)
    process = psutil.Process()
    return Use(tasks, process.memory_info().rss, len(gc.get_objects()), threading.active_count(), process.num_fds())


def grown(before: Use, after: Use) -> list[str]:
    """What has grown by more than it may, for people."""
    return [f"{name}: {getattr(before, name)} to {getattr(after, name)}" for name, most in (
        ("rss", MOST_BYTES), ("objects", MOST_OBJECTS), ("threads", 0), ("files", 0)) if getattr(after, name) - getattr(before, name) > most]


@parsl.python_app
def nothing(after: Any = None) -> None:
    pass


class Runner:
    """Runs tasks, a limited number at once, and counts those that fail."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.submitted = 0
        self._open: deque[Future[Any]] = deque()

    def run(self, count: int, each: Callable[[], None]) -> None:
        """Run ``count`` tasks to their end, and call ``each`` after each submission, and before each result is waited for."""
        for number in range(count):
            self._open.append(nothing(self._open[-1] if number % 10 == 9 else None))
            self.submitted += 1
            each()
            while len(self._open) >= WINDOW:
                self._finish_first(each)
        while self._open:
            self._finish_first(each)

    def _finish_first(self, each: Callable[[], None]) -> None:
        each()
        error = self._open.popleft().exception(PATIENCE)
        if error is not None:
            self.failures.append(f"{type(error).__name__}: {error}")


def soak(tasks: int, losses: int, lose: Callable[[], bool], trace: bool) -> int:
    """Run so many tasks with so many losses, print what is used meanwhile, and give the exit status."""
    runner, marks, started = Runner(), [use(0)], time.monotonic()
    print(marks[0], flush=True)
    lost = 0

    def lose_in_time() -> None:
        nonlocal lost
        if lost < losses and runner.submitted >= (lost + 1) * tasks / (losses + 1):
            lost += lose()

    for tenth in range(10):
        runner.run(tasks // 10, lose_in_time)
        marks.append(use((tenth + 1) * (tasks // 10)))
        print(f"{marks[-1]} {lost:>4} losses {time.monotonic() - started:7.1f} s", flush=True)
        if trace and tenth == 1:
            tracemalloc.start()
            early = tracemalloc.take_snapshot()
    if trace:
        print("New since the second tenth, by line:")
        for line in tracemalloc.take_snapshot().compare_to(early, "lineno")[:15]:
            print(f"  {line}")
    growth = grown(marks[2], marks[-1])
    for failure in runner.failures[:5]:
        print(f"failed: {failure}")
    print(f"{len(runner.failures)} of {tasks} tasks failed, {lost} of {losses} losses; from {marks[2].tasks} to {marks[-1].tasks} tasks: "
          f"{(marks[-1].rss - marks[2].rss) / 1e6:+.1f} MB, {marks[-1].objects - marks[2].objects:+} objects, "
          f"{marks[-1].threads - marks[2].threads:+} threads, {marks[-1].files - marks[2].files:+} files; "
          f"{'NOT FLAT: ' + '; '.join(growth) if growth else 'flat'}", flush=True)
    return 1 if growth or runner.failures or lost < losses else 0


@contextmanager
def loaded(executor: GlobusComputeMultiExecutor) -> Iterator[None]:
    """A DataFlowKernel with this executor, and no log of its own, which would be larger than all else."""
    with tempfile.TemporaryDirectory() as run_dir:
        with parsl.load(Config(executors=[executor], run_dir=run_dir, initialize_logging=False, strategy="none")):
            yield


def with_fakes(tasks: int, losses: int, trace: bool) -> int:
    """Soak the executor with a Globus Compute in this process."""
    client = Client(authorizer=AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
    cloud = Cloud(FAKE_ENDPOINTS, FAKE_THREADS)
    endpoints = [Endpoint(endpoint.id, name=f"fake-{number}", threads=FAKE_THREADS) for number, endpoint in enumerate(cloud.endpoints)]
    executor = GlobusComputeMultiExecutor(endpoints, client=client, request_limit=None, failover_attempts=20, silence_seconds=5.0)
    with cloud.running(), loaded(executor):
        return soak(tasks, losses, cloud.lose, trace)


def with_agents(tasks: int, trace: bool) -> int:
    """Soak the executor with real endpoints on localhost."""
    with LocalGlobusCompute([LocalEndpoint(name, workers=threads) for name, threads in REAL_THREADS.items()],
                            limits=Limits(requests=None)) as compute:
        endpoints = [Endpoint(compute.endpoint_ids[name], name=name, threads=threads) for name, threads in REAL_THREADS.items()]
        with loaded(GlobusComputeMultiExecutor(endpoints, client=compute.client(), request_limit=None)):
            return soak(tasks, 0, lambda: False, trace)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Runs very many tasks, and says whether memory, threads and files stay as they are.")
    parser.add_argument("--tasks", type=int, help="how many (100000; with --agents 20000)")
    parser.add_argument("--losses", type=int, default=50, help="how often an endpoint dies (50; with --agents none does)")
    parser.add_argument("--agents", action="store_true", help="use real endpoints on localhost")
    parser.add_argument("--trace", action="store_true", help="say which lines have allocated what was added (takes several times as long)")
    options = parser.parse_args(arguments)
    tasks = options.tasks if options.tasks is not None else 20_000 if options.agents else 100_000
    if tasks < 10 or options.losses < 0:
        parser.error("--tasks must be at least 10, and --losses at least 0")
    return with_agents(tasks, options.trace) if options.agents else with_fakes(tasks, options.losses, options.trace)


if __name__ == "__main__":
    sys.exit(main())
