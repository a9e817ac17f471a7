"""One timed run of ``bench.py``, as a program of a user's: reads from its input what to run, as JSON, warms up, says that it is ready, waits
for the word to begin, and says how many seconds it took.

In a process of its own, because the SDK's Executors share a task group and a stream of results with all that were in the process before
them; one that is made while another is just shutting down may wait for its results for ever.
"""
from __future__ import annotations

import functools
import json
import os
import queue
import signal
import sys
import threading
import time
from concurrent.futures import Future
from types import FunctionType
from typing import Any, Callable, Dict, List, Sequence, TextIO

import globus_compute_sdk

import parsl
from bench_systems import BURST_LIMIT, CONFIGURATIONS
from parsl.config import Config

#: Seconds that a task takes of those with which a system is warmed up.
WARM_UP = 0.3


def nap(seconds: float, *parents: Any) -> None:
    import time
    time.sleep(seconds)


def warm_up(seconds: float, parsl_resource_specification: Dict[str, Any] = {}) -> None:
    import time
    time.sleep(seconds)


def named(app: str) -> Callable[..., None]:
    """The nap under another name: executors learn how long a task takes by the names of apps."""
    return FunctionType(nap.__code__, nap.__globals__, app)


class Word:
    """What this process and the one that started it tell each other."""

    def __init__(self) -> None:
        self.order = json.loads(sys.stdin.readline())
        # What others print must not get between, and no process started from here may hold the pipe open.
        self._out: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def ready(self) -> None:
        """Say that all is warm, and wait for the word."""
        print(json.dumps("ready"), file=self._out, flush=True)
        if not sys.stdin.readline():
            sys.exit("bench_run: told to end")
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def took(self, seconds: float) -> None:
        """Say what it took."""
        print(json.dumps(seconds), file=self._out, flush=True)

    @staticmethod
    def _end_with_parent() -> None:
        sys.stdin.read()  # until its end, which is that of the other process
        os.killpg(0, signal.SIGKILL)


def through_parsl(word: Word, tasks: Sequence[Sequence[Any]], config: Config) -> None:
    """Call an app for each task, with the futures of its parents."""
    order = word.order
    config.run_dir = order["run_dir"]
    apps = {app: parsl.python_app(named(app)) for app in dict.fromkeys(app for app, _, _ in tasks)}
    with parsl.load(config):
        if order["system"] in ("multi", "htex"):
            warm_threads(order)
        else:
            warm_executors(order, list(apps.values()))
        word.ready()
        start = time.monotonic()
        futures: List[Future] = []
        for app, seconds, parents in tasks:
            futures.append(apps[app](seconds, *(futures[parent] for parent in parents)))
        for future in futures:
            future.result()
        word.took(time.monotonic() - start)


def warm_threads(order: Dict[str, Any]) -> None:
    """Start the children, or the workers, with one task on each thread; a name of its own, so that nothing is learned of the apps."""
    app = parsl.python_app(warm_up)
    futures = []
    for name, threads in order["threads"].items():
        specification = {"endpoints": [name]} if order["system"] == "multi" else {}
        futures += [app(WARM_UP, parsl_resource_specification=specification) for _ in range(threads)]
    for future in futures:
        future.result()


def warm_executors(order: Dict[str, Any], apps: Sequence[Any]) -> None:
    """Start the children, and have each executor register each app beforehand, which it would otherwise do in the time that is measured."""
    futures = []
    for label, threads in order["threads"].items():
        for app in apps:
            app.executors = [label]
        futures += [apps[number % len(apps)](WARM_UP) for number in range(max(threads, len(apps)))]
    for app in apps:
        app.executors = "all"
    for future in futures:
        future.result()


def through_sdk(word: Word, tasks: Sequence[Sequence[Any]]) -> None:
    """Submit each task when its parents are done, to one endpoint that has all threads."""
    order = word.order
    functions = {app: named(app) for app in dict.fromkeys(app for app, _, _ in tasks)}
    children: List[List[int]] = [[] for _ in tasks]
    missing = [len(parents) for _, _, parents in tasks]
    for number, (_, _, parents) in enumerate(tasks):
        for parent in parents:
            children[parent].append(number)
    done: "queue.SimpleQueue[tuple[int, Future]]" = queue.SimpleQueue()
    with globus_compute_sdk.Executor(order["whole"], api_burst_limit=BURST_LIMIT) as executor:
        apps = list(functions.values())
        count = max(sum(order["threads"].values()), len(apps))
        for future in [executor.submit(apps[number % len(apps)], WARM_UP) for number in range(count)]:
            future.result()
        word.ready()
        start = time.monotonic()
        ready = [number for number, count in enumerate(missing) if not count]
        for _ in tasks:
            for number in ready:
                app, seconds, _ = tasks[number]
                future = executor.submit(functions[app], seconds)
                future.add_done_callback(functools.partial(lambda number, future: done.put((number, future)), number))
            finished, future = done.get()
            future.result()
            ready = []
            for child in children[finished]:
                missing[child] -= 1
                if not missing[child]:
                    ready.append(child)
        word.took(time.monotonic() - start)


def main() -> None:
    word = Word()
    order = word.order
    if order["system"] == "sdk":
        through_sdk(word, order["tasks"])
    else:
        through_parsl(word, order["tasks"], CONFIGURATIONS[order["system"]](order["ids"], order["threads"]))


if __name__ == "__main__":
    main()
