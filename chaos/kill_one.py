"""``python -m chaos.kill_one``: an endpoint's child is killed with many tasks in flight; how soon is that noticed, and all done elsewhere?

Prints the time from the kill to the first attempt that is given up, and to the end of all tasks, and the bounds for them. Status 1 if one is
missed. With ``--before-first-result`` the child dies before anything is known of it, so only its silence tells.
"""
from __future__ import annotations

import argparse
import inspect
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import parsl
from chaos.workflow import portable, work
from local_globus_compute import LocalEndpoint, LocalGlobusCompute
from parsl.config import Config
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi.observe.logfile import read_log

#: Detection within so many heartbeats of a child that is known.
HEARTBEATS = 3

#: All done within detection + so many times (what was lost, shared by the threads that are left, + the longest task).
SLACK = 1.5

#: Seconds in which the request budget recovers from the warm-up.
PAUSE = 11.0

#: Seconds after which a child that has just started, or one that runs, has taken its tasks: those it has not taken are kept for the next child.
TAKEN_AT_START, TAKEN = 3.0, 0.6

PATIENCE = 300.0


def running(log: Path, moment: float = float("inf")) -> dict[str, set[str]]:
    """Attempts that ran at a moment (seconds since the epoch), by endpoint, of dispatches that the service had accepted."""
    held: dict[str, set[str]] = {}
    where: dict[str, tuple[str, int]] = {}
    accepted: set[int] = set()
    for line in read_log(log):
        if line["t"] > moment:
            break
        if line["kind"] == "dispatch" and line["state"] == "accepted":
            accepted.add(line["dispatch"])
        elif line["kind"] == "attempt" and "dispatch" in line and line["state"] == "running":
            where[line["attempt"]] = line["endpoint"], line["dispatch"]
        elif line["kind"] == "attempt" and line["state"] == "finished":
            where.pop(line["attempt"], None)
    for attempt, (endpoint, dispatch) in where.items():
        if dispatch in accepted:
            held.setdefault(endpoint, set()).add(attempt)
    return held


def wait_for_victim(log: Path, in_flight: int, candidates: Sequence[str]) -> str:
    """The first of the endpoints that has so many tasks."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for name, attempts in running(log).items():
            if name in candidates and len(attempts) >= in_flight:
                return name
        time.sleep(0.02)
    raise TimeoutError(f"no endpoint had {in_flight} tasks in flight within {PATIENCE:.0f} s")


def kill_child(compute: LocalGlobusCompute, name: str, linger: float) -> float:
    """Kill an endpoint's child, ``linger`` seconds after it is there; returns when, in seconds since the epoch."""
    deadline = time.monotonic() + PATIENCE
    while not compute.processes(name).children:
        if time.monotonic() > deadline:
            raise TimeoutError(f"endpoint {name} started no child within {PATIENCE:.0f} s")
        time.sleep(0.05)
    time.sleep(linger)
    for pid in compute.processes(name).children:
        os.kill(pid, signal.SIGKILL)
    return time.time()


def after(log: Path, moment: float) -> Iterator[dict[str, Any]]:
    """Lines of the run log from a moment on."""
    return (line for line in read_log(log) if line["t"] >= moment)


def measure(options: argparse.Namespace, compute: LocalGlobusCompute, folder: Path) -> bool:
    """Fill the pool, kill, wait for the end, and print; returns whether the bounds were kept."""
    names = list(compute.endpoint_ids)
    log = folder / "run.jsonl"
    executor = GlobusComputeMultiExecutor(
        [Endpoint(id, name=name, threads=options.in_flight) for name, id in compute.endpoint_ids.items()], client=compute.client(),
        log_file=str(log), failover_attempts=10, silence_seconds=options.silence)
    with parsl.load(Config(executors=[executor], run_dir=str(folder / "runinfo"))):
        app = parsl.python_app(portable(work))

        def submit(label: str, seconds: float, **specification: Any) -> Any:
            return app(label, seconds, False, b"", parsl_resource_specification=specification)

        # so that run times are known, and children, too, but the victim's if that is to be so
        warm = names[1:] if options.before_first_result else names
        for future in [submit(f"warm-{name}", options.seconds, endpoints=[name]) for name in warm]:
            future.result(PATIENCE)
        time.sleep(PAUSE)
        futures = [submit(str(i), options.seconds) for i in range(options.in_flight * len(names))]
        victim = wait_for_victim(log, options.in_flight, names[:1] if options.before_first_result else names)
        killed = kill_child(compute, victim, TAKEN_AT_START if options.before_first_result else TAKEN)
        for future in futures:
            future.result(PATIENCE)
    held = running(log, killed).get(victim)
    if not held:
        print(f"{victim} had nothing in flight when its child was killed: give longer tasks (--seconds)")
        return False
    ended = {line["attempt"]: line for line in after(log, killed)
             if line["kind"] == "attempt" and line["state"] == "finished" and line["attempt"] in held}
    lost = [attempt for attempt in held if ended[attempt]["outcome"] != "ok"]
    reasons = sorted({f"{ended[attempt]['outcome']}: {ended[attempt].get('message')}" for attempt in lost})
    # given up, or started elsewhere, too, since it is late (the attempt that is late is "abandoned" at shutdown)
    tasks = {attempt.split(".")[0] for attempt in lost}
    retried = (line for line in after(log, killed) if line["kind"] == "attempt" and "dispatch" in line and line["attempt"] not in held)
    detection = min((line["t"] - killed for line in retried if line["attempt"].split(".")[0] in tasks), default=float("nan"))
    end = max(line["t"] for line in after(log, killed) if line["kind"] == "task" and line["state"] == "done") - killed
    survivors = options.in_flight * (len(names) - 1)
    bound = detection + SLACK * (len(lost) * options.seconds / survivors + options.seconds)
    most = options.silence + options.seconds if options.before_first_result else HEARTBEATS * options.heartbeat
    good = detection <= most and end <= bound
    when = "before its first result" if options.before_first_result else "when known"
    print(f"{len(names)} endpoints of {options.in_flight} threads, tasks of {options.seconds:g} s, child of {victim} killed {when}: "
          f"{len(lost)} of {len(held)} attempts lost ({', '.join(reasons)}); "
          f"detected after {detection:.1f} s = {detection / options.heartbeat:.1f} heartbeats (at most {most:.1f} s); "
          f"all done after {end:.1f} s (at most {bound:.1f} s): {'ok' if good else 'MISSED'}", flush=True)
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, and measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chaos.kill_one", formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description=inspect.getdoc(sys.modules[__name__]))
    parser.add_argument("--endpoints", type=int, default=4, help="how many (4)")
    parser.add_argument("--in-flight", type=int, default=100, help="threads of each, all of them busy when the child is killed (100)")
    parser.add_argument("--seconds", type=float, default=1.0, help="run time of each task (1)")
    parser.add_argument("--heartbeat", type=float, default=5.0, help="seconds between two heartbeats of endpoints and children (5)")
    parser.add_argument("--silence", type=float, default=60.0, help="the executor's silence_seconds (60)")
    parser.add_argument("--before-first-result", action="store_true", help="kill it before its first result")
    parser.add_argument("--repeats", type=int, default=1, help="how often (1)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the run logs there")
    options = parser.parse_args(arguments)
    if options.endpoints < 2 or options.in_flight < 1 or options.repeats < 1:
        parser.error("there must be two endpoints or more, and --in-flight and --repeats must be at least 1")
    good = True
    for number in range(1, options.repeats + 1):
        endpoints = [LocalEndpoint(f"e{i}", workers=options.in_flight, heartbeat_seconds=options.heartbeat) for i in range(options.endpoints)]
        with LocalGlobusCompute(endpoints) as compute, tempfile.TemporaryDirectory() as folder:
            keep = Path(folder) if options.keep is None else options.keep.resolve() / str(number)
            keep.mkdir(parents=True, exist_ok=options.keep is None)
            good = measure(options, compute, keep) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
