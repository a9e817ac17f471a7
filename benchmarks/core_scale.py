"""What the scheduler's core takes for each task, up to a million tasks and a thousand endpoints, and how many bytes a pending task takes.

``make bench-core`` (or ``.venv/bin/python benchmarks/core_scale.py``) gives tasks to the core, queue, task graph and pool of the executor, with
endpoints of eight threads that are played in virtual time, and measures processor time from each task's announcement to its end. The loads:

* a bag of tasks of 20 s on average (log-normal), all announced and submitted before the first turn; the core is granted two turns a second,
  queues ahead as it does by default, and gets an endpoint's results together twice a second, with ticks and statuses;
* a graph of a hundred layers in which each task waits for two of the layer before, likewise;
* the bag again, with nothing queued ahead and no limit: each result brings a request, so that a decision is made for each task alone.

The first is run on all numbers of endpoints, the others on the most; ``make bench`` does the first alone, on the most. Each run has a process
of its own. To hand over the lines of the run log is included (``make bench-records`` says what becomes of them), and what that takes is shown by
a run without it. Garbage collection is included: it is the interpreter's as it is set by default, and goes through all that lives, now and then.
Status 1 if more is taken than may be.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from options import positive
from simulation.core_speed import SCALED
from simulation.report import Requirement

#: Most microseconds a task, with the most tasks and endpoints.
MOST_MICROSECONDS = 40.0

#: Most that may be, over those with the fewest tasks.
MOST_GROWTH = 1.5

#: Most bytes that a pending task takes, without what it carries and the future that ``submit`` returns.
MOST_BYTES = 1500.0

#: Seconds for a run.
PATIENCE = 3600.0

#: Which of :data:`simulation.core_speed.SCALED` there are, and the first of them once more, without lines of the run log.
LOADS = ("bag", "graph", "single")
BARE = "bare"

STEPS = ("announce", "submit", "dispatch", "result", "leave")


@dataclass(frozen=True)
class Found:
    """What came out of one run.

    Parameters
    ----------
    load : int
        Which of ``simulation.core_speed.SCALED``.
    tasks, endpoints : int
    told : dict
        From the run's process.
    """

    load: int
    tasks: int
    endpoints: int
    told: Dict[str, Any]

    @property
    def microseconds(self) -> float:
        """Of processor time, a task."""
        return self.told["microseconds"]


def run(**job: Any) -> Dict[str, Any]:
    """Do a job in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("core_scale_run.py"))]
    told = subprocess.run(command, input=json.dumps(job), stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE).stdout
    return json.loads(told)


def timings(names: Sequence[str], tasks: Sequence[int], endpoints: Sequence[int]) -> Iterator[Found]:
    """Time those loads, the smallest first."""
    for load in (load for load, name in enumerate(LOADS) if name in names):
        for most in endpoints if load == 0 else endpoints[-1:]:
            for count in tasks:
                yield Found(load, count, most, run(kind="timing", load=load, tasks=count, endpoints=most, log=True))


def line(found: Found) -> str:
    """A line of the table."""
    told = found.told
    steps = "".join(f"{told['steps'].get(step, 0.0):9.1f}" for step in STEPS)
    return (f"{found.tasks:9,}{found.endpoints:6,}{found.microseconds:9.1f}{steps}{told['ticking'] * 100:7.2f}%{told['collection']:8.1f}"
            f"{told['longest'] * 1e3:9.0f} {told['longest_kind']:15}{told['longest_collection'] * 1e3:8.0f}")


HEAD = "".join((f"{'tasks':>9}{'ends':>6}{'in all':>9}", *(f"{step:>9}" for step in STEPS),
                f"{'clock':>8}{'garbage':>8}{'longest':>9} {'event, ms':15}{'garbage':>8}"))

NOTES = """\
in all, by step, garbage: microseconds of processor time a task; garbage collection is part of the steps during which it comes.
clock: share of the processor that ticks and statuses take, whatever the number of tasks; "in all" is what the steps take of the rest.
longest: the event that took longest and, last, the longest pass of the garbage collector, in milliseconds."""


def memory_line(tasks: int, told: Dict[str, float]) -> str:
    """A line of the table of bytes a pending task."""
    return f"{tasks:9,}{told['core']:9.0f}{told['executor']:10.0f}{told['core'] + told['executor']:8.0f}{told['future']:9.0f}"


def requirements(found: Sequence[Found], memory: Dict[int, Dict[str, float]]) -> List[Requirement]:
    """What must be reached, of the runs with the most endpoints."""
    must: List[Requirement] = []
    for number, load in enumerate(SCALED):
        mine = [f for f in found if f.load == number]
        if not mine:
            continue
        most = max(f.endpoints for f in mine)
        sizes = sorted((f for f in mine if f.endpoints == most), key=lambda f: f.tasks)
        few, many = sizes[0], sizes[-1]
        must.append(Requirement(f"microseconds a task, {many.tasks:,} tasks, {most:,} endpoints: {load.text}", many.microseconds,
                                MOST_MICROSECONDS))
        must.append(Requirement(f"over that of {few.tasks:,} tasks", many.microseconds / few.microseconds, MOST_GROWTH))
    tasks = max(memory)
    must.append(Requirement(f"bytes a pending task, {tasks:,} tasks", memory[tasks]["core"] + memory[tasks]["executor"], MOST_BYTES))
    return must


def parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures what the scheduler's core takes for each task, and how that grows.")
    parser.add_argument("--tasks", type=positive, nargs="+", metavar="N", default=[10_000, 100_000, 1_000_000],
                        help="numbers of tasks (10000 100000 1000000)")
    parser.add_argument("--endpoints", type=positive, nargs="+", metavar="N", default=[10, 100, 1000],
                        help="numbers of endpoints (10 100 1000)")
    names = [*LOADS, BARE]
    parser.add_argument("--loads", nargs="+", choices=names, default=names, metavar="LOAD",
                        help="which to run (all): bag; graph; single: a bag in which each result brings a request; bare: the bag without lines "
                             "of the run log, with the most tasks and endpoints")
    parser.add_argument("--memory", type=positive, nargs="+", metavar="N", help="numbers of pending tasks whose bytes are counted (as --tasks)")
    options = parser.parse_args(arguments)
    options.tasks.sort()
    options.memory = sorted(options.memory or options.tasks)
    options.endpoints.sort()
    return options


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parse(arguments)
    found: List[Found] = []
    for timing in timings(options.loads, options.tasks, options.endpoints):
        if not found or timing.load != found[-1].load:
            print("", f"{SCALED[timing.load].text}:", HEAD, sep="\n")
        print(line(timing), flush=True)
        found.append(timing)
    tasks, endpoints = options.tasks[-1], options.endpoints[-1]
    if BARE in options.loads:
        bare = Found(0, tasks, endpoints, run(kind="timing", load=0, tasks=tasks, endpoints=endpoints, log=False))
        print("", f"{SCALED[0].text}, without lines of the run log:", HEAD, line(bare), sep="\n")
    print("", NOTES, sep="\n", flush=True)
    memory = {count: run(kind="memory", tasks=count, endpoints=endpoints) for count in options.memory}
    print("", "Bytes by which the process grows for each pending task (resident memory), without what the task carries:",
          f"{'tasks':>9}{'core':>9}{'executor':>10}{'both':>8}{'future':>9}", *(memory_line(*each) for each in memory.items()),
          "core: task, queue and task graph; executor: what it knows of the task; future: what submit returns, a concurrent.futures.Future.",
          sep="\n")
    must = requirements(found, memory)
    print("\nMust reach:", *must, sep="\n")
    return 1 if any(requirement.missed for requirement in must) else 0


if __name__ == "__main__":
    sys.exit(main())
