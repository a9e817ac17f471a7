"""What the executor makes of three real endpoints on localhost, with the service's limits on, and what Parsl's own makes of them.

``make bench-localhost`` (or ``.venv/bin/python benchmarks/localhost.py``) prints the seconds that each workload took:

* ``sleep-600``, a bag of sleeps: also its lower bound (the work divided by the threads, or the longest sleep if that is more), and the time
  of the same sleeps on the same endpoints with three GlobusComputeExecutors in one Config, which is how Parsl without this executor uses
  three endpoints. They take turns, each time in a new process, warmed up alike, after a pause in which the request budget recovers.
  Status 1 if either takes longer than it may.
* ``chain-20``, tasks that do nothing, each waiting for the one before, and ``bag-2000``, tasks that do nothing: only with this executor.
"""
from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from local_globus_compute import LocalEndpoint, LocalGlobusCompute
from local_globus_compute.service.admin import busiest_window

THREADS = {"alpha": 1, "beta": 2, "gamma": 8}
WORKLOADS = ("sleep-600", "chain-20", "bag-2000")

OURS = "this executor"
RIVAL = "three executors"
TUNED_RIVAL = "three tuned executors"

#: What is to be reached: at most so many times the lower bound, and the time of three executors.
MOST_OF_BOUND = 1.15
MOST_OF_RIVAL = 0.40

#: Seconds after which a run is given up.
PATIENCE = 600.0


def timed(compute: LocalGlobusCompute, side: str, naps: Sequence[float], chained: bool = False) -> float:
    """Seconds from the first submission of ``naps`` to the last result, in a process of its own."""
    with tempfile.TemporaryDirectory() as run_dir:
        order = {"side": side, "ids": compute.endpoint_ids, "threads": THREADS, "run_dir": run_dir, "naps": naps, "chained": chained}
        done = subprocess.run([sys.executable, str(Path(__file__).with_name("localhost_run.py"))], input=json.dumps(order), text=True,
                              stdout=subprocess.PIPE, env={**os.environ, **compute.environment}, timeout=PATIENCE, check=True)
    return float(done.stdout)


def sleeps(seed: int) -> List[float]:
    """600 run times, log-normal with mean 0.3 s and sigma 0.8."""
    rng = random.Random(seed)
    return [rng.lognormvariate(-1.524, 0.8) for _ in range(600)]


def lower_bound(naps: Sequence[float]) -> float:
    """Seconds that no schedule can beat."""
    return max(sum(naps) / sum(THREADS.values()), max(naps))


def compare(compute: LocalGlobusCompute, rivals: Sequence[str], repeats: int) -> bool:
    """Time the bag of sleeps with this executor and with its rivals, and say whether it is as good as it must be; returns that, too."""
    sides = (OURS, *rivals)
    taken: Dict[str, List[float]] = {side: [] for side in sides}
    bounds = []
    for seed in range(repeats):
        naps = sleeps(seed)
        bounds.append(lower_bound(naps))
        print(f"sleep-600   run {seed + 1}: lower bound {bounds[-1]:6.2f} s", flush=True)
        for side in sides:
            taken[side].append(timed(compute, side, naps))
            print(f"sleep-600   run {seed + 1}: {side} {taken[side][-1]:6.2f} s", flush=True)
    median = {side: statistics.median(taken[side]) for side in sides}
    of_bound = {side: statistics.median(seconds / bound for seconds, bound in zip(taken[side], bounds)) for side in sides}
    for side in sides:
        verdict = f", {_verdict(of_bound[side], MOST_OF_BOUND)}" if side == OURS else ""
        print(f"sleep-600   median: {side} {median[side]:6.2f} s, {of_bound[side]:.3f} x the lower bound{verdict}", flush=True)
    for side in rivals:
        ratio = median[OURS] / median[side]
        print(f"sleep-600   median: {OURS} {ratio:.3f} x the time of {side}, {_verdict(ratio, MOST_OF_RIVAL)}", flush=True)
    return of_bound[OURS] <= MOST_OF_BOUND and all(median[OURS] / median[side] <= MOST_OF_RIVAL for side in rivals)


def _verdict(ratio: float, most: float) -> str:
    return f"at most {most:.2f}: {'ok' if ratio <= most else 'MISSED'}"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Times workloads on three real endpoints on localhost, with the service's limits on.")
    parser.add_argument("--repeats", type=int, default=5, help="how often the bag of sleeps is run (5)")
    parser.add_argument("--only", choices=WORKLOADS, nargs="+", default=WORKLOADS, help="workloads to run (all)")
    parser.add_argument("--tuned", action="store_true", help="compare with three tuned GlobusComputeExecutors, too")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, not {options.repeats}")
    reached = True
    with LocalGlobusCompute([LocalEndpoint(name, workers=threads) for name, threads in THREADS.items()]) as compute:
        if "sleep-600" in options.only:
            reached = compare(compute, (RIVAL, TUNED_RIVAL) if options.tuned else (RIVAL,), options.repeats)
        if "chain-20" in options.only:
            print(f"chain-20    {timed(compute, OURS, [0.0] * 20, chained=True):6.2f} s", flush=True)
        if "bag-2000" in options.only:
            print(f"bag-2000    {timed(compute, OURS, [0.0] * 2000):6.2f} s", flush=True)
        requests = compute.admin.requests()
        late = sum(request.status == 429 for request in requests)
        print(f"requests    at most {busiest_window(requests)} in any 10 s, {late} refused as too many")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
