"""Globus Compute on localhost, as a context manager."""
from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from local_globus_compute.agent_files import proxy_environment
from local_globus_compute.agents import (
    Credentials,
    EndpointProcesses,
    find_agent_program,
)
from local_globus_compute.deployment import Settings
from local_globus_compute.endpoint import LocalEndpoint, check_names
from local_globus_compute.errors import LocalComputeError
from local_globus_compute.processes import wait_until
from local_globus_compute.service.admin import ServiceAdmin
from local_globus_compute.service.config import Limits

if TYPE_CHECKING:
    from local_globus_compute.client import LocalClient

_IMPORT_ROOT = Path(__file__).resolve().parents[__name__.count(".")]  # where Python found us, be we part of another package or not
_CLOSE_SECONDS = 40.0  # more than the supervisor may need


class LocalGlobusCompute:
    """The hosted service's stand-in, a RabbitMQ node, and unmodified endpoint agents, all on this machine.

    As a context manager it starts in ``with`` and ends after it; or call :meth:`start` and :meth:`close`. Everything also ends when this
    process does, in whatever way. ::

        with LocalGlobusCompute([LocalEndpoint("alpha"), LocalEndpoint("beta", workers=2)]) as compute:
            with globus_compute_sdk.Executor(compute.endpoint_ids["beta"], client=compute.client()) as executor:
                print(executor.submit(pow, 2, 10).result())

    Parameters
    ----------
    endpoints : sequence of LocalEndpoint
        Endpoints to start with; may be empty.
    limits : Limits
        The hosted service's limits on requests and sizes, each of which can be switched off.
    rabbitmq_url : str, optional
        ``amqp://user:password@host:port/vhost`` of a broker that runs already; default: environment variable ``RABBITMQ_URL``, else a
        private node.
    directory : str or path, optional
        A new or empty folder for all files, logs among them, which is kept; default: a temporary one, which is not.
    working_dir : str or path, optional
        Absolute folder in which tasks run, for endpoints that do not say otherwise.
    agent_python : str or path, optional
        Python of the virtual environment that has the agent; default: ``LOCAL_GC_AGENT_PYTHON``, else the repository's ``.venv-agents``.

    Raises
    ------
    ValueError
        When an argument is wrong.
    LocalComputeError
        From any method, when a part cannot be started, stopped or reached.
    """

    def __init__(
        self,
        endpoints: Sequence[LocalEndpoint] = (),
        *,
        limits: Limits = Limits(),
        rabbitmq_url: str | None = None,
        directory: str | os.PathLike[str] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
        agent_python: str | os.PathLike[str] | None = None,
    ) -> None:
        check_names([endpoint.name for endpoint in endpoints])
        if working_dir is not None and not os.path.isabs(working_dir):
            raise ValueError(f"working_dir must be an absolute path, not {os.fspath(working_dir)!r}")
        self._working_dir = working_dir
        self._endpoints = [self._placed(endpoint) for endpoint in endpoints]
        self._limits = limits
        self._rabbitmq_url = rabbitmq_url or os.environ.get("RABBITMQ_URL") or None
        self._kept_directory = directory
        self._agent_python = agent_python
        self._user = Credentials(str(uuid.uuid4()), secrets.token_urlsafe(24), secrets.token_urlsafe(24))
        self._admin_token = secrets.token_urlsafe(24)
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._supervisor: subprocess.Popen[str] | None = None
        self._directory: Path | None = None
        self._tasks_tmp: Path | None = None
        self._log: TextIO | None = None
        self._port = 0
        self._ids: dict[str, str] = {}
        self._pids: dict[str, int] = {}

    # Life

    def start(self) -> LocalGlobusCompute:
        """Start everything, and return when all endpoints are online. What was started is ended again when that fails or is interrupted."""
        if self._directory is not None:
            raise LocalComputeError("This local Globus Compute has been started already; make another one.")
        program = find_agent_program(self._agent_python)
        atexit.register(self.close)
        try:
            self._directory = self._make_directory()
            # Engines make sockets in it, whose paths are limited to about 100 bytes; so not in a folder whose path may be longer.
            # A new folder, which only the user may look into.
            self._tasks_tmp = Path(tempfile.mkdtemp(prefix=f"local-gc-{self._owner}-", dir="/tmp"))  # nosec B108
            settings = Settings(
                agent_program=str(program),
                tasks_tmp=str(self._tasks_tmp),
                limits=asdict(self._limits),
                admin_token=self._admin_token,
                user=self._user,
                rabbitmq_url=self._rabbitmq_url,
            )
            self._log = open(self._directory / "supervisor.log", "w+", encoding="utf-8")
            self._supervisor = self._spawn_supervisor(self._directory)
            answer = self._request(
                "start",
                endpoints=[endpoint.to_json() for endpoint in self._endpoints],
                settings=asdict(settings),
                agents=asdict(Credentials(str(uuid.uuid4()), client_secret=secrets.token_urlsafe(24))),
                watcher=asdict(Credentials(str(uuid.uuid4()), token=secrets.token_urlsafe(24))),
            )
        except BaseException:
            self.close()
            raise
        self._port = answer["port"]
        self._bring_up(answer)
        return self

    def close(self) -> None:
        """End all processes and remove the temporary folder; nothing when that was done before, or in a process forked from the owner."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        supervisor, self._supervisor = self._supervisor, None
        log, self._log = self._log, None
        status = 0 if supervisor is None else _end(supervisor)
        for folder in self._temporary_folders:
            _remove(folder)
        if log is not None:
            with log:
                if status != 0:
                    log.seek(0)
                    raise LocalComputeError(f"The local Globus Compute did not end well (status {status}).\n{log.read()}")

    def __enter__(self) -> LocalGlobusCompute:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    # What a client needs

    @property
    def endpoint_ids(self) -> dict[str, str]:
        """Endpoint IDs (UUIDs) by name, in the order in which the endpoints were given."""
        return dict(self._ids)

    @property
    def address(self) -> str:
        """Where the service listens, ``http://127.0.0.1:port``."""
        self._check_started()
        return f"http://127.0.0.1:{self._port}"

    @property
    def client_id(self) -> str:
        """What the service's request log calls the user."""
        return self._user.client_id

    @property
    def token(self) -> str:
        """Bearer token with which :class:`client.LocalClient` is let in, for a client in another process."""
        assert self._user.token is not None
        return self._user.token

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which any process's unmodified SDK works with this service, and with nothing else."""
        self._check_started()
        assert self._user.client_secret is not None
        return {
            **proxy_environment(self._port),
            "GLOBUS_COMPUTE_CLIENT_ID": self._user.client_id,
            "GLOBUS_COMPUTE_CLIENT_SECRET": self._user.client_secret,
            "GLOBUS_COMPUTE_USER_DIR": str(self.directory / "client"),
        }

    @property
    def admin(self) -> ServiceAdmin:
        """The service's faults, limits and request log."""
        return ServiceAdmin(self.address, self._admin_token)

    @property
    def directory(self) -> Path:
        """Folder of all files: ``service``, ``rabbitmq``, and ``agents/<name>``."""
        self._check_started()
        assert self._directory is not None
        return self._directory

    def client(self) -> LocalClient:
        """Return a new ``globus_compute_sdk.Client`` of this service, to be used directly or in ``Executor(client=…)``."""
        from local_globus_compute.client import (
            LocalClient,  # the SDK takes most of a second to import
        )

        return LocalClient(self.address, self.token)

    # What tests and tools do to it

    def add_endpoint(self, endpoint: LocalEndpoint) -> str:
        """Start a further endpoint and return its ID; raises ValueError when its name is taken."""
        check_names([*self._ids, endpoint.name])
        self._bring_up(self._request("add_endpoints", endpoints=[self._placed(endpoint).to_json()]))
        return self._ids[endpoint.name]

    def stop_endpoint(self, name: str) -> None:
        """Stop an endpoint with its children, as its administrator would; nothing when it has ended already."""
        self._request("stop_endpoints", names=[self._known(name)])

    def start_endpoint(self, name: str) -> None:
        """Start a stopped (or killed) endpoint again, under its ID; nothing when it runs."""
        self._bring_up(self._request("start_endpoints", names=[self._known(name)]))

    def processes(self, name: str) -> EndpointProcesses:
        """Return an endpoint's process IDs as they are now."""
        return EndpointProcesses.of(self._pids[self._known(name)])

    def stop_service(self) -> None:
        """Stop the service, so that connections to its address are refused; endpoints and broker go on."""
        self._request("stop_service")

    def start_service(self) -> None:
        """Start the service after :meth:`stop_service`; it has kept its address and state."""
        self._request("start_service")

    def restart_service(self) -> None:
        """Restart the service, which keeps its address and state."""
        self._request("restart_service")

    def restart_broker(self) -> None:
        """Restart the private RabbitMQ node, which keeps its address, queues and messages."""
        self._request("restart_broker")

    # Inside

    def _placed(self, endpoint: LocalEndpoint) -> LocalEndpoint:
        return endpoint if endpoint.working_dir is not None else replace(endpoint, working_dir=self._working_dir)

    def _make_directory(self) -> Path:
        if self._kept_directory is None:
            return Path(tempfile.mkdtemp(prefix="local-globus-compute-"))
        directory = Path(os.path.abspath(self._kept_directory))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ValueError(f"directory {str(directory)!r} is not empty; name a new or an empty one")
        return directory

    @property
    def _temporary_folders(self) -> list[Path]:
        folders = [self._directory if self._kept_directory is None else None, self._tasks_tmp]
        return [folder for folder in folders if folder is not None]

    def _spawn_supervisor(self, directory: Path) -> subprocess.Popen[str]:
        path = os.pathsep.join(filter(None, [str(_IMPORT_ROOT), os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.supervisor", directory, *self._temporary_folders],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # the terminal's Ctrl-C is for this process to act on
        )

    def _request(self, do: str, **arguments: Any) -> dict[str, Any]:
        with self._lock:
            supervisor = self._supervisor
            if supervisor is None:
                raise self._not_started()
            assert supervisor.stdin is not None and supervisor.stdout is not None and self._log is not None
            number = next(self._numbers)
            try:
                supervisor.stdin.write(json.dumps({"number": number, "do": do, "with": arguments}) + "\n")
                supervisor.stdin.flush()
                # An answer with another number is to a request that was interrupted while it waited here.
                answers = (json.loads(line) for line in supervisor.stdout)
                answer: dict[str, Any] | None = next((answer for answer in answers if answer["number"] == number), None)
            except BrokenPipeError:
                answer = None
            if answer is None:
                self._log.seek(0)
                raise LocalComputeError(f"The supervisor of the local Globus Compute has ended.\n{self._log.read()}")
        if "error" in answer:
            raise LocalComputeError(answer["error"])
        return answer

    def _bring_up(self, answer: dict[str, Any]) -> None:
        for name, endpoint in answer["endpoints"].items():
            self._ids[name] = endpoint["id"]
            self._pids[name] = endpoint["pid"]

    def _known(self, name: str) -> str:
        if name not in self._ids:
            raise ValueError(f"there is no endpoint {name!r}; there are {', '.join(map(repr, self._ids)) or 'none'}")
        return name

    def _check_started(self) -> None:
        if not self._port:
            raise self._not_started()

    def _not_started(self) -> LocalComputeError:
        return LocalComputeError("The local Globus Compute does not run: use it in a with statement, or call start() first.")


def _end(supervisor: subprocess.Popen[str]) -> int:
    """End the supervisor, which ends everything, and return its exit status."""
    assert supervisor.stdin is not None and supervisor.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended already
        supervisor.stdin.close()  # with which it ends everything, even if we are interrupted now
    try:
        supervisor.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()  # at which the kernel tells the others
        supervisor.wait()
    supervisor.stdout.close()
    return supervisor.returncode


def _remove(folder: Path) -> None:
    """Remove a folder if the supervisor left it because it was killed; until they have noticed that, processes may write to it."""

    def removed() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    if not wait_until(removed, _CLOSE_SECONDS):
        shutil.rmtree(folder)
