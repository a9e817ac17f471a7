"""What a task costs in this process, from the call of its app to its value, when there are 100,000 of them.

``make bench-dfk`` (or ``.venv/bin/python benchmarks/dfk_scale.py``) runs apps that do nothing with Parsl's DataFlowKernel and the executor, over
a Globus Compute in this process (``soak_cloud.py``) that takes requests at once and has no limits: the executor is real down to the session of
``requests``, and up from the bodies of the result messages. Every tenth app waits for another one. Beside it the same apps run on an executor
that does nothing at all, which shows what Parsl itself takes. All apps are called at once.

It prints microseconds of processor time a task, by thread: of what Parsl's launch thread does in the executor, the packing of function and
arguments is told apart. What is played is left out. Status 1 if it is more than it may be.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from options import positive
from simulation.report import Requirement

OURS, LEAST = "this executor", "least executor"

#: Most microseconds a task that the executor may take of Parsl's launch thread, beyond packing.
MOST_ON_LAUNCH = 100.0

#: Seconds for a run, and for each task of it.
PATIENCE, PATIENCE_EACH = 120.0, 0.02

#: What is told of a run, in this order; the first ones are parts of what the launch thread takes.
ROWS = {
    "submit": "submit, without packing", "hooks": "hooks in the DataFlowKernel", "packing": "packing", "launching": "launch thread, in all",
    "calling apps": "thread that calls the apps", "core": "scheduler's thread", "sending": "sender threads",
    "receiving": "result stream's thread", "resolver": "resolver's thread", "log": "log's thread", "completing": "thread of the least executor"}


def measure(side: str, tasks: int) -> dict[str, float]:
    """Run one side in a process of its own; the figures are for a task, times in microseconds, ``bytes`` at the peak."""
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("dfk_scale_run.py"))], input=json.dumps({"side": side, "tasks": tasks}),
                          text=True, stdout=subprocess.PIPE, timeout=PATIENCE + tasks * PATIENCE_EACH, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    return {name: value / tasks * (1 if name == "bytes" else 1e6) for name, value in told.items()}


def least(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """The least of each figure, which has least of what else the machine did."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """What was found, a line for each row."""
    lines = [f"{'microseconds a task':32}" + "".join(f"{side:>16}" for side in found)]
    for row, text in ROWS.items():
        lines.append(f"{text:32}" + "".join(f"{run[row]:16.1f}" if row in run else f"{'':16}" for run in found.values()))
    lines.append(f"{'bytes at the peak':32}" + "".join(f"{run['bytes']:16,.0f}" for run in found.values()))
    lines.append(f"{'tasks a second':32}" + "".join(f"{1e6 / run['seconds']:16,.0f}" for run in found.values()))
    return lines


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures what a task costs in this process, with Parsl's DataFlowKernel and no real endpoint.")
    parser.add_argument("--tasks", type=positive, default=100_000, help="tasks of a run (100000)")
    parser.add_argument("--runs", type=positive, default=1, help="runs of each side, in turns, of which the least counts (1)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    runs: dict[str, list[dict[str, float]]] = {OURS: [], LEAST: []}
    for _ in range(options.runs):
        for side, done in runs.items():
            done.append(measure(side, options.tasks))
    found = {side: least(done) for side, done in runs.items()}
    print(f"{options.tasks:,} tasks, the least of {options.runs} runs", *table(found), "", "Must reach:", sep="\n")
    on_launch = Requirement("microseconds a task on Parsl's launch thread, in the executor, beyond packing",
                            found[OURS]["submit"] + found[OURS]["hooks"], MOST_ON_LAUNCH)
    print(on_launch)
    return 1 if on_launch.missed else 0


if __name__ == "__main__":
    sys.exit(main())
