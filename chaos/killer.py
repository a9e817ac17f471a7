"""How faults strike, and how they are mended."""
from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from chaos.budget import RequestWatch
from chaos.plan import ENDPOINTS, ENGINE_KINDS, GROUPS, Fault, describe
from chaos.proxy import Proxy
from local_globus_compute import LocalComputeError, LocalGlobusCompute
from local_globus_compute.processes import kill_all, session_members

#: Seconds after a fault in which the next strikes at the latest, should the workflow not get on.
PATIENCE = 30.0

#: Seconds that a fault waits for an endpoint that can be struck, and that it waits for an engine before it strikes something else.
TARGET_PATIENCE, ENGINE_PATIENCE = 20.0, 2.0

#: Seconds for which connections are broken anew until there was one.
LINK_PATIENCE = 10.0

#: Seconds after which the service has written down the requests that were on their way when its link was cut.
_LOGGED_SECONDS = 0.5

_MANAGER = "parsl.executors.high_throughput.process_worker_pool"
_INTERCHANGE = "parsl: HTEX interchange"

_LINK_STATES: dict[str, Callable[[Fault], dict[str, float | bool]]] = {
    "latency": lambda fault: {"latency": fault.amount},
    "bandwidth": lambda fault: {"bytes_per_second": fault.amount},
    "stall": lambda fault: {"stalled": True},
    "refuse": lambda fault: {"refused": True},
}


@dataclass
class Struck:
    """A fault that was carried out.

    Attributes
    ----------
    planned, fault : Fault
        As it was to be, and as it was: whom it struck in fact.
    time : float
        When, in seconds since the epoch, as in the run log.
    hits : int
        How many processes, connections, pieces of data, requests or results it has struck; known for sure when the run is over.
    before : int
        Of a fault of the network: hits of its kind before.
    rule : int or None
        ID of the service's rule.
    """

    planned: Fault
    fault: Fault
    time: float
    hits: int = 0
    before: int = 0
    rule: int | None = None

    def __str__(self) -> str:
        planned = f"{self.planned.kind} -> " if self.planned.kind != self.fault.kind else ""
        return planned + describe([self.fault])


@dataclass
class Killer:
    """Carries out a plan, each fault in its turn; what is to be mended later is mended on a thread of its own.

    Parameters
    ----------
    compute : LocalGlobusCompute
    proxy : Proxy
    requests : RequestWatch
        Is told before the service restarts, which forgets its request log.
    plan : sequence of Fault
    progress : callable
        Share of the workflow that is done; 1.0 or more when it has ended.
    patience : float
        See :data:`PATIENCE`.
    """

    compute: LocalGlobusCompute
    proxy: Proxy
    requests: RequestWatch
    plan: Sequence[Fault]
    progress: Callable[[], float]
    patience: float = PATIENCE
    tried: list[Struck] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._down: set[str] = set()
        self._paused: dict[str, list[int]] = {}
        self._over = threading.Event()
        self._menders: list[threading.Thread] = []

    def run(self) -> None:
        """Strike until the plan or the workflow is at its end."""
        last = time.monotonic()
        for fault in self.plan:
            while self.progress() < fault.at and time.monotonic() < last + self.patience:
                time.sleep(0.1)
            if self.progress() >= 1.0:
                return
            self._strike(fault)
            last = time.monotonic()

    def stop(self) -> None:
        """The run is over: count what was struck, let paused processes go on, take faults of the network back, and start nothing any more."""
        self._over.set()
        for mender in self._menders:
            mender.join()
        self._count()
        self.problems += [f"{struck} struck nothing" for struck in self.tried if not struck.hits]

    @property
    def struck(self) -> list[Struck]:
        """Those that have struck something, in order."""
        return [struck for struck in self.tried if struck.hits]

    def _count(self) -> None:
        """Ask the service how often its rules have struck so far."""
        hits = {rule["id"]: rule["hits"] for rule in self.compute.admin.faults()}
        for struck in self.tried:
            if struck.rule is not None:
                struck.hits = hits[struck.rule]

    def _strike(self, planned: Fault) -> None:
        fault = planned
        struck = Struck(planned, fault, time.time())
        if fault.kind in GROUPS["network"]:
            struck.before = self.proxy.hits(fault.target, fault.kind)
            if fault.kind in _LINK_STATES:
                self.proxy.set(fault.target, **_LINK_STATES[fault.kind](fault))
            else:
                self._break_connections(struck)
        elif fault.kind in _SERVICE_RULES:
            self._add_rule(struck)
        elif fault.kind == "restart_service":
            self._restart_service()
            struck.hits = 1
        elif fault.kind == "restart_broker":
            self.compute.restart_broker()
            struck.hits = 1
        else:
            target = self._wait_for_target(fault)
            if target is None and fault.kind in ENGINE_KINDS:
                fault = Fault("kill_child", fault.at, fault.target)  # the engine is not up: another endpoint must do
                target = self._wait_for_target(fault)
            if target is None:
                self.problems.append(f"{fault.kind} {fault.target}: no endpoint could be struck within {TARGET_PATIENCE:.0f} s")
                return
            struck.fault = fault = replace(fault, target=target)
            struck.time = time.time()
            struck.hits = self._strike_endpoint(fault)
        self.tried.append(struck)
        if fault.seconds is not None and fault.kind not in _SERVICE_RULES:
            mender = threading.Thread(target=self._mend, args=(struck,), name=f"mend {fault.kind}", daemon=True)
            self._menders.append(mender)
            mender.start()

    def _break_connections(self, struck: Struck) -> None:
        """Reset connections or leave them half open; if there are none now, a little later."""
        deadline = time.monotonic() + LINK_PATIENCE
        link, kind = struck.fault.target, struck.fault.kind
        while True:
            getattr(self.proxy, kind)(link)
            struck.time = time.time()
            struck.hits = self.proxy.hits(link, kind) - struck.before
            if struck.hits or time.monotonic() > deadline or self.progress() >= 1.0:
                return
            time.sleep(0.05)

    def _add_rule(self, struck: Struck) -> None:
        kind, params = _SERVICE_RULES[struck.fault.kind](struck.fault)
        if not kind.endswith(("_result", "_results")):  # those are of the user anyway
            self.requests.collect()
            params["client_id"] = self.requests.user()  # the agents' requests are left in peace
        struck.rule = self.compute.admin.add_fault(kind, **params)

    def _restart_service(self) -> None:
        """Restart it, which forgets its requests and rules: none may come unseen, and rules that have not struck are added again."""
        self.proxy.set("service", refused=True)
        time.sleep(_LOGGED_SECONDS)
        self.requests.collect()
        self._count()
        self.compute.restart_service()
        self.requests.restarted()
        for struck in self.tried:
            if struck.rule is not None:
                struck.rule = None
                if not struck.hits:
                    self._add_rule(struck)
        self.proxy.set("service", refused=False)

    def _wait_for_target(self, fault: Fault) -> str | None:
        """The endpoint to strike: the one planned, if it is up and has what is to be struck, else the next that has."""
        names = [endpoint.name for endpoint in ENDPOINTS if fault.kind not in ENGINE_KINDS or endpoint.engine == "GlobusComputeEngine"]
        names = names[names.index(fault.target):] + names[:names.index(fault.target)]
        if fault.kind in ("kill_parent", "kill_endpoint") and fault.seconds is None:
            names = names[:1]
        deadline = time.monotonic() + (ENGINE_PATIENCE if fault.kind in ENGINE_KINDS else TARGET_PATIENCE)
        while time.monotonic() < deadline and self.progress() < 1.0:
            for name in names:
                if name not in self._down and self._victims(fault.kind, name):
                    return name
            time.sleep(0.2)
        return None

    def _victims(self, kind: str, name: str) -> list[int]:
        """Process IDs at which a fault of this kind aims; empty if there are none now."""
        processes = self.compute.processes(name)
        if kind == "kill_child":
            return list(processes.children)
        if kind in ENGINE_KINDS:
            return _engine_processes(kind, processes.workers)
        if not psutil.pid_exists(processes.parent):
            return []
        if kind in ("kill_parent", "stop_endpoint"):
            return [processes.parent]
        return [processes.parent, *processes.children, *processes.workers]

    def _strike_endpoint(self, fault: Fault) -> int:
        """Carry it out; returns how many processes it has struck."""
        name = fault.target
        if fault.kind == "stop_endpoint":
            self._down.add(name)
            self.compute.stop_endpoint(name)
            return 1
        victims = self._victims(fault.kind, name)
        if fault.kind == "pause_endpoint":
            self._down.add(name)
            self._paused[name] = victims
            return _signal(victims, signal.SIGSTOP)
        if fault.kind in ("kill_parent", "kill_endpoint"):
            self._down.add(name)
        hits = _signal(victims, signal.SIGKILL)
        if fault.kind == "kill_endpoint" or fault.everything:
            # what has made itself a process of init's in between is still of their sessions
            kill_all(lambda: session_members(set(victims)))
        return hits

    def _mend(self, struck: Struck) -> None:
        fault = struck.fault
        assert fault.seconds is not None
        over = self._over.wait(fault.seconds)
        try:
            if fault.kind in _LINK_STATES:
                struck.hits = self.proxy.hits(fault.target, fault.kind) - struck.before
                self.proxy.set(fault.target, **{key: 0 if key in ("latency", "bytes_per_second") else False
                                                for key in _LINK_STATES[fault.kind](fault)})
            elif fault.kind == "pause_endpoint":
                _signal(self._paused.pop(fault.target), signal.SIGCONT)
            elif not over:
                self.compute.start_endpoint(fault.target)
        except LocalComputeError as error:
            self.problems.append(f"{fault.kind} {fault.target}: not mended: {error}")
            return
        self._down.discard(fault.target)


def _times(kind: str, fault: Fault, **params: Any) -> tuple[str, dict[str, Any]]:
    return kind, {"count": int(fault.amount), **params}


#: By kind of fault, the service's rule.
_SERVICE_RULES: dict[str, Callable[[Fault], tuple[str, dict[str, Any]]]] = {
    "error_500": lambda fault: _times("reply_status", fault, status=500),
    "error_503": lambda fault: _times("reply_status", fault, status=503, retry_after=1),
    "drop_connection": lambda fault: _times("drop_connection", fault),
    "lose_answer": lambda fault: _times("lose_answer", fault, route="submit"),
    "duplicate_results": lambda fault: ("duplicate_result", {"count": 10 * int(fault.amount)}),
    "late_results": lambda fault: _times("late_result", fault, seconds=fault.seconds),
    "lose_results": lambda fault: _times("lose_result", fault),
    "reorder_results": lambda fault: ("reorder_results", {"count": 5 * int(fault.amount), "size": 4}),
    "wrong_offline": lambda fault: _times("force_status", fault, status="offline"),
}


def _engine_processes(kind: str, workers: Sequence[int]) -> list[int]:
    """Of the processes of an engine, those at which a fault of this kind aims."""
    lines: dict[int, str] = {}
    for pid in workers:
        try:
            lines[pid] = " ".join(psutil.Process(pid).cmdline())
        except psutil.NoSuchProcess:
            continue  # ended while we looked
    if kind == "kill_interchange":
        return [pid for pid, line in lines.items() if line.startswith(_INTERCHANGE)]
    if kind == "kill_manager":
        return [pid for pid, line in lines.items() if "bash" not in line.split(" ")[0] and _MANAGER in line]
    # the first that the pool manager has spawned is for its own use, the others are the workers
    return sorted(pid for pid, line in lines.items() if "spawn_main" in line)[1:][-1:]


def _signal(pids: Sequence[int], number: signal.Signals) -> int:
    """Send a signal; returns how many processes were there to get it."""
    count = 0
    for pid in pids:
        try:
            os.kill(pid, number)
            count += 1
        except ProcessLookupError:
            pass  # ended by itself
    return count
