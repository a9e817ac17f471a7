"""Finds and reads run logs, while they are written or afterwards; :mod:`.runlog` says what is in them."""
from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Type

#: What the first line of a run log has under the name ``log``.
LOG_NAME = "globus_compute_multi"

_BLOCK_BYTES = 1 << 20

#: The first line has its ``log`` within so many bytes; what is longer without one is not read whole to find that out.
_PEEK_BYTES = 200


class InconsistentLog(ValueError):
    """A run log cannot be read, or a line contradicts the lines before it or an invariant of the executor."""


class LogNotFound(FileNotFoundError):
    """There is no run log where one was looked for, or more than one."""


def part_path(path: Path, part: int) -> Path:
    """Where a part of the log at ``path`` is; the first part is number 1."""
    return path if part == 1 else path.with_name(f"{path.name}.part{part}")


def read_log(path: Path) -> Iterator[Dict[str, Any]]:
    """The lines of a run log, of all its parts, as far as it is written.

    What belongs to the parts themselves (``continued``, and the first lines of further parts) is left out, and so is a last line that is not
    complete: the log is being written, or the process was killed.

    Parameters
    ----------
    path : Path
        The log's first part.

    Raises
    ------
    OSError
        If it cannot be read.
    InconsistentLog
        If a complete line is not a JSON object, or a part is missing or belongs to another run.
    """
    with _Reader(path) as reader:
        yield from reader.lines()


def follow_log(path: Path, stopping: Optional[threading.Event] = None, poll: float = 0.2) -> Iterator[Optional[Dict[str, Any]]]:
    """The lines of a run log as they are written, until the run's last one, or until ``stopping`` is set.

    Parameters
    ----------
    path : Path
        The log's first part; it is waited for if it does not exist yet.
    stopping : threading.Event, optional
        Ends the lines when set.
    poll : float
        Seconds to wait for further lines.

    Yields
    ------
    dict or None
        A line as :func:`read_log` gives it; or None each time that all lines were given and ``poll`` seconds waited for, so that the caller
        can do other things, or give up: the log of a process that was killed has no last line.

    Raises
    ------
    OSError, InconsistentLog
        As :func:`read_log`.
    """
    stopping = stopping or threading.Event()
    while not path.exists():
        if stopping.wait(poll):
            return
        yield None
    with _Reader(path) as reader:
        while not reader.ended:
            for line in reader.lines():
                if stopping.is_set():
                    return
                yield line
            if not reader.ended:
                if stopping.wait(poll):
                    return
                yield None


def find_log(path: Path) -> Path:
    """The run log that is meant by a file, by a run directory, or by the folder that holds the run directories.

    Parameters
    ----------
    path : Path
        A file is taken for the log itself. In a folder, the only run log is looked for: by its first line, whatever its name is; further parts,
        and logs that a later run has put aside under another name, do not count. In a folder without any, such as ``runinfo``, the folders
        within that have numbers for names are looked into, from the highest number on down, to the first that has one.

    Raises
    ------
    LogNotFound
        If there is no such file or folder, no run log in it, or more than one.
    OSError
        If a file cannot be read.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise LogNotFound(f"{path}: there is no such file or folder; give a run log, a run directory (runinfo/000), or the folder of those")
    numbered = [folder for folder in path.iterdir() if folder.name.isdecimal() and folder.is_dir()]
    for folder in [path, *sorted(numbered, key=lambda f: int(f.name), reverse=True)]:
        logs = _logs_in(folder)
        if len(logs) > 1:
            raise LogNotFound(f"{folder} has more than one run log; name one of {', '.join(log.name for log in logs)}")
        if logs:
            return logs[0]
    runs = f", nor in the {len(numbered)} run directories in it" if numbered else ""
    raise LogNotFound(f"{path}: there is no run log of GlobusComputeMultiExecutor in this folder{runs}")


def _logs_in(folder: Path) -> List[Path]:
    logs = {file.name: file for file in sorted(folder.iterdir()) if file.is_file() and _begins_log(file)}
    put_aside = {name for name in logs if (match := re.fullmatch(r"(.+)\.\d+", name)) and match[1] in logs}
    return [file for name, file in logs.items() if name not in put_aside]


def _begins_log(file: Path) -> bool:
    """Whether this is the first part of a run log."""
    with open(file, "rb") as opened:
        beginning = opened.read(_PEEK_BYTES)
        if not beginning.startswith(b"{") or LOG_NAME.encode() not in beginning:
            return False
        text = beginning + opened.readline() if b"\n" not in beginning else beginning.partition(b"\n")[0]
    try:
        line = json.loads(text)
    except ValueError:
        return False  # it says in no way that it is one
    return bool(line.get("log") == LOG_NAME and line.get("part", 1) == 1)


class _Reader:
    """Reads on through the parts of a log. Use it with ``with``.

    Attributes
    ----------
    ended : bool
        Whether the last line of a run that was shut down was read.
    """

    def __init__(self, path: Path) -> None:
        self.ended = False
        self._first_part = path
        self._run_id: Optional[str] = None
        self._open_part(1)

    def _open_part(self, part: int) -> None:
        self._part = part
        self._path = part_path(self._first_part, part)
        self._file: BinaryIO = open(self._path, "rb")
        self._number = 0  # of the line in this part
        self._rest = b""  # a line of which only the beginning was read

    def lines(self) -> Iterator[Dict[str, Any]]:
        """All complete lines that are written and were not read before."""
        while not self.ended:
            block = self._file.read(_BLOCK_BYTES)
            if not block:
                return
            texts = (self._rest + block).split(b"\n")
            self._rest = texts.pop()
            for text in texts:
                line = self._parse(text)
                if self._number == 1 and not self._is_first(line):
                    continue
                if line.get("kind") == "log" and line.get("state") == "continued":
                    self._go_on()
                    break  # nothing comes after it
                self.ended = line.get("kind") == "log" and line.get("state") == "ended"
                yield line

    def _parse(self, text: bytes) -> Dict[str, Any]:
        self._number += 1
        try:
            line = json.loads(text.decode())  # of bytes it would first guess the encoding, each time
        except ValueError as e:
            raise InconsistentLog(f"{self._path}, line {self._number} is not JSON: {e}") from e
        if not isinstance(line, dict):
            raise InconsistentLog(f"{self._path}, line {self._number} is not a JSON object")
        return line

    def _is_first(self, line: Dict[str, Any]) -> bool:
        """Check the first line of a part; whether it is that of the log."""
        if self._part == 1:
            if line.get("part", 1) != 1:
                raise InconsistentLog(f"{self._path} is part {line['part']} of a run log; give the first part, whose name ends before \".part\"")
            self._run_id = line.get("run_id")
            return True
        if (line.get("log"), line.get("part"), line.get("run_id")) != (LOG_NAME, self._part, self._run_id):
            raise InconsistentLog(f"{self._path} is not part {self._part} of the run log {self._first_part}, run {self._run_id}: its first line "
                                  f"says part {line.get('part')} of run {line.get('run_id')}")
        return False

    def _go_on(self) -> None:
        self._file.close()
        try:
            self._open_part(self._part + 1)
        except FileNotFoundError as e:
            raise InconsistentLog(f"{self._path} is missing: the run log {self._first_part} goes on there") from e

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self._file.close()
