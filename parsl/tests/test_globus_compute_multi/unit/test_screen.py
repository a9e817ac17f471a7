"""The live view beside what the program prints, logs and asks on the same terminal."""
from __future__ import annotations

import io
import logging
import os
import sys
import threading
from contextlib import contextmanager

import pytest
from rich.console import Console

from parsl.executors.globus_compute_multi.observe.runview import view_of
from parsl.executors.globus_compute_multi.observe.screen import Screen
from parsl.tests.test_globus_compute_multi.unit.log_lines import LogLines
from parsl.tests.test_globus_compute_multi.unit.terminals import (
    DEADLINE,
    FakeTerminal,
    Terminal,
    console,
)

pytestmark = pytest.mark.local


@contextmanager
def shared(printed=""):
    """A screen on a terminal that is stdout and stderr, too; with a handler of the logging module that was there before."""
    terminal, before = FakeTerminal(), (sys.stdout, sys.stderr)
    terminal.write(printed)
    sys.stdout = sys.stderr = terminal
    handler = logging.StreamHandler(terminal)
    logger = logging.getLogger("of the program")
    logger.propagate = False
    logger.addHandler(handler)
    screen = Screen(Console(file=terminal, force_terminal=True, width=60, height=20))
    try:
        screen.share_terminal()
        yield terminal, screen
        screen.close()
        assert sys.stdout is terminal and sys.stderr is terminal and handler.stream is terminal
    finally:
        sys.stdout, sys.stderr = before
        logger.removeHandler(handler)


def test_what_the_program_prints_and_logs_stays_as_it_is_above_the_picture():
    with shared() as (terminal, screen):
        log = LogLines()
        view = view_of(log.lines)
        for i in range(3):
            print(f"printed {i}: {'long ' * 30}end")
            screen.show(view, log.t)
            logging.getLogger("of the program").error("logged %d", i)
            screen.show(view, log.t)
            print(f"to stderr {i}", file=sys.stderr)
            screen.show(view, log.t)
        rows = Terminal(terminal.getvalue()).rows
        assert rows[:9] == [text for i in range(3) for text in (f"printed {i}: {'long ' * 30}end", f"logged {i}", f"to stderr {i}")]
        assert rows[9].startswith("multi  going on") and sum(row.startswith("multi") for row in rows) == 1


def test_the_picture_stays_away_while_the_program_is_in_the_middle_of_a_line():
    with shared() as (terminal, screen):
        log = LogLines()
        view = view_of(log.lines)
        screen.show(view, log.t)
        print("half a line", end="")
        screen.show(view, log.t)
        assert Terminal(terminal.getvalue()).rows == ["", "half a line"]
        print(", and the rest")
        screen.show(view, log.t)
        assert [row[:5] for row in Terminal(terminal.getvalue()).rows[1:3]] == ["half ", "multi"]


def test_a_line_that_was_begun_before_the_view_is_not_drawn_over():
    log = LogLines()
    with shared("begun before") as (terminal, screen):
        screen.show(view_of(log.lines), log.t)
        screen.end(view_of(log.lines), log.t)
        rows = Terminal(terminal.getvalue()).rows
        assert rows[0] == "begun before" and rows[1].startswith("multi") and sum(row.startswith("multi") for row in rows) == 1


def test_the_picture_stays_away_while_input_waits_for_an_answer(monkeypatch):
    log, seen = LogLines(), []
    view = view_of(log.lines)

    class Keyboard(FakeTerminal):
        def readline(self):
            screen.show(view, log.t)
            seen.extend(Terminal(terminal.getvalue()).rows)
            terminal.write("Ada\n")  # as a terminal does
            return "Ada\n"
    monkeypatch.setattr(sys, "stdin", Keyboard())
    before = input
    with shared() as (terminal, screen):
        print("a line")
        screen.show(view, log.t)
        assert input("name? ") == "Ada"
        screen.show(view, log.t)
        rows = Terminal(terminal.getvalue()).rows
        assert seen == ["a line", "name? "]
        assert rows[:2] == ["a line", "name? Ada"] and rows[2].startswith("multi")
    assert input is before


def test_a_thread_that_prints_while_the_view_ends_is_not_waited_for():
    waited_for = []

    class Handler(logging.StreamHandler):
        """Meanwhile, another thread logs: it would hold the lock of this one, and wait for that of the screen."""

        def setStream(self, stream):
            other = threading.Thread(target=print, args=("from another thread",), kwargs={"file": kept}, daemon=True)
            other.start()
            other.join(DEADLINE)
            waited_for.append(other.is_alive())
            return super().setStream(stream)
    with shared() as (terminal, screen):
        kept = sys.stdout
        logging.getLogger("of the program").addHandler(handler := Handler(kept))
        try:
            screen.close()
        finally:
            logging.getLogger("of the program").removeHandler(handler)
        assert waited_for == [False] and handler.stream is terminal


def test_streams_that_cannot_tell_whether_they_are_terminals_are_left_alone(monkeypatch):
    class Tee:
        def write(self, text):
            return len(text)
    with shared():
        monkeypatch.setattr(sys, "stdout", tee := Tee())
        other = Screen(console())
        other.share_terminal()
        assert sys.stdout is tee
        other.close()
        monkeypatch.undo()


@pytest.mark.parametrize("last", [0, 1])
def test_two_screens_leave_the_streams_as_they_were_in_whatever_order_they_end(last):
    with shared() as (terminal, first):
        second = Screen(console())
        second.share_terminal()
        screens = [first, second]
        screens[1 - last].close()
        screens[last].close()
        assert sys.stdout is terminal and sys.stderr is terminal


def test_the_last_picture_begins_a_line_if_the_program_is_in_the_middle_of_one():
    with shared() as (terminal, screen):
        log = LogLines()
        print("half a line", end="")
        screen.end(view_of(log.lines), log.t)
        assert [row[:5] for row in Terminal(terminal.getvalue()).rows[:2]] == ["half ", "multi"]


def test_a_stream_that_was_kept_works_after_the_view_has_ended():
    with shared() as (terminal, screen):
        kept = sys.stdout
        screen.close()
        print("later", file=kept)
        assert kept.isatty() and kept.getvalue().endswith("later\n")


def test_what_is_put_in_the_place_of_stdout_meanwhile_stays():
    with shared() as (terminal, screen):
        other, before = io.StringIO(), sys.stdout
        sys.stdout = other
        screen.close()
        assert sys.stdout is other
        sys.stdout = terminal
        assert before.getvalue() == terminal.getvalue()


def test_a_forked_process_prints_though_the_lock_was_held_when_it_was_forked():
    with shared() as (terminal, screen):
        with screen._lock:
            child = os.fork()
            if child == 0:
                done = threading.Thread(target=print, args=("from the child",), daemon=True)
                done.start()
                done.join(DEADLINE)
                os._exit(0 if "from the child" in terminal.getvalue() else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
