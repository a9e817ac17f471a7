"""The live view of a run on real endpoints, from outside and from within."""
from __future__ import annotations

import io
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from parsl.app.app import python_app
from parsl.executors.globus_compute_multi.observe.live import LiveView
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.executors.globus_compute_multi.observe.runview import view_of
from parsl.tests.test_globus_compute_multi.integration.common import (
    DEADLINE,
    run_tasks,
)
from parsl.tests.test_globus_compute_multi.integration.conftest import portable
from parsl.tests.test_globus_compute_multi.unit.terminals import Pty, Terminal

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]

WATCH = [sys.executable, "-m", "parsl.executors.globus_compute_multi", "watch"]


@portable
def divide(x, y):
    return x / y


def counts(rows):
    """Tasks done and failed, and threads by endpoint, as drawn last."""
    text = "\n".join(rows)
    done, failed = re.findall(r"(\d+) done, (\d+) failed", text)[-1]
    return int(done), int(failed), dict(re.findall(r"^(\w+) +online .* 0/(\d+) ", text, re.M))


def test_a_run_is_watched_on_a_terminal_and_in_a_pipe_to_its_end(workflow):
    with ExitStack() as stack:
        with workflow() as (dfk, executor):
            run_tasks(dfk, 5)
            command = [*WATCH, str(executor.log_file)]
            terminal = stack.enter_context(Pty(command))
            piped = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            terminal.until(b"5 done")
            first = piped.stdout.readline()
            with pytest.raises(ZeroDivisionError):
                python_app(divide, data_flow_kernel=dfk)(1, 0).result(DEADLINE)
            run_tasks(dfk, 25)
        assert terminal.finish() == 0
        rest, errors = piped.communicate(timeout=DEADLINE)
    status = view_of(read_log(Path(executor.log_file))).status(0.0)
    assert (status.done, status.failed, status.left) == (30, 1, 0)
    assert dict(status.progress.failures) == {"raised by the app: ZeroDivisionError": 1}
    assert counts(terminal.rows) == (30, 1, {"small": "1", "medium": "2", "large": "4"})
    assert (piped.returncode, errors) == (0, "") and " 5 done, 0 failed; " in first
    assert rest.endswith(f"{status}\n")


def test_a_view_within_the_process_shows_the_run_to_its_end(workflow):
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    with workflow() as (dfk, executor):
        view = LiveView(Path(executor.log_file), console)
        view.start()
        run_tasks(dfk, 30)
        executor.shutdown()
        view.stop()
    rows = Terminal(console.file.getvalue()).rows
    assert rows[1].startswith("multi  ended after ")
    assert counts(rows) == (30, 0, {"small": "1", "medium": "2", "large": "4"})
