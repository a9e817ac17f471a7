"""The stand-in of the hosted service, run as a process of ours."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local_globus_compute.errors import LocalComputeError, tail
from local_globus_compute.processes import end, spawn, wait_until

# The user's own environment may name a proxy; the service is on this machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServiceProcess:
    """``python -m local_globus_compute.service``, which can be stopped and started again on its port, with its state.

    Parameters
    ----------
    directory : Path
        Folder for its configuration, database and log; created.
    settings : mapping
        Its configuration (see :mod:`local_globus_compute.service.config`) but for ``database``, ``ready_file`` and ``port``.
    token : str
        Bearer token with which :meth:`endpoint_status` asks.
    interrupted : callable, optional
        Asked while waiting; when true, the wait ends with :class:`~local_globus_compute.processes.Interrupted`.
    """

    def __init__(
        self, directory: Path, settings: Mapping[str, Any], token: str, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        directory.mkdir(mode=0o700)
        self._directory = directory
        self._settings = dict(settings, database=str(directory / "state.db"), ready_file=str(self._ready_file))
        self._token = token
        self._interrupted = interrupted
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def spawn(self) -> None:
        """Start the service without waiting for it: on a free port the first time, later on the same."""
        config = self._directory / "config.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({**self._settings, "port": self.port}))
        self._ready_file.unlink(missing_ok=True)
        self._process = spawn(
            [sys.executable, "-m", f"{__package__}.service", "--config", config],
            environment=os.environ,
            directory=self._directory,
            log=self._log,
            death_signal=signal.SIGTERM,
        )

    def wait(self, timeout: float = 60.0) -> None:
        """Wait until the service listens and is connected to its broker.

        Raises
        ------
        LocalComputeError
            With the end of its log, when it is not ready within `timeout` seconds.
        """
        process = self._process
        assert process is not None, "spawn() comes first"
        wait_until(lambda: process.poll() is not None or self._ready_file.exists(), timeout, self._interrupted)
        if process.poll() is not None or not self._ready_file.exists():
            raise LocalComputeError(f"The local Globus Compute service did not start; the end of its log:\n{tail(self._log)}")
        self.port = int(json.loads(self._ready_file.read_text())["port"])

    def stop(self) -> None:
        """End the service; what it knows is in its database."""
        if self._process is not None:
            end(self._process, 5.0)

    def endpoint_status(self, endpoint_id: str) -> str:
        """Return ``"online"`` or ``"offline"``, as the service answers anyone who asks, or why it did not answer."""
        url = f"http://127.0.0.1:{self.port}/v2/endpoints/{endpoint_id}/status"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"})
        try:
            with _direct.open(request, timeout=10.0) as answer:
                return str(json.load(answer)["status"])
        except OSError as error:  # all of urllib's are
            return repr(str(error))

    @property
    def _ready_file(self) -> Path:
        return self._directory / "ready.json"

    @property
    def _log(self) -> Path:
        return self._directory / "service.log"
