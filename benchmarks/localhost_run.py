"""One timed run of ``localhost.py``, as a program of a user's: reads from its input, as JSON, what to run, and prints the seconds that took.

In a process of its own, because the SDK's Executors share a task group and a stream of results with all that were in the process before
them; one that is made while another is just shutting down may wait for its results for ever.
"""
from __future__ import annotations

import json
import sys
import time
from typing import Any, Callable, Dict, List, Sequence

import globus_compute_sdk

import parsl
from parsl.config import Config
from parsl.executors import GlobusComputeExecutor
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor

#: Seconds before what is timed, in which the service's request budget recovers (10 s), and that of the SDK's own Executor (16 s).
PAUSE = 17.0

#: Seconds after which a task is taken for lost.
PATIENCE = 300.0


def nap(seconds: float, after: Any = None) -> None:
    import time
    time.sleep(seconds)


def one_executor(ids: Dict[str, str], threads: Dict[str, int]) -> Config:
    """This project's executor, over all endpoints."""
    return Config(executors=[GlobusComputeMultiExecutor([Endpoint(id, name=name, threads=threads[name]) for name, id in ids.items()])])


def three_executors(ids: Dict[str, str], **sdk_options: Any) -> Config:
    """Parsl's own executor for each endpoint; each task goes to one of them by chance."""
    return Config(executors=[GlobusComputeExecutor(globus_compute_sdk.Executor(id, **sdk_options), label=name) for name, id in ids.items()])


SIDES: Dict[str, Callable[[Dict[str, str], Dict[str, int]], Config]] = {
    "this executor": one_executor,
    "three executors": lambda ids, threads: three_executors(ids),
    # the one option of the SDK's that helps: no waiting before small batches
    "three tuned executors": lambda ids, threads: three_executors(ids, api_burst_limit=1),
}


def warm_up(labels: Sequence[str], threads: Dict[str, int]) -> None:
    """Start the children, register what has to be, and let the executor see how long a task takes."""
    for label in labels:
        app = parsl.python_app(nap, executors=[label])
        for future in [app(0.3) for _ in range(threads.get(label, sum(threads.values())))]:
            future.result(PATIENCE)


def submit(naps: Sequence[float], chained: bool) -> List[Any]:
    """Submit the naps, all at once or each after the one before."""
    app = parsl.python_app(nap)
    futures: List[Any] = []
    for seconds in naps:
        futures.append(app(seconds, futures[-1] if chained and futures else None))
    return futures


def main() -> None:
    order = json.load(sys.stdin)
    config = SIDES[order["side"]](order["ids"], order["threads"])
    config.run_dir = order["run_dir"]
    with parsl.load(config):
        warm_up([executor.label for executor in config.executors], order["threads"])
        time.sleep(PAUSE)
        start = time.monotonic()
        for future in submit(order["naps"], order["chained"]):
            future.result(PATIENCE)
        print(time.monotonic() - start)


if __name__ == "__main__":
    main()
