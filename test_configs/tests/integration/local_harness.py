"""What a local Globus Compute consists of, and that nothing of it is left."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local_globus_compute.processes import wait_until

PATIENCE = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fails naming it."""
    assert wait_until(condition, PATIENCE), f"waited {PATIENCE:g} s in vain for {what}"


@dataclass
class Footprint:
    """The processes of a local Globus Compute, and what they listen on."""

    processes: list[psutil.Process]
    listening: set[tuple[str, int]]

    @classmethod
    def of(cls, owner: int) -> Footprint:
        """Everything below the process that uses it."""
        processes = [process for process in psutil.Process(owner).children(recursive=True) if not _is_zombie(process)]
        listening: set[tuple[str, int]] = set()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):  # a short-lived one
                listening |= _listening(process.net_connections("tcp"))
        return cls(processes, listening)

    def left(self) -> list[psutil.Process]:
        """Those of the processes that still run."""
        return [process for process in self.processes if process.is_running() and not _is_zombie(process)]

    def check_gone(self) -> None:
        """Fail when a process or a listener does not go."""
        until(lambda: not self.left(), f"the end of {self.left()}")
        ours = {port for _, port in self.listening}
        still = ours & {port for _, port in _listening(psutil.net_connections("tcp"))}
        assert not still, f"still listened on: {still}"


def _listening(connections: Iterable[Any]) -> set[tuple[str, int]]:
    return {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# Starts two endpoints, runs a task on each, says so, and then does what the test wants. Not with the SDK's Executor, whose thread
# looks for the service for half a minute when it has gone.
OWNER = """
import json, os, sys, time
from local_globus_compute import LocalEndpoint, LocalGlobusCompute

def body(compute):
{body}

with LocalGlobusCompute([LocalEndpoint("alpha"), LocalEndpoint("beta", 2, {engine!r})]) as compute:
    client = compute.client()
    function = client.register_function(pow)
    tasks = [client.run(2, 10, endpoint_id=id, function_id=function) for id in compute.endpoint_ids.values()]
    while any(client.get_task(task)["pending"] for task in tasks):
        time.sleep(1.5)
    assert [client.get_result(task) for task in tasks] == [1024, 1024]
    print(json.dumps({{"directory": str(compute.directory), "supervisor": compute._supervisor.pid}}), flush=True)
    body(compute)
"""


class Owner:
    """A program that uses a local Globus Compute, in a process and a temporary folder of its own.

    Parameters
    ----------
    folder : Path
        Where its temporary files go.
    command : list of str
        Arguments for Python.
    """

    def __init__(self, folder: Path, command: list[str]) -> None:
        path = os.pathsep.join(filter(None, sys.path))
        self.folder = folder
        self.errors = folder.parent / f"{folder.name}.errors"
        folder.mkdir()
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    @classmethod
    def running(cls, folder: Path, body: str, engine: str = "ThreadPoolEngine") -> tuple[Owner, dict[str, Any]]:
        """Start :data:`OWNER` with `body` and wait for what it prints."""
        indented = "\n".join(f"    {line}" for line in body.splitlines())
        owner = cls(folder, ["-c", OWNER.format(body=indented, engine=engine)])
        line = owner.next_line()
        assert line, owner.errors.read_text()
        return owner, json.loads(line)

    def next_line(self) -> str:
        """The next line it prints, empty at the end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def footprint(self) -> Footprint:
        """What runs below it now."""
        return Footprint.of(self.process.pid)

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(signum)

    def proceed(self) -> None:
        """Let it read a line from its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def files(self) -> list[Path]:
        """Its temporary files."""
        return [*self.folder.iterdir(), *Path("/tmp").glob(f"local-gc-{self.process.pid}-*")]

    def check_nothing_left(self, footprint: Footprint, timeout: float = PATIENCE) -> int:
        """Wait for its end, fail when anything of it is left, and return its exit status."""
        assert self.process.stdout is not None and self.process.stdin is not None
        status = self.process.wait(timeout)
        self.process.stdout.close()
        self.process.stdin.close()
        footprint.check_gone()
        until(lambda: not self.files(), f"the removal of {self.files()}")
        return status
