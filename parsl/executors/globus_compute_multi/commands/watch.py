"""watch a run while it goes on

Shows the endpoints, the tasks and the last failures of a run, drawn anew as its log grows, until the run ends. Not on a terminal: a line now
and then, and a table in the end. Exit code 0 when the run has ended, 130 after Ctrl-C, 2 if there is no run log, or if it contradicts itself.
The log does not tell when the process that runs the workflow was killed; how long nothing new has come is shown.

example:
  python -m parsl.executors.globus_compute_multi watch runinfo/000
"""
from __future__ import annotations

import argparse
import sys

from parsl.executors.globus_compute_multi.commands import (
    add_log_argument,
    first_line,
    named,
)
from parsl.executors.globus_compute_multi.observe.live import (
    PlainViewer,
    Viewer,
    follow_run,
    terminal,
)
from parsl.executors.globus_compute_multi.observe.logfile import find_log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which arguments the command has."""
    add_log_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Show a run until it ends; returns the exit code."""
    log = find_log(options.log)
    with named(log):
        if first_line(log) is None:
            print(f"{log} has no complete line yet; waiting for the run to begin", file=sys.stderr, flush=True)
    console = terminal(sys.stdout)
    viewer: Viewer = PlainViewer(sys.stdout)
    if console is not None:
        from parsl.executors.globus_compute_multi.observe.screen import Screen
        viewer = Screen(console)
    try:
        with named(log):
            follow_run(log, viewer)
    except KeyboardInterrupt:
        return 130
    return 0
