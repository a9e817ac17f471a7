"""How full the request budget keeps many endpoints: the executor's core and governor, in virtual time, beside the best that could be done.

``make bench-budget`` (or ``.venv/bin/python benchmarks/budget_scale.py``) runs bags of tasks of 2 s on 16, 64 and 256 endpoints with 8 threads
each, under 20 requests in 10 s. Its status is 1 if anything that must be reached was missed. Beside the executor are

* the best by theory, as ``simulation/at_once.py`` derives it;
* ``at once``: all tasks are handed out as fast as the budget allows, run times known, nothing held back for later;
* ``none ahead``: the executor without queueing ahead, cut off when the executor has finished.

What is played around the core, and with which delays, says ``simulation/fleet.py``.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from simulation.at_once import AtOnce, best_makespan, best_utilisation
from simulation.fleet import (
    BATCH_BYTES,
    REQUESTS,
    WINDOW_SECONDS,
    Fleet,
    FleetError,
    Load,
    Run,
)

#: Tasks for each endpoint: those of 2 s take its 8 threads five minutes.
TASKS = 1250

#: Utilisation is that without so many seconds at the beginning and at the end.
EDGE_SECONDS = 20.0

_TWO_CONFIGS = ((4, '{"queue": "a"}'), (4, '{"queue": "b"}'))

LOADS = (
    Load("16", 16, 16 * TASKS),
    Load("16-log-normal", 16, 16 * TASKS, sigma=0.8),
    Load("16-configs", 16, 16 * TASKS, classes=_TWO_CONFIGS),
    Load("16-specs", 16, 16 * TASKS, specs=3),
    Load("16-configs-specs", 16, 16 * TASKS, classes=_TWO_CONFIGS, specs=2),
    Load("64", 64, 64 * TASKS),
    Load("64-log-normal", 64, 64 * TASKS, sigma=0.8),
    Load("64-configs", 64, 64 * TASKS, classes=_TWO_CONFIGS),
    Load("64-large", 64, 32 * TASKS, task_bytes=100_000),
    Load("256", 256, 256 * TASKS),
)

#: What must be reached, by the number of endpoints: utilisation, and share of what everything at once reaches.
LEAST_UTILISATION = {16: 0.90}
LEAST_SHARE = {64: 0.80}

SYSTEMS = ("at once", "executor", "none ahead")


@dataclass(frozen=True)
class Row:
    """What one system reached with one load.

    Parameters
    ----------
    load, system : str
    makespan : float or None
        Seconds; None if the run was cut off.
    utilisation : float
        In the steady state.
    at_end : float
        Utilisation of the last :data:`EDGE_SECONDS`.
    requests : int
        Submissions.
    fewest, most : int
        Submissions of the endpoint, configuration and resource specification that had the fewest and the most.
    tasks_per_request : float
    statuses : int
        Status queries.
    in_window : int
        Most requests in any window.
    """

    load: str
    system: str
    makespan: float | None
    utilisation: float
    at_end: float
    requests: int
    fewest: int
    most: int
    tasks_per_request: float
    statuses: int
    in_window: int


def summary(load: Load, system: str, run: Run) -> Row:
    """The figures of a run."""
    end = run.makespan
    requests = sum(run.requests.values())
    return Row(load.name, system, None if run.cut_off else end, run.utilisation(EDGE_SECONDS, end - EDGE_SECONDS),
               run.utilisation(max(0.0, end - EDGE_SECONDS), end), requests, min(run.requests.values()), max(run.requests.values()),
               run.sent / requests, run.statuses, run.most_in_window)


def measure(load: Load) -> list[Row]:
    """Run a load with each of :data:`SYSTEMS`."""
    def executor(tasks_per_thread: int | None) -> Scheduler:
        ahead = AheadRule(REQUESTS / WINDOW_SECONDS, tasks_per_thread)
        return Scheduler(load.endpoint_specs(), Settings(ahead, BATCH_BYTES))

    ours = Fleet(load, executor(None)).run()
    runs = Fleet(load, AtOnce(load)).run(), ours, Fleet(load, executor(0), until=ours.makespan).run()
    return [summary(load, system, run) for system, run in zip(SYSTEMS, runs)]


@dataclass(frozen=True)
class Verdict:
    """Something that must be reached."""

    text: str
    figure: float
    least: float

    @property
    def missed(self) -> bool:
        """Whether it is not; a figure that is no number is not reached."""
        return not self.figure >= self.least

    def __str__(self) -> str:
        return f"  {'MISSED' if self.missed else 'ok':8} {self.figure:6.3f}  at least {self.least:5.3f}  {self.text}"


def verdicts(load: Load, rows: Sequence[Row]) -> Iterator[Verdict]:
    """What must be reached with a load."""
    best, ours, _ = rows
    if load.endpoints in LEAST_UTILISATION:
        yield Verdict(f"{load.name}: utilisation in the steady state", ours.utilisation, LEAST_UTILISATION[load.endpoints])
    if load.endpoints in LEAST_SHARE:
        least = LEAST_SHARE[load.endpoints]
        yield Verdict(f"{load.name}: utilisation over that of everything at once", ours.utilisation / best.utilisation, least)
        yield Verdict(f"{load.name}: speed over that of everything at once", (best.makespan or math.nan) / (ours.makespan or math.nan), least)


def table(load: Load, rows: Sequence[Row]) -> Iterator[str]:
    """Lines about a load."""
    kinds = ", ".join(filter(None, (
        f"{load.endpoints} endpoints", f"{load.threads} threads", f"{load.tasks} tasks of {load.seconds:g} s",
        f"log-normal, sigma {load.sigma:g}" if load.sigma else "", f"{len(load.classes)} configurations" if len(load.classes) > 1 else "",
        f"{load.specs} resource specifications" if load.specs > 1 else "", f"{load.task_bytes} bytes each")))
    yield f"\n{load.name}: {kinds}"
    yield (f"  {'':14} {'makespan':>8} {'over best':>9} {'utilisation':>11} {'last 20 s':>9} {'requests':>8} {'of each':>9} "
           f"{'tasks/request':>13} {'statuses':>8} {'in 10 s':>7}")
    best = best_makespan(load)
    yield f"  {'best in theory':14} {best:8.1f} {1:9.3f} {best_utilisation(load):11.3f}"
    for row in rows:
        makespan = ("", "") if row.makespan is None else (f"{row.makespan:.1f}", f"{row.makespan / best:.3f}")
        yield (f"  {row.system:14} {makespan[0]:>8} {makespan[1]:>9} {row.utilisation:11.3f} {row.at_end:9.3f} {row.requests:8} "
               f"{f'{row.fewest}-{row.most}':>9} {row.tasks_per_request:13.1f} {row.statuses:8} {row.in_window:7}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Simulates many endpoints under the service's request budget, in virtual time, with the executor's own core and governor.",
        epilog="of each: requests of the endpoint, user_endpoint_config and resource specification that had the fewest, and the most; "
               "last 20 s: what uneven ends cost")
    parser.add_argument("loads", nargs="*", metavar="LOAD", help=f"which to run (all): {', '.join(load.name for load in LOADS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object for each row of the tables")
    parser.add_argument("--processes", type=int, metavar="N", default=os.cpu_count() or 1, help="loads at a time (one for each processor)")
    options = parser.parse_args(arguments)
    unknown = set(options.loads) - {load.name for load in LOADS}
    if unknown:
        parser.error(f"no load {min(unknown)!r}; there are {', '.join(load.name for load in LOADS)}")
    if options.processes < 1:
        parser.error("--processes must be 1 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    loads = [load for load in LOADS if not options.loads or load.name in options.loads]
    must: list[Verdict] = []
    all_rows: list[Row] = []
    with ProcessPoolExecutor(min(options.processes, len(loads))) as pool:
        try:
            # the largest take longest, so they begin first
            running = {load.name: pool.submit(measure, load) for load in sorted(loads, key=lambda load: -load.tasks)}
            for load in loads:
                rows = running[load.name].result()
                print(*table(load, rows), sep="\n", flush=True)
                must += verdicts(load, rows)
                all_rows += rows
        except FleetError as e:
            pool.shutdown(cancel_futures=True)
            print(f"budget_scale.py: {e}", file=sys.stderr)
            return 2
    if options.json:
        options.json.write_text(json.dumps([vars(row) for row in all_rows], indent=0) + "\n", encoding="utf-8")
    if must:
        print("\nMust reach:", *must, sep="\n")
    return 1 if any(verdict.missed for verdict in must) else 0


if __name__ == "__main__":
    sys.exit(main())
