"""Draws a run, live or finished, as one HTML page: :func:`write_report`."""
from __future__ import annotations

import os
from pathlib import Path

from parsl.errors import OptionalModuleMissing
from parsl.executors.globus_compute_multi.observe.logfile import read_log


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
