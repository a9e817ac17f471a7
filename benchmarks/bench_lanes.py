"""Lanes: each a Globus Compute on localhost of its own, with its own request budget, on which timed runs follow one another."""
from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from bench_results import Measurement
from bench_workloads import PARSL_PERF, PERF_TASKS, PERIOD, Workload
from hooks import BenchmarkError, last_rate
from local_globus_compute import Limits, LocalEndpoint, LocalGlobusCompute
from local_globus_compute.processes import kill_all, session_members
from local_globus_compute.service.admin import busiest_window

HERE = Path(__file__).parent

#: The endpoint that has as many threads as all others together, for the SDK's Executor.
WHOLE = "whole"

#: Seconds before what is timed, in which budgets recover that programs keep for themselves: of requests (10 s), and the SDK's default
#: one of small batches (16 s). The service's own is as new: it does not count while a system warms up.
PAUSES = {"multi": 11.0, "gce-default": 17.0}

#: Seconds after which a system is given up that does not warm up, run, or end.
PATIENCE = 180.0


def environment(more: Dict[str, str]) -> Dict[str, str]:
    """Environment variables of a program, some of them given."""
    # Parsl's high-throughput executor finds its programs on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, **more}


class RunFailed(Exception):
    """A run failed or hung; says how."""


class Run:
    """A process of ``bench_run.py``.

    Parameters
    ----------
    order : dict
        What it is to run.
    environment : dict of str to str
        Its environment variables.
    """

    def __init__(self, order: Dict[str, Any], environment: Dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._log = open(Path(self._folder.name) / "log", "w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "bench_run.py")], env=environment, cwd=self._folder.name, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log)
        self._say(json.dumps({**order, "run_dir": str(Path(self._folder.name) / "runinfo")}))

    def wait_until_warm(self) -> None:
        """Return when it is ready to begin.

        Raises
        ------
        RunFailed
            If it ends instead, or takes too long.
        """
        self._answer("warm up")

    def seconds(self) -> float:
        """Let it begin; return what it took.

        Raises
        ------
        RunFailed
            If it ends without having said so, or takes too long.
        """
        self._say("go")
        return float(self._answer("run"))

    def end(self) -> None:
        """Wait until it has shut down, or kill it if it will not; also the processes that it leaves behind.

        Raises
        ------
        RunFailed
            If it did not end well.
        """
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"did not end within {PATIENCE:.0f} s") from None
        finally:
            self.kill()
            self._close()
        if status != 0:
            raise RunFailed(f"ended with status {status}")

    def kill(self) -> None:
        """Kill it with its descendants."""
        kill_all(lambda: session_members({self._process.pid}))

    def _say(self, text: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which the next answer tells
            self._process.stdin.write(f"{text}\n")
            self._process.stdin.flush()

    def _answer(self, what: str) -> Any:
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self.kill()

        timer = threading.Timer(PATIENCE, give_up)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line:
            return json.loads(line)
        self._process.wait()
        self._log.seek(0)
        why = f"did not {what} within {PATIENCE:.0f} s" if late.is_set() else f"ended while it should {what}"
        raise RunFailed(f"{why}; the end of what it printed:\n{self._log.read()[-1500:]}")

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._folder.cleanup()


class Lane:
    """Endpoints on localhost, with a service of their own.

    Parameters
    ----------
    threads : dict of str to int
        Endpoints, and how many threads each has. One more has as many as all of them.
    """

    def __init__(self, threads: Dict[str, int]) -> None:
        self.threads = threads
        everything = {**threads, WHOLE: sum(threads.values())}
        # All agents are one client, which 17 starting at once would be too many for: the limit is on when something is timed.
        self.compute = LocalGlobusCompute([LocalEndpoint(name, workers=workers) for name, workers in everything.items()],
                                          limits=Limits(requests=None))
        self._runs: List[Run] = []
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Kill what runs, from whatever thread; what would run next fails."""
        self._stopped.set()
        for run in list(self._runs):
            run.kill()

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be run."""
        return self._stopped.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, but not when it is stopped."""
        self._stopped.wait(seconds)

    @contextlib.contextmanager
    def unlimited(self) -> Iterator[None]:
        """Have requests neither refused nor counted meanwhile."""
        self.compute.admin.set_limits(Limits(requests=None))
        try:
            yield
        finally:
            self.compute.admin.set_limits(Limits())

    def last_request(self) -> int:
        """Number of the last request so far."""
        return max((request.number for request in self.compute.admin.requests()), default=0)

    def requests_after(self, number: int) -> Tuple[int, int]:
        """Of the user's requests after that one: the most in any 10 s, and how many were refused as too many."""
        requests = [request for request in self.compute.admin.requests(number) if request.client_id == self.compute.client_id]
        return busiest_window(requests), sum(request.status == 429 for request in requests)

    def measure(self, workload: Workload, system: str, repeat: int) -> Measurement:
        """Run a workload once."""
        prepared = Prepared(self, workload, system, repeat)
        try:
            prepared.warm_up()
            return prepared.measure()
        finally:
            prepared.close()

    def perf(self, system: str, repeat: int) -> Measurement:
        """Run parsl-perf once, without the service's limits on requests."""
        order = {"system": system, "ids": self.compute.endpoint_ids, "threads": self.threads}
        command = [sys.executable, "-m", "parsl.benchmark.perf", "--config", str(HERE / "bench_perf.py"), "--iterate", f"30,{PERF_TASKS}"]
        variables = environment({**self.compute.environment, "BENCH_PERF": json.dumps(order),
                                 "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])})
        seconds, error = None, ""
        with tempfile.TemporaryDirectory() as folder, self.unlimited():
            try:
                told = subprocess.run(command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      timeout=PATIENCE).stdout
                seconds = PERF_TASKS / last_rate(told)
            except subprocess.TimeoutExpired:
                error = f"took more than {PATIENCE:.0f} s"
            except BenchmarkError as e:
                error = str(e)
        return Measurement(PARSL_PERF, system, repeat, seconds, PERF_TASKS, PERIOD, error=error)

    def start_run(self, order: Dict[str, Any]) -> Run:
        """Start a process that warms up."""
        if self._stopped.is_set():
            raise RunFailed("was not run, since everything was to stop")
        run = Run(order, environment(self.compute.environment))
        self._runs.append(run)
        if self._stopped.is_set():
            run.kill()
        return run

    def end_run(self, run: Run) -> None:
        """Wait for its end."""
        try:
            run.end()
        finally:
            self._runs.remove(run)


class Prepared:
    """A system that is to run a workload, in a process of its own.

    Parameters
    ----------
    lane : Lane
    workload : Workload
    system : str
    repeat : int
        Which one, from 1.
    """

    def __init__(self, lane: Lane, workload: Workload, system: str, repeat: int) -> None:
        self._lane, self._system = lane, system
        self._tasks = workload.make(repeat)
        self._bound = workload.lower_bound(self._tasks)
        self._key = (workload.name, system, repeat)
        self._run: Run | None = None
        self._error = ""

    def warm_up(self) -> None:
        """Start the process, and return when it is ready, with a new request budget."""
        ids = self._lane.compute.endpoint_ids
        order = {"system": self._system, "ids": ids, "whole": ids[WHOLE], "threads": self._lane.threads,
                 "tasks": [(task.app, task.seconds, task.parents) for task in self._tasks]}
        with self._failing():
            with contextlib.nullcontext() if self._system == "htex" else self._lane.unlimited():
                self._run = self._lane.start_run(order)
                self._run.wait_until_warm()
            self._lane.pause(PAUSES.get(self._system, 0.0))

    def measure(self) -> Measurement:
        """Let it run, and end it; a run that fails is a measurement without seconds."""
        seconds, most, refused = None, 0, 0
        if self._run is not None and not self._error:
            with self._failing():
                before = self._lane.last_request()
                seconds = self._run.seconds()
                most, refused = self._lane.requests_after(before)
        self.close()
        return Measurement(*self._key, seconds, len(self._tasks), self._bound, most, refused, self._error)

    def close(self) -> None:
        """End the process if there is one."""
        run, self._run = self._run, None
        if run is not None:
            with self._failing():
                self._lane.end_run(run)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except RunFailed as e:
            self._error = self._error or str(e)
