"""One unmodified ``globus-compute-endpoint`` agent, run in the foreground as a process of ours."""
from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from local_globus_compute.agent_files import (
    agent_environment,
    proxy_environment,
    write_agent_files,
)
from local_globus_compute.endpoint import LocalEndpoint
from local_globus_compute.errors import LocalComputeError, tail
from local_globus_compute.processes import kill_all, session_members, spawn

AGENT_PROGRAM = "globus-compute-endpoint"


def find_agent_program(python: str | os.PathLike[str] | None) -> Path:
    """Return the agent's program, beside the Python that has it.

    Parameters
    ----------
    python : str or path, optional
        That Python; default: environment variable ``LOCAL_GC_AGENT_PYTHON``, else ``.venv-agents/bin/python`` in the repository.

    Raises
    ------
    LocalComputeError
        When there is no agent beside it.
    """
    chosen = Path(python or os.environ.get("LOCAL_GC_AGENT_PYTHON") or _default_python())
    program = Path(os.path.abspath(chosen)).parent / AGENT_PROGRAM  # not resolved: a virtual environment's python is a link
    if not os.access(program, os.X_OK):
        raise LocalComputeError(
            f"There is no {AGENT_PROGRAM} beside {chosen}. Run \"make agents\" in the repository, or name the Python of a virtual "
            "environment that has it, by agent_python= or LOCAL_GC_AGENT_PYTHON."
        )
    return program


def _default_python() -> Path:
    # The nearest one above us, since this package may lie anywhere in the repository.
    places = [folder / ".venv-agents" / "bin" / "python" for folder in Path(__file__).resolve().parents]
    return next((place for place in places if place.exists()), Path(".venv-agents/bin/python"))


@dataclass(frozen=True)
class EndpointProcesses:
    """The processes of an endpoint, by process id.

    Attributes
    ----------
    parent : int
        The registered agent.
    children : tuple of int
        User endpoint processes that run now: one per `user_endpoint_config` in use.
    workers : tuple of int
        Processes of the children's engines (none for ThreadPoolEngine).
    """

    parent: int
    children: tuple[int, ...]
    workers: tuple[int, ...]

    @classmethod
    def of(cls, parent: int) -> EndpointProcesses:
        """Look at the process table; an endpoint whose parent process has ended has no children."""
        try:
            found = psutil.Process(parent).children()
        except psutil.NoSuchProcess:
            found = []
        children = {process.pid for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE}
        workers = {process.pid for process in session_members(children)} - children
        return cls(parent, tuple(sorted(children)), tuple(sorted(workers)))


@dataclass(frozen=True)
class Credentials:
    """A client of the service: its ID (a UUID), and the secret for its client credentials grant, or a token that needs no grant."""

    client_id: str
    client_secret: str | None = None
    token: str | None = None


class Agent:
    """An agent, which can be started and stopped any number of times and stays the same endpoint.

    Parameters
    ----------
    endpoint : LocalEndpoint
        What it is.
    program : Path
        From :func:`find_agent_program`.
    user_dir : Path
        Stands in for ``~/.globus_compute``; one for each agent, because agents that start at once would contend for its token store.
    tasks_tmp : Path
        Where engines and tasks have their temporary files.
    service_port : int
        Where the service listens.
    credentials : Credentials
        The agent's, with a secret.
    """

    def __init__(
        self, endpoint: LocalEndpoint, program: Path, user_dir: Path, tasks_tmp: Path, service_port: int, credentials: Credentials
    ) -> None:
        assert credentials.client_secret is not None
        self.endpoint = endpoint
        self._program = program
        self._user_dir = user_dir
        self._folder = user_dir / endpoint.name
        self._process: subprocess.Popen[bytes] | None = None
        tasks_environment = agent_environment(program.parent, user_dir, tasks_tmp)
        self._environment = {
            **tasks_environment,
            **proxy_environment(service_port),
            "GLOBUS_COMPUTE_CLIENT_ID": credentials.client_id,
            "GLOBUS_COMPUTE_CLIENT_SECRET": credentials.client_secret,
        }
        write_agent_files(self._folder, endpoint, tasks_environment)

    def spawn(self) -> None:
        """Start the agent, which must not be running, without waiting for it."""
        if self._process is not None:
            self._process.wait()
        # Only a killed agent leaves this file behind, and the next one would refuse to start while it is fresh.
        self._pid_file.unlink(missing_ok=True)
        self._process = spawn(
            [self._program, "start", self.endpoint.name],
            environment=self._environment,
            directory=self._user_dir,
            log=self._user_dir / "output.log",
            death_signal=signal.SIGKILL,
        )

    @property
    def pid(self) -> int:
        """Process id of the agent's latest start."""
        assert self._process is not None, "spawn() comes first"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the agent's process is there."""
        # One whose threads are still ending cannot be waited for yet, and shows as a zombie.
        return self._process is not None and self._process.poll() is None and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE

    def registered_id(self) -> str | None:
        """Return the endpoint ID once the agent has registered in its present run.

        Raises
        ------
        LocalComputeError
            With the end of its log, when its process has ended instead.
        """
        if not self.running:
            raise self.failure("stopped while it was starting")
        try:
            if int(self._pid_file.read_text()) != self.pid:
                return None
            return str(json.loads((self._folder / "endpoint.json").read_text())["endpoint_id"])
        except (FileNotFoundError, ValueError):
            return None  # not written yet, or not wholly

    def failure(self, what: str) -> LocalComputeError:
        """Return an error that names the endpoint and carries the cause that its log gives."""
        code = self._process.poll() if self._process is not None else None
        status = "" if code is None else f" (exit status {code})"
        causes = "\n".join(
            f"the end of its {path.name}:\n{tail(path)}" for path in (self._folder / "endpoint.log", self._user_dir / "output.log")
        )
        return LocalComputeError(f"The agent of endpoint {self.endpoint.name!r} {what}{status}; {causes}")

    def begin_stop(self) -> set[int]:
        """Ask the agent and its children to stop; return their sessions, for :meth:`finish_stop`."""
        if self._process is None or not self.running:
            return set()
        children = EndpointProcesses.of(self.pid).children
        self._process.send_signal(signal.SIGTERM)  # first, since it starts a child again that ends without its asking
        for pid in children:
            try:
                os.kill(pid, signal.SIGTERM)  # the parent would tell them up to a second later
            except ProcessLookupError:
                pass  # ended by itself
        return {self.pid, *children}

    def finish_stop(self, sessions: set[int]) -> None:
        """Kill what is left of the sessions that :meth:`begin_stop` returned."""
        left = kill_all(lambda: session_members(sessions))
        if left:
            raise LocalComputeError(f"Processes {left} of endpoint {self.endpoint.name!r} cannot be killed.")
        if self._process is not None:
            self._process.wait()

    @property
    def _pid_file(self) -> Path:
        return self._folder / "daemon.pid"
