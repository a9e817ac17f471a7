"""``python -m parsl.executors.globus_compute_multi``: what can be done from the command line."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import List, Optional

from parsl.executors.globus_compute_multi.observe.replay import (
    InconsistentLog,
    RunState,
    read_log,
    replay,
)

_HEADINGS = ("endpoint", "threads x cores", "state", "running", "ahead", "done", "failed", "busy")


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.

    Returns
    -------
    int
        0, or 1 if a log cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m parsl.executors.globus_compute_multi",
                                     description="One Parsl executor over many Globus Compute endpoints: tools for its runs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="summarise a run, live or finished, from its log",
                               description="Summarise a run, live or finished: its tasks, and what each endpoint did.")
    show.add_argument("log", type=Path, help="the run log, by default <label>.jsonl in Parsl's run directory (runinfo/000, ...)")
    options = parser.parse_args(arguments)
    try:
        print(summary(replay(read_log(options.log))))
    except (OSError, InconsistentLog) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


def summary(state: RunState) -> str:
    """A run in a few lines: its tasks, and a table of its endpoints; ``busy`` is the seconds that functions ran there."""
    rows = [_HEADINGS]
    for e in state.endpoints.values():
        threads = " + ".join(f"{c.count} x {c.cores}" for c in e.classes)
        rows.append((e.name, threads, "online" if e.online else "offline", str(len(e.running)), str(len(e.ahead)), str(e.done), str(e.failed),
                     f"{e.busy_seconds:.1f} s"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
    table = ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]) for row in rows]
    seconds = 0.0 if state.began is None or state.ended is None else state.ended - state.began
    counts = ", ".join(f"{state.count(s)} {s}" for s in ("pending", "waiting", "dispatched", "done", "failed"))
    return "\n".join([f"{len(state.tasks)} tasks in {seconds:.1f} s: {counts}", *table])


if __name__ == "__main__":
    sys.exit(main())
