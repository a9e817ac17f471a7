"""``python -m chaos``: runs workflows while faults strike, and says what was lost; status 1 if anything was."""
from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from chaos import table
from chaos.plan import KINDS, LONGEST_PAUSE, describe, plan_faults
from chaos.run import Order, Result, run

#: Tries of a task after failures that are not the app's: one for each fault of a run, and some.
FAILOVER_ATTEMPTS = 10


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=(inspect.getdoc(sys.modules[__name__]) or "").split(": ", 1)[1])
    parser.add_argument("--runs", type=int, default=20, help="runs, with seeds that follow one another (20)")
    parser.add_argument("--tasks", type=int, default=500, help="tasks of each workflow (500)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run (1)")
    parser.add_argument("--least", type=int, default=5, help="fewest faults of a run; fewer that strike something are a violation (5)")
    parser.add_argument("--most", type=int, default=8, help="most faults of a run (8)")
    parser.add_argument("--faults", default=",".join(KINDS), metavar="KIND,...", help=f"kinds that may strike: {', '.join(KINDS)} (all)")
    parser.add_argument("--longest-pause", type=float, default=LONGEST_PAUSE, help="seconds that an endpoint is paused at most (60)")
    parser.add_argument("--retries", type=int, default=0, help="Parsl's retries (0)")
    parser.add_argument("--rival-retries", type=int, metavar="RETRIES", help="Parsl's retries of the three GlobusComputeExecutors (--retries)")
    parser.add_argument("--patience", type=float, default=180.0,
                        help="seconds without a future resolved after which those that are left count as hung; more than twice the "
                             "executor's silence_seconds, 60 (180)")
    parser.add_argument("--rival", action="store_true", help="run three GlobusComputeExecutors under the same faults, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there, after each run")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write both sides there after each run, as the documentation has them")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the logs of each run there")
    parser.add_argument("--plan", action="store_true", help="say what would strike, and run nothing")
    options = parser.parse_args(arguments)
    options.faults = options.faults.split(",")
    unknown = sorted(set(options.faults) - set(KINDS))
    if unknown:
        parser.error(f"--faults: unknown kind {', '.join(unknown)}; known are {', '.join(KINDS)}")
    if options.runs < 1 or options.tasks < 1 or not 1 <= options.least <= options.most:
        parser.error("--runs, --tasks and --least must be at least 1, and --most at least --least")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print; returns the exit status."""
    options = parse(arguments)
    sides: list[tuple[str, int, dict[str, int]]] = [("ours", options.retries, {"failover_attempts": FAILOVER_ATTEMPTS})]
    if options.rival:
        sides.append(("rival", options.retries if options.rival_retries is None else options.rival_retries, {}))
    results: list[Result] = []
    for seed in range(options.seed, options.seed + options.runs):
        faults = plan_faults(seed, options.least, options.most, options.faults, options.longest_pause)
        if options.plan:
            print(f"seed {seed:3d}  {describe(faults)}")
            continue
        for side, retries, more in sides:
            order = Order(side, seed, options.tasks, retries, options.patience, more, options.least)
            keep = None
            if options.keep is not None:
                keep = options.keep.resolve() / f"{seed}-{side}"
                keep.mkdir(parents=True)
            results.append(run(order, faults, keep))
            print(table.line(results[-1]), flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
            if options.csv is not None:
                table.write_csv(results, options.csv)
    if results:
        print(table.text(results))
    return 0 if all(result.good for result in results if result.side == "ours") else 1


if __name__ == "__main__":
    sys.exit(main())
