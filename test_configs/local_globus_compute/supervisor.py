"""The process that owns all others, ``python -m local_globus_compute.supervisor DIRECTORY [TEMPORARY_FOLDER...]``.

It is a child of the user's process, reads one JSON object a line from standard input and answers each with one line on standard
output. When its input ends, its parent is gone, or a signal tells it to, it ends everything and removes the temporary folders. So
nothing is left however the user's process ends. It does not get the terminal's Ctrl-C, which is for the user's process to act on.
"""
from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local_globus_compute.agents import Credentials
from local_globus_compute.deployment import Deployment, Settings
from local_globus_compute.endpoint import LocalEndpoint
from local_globus_compute.errors import LocalComputeError
from local_globus_compute.processes import Interrupted, adopt_orphans


class Supervisor:
    """Serves requests until it is to end.

    A request is ``{"number": …, "do": <name of a method of Deployment>, "with": {…its arguments}}``; the answer has the same number and
    either what that returns or ``"error"``, a message.

    Parameters
    ----------
    directory : Path
        Folder of all files.
    temporary : sequence of Path
        Folders to be removed at the end, it among them or not.
    """

    def __init__(self, directory: Path, temporary: Sequence[Path]) -> None:
        self._directory = directory
        self._temporary = temporary
        self._owner = os.getppid()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stopping = False
        self._deployment: Deployment | None = None

    def run(self) -> None:
        """Serve, and end everything when it is time."""
        adopt_orphans()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, lambda *_: self._stop())
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        try:
            while (line := self._next_line()) is not None:
                self._reply(self._answer(json.loads(line)))
        except Interrupted:
            pass  # everything is to end, which is what comes next
        finally:
            try:
                if self._deployment is not None:
                    self._deployment.close()
            finally:
                for folder in self._temporary:
                    shutil.rmtree(folder)

    def _stop(self) -> None:
        self._stopping = True
        self._lines.put(None)

    def _read(self) -> None:
        # Not sys.stdin: Python aborts when it ends while a thread waits in there.
        with open(0, "rb", buffering=0, closefd=False) as requests:
            for line in requests:
                self._lines.put(line)
        self._stop()

    def _interrupted(self) -> bool:
        # The end of input is not enough: a process that the owner has forked holds the pipe open, too.
        return self._stopping or os.getppid() != self._owner

    def _next_line(self) -> bytes | None:
        while not self._interrupted():
            try:
                return self._lines.get(timeout=0.5)
            except queue.Empty:
                continue
        return None

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"number": request["number"], **self._do(request["do"], request["with"])}
        except LocalComputeError as error:
            return {"number": request["number"], "error": str(error)}
        except Interrupted:
            raise
        except Exception:
            return {"number": request["number"], "error": f"The supervisor of the local Globus Compute failed.\n{traceback.format_exc()}"}

    def _do(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if "endpoints" in arguments:
            arguments["endpoints"] = [LocalEndpoint.from_json(text) for text in arguments["endpoints"]]
        if name == "start":
            settings, agents, watcher = arguments.pop("settings"), arguments.pop("agents"), arguments.pop("watcher")
            settings["user"] = Credentials(**settings["user"])
            clients = Credentials(**agents), Credentials(**watcher)
            self._deployment = Deployment(self._directory, Settings(**settings), *clients, self._interrupted)
        answer: dict[str, Any] = getattr(self._deployment, name)(**arguments)
        return answer

    def _reply(self, answer: dict[str, Any]) -> None:
        try:
            print(json.dumps(answer), flush=True)
        except BrokenPipeError:
            self._stop()  # the owner has ended


if __name__ == "__main__":
    Supervisor(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]]).run()
