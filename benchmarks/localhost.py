"""What the executor makes of three real endpoints on localhost, with the service's limits on.

``make bench-localhost`` (or ``.venv/bin/python benchmarks/localhost.py``) prints, for each workload, the seconds it took, and for the bag of
sleeps also its lower bound: the work divided by the threads, or the longest sleep if that is more.
"""
from __future__ import annotations

import argparse
import random
import tempfile
import time
from typing import Any, Callable, List

import parsl
from local_globus_compute import LocalEndpoint, LocalGlobusCompute
from local_globus_compute.service.admin import busiest_window
from parsl.config import Config
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor

THREADS = {"alpha": 1, "beta": 2, "gamma": 8}

#: Seconds between workloads, in which the request budget recovers.
PAUSE = 10.0


@parsl.python_app
def nap(seconds: float, after: Any = None) -> None:
    import time
    time.sleep(seconds)


def timed(run: Callable[[], List[Any]]) -> float:
    """Seconds from the first submission to the last result."""
    time.sleep(PAUSE)
    start = time.monotonic()
    for future in run():
        future.result()
    return time.monotonic() - start


def chain(length: int) -> List[Any]:
    futures = [nap(0)]
    for _ in range(length - 1):
        futures.append(nap(0, futures[-1]))
    return futures


def main() -> None:
    parser = argparse.ArgumentParser(description="Times workloads on three real endpoints on localhost, with the service's limits on.")
    parser.add_argument("--repeats", type=int, default=3, help="how often the bag of sleeps is run (3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, \
            LocalGlobusCompute([LocalEndpoint(name, workers=threads) for name, threads in THREADS.items()]) as compute:
        endpoints = [Endpoint(id, name=name, threads=THREADS[name]) for name, id in compute.endpoint_ids.items()]
        executor = GlobusComputeMultiExecutor(endpoints, client=compute.client())
        with parsl.load(Config(executors=[executor], run_dir=folder)):
            for future in [nap(0.3) for _ in range(sum(THREADS.values()))]:
                future.result()  # children are warm, and the app's run time is known about as well as it will be
            for seed in range(options.repeats):
                rng = random.Random(seed)
                sleeps = [rng.lognormvariate(-1.524, 0.8) for _ in range(600)]  # mean 0.3 s
                bound = max(sum(sleeps) / sum(THREADS.values()), max(sleeps))
                seconds = timed(lambda: [nap(s) for s in sleeps])
                print(f"sleep-600   {seconds:6.2f} s, lower bound {bound:5.2f} s, ratio {seconds / bound:.3f}", flush=True)
            print(f"chain-20    {timed(lambda: chain(20)):6.2f} s", flush=True)
            print(f"bag-2000    {timed(lambda: [nap(0) for _ in range(2000)]):6.2f} s", flush=True)
        requests = compute.admin.requests()
        late = sum(request.status == 429 for request in requests)
        print(f"requests    at most {busiest_window(requests)} in any 10 s, {late} refused as too many")


if __name__ == "__main__":
    main()
