"""Draws a run on a terminal, with rich, below what the program prints there."""
from __future__ import annotations

import builtins
import logging
import os
import sys
import threading
from functools import partial
from typing import Any, Callable, Iterator, List, Optional, TextIO, Tuple

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from parsl.executors.globus_compute_multi.observe.live import is_terminal
from parsl.executors.globus_compute_multi.observe.runview import RunView
from parsl.executors.globus_compute_multi.observe.status import EndpointStatus, Status
from parsl.executors.globus_compute_multi.observe.status_views import (
    endpoint_state,
    flight_words,
    task_words,
    time_words,
    trouble_words,
)
from parsl.executors.globus_compute_multi.observe.wording import (
    clock,
    duration,
    plain,
)

_COLOURS = {"offline": "red", "paused": "yellow", "probing": "yellow", "starting": "cyan", "online": "green"}

#: From so many columns on, a table has what is queued ahead, a bar for the threads, and what last happened to each endpoint.
_COLUMNS_FOR_AHEAD, _COLUMNS_FOR_BAR, _COLUMNS_FOR_EVENT = 52, 68, 96

_BAR_COLUMNS = 12
_SHOWN_FAILURES = 4
_FEWEST_ROWS = 3


def picture(view: RunView, now: float, columns: int, lines: int, final: bool = False) -> RenderableType:
    """A run, to be printed on a console.

    Parameters
    ----------
    view : RunView
    now : float
        In seconds since the epoch.
    columns, lines : int
        Size of the terminal; what does not fit is left out.
    final : bool
        Whether it is to stay: nothing is left out then.
    """
    status = view.status(now)
    head = _head(status, columns)
    foot = [_line(text, "yellow") for text in trouble_words(status)]
    if not final:
        foot += [_line(f"{duration(now - failure.t)} ago: {failure.text}", "red") for failure in view.last_failures(_SHOWN_FAILURES)]
    room = max(_FEWEST_ROWS, lines - len(head) - len(foot) - 2)
    endpoints = list(status.endpoints)
    if not final and len(endpoints) > room:
        endpoints.sort(key=lambda e: endpoint_state(e) == "online")  # in the user's order otherwise
        left_out = len(endpoints) - room + 1
        endpoints = endpoints[:room - 1]
        foot.insert(0, _line(f"and {left_out} more endpoints", "dim"))
    return Group(*head, _table(endpoints, view, columns, lambda t: clock(t, now) if final else f"{duration(now - t)} ago"), *foot)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _head(status: Status, columns: int) -> List[RenderableType]:
    words = time_words(status), "yellow" if status.progress.silent else ""
    title = Text.assemble((plain(status.progress.label) or "run", "bold"), "  ", words, no_wrap=True, overflow="ellipsis")
    finished = status.done + status.failed
    percent = f"{100 * finished // status.tasks if status.tasks else 0:3d} %"
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=max(status.tasks, 1), completed=finished, width=max(10, min(columns, 100) - 7)), percent)
    return [title, bar, _line(task_words(status)), _line(flight_words(status), "dim")]


def _table(endpoints: List[EndpointStatus], view: RunView, columns: int, when: Callable[[float], str]) -> Table:
    with_ahead, with_bar, with_event = columns >= _COLUMNS_FOR_AHEAD, columns >= _COLUMNS_FOR_BAR, columns >= _COLUMNS_FOR_EVENT
    table = Table(box=None, padding=(0, 2 if with_bar else 1, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("endpoint", no_wrap=True, overflow="ellipsis", max_width=max(8, columns // 4))
    table.add_column("state", no_wrap=True)
    if with_bar:
        table.add_column("threads", no_wrap=True, width=_BAR_COLUMNS)
    for heading in ("running", *(("ahead",) if with_ahead else ()), "done", "failed"):
        table.add_column(heading, justify="right", no_wrap=True, overflow="ellipsis")
    if with_event:
        table.add_column("last event", no_wrap=True, overflow="ellipsis", ratio=1)
    for e in endpoints:
        state = endpoint_state(e)
        cells: List[Any] = [Text(plain(e.name)), Text(state, _COLOURS[state.partition(" ")[0]])]
        if with_bar:
            cells.append(ProgressBar(total=max(e.threads, 1), completed=e.running, width=_BAR_COLUMNS))
        cells += [f"{e.running}/{e.threads}", *((str(e.ahead),) if with_ahead else ()), str(e.done)]
        cells.append(Text(str(e.failed), "red" if e.failed else ""))
        if with_event:
            event = view.events.get(e.name)
            cells.append(Text("" if event is None else f"{when(event.t)}: {event.text}", "dim"))
        table.add_row(*cells)
    return table


class Screen:
    """Keeps a picture at the bottom of what is printed on a terminal.

    ``rich.live`` would print what the program prints in its stead, wrapped anew and on its own stream; here it stays as it is: the picture goes
    away for it, and comes back below it; it stays away while ``input`` (and so pdb) asks for something. What is written past ``sys.stdout`` and
    ``sys.stderr``, as by subprocesses and ``getpass``, may be drawn over. The cursor is never hidden, so that a process that is killed leaves
    the terminal as it was.

    Parameters
    ----------
    console : rich.console.Console
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._file = _unwrapped(console.file)  # now, for that may be sys.stderr, which share_terminal() replaces
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._height = 0  # lines of the picture that is on the terminal
        self._in_a_line: Optional[bool] = False  # the program has printed the beginning of a line; None: maybe
        self._asking = 0  # prompts that wait for an answer
        self._give_back: List[Callable[[], None]] = []

    def show(self, view: RunView, now: float, caught_up: bool = True) -> None:
        """Draw a picture in place of the last one; that of a long log fills up while it is read."""
        self._draw(lambda columns, lines: picture(view, now, columns, lines))

    def end(self, view: RunView, now: float) -> None:
        """Draw the picture that stays."""
        self._draw(lambda columns, lines: picture(view, now, columns, lines, final=True), stays=True)

    def _draw(self, draw: Callable[[int, int], RenderableType], stays: bool = False) -> None:
        with self._lock:
            if (self._in_a_line or self._asking) and not stays:
                return
            columns, lines = self._console.size
            with self._console.capture() as capture:
                self._console.print(draw(columns, lines - 1), crop=True, overflow="ellipsis", no_wrap=True)
            rows = capture.get().splitlines()
            if not stays:
                del rows[max(1, lines - 1):]  # what has scrolled away could not be drawn over
            # no moment at which nothing is there, as with erasing first: that flickers
            text = _up(self._height) + "".join(f"{row}\x1b[K\n" for row in rows) + "\x1b[J"
            self._write(text if self._in_a_line is False and not self._asking else "\n" + text)
            self._height, self._in_a_line = 0 if stays else len(rows), False

    def _write(self, text: str) -> None:
        encoding = self._console.encoding  # what it lacks becomes "?", and not an error, or several characters
        self._file.write(text.encode(encoding, "replace").decode(encoding))
        self._file.flush()

    def _take_away(self) -> None:
        if self._height:
            self._write(_up(self._height) + "\x1b[J")
            self._height = 0

    def write_beside(self, stream: TextIO, text: str) -> int:
        """Write what the program prints, where the picture was."""
        if os.getpid() != self._pid:  # a fork: the lock may be held by a thread that is not there
            return stream.write(text)
        with self._lock:
            self._take_away()
            written = stream.write(text)
            stream.flush()
            if text:
                self._in_a_line = not text.endswith("\n")
            return written

    def share_terminal(self) -> None:
        """Take note of all that is printed through ``sys.stdout`` and ``sys.stderr``, and asked by ``input``, if these are terminals."""
        self._in_a_line = None  # nobody has looked yet
        for name in ("stdout", "stderr"):
            stream = _unwrapped(getattr(sys, name))
            if is_terminal(stream):
                beside = _Beside(self, stream)
                setattr(sys, name, beside)
                self._give_back.append(partial(_restore, name, beside, stream))
                for handler in _handlers_on(stream):
                    handler.setStream(beside)
        ask = builtins.input
        builtins.input = asking = partial(self._ask, ask)
        self._give_back.append(partial(_restore_input, asking, ask))

    def _ask(self, ask: Callable[..., str], *prompt: Any) -> str:
        """Do as ``input`` does, where the picture was."""
        if os.getpid() != self._pid:
            return ask(*prompt)
        with self._lock:
            self._take_away()
            self._asking += 1
        in_a_line: Optional[bool] = None  # if it is interrupted
        try:
            answer = ask(*prompt)
            # on a terminal, the answer has ended the line; from elsewhere, it is not seen, and the prompt came by write_beside()
            in_a_line = False if is_terminal(sys.stdin) else self._in_a_line
            return answer
        finally:
            with self._lock:
                self._asking -= 1
                self._in_a_line = in_a_line

    def close(self) -> None:
        """Leave the terminal to the program."""
        while self._give_back:  # without the lock: handlers have one of their own, and whoever logs waits for ours while holding that
            self._give_back.pop()()
        with self._lock:
            self._height = 0


class _Beside:
    """``sys.stdout`` or ``sys.stderr`` while there is a picture below. Whoever keeps it may go on using it."""

    def __init__(self, screen: Screen, stream: TextIO) -> None:
        self._screen = screen
        self._stream = stream

    def write(self, text: str) -> int:
        return self._screen.write_beside(self._stream, text)

    def writelines(self, lines: Iterator[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _up(height: int) -> str:
    return f"\x1b[{height}A\r" if height else ""


def _unwrapped(stream: Any) -> Any:
    """A stream without the views on it, for programs may keep such a stream, and put it back after its view has ended."""
    while isinstance(stream, _Beside):
        stream = stream._stream
    return stream


def _restore(name: str, beside: _Beside, stream: TextIO) -> None:
    if getattr(sys, name) is beside:  # else the program has put something else there
        setattr(sys, name, stream)
    for handler in _handlers_on(stream):
        if handler.stream is beside:  # also if it was made while the view was there
            handler.setStream(stream)


def _restore_input(asking: Callable[..., str], ask: Callable[..., str]) -> None:
    if builtins.input is asking:
        builtins.input = ask


def _handlers_on(stream: TextIO) -> "Iterator[logging.StreamHandler[Any]]":
    """Handlers of the logging module that write to ``stream``, or did before there was a view on it."""
    loggers: Tuple[Any, ...] = (logging.root, *logging.root.manager.loggerDict.values())
    for each in loggers:
        for handler in getattr(each, "handlers", ()):  # placeholders have none
            if isinstance(handler, logging.StreamHandler) and _unwrapped(vars(handler).get("stream")) is stream:
                yield handler
