"""The fault-injecting TCP proxy between a client and the service or the broker: mitmproxy, in an environment of its own."""
from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_globus_compute.broker import free_port
from local_globus_compute.errors import tail
from local_globus_compute.processes import end, spawn, wait_until

START_SECONDS = 30.0

REPOSITORY = Path(__file__).resolve().parents[1]


class ProxyError(RuntimeError):
    """The proxy could not be started, or does not answer; the message says what to do."""


def find_mitmdump() -> Path:
    """The program: environment variable ``CHAOS_MITMDUMP``, else that in the repository's ``.venv-chaos``.

    Raises
    ------
    ProxyError
        If it is not there.
    """
    program = Path(os.environ.get("CHAOS_MITMDUMP") or REPOSITORY / ".venv-chaos" / "bin" / "mitmdump")
    if not os.access(program, os.X_OK):
        raise ProxyError(f"{program} is not there: run \"python3 tools/make_venv.py .venv-chaos chaos-requirements.txt\" in the repository, "
                         "or name mitmproxy's mitmdump by CHAOS_MITMDUMP")
    return program


class Proxy:
    """Ports of 127.0.0.1 that lead to others, through faults. Must be started on the main thread, with which it ends at the latest.

    Parameters
    ----------
    targets : mapping of str to int
        By the name of a link, the port that it leads to.

    Attributes
    ----------
    ports : dict of str to int
        By the name of a link, the port where it begins.
    """

    def __init__(self, targets: Mapping[str, int]) -> None:
        self._targets = dict(targets)
        self.ports = {link: free_port() for link in targets}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Proxy:
        program = find_mitmdump()
        # A new folder, which only the user may look into.
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))  # nosec B108 # the path of a Unix socket must be short
        self._control = self._folder / "control"
        modes = [f"--mode=reverse:tcp://127.0.0.1:{self._targets[link]}@127.0.0.1:{port}" for link, port in self.ports.items()]
        self._process = spawn(
            [program, "--quiet", f"--set=confdir={self._folder}", "--scripts", Path(__file__).with_name("proxy_addon.py"), *modes],
            environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._folder), "CHAOS_CONTROL": str(self._control)},
            directory=self._folder, log=self._folder / "mitmdump.log", death_signal=signal.SIGKILL)
        process = self._process
        if not wait_until(lambda: self._control.exists() or process.poll() is not None, START_SECONDS) or process.poll() is not None:
            log = tail(self._folder / "mitmdump.log")
            self.__exit__()
            raise ProxyError(f"mitmdump did not start; the end of its log:\n{log}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        end(self._process, 5.0, signal.SIGKILL)  # gently it would wait for its connections
        shutil.rmtree(self._folder)

    def set(self, link: str, **how: float | bool) -> None:
        """Treat a link's connections in another way.

        Parameters
        ----------
        link : str
            Its name.
        how
            ``latency`` (seconds each way), ``bytes_per_second``, ``stalled``, ``refused`` (which breaks the connections there are, too);
            0 or False: not any more.
        """
        self._command({"port": self.ports[link], "set": how})

    def reset(self, link: str) -> None:
        """Break the connections that a link has."""
        self._command({"port": self.ports[link], "do": "reset"})

    def half_open(self, link: str) -> None:
        """Let no byte pass any more on the connections that a link has, which stay open."""
        self._command({"port": self.ports[link], "do": "half_open"})

    def hits(self, link: str, kind: str) -> int:
        """How many connections, or pieces of data, faults of this kind (see :data:`chaos.plan.GROUPS`) have struck on a link so far."""
        return self._command({"port": self.ports[link]}).get(kind, 0)

    def _command(self, command: dict[str, Any]) -> dict[str, int]:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10.0)
            control.connect(str(self._control))
            control.sendall(json.dumps(command).encode() + b"\n")
            with control.makefile() as answers:
                line = answers.readline()
        if not line:
            raise ProxyError(f"the proxy refused {command}; the end of its log:\n{tail(self._folder / 'mitmdump.log')}")
        return dict(json.loads(line)["hits"])
