"""Broker, service and agents as one whole: started in an order that loses no time, ended in an order that loses no process."""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_globus_compute.agents import Agent, Credentials
from local_globus_compute.broker import open_broker
from local_globus_compute.endpoint import LocalEndpoint
from local_globus_compute.errors import LocalComputeError
from local_globus_compute.processes import (
    descendants,
    kill_all,
    session_members,
    wait_until,
)
from local_globus_compute.service.admin import ServiceAdmin
from local_globus_compute.service_process import ServiceProcess

START_SECONDS = 90.0
STOP_SECONDS = 8.0
_STATUS_SECONDS = 0.5  # between two questions, about whichever endpoint: as to anyone, the service answers 20 requests in 10 seconds


@dataclass(frozen=True)
class Settings:
    """What a deployment is made from.

    Attributes
    ----------
    agent_program : str
        The agent's command.
    tasks_tmp : str
        Folder for temporary files of tasks and engines; exists.
    limits : dict
        The service's limits.
    admin_token : str
        For the service's ``/_admin`` routes.
    user : Credentials
        The user's.
    rabbitmq_url : str, optional
        A broker that runs already.
    """

    agent_program: str
    tasks_tmp: str
    limits: dict[str, Any]
    admin_token: str
    user: Credentials
    rabbitmq_url: str | None = None


class Deployment:
    """All processes of one local Globus Compute. Not thread-safe, and to be used on the main thread (see :func:`.processes.spawn`).

    Parameters
    ----------
    directory : Path
        Folder for all files; exists.
    settings : Settings
        See there.
    agents, watcher : Credentials
        With which the agents register and the deployment watches them: apart, so as not to count on the user's request limit.
    interrupted : callable
        Asked during all waits but those of :meth:`close`; when true, they end with an
        :class:`~local_globus_compute.processes.Interrupted`.

    Raises
    ------
    LocalComputeError
        When there is no broker to be had; other methods raise it when a process fails.
    """

    def __init__(self, directory: Path, settings: Settings, agents: Credentials, watcher: Credentials, interrupted: Callable[[], bool]) -> None:
        assert watcher.token is not None
        self._settings = settings
        self._directory = directory
        self._agent_credentials = agents
        self._interrupted = interrupted
        self._agents: dict[str, Agent] = {}
        self._broker = open_broker(settings.rabbitmq_url, self._directory / "rabbitmq", interrupted)
        service_settings = {
            "broker_url": self._broker.url,
            "admin_token": settings.admin_token,
            "limits": settings.limits,
            "clients": [vars(client) for client in (settings.user, agents, watcher)],
        }
        self._service = ServiceProcess(self._directory / "service", service_settings, watcher.token, interrupted)

    def start(self, endpoints: Sequence[LocalEndpoint]) -> dict[str, Any]:
        """Start everything; return the service's port, and what :meth:`start_endpoints` returns."""
        self._broker.spawn()
        self._service.spawn()  # loads its modules meanwhile, and waits for the broker
        self._broker.wait()
        self._service.wait()
        return {"port": self._service.port, **self.add_endpoints(endpoints)}

    def add_endpoints(self, endpoints: Sequence[LocalEndpoint]) -> dict[str, Any]:
        """Make new endpoints and start them; returns what :meth:`start_endpoints` returns. None of them runs on when one does not start."""
        for endpoint in endpoints:
            user_dir = self._directory / "agents" / endpoint.name
            program, tmp = Path(self._settings.agent_program), Path(self._settings.tasks_tmp)
            self._agents[endpoint.name] = Agent(endpoint, program, user_dir, tmp, self._service.port, self._agent_credentials)
        names = [endpoint.name for endpoint in endpoints]
        try:
            return self.start_endpoints(names)
        except LocalComputeError:
            self.stop_endpoints(names)
            for name in names:
                del self._agents[name]
            raise

    def start_endpoints(self, names: Sequence[str]) -> dict[str, Any]:
        """Start agents together, and wait until the service has registered them all and says that they are online.

        Returns
        -------
        dict
            ``{"endpoints": {name: {"id": endpoint ID, "pid": process ID}}}``
        """
        agents = [self._agents[name] for name in names]
        for agent in agents:
            if not agent.running:
                agent.spawn()
        waiting = list(agents)
        answer = "nothing"
        next_question = 0.0

        def all_online() -> bool:
            nonlocal answer, next_question
            registered = {agent: agent.registered_id() for agent in waiting}
            for agent, endpoint_id in registered.items():
                if endpoint_id is not None and time.monotonic() >= next_question:
                    next_question = time.monotonic() + _STATUS_SECONDS
                    answer = self._service.endpoint_status(endpoint_id)
                    waiting.remove(agent)
                    if answer != "online":
                        waiting.append(agent)  # the others come first
            return not waiting

        if not wait_until(all_online, START_SECONDS, self._interrupted):
            raise waiting[0].failure(f"was not online within {START_SECONDS:.0f} seconds, the service's last answer about one being {answer}")
        return {"endpoints": {agent.endpoint.name: {"id": agent.registered_id(), "pid": agent.pid} for agent in agents}}

    def stop_endpoints(self, names: Sequence[str]) -> dict[str, Any]:
        """Stop agents together, with their children and engines: gently, by force what has not ended after :data:`STOP_SECONDS`."""
        sessions = {name: self._agents[name].begin_stop() for name in names}
        wait_until(lambda: not session_members(set().union(*sessions.values())), STOP_SECONDS)
        for name, members in sessions.items():
            self._agents[name].finish_stop(members)
        return {}

    def stop_service(self) -> dict[str, Any]:
        """Stop the service: connections to its port are refused."""
        self._service.stop()
        return {}

    def start_service(self) -> dict[str, Any]:
        """Start the service again after :meth:`stop_service`, on the same port and with the same state."""
        self._service.spawn()
        self._service.wait()
        return {}

    def restart_service(self) -> dict[str, Any]:
        """Stop the service and start it again, on the same port and with the same state."""
        self.stop_service()
        return self.start_service()

    def restart_broker(self) -> dict[str, Any]:
        """Stop the RabbitMQ node and start it again, on the same port and with the same queues."""
        self._broker.stop(gently=True)
        self._broker.spawn()
        self._broker.wait()
        return {}

    def close(self) -> None:
        """End all processes; each step is taken, whatever becomes of the others."""
        with contextlib.ExitStack() as last_first:
            last_first.callback(_kill_descendants)
            last_first.callback(self._broker.stop)
            last_first.callback(self._service.stop)
            if self._settings.rabbitmq_url and self._service.port:
                last_first.callback(ServiceAdmin(f"http://127.0.0.1:{self._service.port}", self._settings.admin_token).delete_queues)
            last_first.callback(self.stop_endpoints, list(self._agents))


def _kill_descendants() -> None:
    left = kill_all(descendants)
    if left:
        raise LocalComputeError(f"Processes {left} cannot be killed.")
