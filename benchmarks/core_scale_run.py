"""One run of ``core_scale.py``, in a process of its own: reads from its input, as JSON, what to run, and prints what came out."""
from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Callable, Dict

import psutil

from parsl.executors.globus_compute_multi.messages import NewTask, TaskInfo
from parsl.executors.globus_compute_multi.resources import Requirement
from parsl.executors.globus_compute_multi.scheduling.events import (
    TaskAnnounced,
    TaskSubmitted,
)
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec
from parsl.executors.globus_compute_multi.unfinished import Unfinished
from records_run import _Finder
from simulation.core_speed import APPS, REQUESTS_PER_SECOND, THREADS


class Collector:
    """Sums up what garbage collection takes."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.longest = 0.0
        self._began = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: Dict[str, int]) -> None:
        if phase == "start":
            self._began = time.process_time()
        else:
            seconds = time.process_time() - self._began
            self.seconds += seconds
            self.longest = max(self.longest, seconds)


def timing(load: int, tasks: int, endpoints: int, log: bool) -> Dict[str, Any]:
    """Run a load, and give microseconds a task, by step, and what else there is to tell.

    Parameters
    ----------
    load : int
        Which of ``simulation.core_speed.SCALED``.
    tasks, endpoints : int
    log : bool
        False: the core is run without its statements that make lines for the run log.
    """
    if not log:
        sys.meta_path.insert(0, _Finder())
    speed = importlib.import_module("simulation.core_speed" if log else "bare_core_speed")
    collector = Collector()
    found = speed.CoreRun(replace(speed.SCALED[load], tasks=tasks, endpoints=endpoints)).run()
    return {"microseconds": found.microseconds, "steps": {step: seconds * 1e6 for step, seconds in found.steps.items()},
            "ticking": found.ticking, "longest": found.longest, "longest_kind": found.longest_kind,
            "collection": collector.seconds / tasks * 1e6, "longest_collection": collector.longest}


def memory(tasks: int, endpoints: int) -> Dict[str, float]:
    """Hold tasks as the executor does while they are pending, and give bytes a task by which the process has grown, by holder."""
    resident: Callable[[], int] = lambda: psutil.Process().memory_info().rss
    specs = [EndpointSpec(f"endpoint{i}", (ClassSpec(1, THREADS),)) for i in range(endpoints)]
    scheduler = Scheduler(specs, Settings(AheadRule(REQUESTS_PER_SECOND), batch_bytes=None))
    unfinished = Unfinished(resolver=SimpleNamespace(), run_log=SimpleNamespace(), tally=SimpleNamespace(),  # type: ignore[arg-type]
                            ran_on=lambda node, endpoint: None)
    needs, packed = Requirement(), b"packed"
    marks = [resident()]
    futures = []
    for number in range(tasks):
        future: "Future[Any]" = Future()
        future.set_running_or_notify_cancel()
        future.parsl_executor_task_id = number  # type: ignore[attr-defined]
        futures.append(future)
    marks.append(resident())
    for number, future in enumerate(futures):
        unfinished.add(NewTask(TaskInfo(number, f"app{number % APPS}", number), needs, None, (), packed, future))
    marks.append(resident())
    for number in range(tasks):
        app = sys.intern(f"app{number % APPS}")
        info = unfinished.get(number).info  # type: ignore[union-attr]
        now = number * 1e-5
        # one in two waits for the one before, as far as the graph knows
        scheduler.handle(TaskAnnounced(now, number, app, (number - 1,) if number % 2 else ()))
        scheduler.handle(TaskSubmitted(now, number, app, 1000, node=number, token=info))
    marks.append(resident())
    future_bytes, executor_bytes, core_bytes = ((after - before) / tasks for before, after in zip(marks, marks[1:]))
    return {"core": core_bytes, "executor": executor_bytes, "future": future_bytes}


def main() -> None:
    job = json.load(sys.stdin)
    kind = job.pop("kind")
    print(json.dumps(memory(**job) if kind == "memory" else timing(**job)))


if __name__ == "__main__":
    main()
