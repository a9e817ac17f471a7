"""The live view on real terminals and in pipes: the command ``watch``, and a program that shows its run."""
from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from parsl.executors.globus_compute_multi.__main__ import main
from parsl.executors.globus_compute_multi.observe.live import IDLE_SECONDS
from parsl.tests.test_globus_compute_multi.unit.terminals import (
    DEADLINE,
    GrowingLog,
    Pty,
)

pytestmark = pytest.mark.local

COMMAND = [sys.executable, "-m", main.__module__, "watch"]


@pytest.fixture
def growing(tmp_path):
    return GrowingLog(tmp_path)


def test_watch_draws_on_a_terminal_and_leaves_it_clean(growing):
    with Pty([*COMMAND, str(growing.path)]) as terminal:
        terminal.until(b"going on")
        growing.end()
        assert terminal.finish() == 0
        rows = terminal.rows
        assert rows[0].startswith("multi  ended after") and rows[-1] == ""
        assert sum(row.startswith("endpoint ") for row in rows) == 1
        assert b"\x1b[?25l" not in terminal.output and b"\x1b[?1049h" not in terminal.output


def test_watch_ends_with_ctrl_c_without_a_traceback(growing):
    with Pty([*COMMAND, str(growing.path)]) as terminal:
        terminal.until(b"going on")
        os.write(terminal.fd, b"\x03")
        assert terminal.finish() == 130
        assert b"Traceback" not in terminal.output


PROGRAM = """
import logging, sys, time
logging.basicConfig(level=logging.WARNING, format="logged %(message)s")
from pathlib import Path
from parsl.executors.globus_compute_multi.observe.live import LiveView
path = Path(sys.argv[1])
view = LiveView(path)
view.start()
for i in range(12):
    print("printed", i)
    logging.warning("%d", i)
    time.sleep(0.1)
with open(path, "a") as log:
    log.write(sys.argv[2])
view.stop()
print("after it")
"""


def test_a_program_prints_above_its_view_on_a_terminal(growing):
    with Pty([sys.executable, "-c", PROGRAM, str(growing.path), growing.end_line]) as terminal:
        assert terminal.finish() == 0
        rows = terminal.rows
        assert rows[:24] == [text for i in range(12) for text in (f"printed {i}", f"logged {i}")]
        assert rows[24].startswith("multi  ended after") and rows[-2:] == ["after it", ""]
        assert b"going on" in terminal.output


def test_a_program_whose_output_goes_to_a_file_prints_there_what_it_prints(growing, tmp_path):
    out = tmp_path / "out.txt"
    to_file = ["sh", "-c", 'exec "$0" -c "$1" "$2" "$3" > "$4"', sys.executable]
    with Pty([*to_file, PROGRAM, str(growing.path), growing.end_line, str(out)]) as terminal:
        assert terminal.finish() == 0
        assert out.read_text() == "".join(f"printed {i}\n" for i in range(12)) + "after it\n"
        assert terminal.rows[:12] == [f"logged {i}" for i in range(12)] and terminal.rows[12].startswith("multi  ended")


ASKING = """
import sys
from pathlib import Path
from parsl.executors.globus_compute_multi.observe.live import LiveView
path = Path(sys.argv[1])
view = LiveView(path)
view.start()
{asks}
with open(path, "a") as log:
    log.write(sys.argv[2])
view.stop()
"""


@pytest.mark.parametrize("asks, prompt, answer", [
    ("print('hello', input('name? '))", b"name? ", b"Ada"), ("breakpoint()", b"(Pdb) ", b"continue")])
def test_what_a_program_asks_is_not_drawn_over(growing, asks, prompt, answer):
    with Pty([sys.executable, "-c", ASKING.format(asks=asks), str(growing.path), growing.end_line]) as terminal:
        terminal.until(prompt)
        before = terminal.output
        time.sleep(3 * IDLE_SECONDS)  # it would draw in that time
        assert terminal.output == before
        os.write(terminal.fd, answer + b"\n")
        assert terminal.finish() == 0
        assert (prompt + answer).decode() in terminal.rows and any(row.startswith("multi  ended") for row in terminal.rows)


def test_watch_in_a_pipe_prints_plain_lines_and_the_table(growing):
    with subprocess.Popen([*COMMAND, str(growing.path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "FORCE_COLOR": "1"}) as watch:
        first = watch.stdout.readline()
        growing.end()
        rest, errors = watch.communicate(timeout=DEADLINE)
    assert (watch.returncode, errors) == (0, "")
    assert "9 tasks: 2 after others, 1 pending, 1 dispatched, 3 done, 2 failed; " in first
    assert rest.startswith("Run multi: ended after ") and "\x1b" not in rest


def test_watch_says_what_it_waits_for_if_the_log_is_empty(growing):
    text = growing.path.read_text()
    growing.path.write_text("")
    with subprocess.Popen([*COMMAND, str(growing.path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stderr.readline() == f"{growing.path} has no complete line yet; waiting for the run to begin\n"
        growing.path.write_text(text + growing.end_line)
        rest, errors = watch.communicate(timeout=DEADLINE)
    assert (watch.returncode, errors) == (0, "") and rest.startswith("Run multi: ended after ")
