"""The live view: what it draws, on which streams, and that it leaves terminal and workflow alone."""
from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from rich.console import Console

from parsl.errors import OptionalModuleMissing
from parsl.executors.globus_compute_multi.observe import live
from parsl.executors.globus_compute_multi.observe.live import (
    LiveView,
    PlainViewer,
    follow_run,
)
from parsl.executors.globus_compute_multi.observe.logfile import InconsistentLog
from parsl.executors.globus_compute_multi.observe.runview import RunView, view_of
from parsl.executors.globus_compute_multi.observe.screen import Screen, picture
from parsl.tests.test_globus_compute_multi.unit.log_lines import LogLines, eventful
from parsl.tests.test_globus_compute_multi.unit.terminals import (
    GrowingLog,
    Terminal,
    written,
)

pytestmark = pytest.mark.local

#: Seconds within which whatever is waited for happens on the slowest machine.
DEADLINE = 60


def console(columns=100, lines=30, **settings):
    return Console(file=io.StringIO(), force_terminal=True, width=columns, height=lines, **settings)


def drawn(log, columns=100, lines=30, final=False):
    """Lines of the picture, without colours."""
    plain = Console(file=io.StringIO(), width=columns, height=lines)
    plain.print(picture(view_of(log.lines), log.t, columns, lines, final), crop=True, overflow="ellipsis", no_wrap=True)
    return plain.file.getvalue().splitlines()


@pytest.fixture
def logger_errors(caplog):
    caplog.set_level(logging.ERROR, logger=live.__name__)
    return lambda: [record for record in caplog.records if record.name == live.__name__]


@pytest.fixture
def growing(tmp_path):
    return GrowingLog(tmp_path)


# what is drawn

def test_the_picture_shows_the_run_its_endpoints_and_the_last_failures():
    text = "\n".join(drawn(eventful(), columns=130))
    assert "multi  going on for" in text and "about 1 min 30 s left, until " in text
    assert " 55 %" in text  # 5 of 9
    assert "9 tasks: 2 after others, 1 pending, 1 dispatched, 3 done, 2 failed" in text
    assert re.search(r"alpha +online +\S* +0/2 +0 +3 +0", text)
    assert re.search(r"beta +starting +\S* +1/3 +0 +0 +0", text)
    assert re.search(r"gamma +paused 5\d s +\S* +0/8 +0 +0 +2 +2.0 s ago: gets one task at a time", text)
    assert "gamma: paused" in text and "its child process is offline" in text
    assert "task 7 (work): no thread could ever run it: no thread has 64 cores" in text
    assert "task 5 (work) on gamma: raised by the app: ValueError" in text


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_the_picture_fits_a_terminal_of_any_width(columns):
    lines = drawn(eventful(), columns)
    assert max(map(len, lines)) <= columns
    table = next(i for i, line in enumerate(lines) if line.startswith("endpoint"))
    assert [line.split()[0] for line in lines[table + 1:table + 4]] == ["alpha", "beta", "gamma"]
    assert {"endpoint", "state", "running", "done", "failed"} <= set(lines[table].split())


def test_the_picture_of_many_endpoints_fits_the_height_and_shows_those_in_trouble():
    log = LogLines({f"endpoint-{i}": {1: 1} for i in range(100)})
    log.endpoint("endpoint-97", "offline")
    lines = drawn(log, lines=20)
    shown = [match[1] for line in lines if (match := re.match("(endpoint-[0-9]+) +(online|offline) ", line))]
    assert len(lines) <= 20
    assert shown[0] == "endpoint-97" and f"and {100 - len(shown)} more endpoints" in lines
    assert sum(line.startswith("endpoint-") for line in drawn(log, lines=20, final=True)) >= 100


def test_names_and_messages_with_control_characters_and_markup_do_no_harm():
    name = "[red]\x1b[2Jx\n"
    log = LogLines({name: {1: 1}}, label=name).endpoint(name, "paused", seconds=5.0, reason="[/]\x1b]0;title\x07")
    view = view_of(log.lines)
    screen = console()
    screen.print(picture(view, log.t, 100, 30))
    text = screen.file.getvalue()
    assert "[red]?[2Jx" in text and "[/]?]0;title?" in text
    assert set(re.findall(r"\x1b.[^m]*?([a-zA-Z])", text)) <= {"m"}


def test_a_picture_is_drawn_over_the_one_before_and_the_last_one_stays():
    screen = Screen(target := console())
    log = eventful()
    view = view_of(log.lines)
    for _ in range(3):
        screen.show(view, log.t)
    screen.end(view, log.t)
    screen.close()
    terminal = Terminal(target.file.getvalue())
    assert sum(row.startswith("multi  going on") for row in terminal.rows) == 1
    assert terminal.rows[-1] == "" and terminal.column == 0
    assert "\x1b[?25l" not in target.file.getvalue()  # the cursor stays, should the process be killed


def test_a_smaller_picture_leaves_nothing_of_a_larger_one():
    large, small = eventful(), LogLines(label="small")
    screen = Screen(target := console())
    screen.show(view_of(large.lines), large.t)
    screen.show(view_of(small.lines), small.t)
    assert not any("multi" in row or "gamma" in row for row in Terminal(target.file.getvalue()).rows)


def test_an_encoding_that_lacks_the_characters_is_no_error():
    raw = io.BytesIO()
    target = Console(file=io.TextIOWrapper(raw, encoding="ascii"), force_terminal=True, width=60, height=20)
    log = LogLines({"\u754c" * 40: {1: 1}})
    Screen(target).show(view_of(log.lines), log.t)
    assert b"endpoint" in raw.getvalue()


# beside what the program prints

class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


@contextmanager
def shared():
    """A screen on a terminal that is stdout and stderr, too; with a handler of the logging module that was there before."""
    terminal, before = FakeTerminal(), (sys.stdout, sys.stderr)
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
        assert Terminal(terminal.getvalue()).rows == ["half a line"]
        print(", and the rest")
        screen.show(view, log.t)
        assert [row[:5] for row in Terminal(terminal.getvalue()).rows[:2]] == ["half ", "multi"]


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


# following a log

def test_a_run_is_followed_to_its_end(tmp_path):
    path = tmp_path / "multi.jsonl"
    log = eventful()
    text = log.text()
    path.write_text(text[:len(text) // 2])  # in the middle of a line
    seen = []

    class Viewer:
        def show(self, view, now, caught_up):
            seen.append(view.status(now))
            if len(seen) == 1:
                with open(path, "a") as file:
                    file.write(text[len(text) // 2:] + json.dumps({"t": log.t, "kind": "log", "state": "ended"}) + "\n")

        def end(self, view, now):
            seen.append(view.status(now))
    follow_run(path, Viewer())
    assert seen[-1] == view_of(log.lines).status(log.t) != seen[0]
    assert seen[-1].progress.ended == log.t and seen[0].progress.ended is None


def test_plain_lines_are_printed_only_for_news_and_not_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    viewer, log = PlainViewer(stream), LogLines()
    view = RunView(log.lines[0])

    def lines_after(seconds, news=False, caught_up=True):
        now[0] += seconds
        if news:
            view.apply(log.pending(len(log.lines)).lines[-1])
        before = len(stream.getvalue().splitlines())
        viewer.show(view, log.t, caught_up)
        return len(stream.getvalue().splitlines()) - before
    assert lines_after(0, caught_up=False) == 0
    assert lines_after(0) == 1
    assert lines_after(5, news=True) == 0
    assert lines_after(5) == 1
    assert lines_after(100) == 0
    assert lines_after(0, news=True) == 1
    assert "\x1b" not in stream.getvalue()
    assert re.search(r"^\S+  2 tasks: 2 pending, 0 done, 0 failed; 0/s done; going on for ", stream.getvalue(), re.M)


def live_threads():
    return [thread for thread in threading.enumerate() if thread.name == "globus-compute-multi-live"]


def test_the_view_draws_on_a_thread_of_its_own_until_the_run_ends(growing):
    view = LiveView(growing.path, target := console())
    view.start()
    (thread,) = live_threads()
    deadline = time.monotonic() + DEADLINE
    while "going on" not in target.file.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    growing.end()
    view.stop()
    assert not thread.is_alive()
    rows = Terminal(target.file.getvalue()).rows
    assert rows[0].startswith("multi  ended after ") and sum(row.startswith("multi") for row in rows) == 1


def test_the_view_can_be_stopped_before_the_log_has_its_last_line(growing, monkeypatch):
    monkeypatch.setattr(live, "_END_SECONDS", 0.5)
    view = LiveView(growing.path, target := console())
    view.start()
    view.stop()
    view.stop()
    assert not live_threads()
    assert Terminal(target.file.getvalue()).rows[0].startswith("multi  ")


def test_an_error_of_the_view_is_logged_once_and_ends_it_alone(tmp_path, logger_errors):
    log = LogLines().done(1)  # a task that was never there
    view = LiveView(written(tmp_path / "multi.jsonl", log), console())
    view.start()
    view.stop()
    (record,) = logger_errors()
    assert "the workflow goes on" in record.getMessage() and record.exc_info[0] is InconsistentLog
    assert not live_threads()


def test_an_error_at_the_beginning_is_logged_and_no_error_of_the_program(tmp_path, logger_errors):
    class Broken:
        is_interactive = True

        @property
        def file(self):
            raise OSError("broken")
    view = LiveView(tmp_path / "multi.jsonl", Broken())
    view.start()
    view.stop()
    assert "the workflow goes on" in logger_errors()[0].getMessage()


def test_the_view_shows_nothing_if_there_is_no_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys, "stdout", before := FakeTerminal())
    view = LiveView(written(tmp_path / "multi.jsonl", eventful().ended()))
    view.start()
    assert not live_threads()
    view.stop()
    assert sys.stdout is before and sys.stderr.getvalue() == before.getvalue() == ""


@pytest.mark.parametrize("make_interactive", [
    lambda patch: patch.setattr(sys, "ps1", ">>> ", raising=False), lambda patch: patch.setenv("TERM", "dumb")])
def test_the_view_shows_nothing_at_a_prompt_and_on_a_dumb_terminal(tmp_path, monkeypatch, make_interactive):
    monkeypatch.setattr(sys, "stderr", FakeTerminal())
    make_interactive(monkeypatch)
    view = LiveView(written(tmp_path / "multi.jsonl", eventful().ended()))
    view.start()
    view.stop()
    assert sys.stderr.getvalue() == ""


def test_without_rich_the_view_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(live.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionalModuleMissing, match="pip install rich"):
        LiveView(tmp_path / "multi.jsonl")
