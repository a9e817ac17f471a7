"""A RabbitMQ node of our own on loopback, or one that the user names by its URL."""
from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Union
from urllib.parse import urlsplit

from local_globus_compute.errors import LocalComputeError, tail
from local_globus_compute.processes import end, spawn, wait_until

DEBIAN_PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # those in /usr/sbin are wrappers that insist on another user

TWO_WAYS = """Globus Compute on localhost needs RabbitMQ; give it one in either of these ways:
  1. install it where it is found (apt install rabbitmq-server, or any installation with its sbin on PATH); no service needs to run;
  2. set RABBITMQ_URL=amqp://user:password@host:port/vhost to use a broker that runs already."""


def find_rabbitmq_server() -> Path:
    """Return the program that starts a RabbitMQ node.

    Raises
    ------
    LocalComputeError
        When there is none, with the ways to get one.
    """
    found = shutil.which("rabbitmq-server")
    # Debian's wrapper resolves to a file beside the real program.
    folders = [Path(found).resolve().parent, DEBIAN_PROGRAMS] if found else [DEBIAN_PROGRAMS]
    for folder in folders:
        if os.access(folder / "rabbitmq-server", os.X_OK):
            return folder / "rabbitmq-server"
    raise LocalComputeError(f"rabbitmq-server was found neither on PATH nor in {DEBIAN_PROGRAMS}.\n{TWO_WAYS}")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free, from below the range that systems give to outgoing connections.

    So only another program that listens could take it before it is used.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue  # taken


class PrivateBroker:
    """A RabbitMQ node with random credentials, listening on loopback only, whose files are all in one folder.

    Parameters
    ----------
    directory : Path
        The node's folder; created.
    interrupted : callable, optional
        Asked while waiting; when true, the wait ends with :class:`~local_globus_compute.processes.Interrupted`.

    Attributes
    ----------
    url : str
        ``amqp://user:password@127.0.0.1:port/vhost``.

    Raises
    ------
    LocalComputeError
        When there is no RabbitMQ on this machine.
    """

    def __init__(self, directory: Path, interrupted: Callable[[], bool] = lambda: False) -> None:
        self.directory = directory
        self._interrupted = interrupted
        self._program = find_rabbitmq_server()
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        user, password = secrets.token_hex(8), secrets.token_hex(24)
        self.url = f"amqp://{user}:{password}@127.0.0.1:{self._port}/compute"
        self._write_files(user, password)

    def spawn(self) -> None:
        """Start the node without waiting for it. A node that was stopped keeps its port, queues and messages."""
        self._process = spawn(
            [self._program], environment=self._environment(), directory=self.directory, log=self._log, death_signal=signal.SIGKILL
        )

    def wait(self, timeout: float = 60.0) -> None:
        """Wait until the node accepts connections.

        Raises
        ------
        LocalComputeError
            With the end of the node's log, when it does not within `timeout` seconds.
        """
        process = self._process
        assert process is not None, "spawn() comes first"
        if not wait_until(lambda: process.poll() is not None or _accepts(self._port), timeout, self._interrupted) or process.poll() is not None:
            raise LocalComputeError(f"The RabbitMQ node ({self._program}) did not start; the end of its log:\n{tail(self._log)}")

    def stop(self, gently: bool = False) -> None:
        """End the node: gently if its messages are to be there at the next :meth:`spawn`, else at once."""
        if self._process is not None:
            end(self._process, 15.0 if gently else 5.0, signal.SIGTERM if gently else signal.SIGKILL)

    @property
    def _log(self) -> Path:
        return self.directory / "rabbitmq.log"

    def _write_files(self, user: str, password: str) -> None:
        self.directory.mkdir(parents=True, mode=0o700)
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self._port}",
            "default_user": user,
            "default_pass": password,
            "default_vhost": "compute",
        }
        files = {
            "rabbitmq.conf": "".join(f"{key} = {value}\n" for key, value in settings.items()),
            "enabled_plugins": "[].\n",
            "rabbitmq-env.conf": "",  # else the machine's own is read
            ".erlang.cookie": secrets.token_hex(24),
        }
        for name, text in files.items():
            path = self.directory / name
            path.touch(mode=0o600)
            path.write_text(text)

    def _environment(self) -> dict[str, str]:
        here = self.directory
        distribution_port, node = free_port(), f"compute-{self._port}@localhost"
        erlang = [
            "-noinput",
            # The node starts its distribution itself, on a port told to it: no epmd, which would outlive it.
            f"-sname {node} -start_epmd false -erl_epmd_port {distribution_port}",
            "-kernel inet_dist_use_interface {127,0,0,1}",
            # A start is thousands of small file reads: threads that wait a little before they sleep halve its time.
            "+S 1:1 +sbwt none +sbwtdio very_long",
        ]
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(here),  # for the cookie
            "ERL_FLAGS": "-start_epmd false",  # also for what the node starts once a minute, to see to it that there is an epmd
            "RABBITMQ_ALLOW_INPUT": "1",  # the start script becomes the node, rather than its parent
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_LOG_BASE": str(here),
            "RABBITMQ_LOGS": "-",  # standard output, which is our log
            "RABBITMQ_PID_FILE": str(here / "node.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(erlang),
        }


class GivenBroker:
    """A broker that runs already and is not ours: neither started nor stopped. What is made in it has names of its own.

    Parameters
    ----------
    url : str
        ``amqp://user:password@host:port/vhost``
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
            raise LocalComputeError("The RabbitMQ URL must have the form amqp://user:password@host:port/vhost.")
        self.url = url
        self._host = parts.hostname
        self._port = parts.port or (5671 if parts.scheme == "amqps" else 5672)

    def spawn(self) -> None:
        """Do nothing: it runs."""

    def wait(self, timeout: float = 10.0) -> None:
        """Make sure that it is there; raises LocalComputeError when it does not accept connections within `timeout` seconds."""
        if not wait_until(lambda: _accepts(self._port, self._host), timeout):
            raise LocalComputeError(f"The RabbitMQ URL names {self._host}:{self._port}, which accepts no connections.\n{TWO_WAYS}")

    def stop(self, gently: bool = False) -> None:
        """Leave it running; raises LocalComputeError when asked to do so `gently`, that is, to restart it."""
        if gently:
            raise LocalComputeError("The broker given by its URL is not ours to restart; leave the URL out to get a private one.")


Broker = Union[PrivateBroker, GivenBroker]


def open_broker(url: str | None, directory: Path, interrupted: Callable[[], bool]) -> Broker:
    """Return the broker that `url` names, or a private one whose folder is `directory`; see there for the errors."""
    return GivenBroker(url) if url else PrivateBroker(directory, interrupted)


def _accepts(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
