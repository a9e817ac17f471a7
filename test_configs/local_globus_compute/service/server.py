"""The process: put the parts together, listen on loopback, and stop when told or when the parent is gone."""
from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from . import app
from .admin_routes import AdminRoutes
from .agents import Agents
from .auth import Authenticator
from .broker import Broker
from .config import ServiceConfig
from .messages import Names
from .results import Results
from .routes import Routes
from .state import Controls
from .storage import Storage
from .submit import Submitter

log = logging.getLogger(__name__)

PARENT_SECONDS = 0.25


class DroppableProtocol(H11Protocol):
    """HTTP/1.1 whose requests can have their connection cut: ``scope["extensions"]["drop"]()``.

    h11 rather than httptools because it leaves an absolute request target as it is.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.app

        async def droppable(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "extensions": {"drop": transport.abort}}, receive, send)

        self.app = droppable


class Server(uvicorn.Server):
    """uvicorn, with signals left to :func:`run`, and a call when it listens."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()


async def run(config: ServiceConfig) -> None:
    """Serve until SIGTERM, SIGINT or the end of the parent process.

    Raises
    ------
    OSError
        When the port or the database file cannot be had.
    BrokerError
        When the broker cannot be reached.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        serving = asyncio.create_task(_serve(config, listener))
        watching = asyncio.create_task(_parent_gone(config.parent_pid or os.getppid()))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((serving, watching, stopping), return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, stopping):
            task.cancel()
        if not serving.done():
            serving.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            log.info("stopped")


async def _serve(config: ServiceConfig, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    controls = Controls.starting_with(config.limits)
    async with contextlib.AsyncExitStack() as stack:
        storage = Storage(config.database)
        stack.callback(storage.close)
        broker = Broker(config.broker_url, Names(storage.prefix))
        stack.push_async_callback(broker.close)
        await broker.connect()
        authenticator = Authenticator(config.clients, storage)
        results = Results(storage, broker, controls)
        stack.push_async_callback(results.close)
        agents = Agents(storage, broker, results, controls)
        stack.push_async_callback(agents.close)
        submitter = Submitter(storage, broker, agents, results, controls)
        routes = Routes(authenticator, storage, broker, agents, submitter, controls)

        async def delete_queues() -> None:
            await agents.close()
            groups = [broker.names.group(group_id) for group_id in storage.groups_with_queue()]
            await broker.delete_all([*agents.queues(), *groups])

        application = app.build(routes, AdminRoutes(config.admin_token, controls, authenticator, delete_queues), authenticator, controls, port)
        await results.start()
        await agents.start()

        def listening() -> None:
            _write_atomically(config.ready_file, json.dumps({"port": port, "pid": os.getpid()}))
            log.info("listening on %s:%d", config.host, port)

        server = Server(uvicorn.Config(application, http=DroppableProtocol, ws="none", lifespan="off", log_config=None, access_log=False,
                                       server_header=False, timeout_keep_alive=3600, timeout_graceful_shutdown=1), listening)
        stack.callback(lambda: config.ready_file.unlink(missing_ok=True))
        running = asyncio.create_task(server.serve([listener]))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            server.should_exit = True
            await running
            raise


async def _parent_gone(parent: int) -> None:
    # Polled rather than asked of the kernel (PR_SET_PDEATHSIG): that signal comes when the *thread* that started us ends.
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_SECONDS)
    log.warning("the parent process %d is gone", parent)


def _write_atomically(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
