"""What ``python -m parsl.executors.globus_compute_multi`` can do, a module each."""
from __future__ import annotations

from argparse import ArgumentParser
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from parsl.executors.globus_compute_multi.observe.logfile import (
    InconsistentLog,
    read_log,
)


def add_log_argument(parser: ArgumentParser) -> None:
    """Let a command have a run log, as :func:`.find_log` takes it."""
    parser.add_argument("log", type=Path, nargs="?", default=Path("runinfo"),
                        help="a run log, a run directory (runinfo/000), or the folder of those, for the newest run; default: runinfo")


@contextmanager
def named(log: Path) -> Iterator[None]:
    """Have errors about what is in a run log name the file.

    Raises
    ------
    InconsistentLog
    """
    try:
        yield
    except InconsistentLog as e:
        if str(log) in str(e):
            raise
        raise InconsistentLog(f"{log}: {e}") from e


def first_line(log: Path) -> Optional[Dict[str, Any]]:
    """The first line of a run log; None if it is not complete yet.

    Raises
    ------
    OSError
        If it cannot be read.
    InconsistentLog
        If it is not a line of a run log.
    """
    try:
        return next(read_log(log), None)
    except InconsistentLog as e:
        if e.__cause__ is None:  # it says what it is
            raise
        raise InconsistentLog(f"{log} is not a run log of GlobusComputeMultiExecutor: its first line is not JSON") from e
