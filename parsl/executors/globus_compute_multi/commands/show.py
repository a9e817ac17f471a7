"""summarise a run, live or finished

Prints how the tasks of a run stand, what each endpoint did, and what failed, from the run log. Exit code 2 if there is no run log, or if it
contradicts itself.

example:
  python -m parsl.executors.globus_compute_multi show runinfo/000
"""
from __future__ import annotations

import argparse
import time

from parsl.executors.globus_compute_multi.commands import (
    add_log_argument,
    first_line,
    named,
)
from parsl.executors.globus_compute_multi.observe.logfile import find_log, read_log
from parsl.executors.globus_compute_multi.observe.runview import view_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which arguments the command has."""
    add_log_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Print the status of a run; returns the exit code."""
    log = find_log(options.log)
    with named(log):
        first_line(log)
        status = view_of(read_log(log)).status(time.time())
    print(status)
    return 0
