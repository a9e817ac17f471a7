"""draw a run, live or finished, as one HTML page

Says which endpoint did what, where time was lost and what failed, in words, tables and figures, from the run log. The page is one file that
needs no network. Prints its path.

example:
  python -m parsl.executors.globus_compute_multi report runinfo/000 -o run.html
"""
from __future__ import annotations

import argparse
import os
from pathlib import Path

from parsl.errors import OptionalModuleMissing
from parsl.executors.globus_compute_multi.observe.logfile import find_log, read_log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which arguments the command has."""
    parser.add_argument("log", type=Path, nargs="?", default=Path("runinfo"),
                        help="a run log, a run directory (runinfo/000), or the folder of those, for the newest run; default: runinfo")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the page to write (default: beside the log, <label>.html)")


def run(options: argparse.Namespace) -> int:
    """Write the page, and print its path; returns the exit code."""
    log = find_log(options.log)
    print(write_report(log, options.output if options.output is not None else log.with_suffix(".html")))
    return 0


def write_report(log: Path, output: Path) -> Path:
    """Draw a run as one HTML page.

    Parameters
    ----------
    log : Path
        Its first part, if it was rotated. May be written meanwhile.
    output : Path
        Replaced, in one step, if it exists.

    Returns
    -------
    Path
        ``output``.

    Raises
    ------
    InconsistentLog
        If it is not a run log, or lines contradict each other.
    OSError
        If the log cannot be read, or the page not be written.
    OptionalModuleMissing
        If plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as e:
        raise OptionalModuleMissing(["plotly"], f"{e}; run: pip install plotly") from e

    from parsl.executors.globus_compute_multi.observe.report.page import make_page
    from parsl.executors.globus_compute_multi.observe.report.reading import read_run

    page = make_page(read_run(read_log(log)), log.name, get_plotlyjs())
    partial = output.with_name(f"{output.name}.{os.getpid()}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return output
