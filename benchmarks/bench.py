"""What a Parsl user gains: the same workloads on real endpoint agents on localhost, with the service's limits on, through five systems in turns.
Then what no laptop can play: many endpoints, and many tasks.

``make bench`` (or ``.venv/bin/python benchmarks/bench.py``) prints medians and ranges, and what must be reached; status 1 if any of that was
missed, or if a run failed. The systems:

* ``multi``: this executor over three endpoints of 1, 2 and 8 threads;
* ``gce-default``: three of Parsl's GlobusComputeExecutors in one Config, each task on one of them by chance, as in Parsl's gc_multisite.py;
* ``gce-tuned``: the same with ``api_burst_limit=1``, the one option of the SDK's that makes a difference here;
* ``sdk``: one endpoint that has all 11 threads, through the SDK's Executor with ``api_burst_limit=1``, without Parsl (a task is submitted
  when its parents are done);
* ``htex``: Parsl's HighThroughputExecutor on this machine, with 11 workers: the floor, without a network.

The workloads: ``chain-50``, tasks that do nothing, each waiting for the one before; ``bag-2000``, independent ones; ``sleep-600``, sleeps
that are log-normal (mean 0.3 s, sigma 0.8); ``montage``, a workflow from WfFormat with its run times scaled down; ``sixteen``, 96 sleeps
of 2 s on 16 endpoints of one thread; and Parsl's own ``parsl-perf``, 2,000 tasks without the service's limits on requests.

Each run is a process of its own. It starts the children, registers what has to be, and is timed then, with a new request budget. What is
bound by latencies is run in lanes side by side, each with a service and agents of its own; systems take turns within a lane. What is bound by
the processor is run alone, before that. At the end this executor's runs of ``sleep-600`` are repeated alone: that is how much the lanes disturb
one another, and what counts over the lower bound; ratios are of systems that were disturbed alike.

After the agents have ended, programs that need none are run (``bench_scale.py``): ``budget`` (``budget_scale.py``: utilisation of 16 and 64
endpoints under the request budget, in virtual time), ``core`` (``core_scale.py``: a million tasks on a thousand endpoints) and ``dfk``
(``dfk_scale.py``: 20,000 tasks through Parsl's DataFlowKernel).
"""
from __future__ import annotations

import argparse
import contextlib
import os
import platform
import queue
import signal
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import bench_scale
from bench_lanes import Lane, Prepared
from bench_plot import plot
from bench_results import MOST_OF_BOUND, OURS, Measurement, Results
from bench_scale import Said
from bench_workloads import (
    PARSL_PERF,
    PERF_SYSTEMS,
    SIXTEEN,
    SYSTEMS,
    THREE,
    WORKLOADS,
    Workload,
)
from options import positive

#: Lanes with three endpoints, and how many of these there are for a lane with sixteen, which has a third as many runs.
LANES, LANES_FOR_ONE_OF_SIXTEEN = 5, 3

#: What is run once more with nothing beside it: that which is judged by its lower bound.
AGAIN = MOST_OF_BOUND[:1]

PICTURES = (".png", ".svg", ".pdf")


class NotWritable(ValueError):
    """A file for the results cannot be written."""


def turns(systems: Sequence[str], repeat: int) -> List[str]:
    """The systems in order, each first in its turn."""
    first = (repeat - 1) % len(systems) if systems else 0
    return [*systems[first:], *systems[:first]]


@contextlib.contextmanager
def running(lanes: Sequence[Lane]) -> Iterator[None]:
    """Start the lanes, and end them, whatever happens."""
    with ThreadPoolExecutor(len(lanes)) as pool:
        try:
            for lane in lanes:  # one by one: it is the processor that they would wait for, and each is waited for only so long
                lane.compute.start()
            yield
        finally:
            list(pool.map(lambda lane: lane.compute.close(), lanes))


@contextlib.contextmanager
def stopped_by_errors(lanes: Sequence[Lane]) -> Iterator[None]:
    """End what the lanes run when something goes wrong, or Ctrl-C is pressed, so that their threads end, too."""
    try:
        yield
    except BaseException:
        for lane in lanes:
            lane.stop()
        raise


class Bench:
    """Runs workloads on lanes.

    Parameters
    ----------
    systems : sequence of str
    repeats : int
    """

    def __init__(self, systems: Sequence[str], repeats: int) -> None:
        self._systems, self._repeats = systems, range(1, repeats + 1)
        self.measurements: List[Measurement] = []
        self.again: List[Measurement] = []  # with nothing beside them

    def alone(self, workload: Workload, lanes: Sequence[Lane]) -> None:
        """Get the systems ready on several lanes at once, and run one after the other."""
        for repeat in self._repeats:
            left = turns(self._systems, repeat)
            while left:
                place = dict(zip((system for system in left if system != "htex"), lanes))
                place["htex"] = lanes[0]  # it uses no endpoints
                self._in_turns([Prepared(place[system], workload, system, repeat) for system in left if system in place], lanes, self._note)
                left = [system for system in left if system not in place]

    def _in_turns(self, runs: Sequence[Prepared], lanes: Sequence[Lane], note: Callable[[Measurement], None]) -> None:
        with ThreadPoolExecutor(len(runs)) as pool, stopped_by_errors(lanes):
            try:
                list(pool.map(Prepared.warm_up, runs))
                for run in runs:
                    note(run.measure())
            finally:
                for run in runs:
                    run.close()

    def perf(self, lane: Lane) -> None:
        """Run parsl-perf with those systems that it is to compare."""
        systems = [system for system in self._systems if system in PERF_SYSTEMS]
        for repeat in self._repeats:
            for system in turns(systems, repeat):
                self._note(lane.perf(system, repeat))

    def side_by_side(self, workloads: Sequence[Workload], lanes: Sequence[Lane]) -> None:
        """Let each lane take the next repeat of a workload for its endpoints, with all systems in turns."""
        waiting: Dict[int, queue.SimpleQueue[Tuple[Workload, int]]] = {len(lane.threads): queue.SimpleQueue() for lane in lanes}
        for workload in workloads:
            for repeat in self._repeats:
                waiting[len(workload.threads)].put((workload, repeat))

        def work(lane: Lane) -> None:
            with contextlib.suppress(queue.Empty):
                while not lane.stopped:
                    workload, repeat = waiting[len(lane.threads)].get_nowait()
                    for system in turns(self._systems, repeat):
                        self._note(lane.measure(workload, system, repeat))

        with ThreadPoolExecutor(len(lanes)) as pool, stopped_by_errors(lanes):
            for future in wait([pool.submit(work, lane) for lane in lanes], return_when=FIRST_EXCEPTION).done:
                future.result()

    def undisturbed(self, workloads: Sequence[Workload], lanes: Sequence[Lane]) -> None:
        """Repeat what this executor did in the lanes with nothing beside it."""
        for workload in workloads:
            for first in range(0, len(self._repeats), len(lanes)):
                repeats = self._repeats[first:first + len(lanes)]
                runs = [Prepared(lane, workload, OURS, repeat) for lane, repeat in zip(lanes, repeats)]
                self._in_turns(runs, lanes, self._note_again)

    def _note(self, measurement: Measurement) -> None:
        self.measurements.append(measurement)
        print(measurement, flush=True)

    def _note_again(self, measurement: Measurement) -> None:
        self.again.append(measurement)
        print(measurement, "(alone)", flush=True)


def on_endpoints(names: Sequence[str]) -> bool:
    """Whether any of that is run on endpoints."""
    return not set(names) <= set(bench_scale.PROGRAMS)


def parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    names = [*WORKLOADS, PARSL_PERF, *bench_scale.PROGRAMS]
    parser = argparse.ArgumentParser(description="Times workloads on real endpoint agents on localhost, through this and other executors, "
                                                 "and says what the scheduler does with many tasks and endpoints.")
    parser.add_argument("--repeats", type=positive, metavar="N", default=5, help="how often each workload is run with each system (5)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="WORKLOAD", help=f"of {', '.join(names)} (all)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)} (all)")
    parser.add_argument("--lanes", type=positive, metavar="N", default=LANES,
                        help=f"three endpoints each, which run side by side ({LANES}); with 1 it takes four times as long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object for each run: workload, system, repeat, seconds (null: it "
                                                                  "failed), tasks, lower_bound")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"draw the results; {', '.join(PICTURES)}")
    options = parser.parse_args(arguments)
    if options.plot is not None and options.plot.suffix not in PICTURES:
        parser.error(f"--plot {options.plot}: the name must end with {', '.join(PICTURES)}")
    for option, file in (("--json", options.json), ("--plot", options.plot)):
        if file is not None and not on_endpoints(options.only):
            parser.error(f"{option} {file}: only of what is run on endpoints there is one")
    return options


def _check_writable(file: Path) -> None:
    try:
        file.open("a", encoding="utf-8").close()
    except OSError as e:
        raise NotWritable(f"{file}: cannot be written: {e.strerror}; give a file in a folder that exists") from e


def measure(options: argparse.Namespace) -> Results:
    """Run all that is asked for on endpoints, and print each run."""
    chosen = [workload for workload in WORKLOADS.values() if workload.name in options.only]
    latency_bound = [workload for workload in chosen if not workload.alone]
    lanes = [Lane(THREE) for _ in range(options.lanes)]
    sixteen = any(workload.threads == SIXTEEN for workload in latency_bound)
    others = [Lane(SIXTEEN) for _ in range(-(-options.lanes // LANES_FOR_ONE_OF_SIXTEEN) if sixteen else 0)]
    bench = Bench(options.systems, options.repeats)
    with running([*lanes, *others]):
        for workload in chosen:
            if workload.alone:
                bench.alone(workload, lanes)
        if PARSL_PERF in options.only:
            bench.perf(lanes[0])
        if latency_bound:
            bench.side_by_side(latency_bound, [*lanes, *others])
        if len(lanes) > 1 and OURS in options.systems:
            bench.undisturbed([workload for workload in latency_bound if workload.name in AGAIN], lanes)
    return Results(bench.measurements, bench.again)


def report(results: Results, said: Sequence[Said] = ()) -> int:
    """Print what was measured, and return the exit status."""
    must, failures = results.requirements(), [*results.failures(), *(each.failure for each in said if each.failure)]
    print("\nMust reach (medians, and ranges):", *must, *(line for each in said for line in each.must), *failures, sep="\n", flush=True)
    return 1 if failures or any(requirement.missed for requirement in must) or any(each.status for each in said) else 0


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parse(arguments)
    start = time.monotonic()
    try:
        for file in (options.json, options.plot):
            if file is not None:
                _check_writable(file)
    except NotWritable as e:
        print(f"bench: {e}", file=sys.stderr)
        return 2
    print(f"{os.cpu_count()} processors, {platform.platform()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}", flush=True)
    results = Results([])
    if on_endpoints(options.only):
        results = measure(options)
        print(*results.tables(), "", *results.budget(), sep="\n", flush=True)
        if options.json is not None:
            results.write_json(options.json)
        if options.plot is not None:
            plot(results, options.plot)
    status = report(results, [bench_scale.run(name) for name in bench_scale.PROGRAMS if name in options.only])
    print(f"It took {(time.monotonic() - start) / 60:.1f} minutes.")
    return status


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
