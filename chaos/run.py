"""One run: endpoints, proxy, the user's program, and the killer."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chaos.budget import RequestWatch
from chaos.checker import check_log_file, check_requests, check_shutdown
from chaos.killer import Killer
from chaos.plan import CORES_PER_THREAD, ENDPOINTS, Fault
from chaos.proxy import REPOSITORY, Proxy
from local_globus_compute import Limits, LocalGlobusCompute
from local_globus_compute.agent_files import proxy_environment
from local_globus_compute.processes import dying_with_parent

#: Seconds that the user's program may take to clean up and end before it is killed.
END_SECONDS = 60.0

#: Where the SDK takes a local service to be. The service answers only to this name, and to its own address, which is not the proxy's.
_SDK_ADDRESS = "http://localhost:5000"

_PROGRAM = ("-m", "chaos.client")


@dataclass(frozen=True)
class Order:
    """What is to be run.

    Attributes
    ----------
    side : str
        ``ours`` or ``rival``.
    seed : int
        Of the workflow.
    tasks : int
        How many.
    retries : int
        Parsl's.
    patience : float
        Seconds without any future resolved after which the rest counts as hung.
    options : dict
        Further arguments of our executor.
    least : int
        Faults that have to strike, else the run counts as bad.
    """

    side: str
    seed: int
    tasks: int
    retries: int = 0
    patience: float = 180.0
    options: dict[str, Any] = field(default_factory=dict)
    least: int = 5

    @property
    def settings(self) -> str:
        """How failures are tried again, for a table."""
        return ", ".join(f"{name}={value}" for name, value in {**self.options, "retries": self.retries}.items())


@dataclass
class Result:
    """What became of a run.

    Attributes
    ----------
    seed, side, tasks : int, str, int
        What was run.
    faults : list of str
        Those that struck, in order.
    settings : str
        How failures are tried again.
    hung, failed, wrong, twice : int
        Futures that were not resolved; that failed by no doing of the app; that had another value; that were resolved more than once.
    seconds : float
        From the first submission to the last future resolved.
    failovers, duplicates : int or None
        As the run log tells; None for the rival, which has none.
    violations : list of str
        Of invariants.
    remarks : list of str
        Errors that futures failed with, and what the harness could not do.
    """

    seed: int
    side: str
    tasks: int
    faults: list[str]
    settings: str = ""
    hung: int = 0
    failed: int = 0
    wrong: int = 0
    twice: int = 0
    seconds: float = 0.0
    failovers: int | None = None
    duplicates: int | None = None
    busiest: int = 0
    shutdown_seconds: float | None = None
    violations: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Tasks whose value the user does not get."""
        return self.hung + self.failed

    @property
    def good(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.lost or self.wrong or self.twice or self.violations)


class UserProgram:
    """The process that runs the workflow, and what it says."""

    def __init__(self, order: Order, compute: LocalGlobusCompute, proxy: Proxy, folder: Path) -> None:
        self.log_file = folder / "globus_compute_multi.jsonl"
        self._tasks = order.tasks
        self._said: dict[str, Any] = {}
        self._done = 0
        text = json.dumps({
            **asdict(order), "address": _SDK_ADDRESS, "token": compute.token,
            "amqp_port": proxy.ports["broker"], "ids": compute.endpoint_ids, "cores": CORES_PER_THREAD,
            "threads": {endpoint.name: endpoint.workers for endpoint in ENDPOINTS}, "log_file": str(self.log_file), "run_dir": str(folder)})
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        self._errors = open(folder / "client.log", "w")
        self._process = subprocess.Popen([sys.executable, *_PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._errors, text=True, cwd=folder, preexec_fn=dying_with_parent(signal.SIGKILL),
                                         env={**os.environ, "PYTHONPATH": path, **proxy_environment(proxy.ports["service"])})
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.close()
        self._patience = order.patience
        self._heard = time.monotonic()
        self._reported = threading.Event()
        self._reader = threading.Thread(target=self._read, name="chaos user program", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            self._heard = time.monotonic()
            self._done = said.get("done", self._done)
            self._said.update(said)
            if "report" in said:
                self._reported.set()
        self._reported.set()

    def progress(self) -> float:
        """Share of the tasks that are done; 1.0 when the workflow has ended in one way or another."""
        return 1.0 if self._reported.is_set() else min(0.999, self._done / self._tasks)

    def report(self) -> dict[str, Any] | None:
        """Wait for what it says of the futures; None if it ended without, or has said nothing for as long as the patience with it lasts."""
        while not self._reported.wait(1.0) and time.monotonic() < self._heard + self._patience:
            pass
        return self._said.get("report")

    def end(self) -> dict[str, Any] | None:
        """Wait until it has ended, or end it; returns what it says of its clean-up, None if nothing."""
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self.kill()
        return self._said.get("shutdown")

    def kill(self) -> None:
        """End it if it runs."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._errors.close()


def run(order: Order, faults: Sequence[Fault], keep: Path | None = None) -> Result:
    """Run a workflow while faults strike, and check what came of it. To be called on the main thread.

    Parameters
    ----------
    order : Order
    faults : sequence of Fault
    keep : Path or None
        An empty folder where the run log, the program's own log, and what struck when stay.
    """
    with tempfile.TemporaryDirectory(prefix="chaos-run-") as temporary:
        folder = keep or Path(temporary)
        with LocalGlobusCompute(ENDPOINTS, limits=Limits(requests=None)) as compute:
            broker = urlsplit(compute.client().get_result_amqp_url()["connection_url"]).port
            service = urlsplit(compute.address).port
            assert broker is not None and service is not None
            compute.admin.set_limits(Limits())  # now, since the request above was the user's, too: the program may send as many as are allowed
            with Proxy({"service": service, "broker": broker}) as proxy:
                requests = RequestWatch(compute)
                program = UserProgram(order, compute, proxy, folder)
                try:
                    killer = Killer(compute, proxy, requests, faults, program.progress)
                    try:
                        killer.run()
                        report = program.report()
                    finally:
                        killer.stop()
                    (folder / "faults.json").write_text(json.dumps([asdict(struck) for struck in killer.tried], indent=1) + "\n")
                    shutdown = program.end()
                    requests.collect()
                finally:
                    program.kill()
        return judge(order, killer, report, shutdown, requests, program.log_file)


def judge(order: Order, killer: Killer, report: dict[str, Any] | None, shutdown: dict[str, Any] | None, requests: RequestWatch,
          log_file: Path) -> Result:
    """Put together what was found."""
    result = Result(order.seed, order.side, order.tasks, [str(struck) for struck in killer.struck], order.settings)
    result.remarks += killer.problems
    if len(result.faults) < order.least:
        result.violations.append(f"{len(result.faults)} faults struck, fewer than {order.least}")
    if report is None:
        result.hung = order.tasks
        result.violations.append("the user's program gave no report; see client.log")
        return result
    states = report["states"]
    result.hung, result.failed, result.wrong = (states.get(state, 0) for state in ("hung", "failed", "wrong"))
    if sum(states.values()) != order.tasks:
        result.violations.append(f"{sum(states.values())} futures were reported of {order.tasks} tasks")
    result.twice, result.seconds, result.busiest = report["twice"], report["seconds"], requests.busiest()
    if shutdown is not None:
        result.twice = shutdown["twice"]  # which counts on to the end
    if report["followed"]:
        result.remarks.append(f"{result.failed - report['followed']} tasks failed, and {report['followed']} because of a task whose value they "
                              "needed (DependencyError)")
    result.remarks += report["errors"]
    result.shutdown_seconds = shutdown["seconds"] if shutdown is not None else None
    if order.side == "ours":
        verdict = check_log_file(log_file, order.tasks if result.lost == 0 else None)
        result.failovers, result.duplicates = verdict.failovers, verdict.duplicates
        result.violations += verdict.violations
        result.violations += check_requests(requests.busiest(), requests.refused(), requests.largest_submission())
        result.violations += check_shutdown(shutdown)
    return result
