"""Terminals, and logs that grow while they are looked at."""
from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import termios
import threading
import time

from rich.console import Console

from parsl.tests.test_globus_compute_multi.unit.log_lines import eventful

#: Seconds within which whatever is waited for happens on the slowest machine.
DEADLINE = 60


class Terminal:
    """What is seen of the text written to it: as much of a terminal as the view needs."""

    def __init__(self, text=""):
        self.rows, self.row, self.column = [""], 0, 0
        self.write(text)

    def write(self, text):
        for control, letter, plain in re.findall(r"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b])", text):
            if letter == "A":
                self.row -= int(control)
                assert self.row >= 0
            elif letter == "J":
                self.rows[self.row] = self.rows[self.row][:self.column]
                del self.rows[self.row + 1:]
            elif letter == "K":
                self.rows[self.row] = self.rows[self.row][:self.column]
            elif letter:
                assert letter == "m", f"{control}{letter} is not expected"
            elif plain == "\n":
                self.row, self.column = self.row + 1, 0
                if self.row == len(self.rows):
                    self.rows.append("")
            elif plain == "\r":
                self.column = 0
            else:
                row = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = row[:self.column] + plain + row[self.column + 1:]
                self.column += 1


def console(columns=100, lines=30, **settings):
    """One that takes what is written to it for a terminal."""
    return Console(file=io.StringIO(), force_terminal=True, width=columns, height=lines, **settings)


class FakeTerminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


class Pty:
    """A program on a terminal of its own."""

    def __init__(self, command, columns=100, lines=30, **environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # whatever started the tests in the background may have ignored it
            os.execvpe(command[0], command, {**os.environ, "TERM": "xterm-256color", **environment})
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.output = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the other side is gone
                return
            if not data:
                return
            self.output += data

    def until(self, text):
        deadline = time.monotonic() + DEADLINE
        while text not in self.output:
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def finish(self):
        """Exit code, when it has ended."""
        self._reader.join(DEADLINE)
        assert not self._reader.is_alive(), self.output
        return self._wait()

    def _wait(self):
        pid, self.pid = self.pid, None
        self._reader.join()
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            self._wait()

    @property
    def rows(self):
        return Terminal(self.output.decode().replace("\r\n", "\n")).rows


def written(path, log):
    path.write_text(log.text())
    return path


class GrowingLog:
    """The log of a run that has just begun, and of what is to come."""

    def __init__(self, folder):
        self.path = folder / "multi.jsonl"
        self.log = eventful(began=time.time() - 30)
        written(self.path, self.log)
        self.end_line = json.dumps(self.log.ended().lines[-1]) + "\n"

    def end(self):
        with open(self.path, "a") as file:
            file.write(self.end_line)
