"""What the run log and the result records cost, apart from the scheduler's core.

``make bench-records`` (or ``.venv/bin/python benchmarks/records.py``) gives tasks to the core, as ``benchmarks/scheduling.py`` does to time the
core alone, and to the core without its statements that log, in turns; what comes out is handled as the executor does it, with the log's thread
running, and with one reader of result records. It prints processor time a task: how much more the core's thread needs, and what the other
threads need. Status 1 if it is more than it may be.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Sequence

from options import positive
from simulation.core_speed import JUDGED
from simulation.report import Requirement

#: Most microseconds a task on the core's thread, and of all threads together.
MOST_ON_CORE = 5.0
MOST_IN_ALL = 40.0

#: Seconds for a run.
PATIENCE = 600.0


@dataclass(frozen=True)
class Cost:
    """Microseconds of processor time a task.

    Parameters
    ----------
    bare : float
        On the core's thread, with neither log nor records.
    core : float
        How much more with them.
    log : float
        On the log's thread.
    publishing : float
        On the resolver's thread.
    lines : float
        Not microseconds, but lines of the log.
    """

    bare: float
    core: float
    log: float
    publishing: float
    lines: float

    @property
    def total(self) -> float:
        """Of all threads."""
        return self.core + self.log + self.publishing


def cost(runs: Sequence[dict], tasks: int) -> Cost:
    """The least of some runs: on the core's thread, of each turn, since all runs do the same in it; elsewhere, as a whole."""
    bare, core = (sum(map(min, zip(*(run[side] for run in runs)))) for side in ("bare", "core"))
    log, publishing = (min(run[thread] for run in runs) for thread in ("log", "publishing"))
    each = 1e6 / tasks
    return Cost(bare * each, (core - bare) * each, log * each, publishing * each, runs[0]["lines"] / tasks)


def measure(load: int, tasks: int, records: bool, runs: int) -> Cost:
    """Run that many processes, one after the other."""
    job = json.dumps({"load": load, "tasks": tasks, "records": records})
    command = [sys.executable, str(Path(__file__).with_name("records_run.py"))]
    told = [subprocess.run(command, input=job, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE).stdout for _ in range(runs)]
    return cost([json.loads(text) for text in told], tasks)


def requirements(costs: Sequence[Cost]) -> List[Requirement]:
    """What must be reached, of the costs of log and records with each of the loads."""
    return [requirement for load, found in zip(JUDGED, costs) for requirement in (
        Requirement(f"log and records, microseconds a task on the core's thread, {load.text}", found.core, MOST_ON_CORE),
        Requirement(f"log and records, microseconds a task on all threads, {load.text}", found.total, MOST_IN_ALL))]


def table(title: str, costs: Sequence[Cost]) -> Iterator[str]:
    yield f"{title:16}{'core alone':>12}{'more there':>12}{'log thread':>12}{'publishing':>12}{'in all':>9}{'lines':>7}"
    for load, found in zip(JUDGED, costs):
        yield (f"{'':16}{found.bare:12.1f}{found.core:12.1f}{found.log:12.1f}{found.publishing:12.1f}{found.total:9.1f}{found.lines:7.1f}"
               f"  {load.text}")


def parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures what the run log and the result records cost, apart from the scheduler's core.")
    parser.add_argument("--tasks", type=positive, metavar="N", default=10_000, help="tasks of a run (10000)")
    parser.add_argument("--runs", type=positive, metavar="N", default=5, help="runs of which the least counts (5)")
    return parser.parse_args(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parse(arguments)
    print(f"Microseconds of processor time a task, without garbage collection; {options.tasks:,} tasks, the least of {options.runs} runs.")
    for title, records in (("log", False), ("log and records", True)):
        costs = [measure(load, options.tasks, records, options.runs) for load in range(len(JUDGED))]
        print("", *table(title, costs), sep="\n", flush=True)
    must = requirements(costs)
    print("\nMust reach:", *must, sep="\n")
    return 1 if any(requirement.missed for requirement in must) else 0


if __name__ == "__main__":
    sys.exit(main())
