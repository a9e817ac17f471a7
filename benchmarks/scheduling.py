"""How good the schedules of the executor's core are: it runs workflows in virtual time, beside other schedulers and a lower bound.

``make bench-scheduling`` (or ``.venv/bin/python benchmarks/scheduling.py``) prints, for each set-up of endpoints and each kind of run-time
estimates, the makespan over the lower bound, and at the end what must be reached. Its status is 1 if any of that was missed.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import List, Optional, Sequence

from options import positive
from simulation.core import ESTIMATES, POLICIES, SimulationError
from simulation.report import Results, requirements, tables
from simulation.rivals import RIVALS
from simulation.run import LEAST_DRAWS, MAIN_SETUPS, Plan, run_all
from simulation.setups import Setup, SetupError, misfit, read_setups
from simulation.speed import measure
from simulation.workflows import WorkflowError, read_workflows

HERE = Path(__file__).parent


def parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Simulates workflows on the executor's scheduler core, in virtual time, and compares it with other schedulers.",
        epilog=f"policies of the core: {', '.join(POLICIES)}; rivals: {', '.join(RIVALS)}")
    parser.add_argument("--workflows", type=Path, metavar="DIR", default=HERE / "workflows",
                        help="folder of workflows, WfFormat JSON (benchmarks/workflows); those named adversarial-* are judged apart")
    parser.add_argument("--setups", nargs="+", metavar="DIR|NAME", default=[],
                        help="a folder of set-ups (benchmarks/setups), or names of some in there, or both, the folder first (all in it)")
    parser.add_argument("--policies", nargs="+", metavar="NAME", choices=[*POLICIES, *RIVALS],
                        help="policies and rivals (all of them on equal, heterogeneous and cores; default and the rivals elsewhere)")
    parser.add_argument("--estimates", nargs="+", choices=ESTIMATES, default=ESTIMATES, help="what the core is told beforehand (all three)")
    parser.add_argument("--seeds", type=positive, metavar="N", default=3,
                        help="number of seeds, for noise, for core requirements that are drawn, and for chance (3); on equal, heterogeneous "
                             f"and cores random-executor is drawn {LEAST_DRAWS} times or more, whatever N is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object for each run: workflow, setup, policy, estimates, seed, "
                                                                  "makespan, lower_bound; a run that never ends has none, nor have "
                                                                  "draws of random-executor beyond N")
    parser.add_argument("--processes", type=positive, metavar="N", default=os.cpu_count() or 1,
                        help="processes at a time (one for each processor)")
    parser.add_argument("--no-speed", action="store_true", help="do not time the core itself")
    return parser.parse_args(arguments)


class _NotWritable(ValueError):
    """The file for the records cannot be written."""


def _check_writable(file: Path) -> None:
    try:
        file.open("a", encoding="utf-8").close()
    except OSError as e:
        raise _NotWritable(f"--json {file}: cannot be written: {e.strerror}; give a file in a folder that exists") from e


def choose_setups(arguments: Sequence[str]) -> List[Setup]:
    """Set-ups of the folder that comes first, if any, else of ours; those named, or all, those that are judged first."""
    folder, names = HERE / "setups", list(arguments)
    if names and Path(names[0]).is_dir():
        folder = Path(names.pop(0))
    setups = read_setups(folder)
    unknown = [name for name in names if name not in setups]
    if unknown:
        raise SetupError(f'no set-up "{unknown[0]}" in {folder}, and no such folder; there are {", ".join(setups)}')
    return [setups[name] for name in names or sorted(setups, key=lambda name: (name not in MAIN_SETUPS, name))]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parse(arguments)
    plan = Plan(tuple(options.policies) if options.policies else None, tuple(options.estimates), options.seeds)
    try:
        workflows, setups = read_workflows(options.workflows), choose_setups(options.setups)
        if options.json:
            _check_writable(options.json)  # better now than after all runs
        for problem in filter(None, (misfit(workflow, setup) for setup in setups for workflow in workflows)):
            print(f"scheduling.py: left out: {problem}", file=sys.stderr)
        records = list(run_all(workflows, setups, plan, options.processes))
    except (_NotWritable, WorkflowError, SetupError, SimulationError) as e:
        print(f"scheduling.py: {e}", file=sys.stderr)
        return 2
    if options.json:
        rows = [asdict(record) for record in records if record.seed < options.seeds]
        options.json.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    results = Results(records)
    print(*tables(results), sep="\n")
    must = requirements(results)
    if not options.no_speed:
        print("\nThe core itself:")
        for line, requirement in measure([w for w in workflows if not w.adversarial][::3], [s for s in setups if s.name in MAIN_SETUPS]):
            print(line)
            must += requirement
    print("\nMust reach:", *must, sep="\n")
    return 1 if any(requirement.missed for requirement in must) else 0


if __name__ == "__main__":
    sys.exit(main())
