"""The run log: one JSON object a line for every state change of a task, an attempt, a dispatch, an endpoint or the run.

Each line has ``t``, seconds since the epoch on the client's clock; the ``kind`` of what it is about, and the ID of that under the kind's name
(a run and a log have none); and its new ``state``. Further keys, here in brackets, depend on kind and state; those that are not known or do not
apply are left out. There are no argument values, results, texts of an app's exceptions, or credentials in it. This is schema 2; what is marked
with a star is not in schema 1. :mod:`.logfile` reads logs, :mod:`.replay` rebuilds the run's state from their lines.

The first line, of kind ``log``, has ``log`` (``globus_compute_multi``), ``schema``, ``part``\\* (1), ``log_id``\\* (of this log alone),
``label``, ``run_id``, ``parsl``\\* (its version), ``prefetch``, ``policy``, and ``endpoints``, each with ``endpoint`` (its name), ``id``,
``filesystem``\\*, ``speed``\\*, ``startup_seconds``\\*, ``cost_per_core_hour``\\* and ``threads``: of each thread class ``cores``, ``count`` and
``config`` (JSON text of the ``user_endpoint_config``).

``task``: what becomes of a task of the executor's. A retry by Parsl is another task here.
    * ``pending``, at first: [``app``, ``cores``, ``priority``, ``bytes`` that it adds to a submission, ``node``\\* (its number in the
      DataFlowKernel), ``parents``\\* (nodes that it depended on), ``try``\\* (how often Parsl has retried it), ``seconds`` (estimated run time),
      ``endpoints`` (names that it is restricted to), ``filesystem`` (that it is restricted to), ``config``, ``mpi``, ``once`` (it must not run
      twice), ``failures`` and ``avoids`` (failed attempts, and endpoints to be avoided, from before Parsl retried it)];
      again: [``after``: a failed attempt, with the endpoints that it ``avoids`` now, or ``wait``]
    * ``waiting`` for busy threads: [``endpoint``, their ``cores``, at most so many ``seconds``; null is for ever]
    * ``done``: [``attempt``]
    * ``failed``: [``attempt``; or, if no attempt decided it, ``reason`` (a :class:`~.scheduling.actions.FailureKind`: ``impossible``,
      ``endpoints_failed``, ``policy``, ``lost``, ``credentials``, ``cancelled``, ``shutdown``) and, but for the last, ``message``\\*]
``attempt``: one try of a task on an endpoint. Its ID is the task's, a dot, and a number from 1.
    * ``running`` (bound to a thread) or ``queued_ahead``, at first: [``task``, ``endpoint``, ``thread_class`` (its place among the endpoint's),
      ``dispatch``; ``again`` if another attempt of the task is under way]
    * ``running``: it has got a thread. ``queued_ahead``: it has lost it, since it turned out that there are fewer
    * ``finished``: [``outcome`` (an :class:`~.scheduling.events.Outcome`: ``ok``, ``app_failed``, ``raised``, ``not_unpacked``,
      ``task_failed``, ``too_large``, ``unreadable``, ``rejected``, ``lost``; or ``abandoned`` at shutdown), ``message`` (of failures outside
      the app); of what ran: ``started`` and ``finished`` (seconds since the epoch on the endpoint's clock), ``host``, versions ``python``,
      ``parsl``, ``dill`` and ``sdk``, ``task_uuid`` (the service's), ``error``\\* (type of what the app raised), ``code`` (of a failure that
      the service tells), ``result_bytes``\\* (of the packed value)]
    * ``duplicate``: a result of a finished attempt, with what ``finished`` has of one; if it had been given up, its task may end by that all the
      same [``outcome``]. ``unmatched``: one of no known attempt, which is null [``task_uuid``, ``outcome``]
``dispatch``: one request that carries attempts to an endpoint. Its ID is a number from 1.
    * ``sent``: [``endpoint``, ``config`` of its child, how many ``attempts`` and ``bytes``; ``running`` and ``ahead`` on that child then]
    * ``accepted``
    * ``rejected``: [``reason``, ``http_status``; null if there was no answer]
``endpoint``: its ID is its name.
    * ``online``, ``offline``
    * ``paused``: left alone [for ``seconds``, for this ``reason``]. ``resumed``: that is over. ``probing``: it has failed, and gets one task
      at a time until one has run; then it is ``recovered``, and not paused any more either
    * ``warm``: a child has shown that it runs. ``cold``: it has no workers any more. ``child``: the ID of a ``child`` is known.
      ``child_offline``: the service says that this ``child`` is gone
    * ``threads``: of ``thread_class`` there are ``count``, not as many as was guessed
    * ``status``: as the service answered [``child`` if it was asked about a child, ``online``, ``workers``, ``pending``]
    * ``versions``: of the workers of ``child``, or of all [``python``, ``parsl``, ``dill``, ``sdk``]
``run``\\*: what concerns all.
    * ``progress``, about once a second while something changes: [``unsubmitted`` (tasks of the DataFlowKernel that wait for others),
      ``seconds_left`` until all known tasks are done, by estimate; or null]
``log``\\*: what concerns the log itself.
    * ``lost``: so many ``lines`` are missing here, which could not be written; the disk was full for long, say
    * ``continued``: the log goes on in ``part``; the last line of a part. Each further part begins with a line with ``log``, ``schema``,
      ``part`` and ``run_id``
    * ``ended``: the last line of a run that was shut down. Without it the run goes on, or was killed

A log is a file and, when that is full, further ones: ``NAME``, ``NAME.part2``, ``NAME.part3``, ... None is ever deleted.
"""
from __future__ import annotations

import itertools
import json
import logging
import os
import queue
import re
import threading
import time
import uuid
from collections import deque
from pathlib import Path
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    List,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

from parsl.executors.globus_compute_multi.observe.logfile import LOG_NAME, part_path
from parsl.executors.globus_compute_multi.scheduling.lines import Fields, Line, fields

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Version of the lines' schema; it is in the first line.
SCHEMA = 2

#: Bytes of a part, by default.
PART_BYTES = 100_000_000

#: Seconds that lines wait for others: these then share a write, and the thread that hands them over need not wake the log's for each.
_GATHER_SECONDS = 0.05

#: Seconds until a write that failed is tried again.
_RETRY_SECONDS = 1.0

#: Lines are written when there is so much of them, even while more come.
_BLOCK_BYTES = 1 << 16

#: Lines that are encoded together: to make an encoder takes as long as to encode a line.
_TOGETHER = 500

#: So much is kept in memory while the file cannot be written; lines after that are lost.
_KEPT_BYTES = 1 << 24

_encode = json.JSONEncoder(check_circular=False).encode


class RunLog:
    """Writes lines on a thread of its own, off the scheduler's path. A line is in the file, though not flushed to the disk, within a second.

    If the file cannot be written (the disk is full), this is said once, and lines are kept, up to 16 MB, until it can; what is too much is lost,
    and a line ``lost`` says so there. While a write neither fails nor returns (a file server that hangs), all lines are kept.

    Parameters
    ----------
    path : Path
        Created with its folder; readable by the user only. The file of an earlier run is kept under another name (``.1``, ``.2``, ...), and so
        are its further parts (``.1.part2``, ...).
    part_bytes : int
        When a part would become larger by another line, the next one is begun. Each has a line at least.

    Attributes
    ----------
    path : Path
    id : str
        Tells this log from all others; it is in the first line, as ``log_id``.
    epoch : float
        What to add to a time as of ``time.monotonic`` to get ``t``.
    lines : int
        How many lines were handed over so far, the first one included. For any thread: so many are to be read when all of them are written,
        if a line ``lost`` is counted as the lines that it stands for.

    Raises
    ------
    OSError
        If it cannot be created.
    """

    def __init__(self, path: Path, part_bytes: int = PART_BYTES) -> None:
        self.path = path
        self.id = uuid.uuid4().hex
        self.epoch = time.time() - time.monotonic()
        self.lines = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        _put_aside(path)
        self._parts = _Parts(path, part_bytes)
        self._queue: "queue.SimpleQueue[Optional[Tuple[float, Line]]]" = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="globus-compute-multi-log", daemon=True)

    def start(self, **header: Any) -> None:
        """Start the thread, and write the first line."""
        self._parts.header = {"kind": "log", "log": LOG_NAME, "schema": SCHEMA, "part": 1, "run_id": header.get("run_id")}
        self.write(time.monotonic(), (dict, {**self._parts.header, "log_id": self.id, **header}))
        self._thread.start()

    def write(self, monotonic: float, line: Line) -> None:
        """Write a line. To be called by one thread at a time.

        Parameters
        ----------
        monotonic : float
            When it happened, as of ``time.monotonic``.
        line : Line
            A function that returns what is to be in it, but for ``t``, and its arguments. It is called on the log's thread, later: what it reads
            must not change afterwards.
        """
        self._queue.put((monotonic, line))
        self.lines += 1

    def stop(self, timeout: float) -> bool:
        """Write what is left, with a line that says that the log has ended, and close the file.

        Parameters
        ----------
        timeout : float
            Seconds.

        Returns
        -------
        bool
            Whether that was done in time.
        """
        if self._thread.ident is None:
            self._parts.close()
            return True
        if not self._stopping.is_set():
            self.write(time.monotonic(), (dict, {"kind": "log", "state": "ended"}))
            self._queue.put(None)
            self._stopping.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._write_burst():
            pass
        self._parts.close()

    def _write_burst(self) -> bool:
        """Write all there is; whether more may come."""
        lines: List[Tuple[float, Line]] = []
        try:
            item = self._queue.get(timeout=_RETRY_SECONDS if self._parts.failing else None)
            self._stopping.wait(_GATHER_SECONDS)
            while item is not None:
                monotonic, line = item
                lines.append((self.epoch + monotonic, line))
                if len(lines) == _TOGETHER:
                    self._parts.add(lines)
                    lines = []
                item = self._queue.get_nowait()
        except queue.Empty:
            self._parts.add(lines)
            self._parts.flush()
            return True
        self._parts.add(lines)
        return False


class _Parts:
    """The files that a log consists of. Lines added are kept until they are written.

    Attributes
    ----------
    header : dict
        First line of each further part, but for its number.
    failing : bool
        Whether the last write has failed.
    """

    def __init__(self, path: Path, part_bytes: int) -> None:
        self.header: Dict[str, Any] = {}
        self.failing = False
        self._path = path
        self._part = 1
        self._most = part_bytes  # that the current part may have
        self._part_bytes = part_bytes
        self._size = 0
        self._lines = 0  # in the current part, its header not counted
        self._lost = 0
        self._retry_at = 0.0
        # what is not written, for each file that is open, the current one last
        self._unwritten: Deque[Tuple[int, bytearray]] = deque([(_create(path), bytearray())])

    def add(self, lines: Sequence[Tuple[float, Line]]) -> None:
        """Add lines, each with its ``t``. They are written by the next flush, or before."""
        made = [(t, self._made(fields, (line,))) for t, line in lines]
        texts = iter(_encoded([content for _, content in made if content is not None]))
        for t, content in made:
            encoded = None if content is None else self._made(_line, (t, content, next(texts)))
            if encoded is None:
                self._lost += 1
                continue
            if self.failing and sum(len(data) for _, data in self._unwritten) > _KEPT_BYTES:
                self._lost += 1
                continue
            if self._lost:
                lost, self._lost = self._lost, 0
                self._append(t, _line(t, {"kind": "log", "state": "lost", "lines": lost}))
            self._append(t, encoded)

    def _made(self, make: Callable[..., _T], arguments: Tuple[Any, ...]) -> Optional[_T]:
        try:
            return make(*arguments)
        except Exception:
            logger.exception("A line of the run log %s could not be written. Please report this", self._path)
            return None

    def _append(self, t: float, text: bytes) -> None:
        if self._lines and self._size + len(text) > self._most:
            self._go_on(t)
        data = self._unwritten[-1][1]
        data += text
        self._size += len(text)
        self._lines += 1
        if len(data) > _BLOCK_BYTES:
            self.flush()

    def _go_on(self, t: float) -> None:
        """Begin the next part. It is there, empty, before this one says that the log goes on in it."""
        part = self._part + 1
        try:
            file = _create(part_path(self._path, part))
        except OSError as e:
            self._most = self._size + self._part_bytes
            logger.warning("Part %d of the run log %s cannot be begun (%s); it goes on in the part before, beyond its size", part, self._path, e)
            return
        self._unwritten[-1][1].extend(_line(t, {"kind": "log", "state": "continued", "part": part}))
        header = _line(t, {**self.header, "part": part})
        self._unwritten.append((file, bytearray(header)))
        self._part, self._size, self._lines, self._most = part, len(header), 0, self._part_bytes

    def flush(self, at_once: bool = False) -> None:
        """Write what is there, unless that has failed a moment ago and this is not the last chance."""
        if self.failing and not at_once and time.monotonic() < self._retry_at:
            return
        try:
            self._write()
        except OSError as e:
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            if not self.failing:
                logger.error("The run log %s cannot be written: %s. Its lines are kept, up to %d MB, until that works again", self._path, e,
                             _KEPT_BYTES // 1_000_000)
            self.failing = True
            return
        if self.failing:
            self.failing = False
            logger.warning("The run log %s can be written again; %d lines were lost", self._path, self._lost)

    def _write(self) -> None:
        while True:
            file, data = self._unwritten[0]
            while data:
                # a full disk takes a part of it
                del data[:os.write(file, data)]
            if len(self._unwritten) == 1:
                return
            os.close(file)
            self._unwritten.popleft()

    def close(self) -> None:
        """Write what is left, if that is possible, and close."""
        if not self._unwritten:
            return
        self.flush(at_once=True)
        lost = self._lost + sum(data.count(b"\n") for _, data in self._unwritten)
        if lost:
            logger.error("The last %d lines of the run log %s could not be written", lost, self._path)
        while self._unwritten:
            os.close(self._unwritten.popleft()[0])


def _line(t: float, content: Fields, text: Optional[str] = None) -> bytes:
    """A line of the file; ``text``: its content, encoded already."""
    return f'{{"t": {t:.6f}, {(text or _encode(content))[1:]}\n'.encode("ascii")


def _encoded(lines: Sequence[Fields]) -> Sequence[Optional[str]]:
    """Lines, encoded together, or nothing of any if one of them cannot be."""
    try:
        # an empty string between any two marks where to cut; within a string, its quotes would be escaped
        texts = _encode([item for line in lines for item in (line, "")])[1:-1].split('}, ""')
    except (TypeError, ValueError):
        return [None] * len(lines)
    # a list in a line may have the mark, too
    return [text.lstrip(", ") + "}" for text in texts[:-1]] if len(texts) == len(lines) + 1 else [None] * len(lines)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _put_aside(path: Path) -> None:
    """Give the files of an earlier run another name."""
    own = re.compile(re.escape(path.name) + r"(\.part\d+)?")
    earlier = [(file, match[1] or "") for file in path.parent.iterdir() if (match := own.fullmatch(file.name)) and file.is_file()]
    if earlier:
        name = next(name for name in (f"{path.name}.{n}" for n in itertools.count(1)) if not path.with_name(name).exists())
        for file, suffix in earlier:
            file.rename(file.with_name(name + suffix))
