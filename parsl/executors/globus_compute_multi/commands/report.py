"""draw a run, live or finished, as one HTML page

Says which endpoint did what, where time was lost and what failed, in words, tables and figures, from the run log. The page is one file that
needs no network. Prints its path.

example:
  python -m parsl.executors.globus_compute_multi report runinfo/000 -o run.html
"""
from __future__ import annotations

import argparse
from pathlib import Path

from parsl.executors.globus_compute_multi.commands import (
    add_log_argument,
    first_line,
    named,
)
from parsl.executors.globus_compute_multi.observe.logfile import find_log
from parsl.executors.globus_compute_multi.observe.report import write_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which arguments the command has."""
    add_log_argument(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the page to write (default: beside the log, <label>.html)")


def run(options: argparse.Namespace) -> int:
    """Write the page, and print its path; returns the exit code."""
    log = find_log(options.log)
    with named(log):
        first_line(log)
        print(write_report(log, options.output if options.output is not None else log.with_suffix(".html")))
    return 0
