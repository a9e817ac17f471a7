"""A view of a run that is drawn anew as the run goes on, from its log: the command ``watch``, and ``progress=True``."""
from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Protocol, TextIO, Tuple

from parsl.errors import OptionalModuleMissing
from parsl.executors.globus_compute_multi.observe.logfile import follow_log
from parsl.executors.globus_compute_multi.observe.runview import RunView
from parsl.executors.globus_compute_multi.observe.status import Status
from parsl.executors.globus_compute_multi.observe.status_views import (
    task_words,
    time_words,
)
from parsl.executors.globus_compute_multi.observe.wording import clock, rate

if TYPE_CHECKING:
    from rich.console import Console

    from parsl.executors.globus_compute_multi.observe.screen import Screen

logger = logging.getLogger(__name__)

#: Seconds between two drawings on a terminal; and between two lines elsewhere, at least.
REDRAW_SECONDS = 0.25
PLAIN_SECONDS = 10.0

#: The same on a terminal if nothing but the time has changed.
IDLE_SECONDS = 1.0

#: Seconds that the view is waited for, when the executor shuts down: half of them to show the end of the run, half of them to give up.
_END_SECONDS = 2.0

#: Held by the view that is shown: two on one terminal would draw over each other.
_on_terminal = threading.Lock()


class Viewer(Protocol):
    """Shows a run."""

    def show(self, view: RunView, now: float, caught_up: bool = True) -> None:
        """Show how it stands; called several times a second. Not ``caught_up``: more of the log is there to be read."""

    def end(self, view: RunView, now: float) -> None:
        """Show how it stands at last."""


class PlainViewer:
    """Prints a line when something has changed, and a table in the end: for pipes and files.

    Parameters
    ----------
    stream : file
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: Optional[Tuple[Status, bool]] = None
        self._next = float("-inf")

    def show(self, view: RunView, now: float, caught_up: bool = True) -> None:
        """Print a line, if there is news and the last one is ten seconds old."""
        if not caught_up or time.monotonic() < self._next:
            return
        status = view.status(now)
        news = status, bool(status.progress.silent)
        if news != self._shown:
            self._shown = news
            self._next = time.monotonic() + PLAIN_SECONDS
            print(f"{clock(now, now)}  {task_words(status)}; {rate(status.progress.minute_rate)} done; {time_words(status)}",
                  file=self._stream, flush=True)

    def end(self, view: RunView, now: float) -> None:
        """Print the table."""
        print(view.status(now), file=self._stream, flush=True)


def follow_run(log: Path, viewer: Viewer, stopping: Optional[threading.Event] = None) -> None:
    """Show a run until it has ended, or until ``stopping`` is set.

    Parameters
    ----------
    log : Path
        First part of the run log.
    viewer : Viewer
    stopping : threading.Event, optional

    Raises
    ------
    OSError, InconsistentLog
        If the log cannot be read.
    """
    view: Optional[RunView] = None
    drawn, changed = time.monotonic(), False  # not drawn at once: what there is already should be read first, unless that takes long
    for line in follow_log(log, stopping):
        if line is not None:
            changed = True
            if view is None:
                view = RunView(line)
            else:
                view.apply(line)
        if view is not None and time.monotonic() - drawn >= (REDRAW_SECONDS if changed else IDLE_SECONDS):
            viewer.show(view, time.time(), caught_up=line is None)
            drawn, changed = time.monotonic(), False
    if view is not None:
        viewer.end(view, time.time())


def need_rich() -> None:
    """Check that what draws on terminals is installed.

    Raises
    ------
    OptionalModuleMissing
    """
    if importlib.util.find_spec("rich") is None:
        raise OptionalModuleMissing(["rich"], "the live view draws with it; install it with: pip install rich")


class LiveView:
    """Shows a run on the terminal of the program that runs it, below what that prints, from :meth:`start` until the run ends or :meth:`stop`.

    It draws on stderr, from a thread of its own, with nothing but the run log to go by. It shows nothing if stderr is no terminal, in
    an interactive interpreter, whose prompt is on the same terminal, and while another view is shown: Parsl's log tells how to watch it then.
    What the program prints, or logs, goes where it would go without the view, and the picture is away while ``input`` or pdb ask for something;
    only what is written past ``sys.stdout`` and ``sys.stderr`` (by subprocesses, say) may be drawn over.

    Parameters
    ----------
    log : Path
        First part of the run log.
    console : rich.console.Console, optional
        Where to draw. Default: stderr.

    Raises
    ------
    OptionalModuleMissing
        If rich is not installed.
    """

    def __init__(self, log: Path, console: "Optional[Console]" = None) -> None:
        need_rich()
        self._log = log
        self._console = console
        self._screen: "Optional[Screen]" = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="globus-compute-multi-live", daemon=True)

    def start(self) -> None:
        """Begin to show the run."""
        try:
            console = self._console if self._console is not None else self._terminal()
            if console is None or not console.is_interactive:
                return
            if not _on_terminal.acquire(blocking=False):
                logger.warning("This live view is not shown, since that of another executor is. To watch this run: %s", self._command)
                return
            try:
                from parsl.executors.globus_compute_multi.observe.screen import Screen
                self._screen = Screen(console)
                self._screen.share_terminal()
                self._thread.start()
            except BaseException:
                self._leave()
                raise
        except Exception:
            logger.exception("The live view cannot be shown; the workflow goes on")

    def _leave(self) -> None:
        try:
            if self._screen is not None:
                self._screen.close()
        finally:
            _on_terminal.release()

    @property
    def _command(self) -> str:
        return f"python -m {__name__.rpartition('.observe.')[0]} watch {self._log}"

    def _terminal(self) -> "Optional[Console]":
        in_an_interpreter = hasattr(sys, "ps1") or sys.flags.interactive
        return None if in_an_interpreter else terminal(sys.stderr)

    def stop(self) -> None:
        """Show the end of the run, once its log is complete, and end the thread. Does nothing if there is nothing to see."""
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS / 2)
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS / 2)

    def _run(self) -> None:
        assert self._screen is not None
        try:
            follow_run(self._log, self._screen, self._stopping)
        except Exception:  # the workflow goes on without it
            logger.exception("The live view has ended early; the workflow goes on. To watch it: %s", self._command)
        finally:
            self._leave()


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal; what programs put in the place of ``sys.stdout`` need not be able to tell."""
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty())


def terminal(stream: TextIO) -> "Optional[Console]":
    """A console on ``stream``; None if that is no terminal on which can be drawn."""
    if not is_terminal(stream):
        return None
    need_rich()
    from rich.console import Console
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    return console if console.is_interactive else None
