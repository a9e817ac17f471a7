"""The run log: one JSON object a line for every state change of a task, an attempt, a dispatch or an endpoint.

Each line has ``t``, seconds since the epoch on the client's clock; the ``kind`` of what it is about, and its ID under that name; and its
new ``state``. Further keys depend on kind and state. The first line, of kind ``log``, describes the pool. There are no argument values,
results or credentials in it.

============  ==========================================================================================================
kind          states
============  ==========================================================================================================
``task``      ``pending`` (``app``, ``cores``, ``priority``, ``bytes``, and what else it asks for; or ``after`` a failed attempt,
              with the endpoints that it ``avoids`` now, or a ``wait``), ``waiting`` (for busy threads with so many ``cores`` of
              ``endpoint``, at most ``seconds``; null is for ever), ``done``, ``failed`` (``attempt``, or ``reason`` if no attempt decided it)
``attempt``   ``running`` or ``queued_ahead`` (``task``, ``endpoint``, ``thread_class``, ``dispatch``; ``again`` if another attempt of the
              task is under way), ``running`` when promoted, ``queued_ahead`` when it turns out that there are fewer threads, ``finished``
              (``outcome``, times, host, versions; at shutdown ``abandoned``), ``duplicate`` (a result of a finished attempt),
              ``unmatched`` (a result that belongs to no known attempt)
``dispatch``  ``sent`` (``endpoint``, ``config`` of its child if there is one, ``attempts``, ``bytes``, ``running`` and ``ahead`` on that
              child afterwards), ``accepted``, ``rejected`` (``reason``, ``http_status``)
``endpoint``  ``online``, ``offline``, ``paused`` (for ``seconds``), ``resumed``, ``warm`` (a child has shown that it runs), ``cold`` (it has
              no workers any more), ``child`` (its ID is known), ``threads`` (``count`` of ``thread_class`` is another than was guessed),
              ``status`` (as the service answered), ``versions`` (``python``, ``parsl``, ``dill``, ``sdk`` of the ``child``'s workers, as far as
              known)
============  ==========================================================================================================
"""
from __future__ import annotations

import itertools
import json
import logging
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

logger = logging.getLogger(__name__)

#: Version of the lines' schema; it is in the first line.
SCHEMA = 1


class RunLog:
    """Writes lines on a thread of its own, off the scheduler's path.

    Parameters
    ----------
    path : Path
        Created with its folder; readable by the user only. A file of an earlier run is kept under another name (``.1``, ``.2``, ...).

    Raises
    ------
    OSError
        If it cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            path.rename(next(p for p in (path.with_name(f"{path.name}.{n}") for n in itertools.count(1)) if not p.exists()))
        self._file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8")
        self._lines: "queue.SimpleQueue[Optional[Tuple[float, Dict[str, Any]]]]" = queue.SimpleQueue()
        self._epoch = time.time() - time.monotonic()
        self._thread = threading.Thread(target=self._run, name="globus-compute-multi-log", daemon=True)

    def start(self, **header: Any) -> None:
        """Start the thread, and write the first line."""
        self.write(time.monotonic(), {"kind": "log", "log": "globus_compute_multi", "schema": SCHEMA, **header})
        self._thread.start()

    def write(self, monotonic: float, fields: Dict[str, Any]) -> None:
        """Write a line; ``monotonic`` is the time of what happened, as of ``time.monotonic``."""
        self._lines.put((monotonic, fields))

    def stop(self, timeout: float) -> bool:
        """Write what is left, and close the file; whether that was done within ``timeout`` seconds."""
        if not self._thread.is_alive():
            self._file.close()
            return True
        self._lines.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with self._file:
            while self._write_burst():
                pass

    def _write_burst(self) -> bool:
        """Write all there is, then flush: a line is on disk when the log is idle, without a flush for each."""
        line = self._lines.get()
        while line is not None:
            monotonic, fields = line
            try:
                self._file.write(json.dumps({"t": round(self._epoch + monotonic, 6), **fields}) + "\n")
            except (OSError, TypeError, ValueError):
                logger.exception("A line of the run log %s could not be written", self.path)
            if self._lines.empty():
                break
            line = self._lines.get()
        try:
            self._file.flush()
        except OSError:
            logger.exception("The run log %s could not be written", self.path)
        return line is not None
