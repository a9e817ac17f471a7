"""The user's program of a run: runs the workflow with one of the sides, in a process of its own, and says what became of each future.

Reads from its input, as JSON, what to run (see :class:`chaos.run.Order`), and prints one JSON object a line: ``{"done": n}`` while it
runs, ``{"report": …}`` when all futures are resolved or it has waited long enough, ``{"shutdown": …}`` when it has waited a little for what
might still come, and cleaned up.
"""
from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import wraps
from typing import Any

import globus_compute_sdk
import psutil

import parsl
from chaos.workflow import expected_values, plan_workflow, portable, work
from local_globus_compute.client import LocalClient
from parsl.config import Config
from parsl.executors import GlobusComputeExecutor
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor

_REPORT_SECONDS = 0.2

#: Seconds that threads and sockets have to be gone after clean-up.
_GONE_SECONDS = 3.0

#: Seconds after the last future in which one may be resolved a second time before the clean-up begins.
_SETTLE_SECONDS = 3.0


def say(**what: Any) -> None:
    """Print one line for the process that started this one."""
    print(json.dumps(what), flush=True)


def one_executor(order: dict[str, Any], client: LocalClient) -> Config:
    """This project's executor, over all endpoints."""
    endpoints = [Endpoint(id, name=name, threads=order["threads"][name], cores_per_thread=order["cores"][name])
                 for name, id in order["ids"].items()]
    executor = GlobusComputeMultiExecutor(endpoints, client=client, amqp_port=order["amqp_port"], log_file=order["log_file"], **order["options"])
    return Config(executors=[executor], retries=order["retries"])


def three_executors(order: dict[str, Any], client: LocalClient) -> Config:
    """Parsl's own executor for each endpoint, as in its ``gc_multisite`` configuration; each task goes to one of them by chance."""
    return Config(retries=order["retries"], executors=[
        GlobusComputeExecutor(globus_compute_sdk.Executor(id, client=client, amqp_port=order["amqp_port"]), label=name)
        for name, id in order["ids"].items()])


def watch_resolutions() -> list[str]:
    """Note each future that is given a value or an exception a second time, also when that is refused because it has one."""
    twice: list[str] = []

    def watched(method: Callable[..., None]) -> Callable[..., None]:
        @wraps(method)
        def resolve(future: Future[Any], *args: Any) -> None:
            if "chaos_resolved" in vars(future):  # hasattr() of one of Parsl's is another task
                twice.append(f"resolved again: {future!r}")
            vars(future)["chaos_resolved"] = True
            method(future, *args)
        return resolve

    for name in ("set_result", "set_exception"):
        setattr(Future, name, watched(getattr(Future, name)))
    return twice


class Progress:
    """Counts the futures that are resolved, and their callbacks."""

    def __init__(self) -> None:
        self.callbacks: Counter[int] = Counter()
        self.last = time.monotonic()

    def watch(self, number: int, future: Future[Any]) -> None:
        """Count for this future."""
        future.add_done_callback(lambda _: self._note(number))

    def _note(self, number: int) -> None:
        self.callbacks[number] += 1
        self.last = time.monotonic()


def submit(order: dict[str, Any], progress: Progress) -> list[Future[Any]]:
    """Submit the workflow."""
    app = parsl.python_app(portable(work))
    futures: list[Future[Any]] = []
    for number, task in enumerate(plan_workflow(order["seed"], order["tasks"])):
        # the rival's endpoints would refuse a specification
        more = {"parsl_resource_specification": {"cores": task.cores}} if order["side"] == "ours" and task.cores > 1 else {}
        future = app(task.label, task.seconds, task.raises, b"x" * task.filler, *(futures[i] for i in task.inputs), **more)
        progress.watch(number, future)
        futures.append(future)
    return futures


def wait(futures: Sequence[Future[Any]], progress: Progress, patience: float) -> None:
    """Wait until all are resolved, or none has been for ``patience`` seconds."""
    while len(progress.callbacks) < len(futures) and time.monotonic() < progress.last + patience:
        say(done=len(progress.callbacks))
        time.sleep(_REPORT_SECONDS)


def outcome(future: Future[Any], expected: str, raises: bool) -> tuple[str, str]:
    """What became of a future: ``ok``, ``wrong`` (another value or exception of the app), ``failed`` (by no doing of the app) or ``hung``."""
    if not future.done():
        return "hung", ""
    error = future.exception()
    if error is None:
        return ("ok", "") if not raises and future.result() == expected else ("wrong", repr(future.result()))
    if raises and isinstance(error, ValueError):
        return ("ok", "") if str(error) == expected else ("wrong", repr(error))
    return "failed", f"{type(error).__name__}: {error}"[:500]


def report(order: dict[str, Any], futures: Sequence[Future[Any]], progress: Progress, twice: Sequence[str], began: float) -> dict[str, Any]:
    """What became of all futures."""
    planned = plan_workflow(order["seed"], order["tasks"])
    found = [outcome(future, expected, task.raises) for future, task, expected in zip(futures, planned, expected_values(planned))]
    own = Counter(error for _, error in found if error and not error.startswith("DependencyError"))
    return {"seconds": progress.last - began, "states": dict(Counter(state for state, _ in found)), "twice": count_twice(twice, progress),
            "followed": sum(error.startswith("DependencyError") for _, error in found),
            "errors": [*twice[:5], *(f"{count} x {error}" for error, count in sorted(own.items())[:20])]}


def count_twice(twice: Sequence[str], progress: Progress) -> int:
    """How many futures were resolved more than once so far, or had their callback called more than once."""
    return len(twice) + sum(count > 1 for count in list(progress.callbacks.values()))


def leftovers(before: set[Any]) -> dict[str, Any]:
    """Threads, sockets and processes of the executor's that are still there, once they have had time to go."""
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        gc.collect()  # garbage, such as an HTTP response in the traceback of a handled error, does not count
        left = {"threads": sorted(t.name for t in threading.enumerate() if t.name.startswith("globus-compute-multi")),
                "sockets": len({c.laddr for c in psutil.Process().net_connections("tcp") if c.raddr} - before),
                "processes": len(psutil.Process().children(recursive=True))}
        if not any(left.values()) or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def main() -> None:
    order = json.load(sys.stdin)
    twice = watch_resolutions()
    config = {"ours": one_executor, "rival": three_executors}[order["side"]](order, LocalClient(order["address"], order["token"]))
    config.run_dir = order["run_dir"]
    before = {c.laddr for c in psutil.Process().net_connections("tcp") if c.raddr}
    progress = Progress()
    dfk = parsl.load(config)
    began = time.monotonic()
    futures = submit(order, progress)
    wait(futures, progress, order["patience"])
    say(report=report(order, futures, progress, twice, began))
    time.sleep(_SETTLE_SECONDS)
    cleaning = time.monotonic()
    dfk.cleanup()
    seconds = time.monotonic() - cleaning
    left = leftovers(before)
    say(shutdown={"seconds": seconds, **left, "twice": count_twice(twice, progress)})


if __name__ == "__main__":
    main()
