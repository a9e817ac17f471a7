"""The live view: what it draws, of which log, and that it leaves the workflow alone."""
from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import time

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
from parsl.executors.globus_compute_multi.observe.runview import (
    SILENT_SECONDS,
    RunView,
    view_of,
)
from parsl.executors.globus_compute_multi.observe.screen import Screen, picture
from parsl.tests.test_globus_compute_multi.unit.log_lines import LogLines, eventful
from parsl.tests.test_globus_compute_multi.unit.terminals import (
    DEADLINE,
    FakeTerminal,
    GrowingLog,
    Terminal,
    console,
    written,
)

pytestmark = pytest.mark.local


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
    assert "task 17 (work): no thread could ever run it: no thread has 64 cores" in text
    assert "task 15 (work) on gamma: raised by the app: ValueError" in text


def test_a_failed_task_has_the_number_that_parsl_gave_it_if_that_is_known():
    log = LogLines().pending(8, node=7).pending(9).begin(8).begin(9).failed(8, error="ValueError").failed(9, error="KeyError")
    first, second = (failure.text for failure in view_of(log.lines).failures)
    assert first.startswith("task 7 (work)") and second.startswith("submission 9 (work)")


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
    log.t += SILENT_SECONDS  # and no line in that time
    assert (lines_after(10), lines_after(100)) == (1, 0)
    assert "nothing new in the log for " in stream.getvalue()
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
    assert rows[1].startswith("multi  ended after ") and sum(row.startswith("multi") for row in rows) == 1


def test_the_view_can_be_stopped_before_the_log_has_its_last_line(growing, monkeypatch):
    monkeypatch.setattr(live, "_END_SECONDS", 0.5)
    view = LiveView(growing.path, target := console())
    view.start()
    (thread,) = live_threads()
    view.stop()
    view.stop()
    thread.join(DEADLINE)
    assert not live_threads()
    assert Terminal(target.file.getvalue()).rows[1].startswith("multi  ")


def test_only_one_view_is_shown_at_a_time_and_the_log_tells_how_to_watch_another(growing, tmp_path, caplog):
    first, second, third = (LiveView(path, console()) for path in (growing.path, tmp_path / "second.jsonl", growing.path))
    first.start()
    try:
        second.start()
        assert len(live_threads()) == 1
        (record,) = (record for record in caplog.records if record.name == live.__name__)
        assert record.getMessage().endswith(f" watch {tmp_path / 'second.jsonl'}")
    finally:
        growing.end()
        first._thread.join(DEADLINE)
    second.stop()
    third.start()  # the terminal is free again
    third._thread.join(DEADLINE)
    assert not live_threads() and len([record for record in caplog.records if record.name == live.__name__]) == 1


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
