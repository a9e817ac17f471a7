"""What a probe says about its endpoint."""
from __future__ import annotations

from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple

from parsl.executors.globus_compute_multi import versions
from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.compute.service import explain
from parsl.executors.globus_compute_multi.doctor.asking import explained, status_of
from parsl.executors.globus_compute_multi.doctor.findings import (
    Finding,
    ok,
    printable,
    problem,
    warning,
)
from parsl.executors.globus_compute_multi.doctor.probe import Probe
from parsl.executors.globus_compute_multi.endpoint import Endpoint
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.serialize import deserialize

#: Seconds by which a clock may differ before it is said.
_CLOCK_SECONDS = 5.0

#: More workers or cores than a machine has.
_MOST = 1_000_000

#: What the service calls the state of a task that has no result: in words.
_WAITS = {"received": "it has reached the service", "waiting-for-ep": "it waits for the endpoint",
          "waiting-for-nodes": "it waits for a node of the endpoint's batch system", "waiting-for-launch": "it waits for a free worker",
          "running": "it runs", "pending": "it has no result yet"}

_SAME_VERSIONS = ("make an environment with the same versions on both sides (pip install parsl==... dill==..., in the same Python), and restart "
                  "the endpoint")


def findings_of(probe: Probe, timeout: float, address: str) -> Iterator[Finding]:
    """What is to be said of a probe, one finding for each of: round trip, versions, what to write in the configuration.

    Parameters
    ----------
    probe : Probe
    timeout : float
        Seconds that it was waited for.
    address : str
        Of the service.
    """
    check = f"probe {probe.endpoint.name}"
    if probe.task_uuid is None:
        assert probe.error is not None
        yield _not_submitted(check, probe.error, address)
        return
    if probe.result is None:
        yield _no_result(check, probe, timeout)
        return
    there, unreadable = _surroundings(probe.result)
    if unreadable:
        yield problem(check, f"the value of the task cannot be read here: {unreadable}", _SAME_VERSIONS)
    else:
        yield _outcome(check, probe, probe.result, there)
    yield from _versions(probe, probe.result)
    if probe.result.outcome is Outcome.OK and not unreadable:
        yield _configuration(probe, there)


def _not_submitted(check: str, error: Exception, address: str) -> Finding:
    if status_of(error) == 403:
        return problem(check, f"the endpoint does not take it: {explain(error)}",
                       "if it allows only listed functions, ask its administrator to allow the runner of this executor, and give its ID as "
                       "runner_id (here: --runner-id); else ask to be allowed to use it")
    return explained(check, "submit a task", error, address, unexamined="the endpoint")


def _no_result(check: str, probe: Probe, timeout: float) -> Finding:
    known = [f"no result within {timeout:g} s"]
    if probe.waits:
        known.append(f"the service says of the task: {_WAITS.get(probe.waits, probe.waits)}")
    if probe.status is not None:
        known.append(f"the endpoint is {probe.status['status']}")
    if probe.error is not None:
        known.append(f"the service does not say more ({explain(probe.error)})")
    text = f"{'; '.join(known)}. The task (ID {probe.task_uuid}) cannot be taken back, and does nothing"
    if probe.waits == "waiting-for-nodes":
        return warning(check, text, "wait for the batch system (look at its queue there), and give more seconds with --timeout; startup_seconds "
                       "of Endpoint tells the executor what to expect")
    return problem(check, text, "give more seconds with --timeout if its workers come from a batch system's queue, or are all busy; else read "
                   "endpoint.log on its machine, in ~/.globus_compute/<its name there>/ and, for its child, in ~/.globus_compute/uep.*/: it "
                   "says there why a worker cannot start")


def _outcome(check: str, probe: Probe, result: ResultMessage, there: Dict[str, Any]) -> Finding:
    trip = _trip(probe, result)
    if result.outcome is Outcome.OK:
        parts = [trip, f"on {dict(result.info).get('host')}"]
        parts += [f"{number} {what}{'' if number == 1 else 's'}"
                  for number, what in ((_workers(probe, there), "worker"), (_count(there.get("cores")), "core")) if number is not None]
        if there.get("batch"):
            parts.append("in a job of a batch system")
        text = ", ".join(parts)
        ahead = _clock(probe, result)
        if ahead is not None:
            return warning(check, f"{text}; its clock is at least {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's",
                           "have both clocks kept right (NTP): agents ignore what seems older than three minutes")
        return ok(check, text)
    text = f"{result.message or result.outcome.value} ({trip})"
    if result.outcome is Outcome.NOT_UNPACKED:
        return problem(check, f"a worker could not read the task: {text}", f"the Parsl there is missing, or another one: {_SAME_VERSIONS}")
    if result.outcome is Outcome.TASK_FAILED:
        return problem(check, f"the endpoint failed: {text}", "correct what it names, on the endpoint's machine: its configuration "
                       "(user_config_template.yaml.j2), or the environment of its workers; its endpoint.log has more")
    return problem(check, f"the task failed there: {text}", _SAME_VERSIONS)


class _Times(NamedTuple):
    """Where the time of a round trip went, in seconds. What is before and after the run is told apart only where the clocks agree."""

    submission: float
    before: float
    run: float
    connecting: float
    back: float


def _times(probe: Probe, result: ResultMessage) -> Optional[_Times]:
    about = dict(result.info)
    started, finished = about.get("started"), about.get("finished")
    if started is None or finished is None or not probe.submitting <= started <= finished <= probe.arrived:
        return None
    begun = max(started, probe.submitted)  # it may run, and end, before the submission is answered
    ended = max(finished, begun)
    ready = max(ended, probe.connected) if probe.over_amqp else ended  # an executor has been connected for long by then
    back = max(0.0, probe.arrived - ready)
    return _Times(probe.submitted - probe.submitting, begun - probe.submitted, finished - started, ready - ended, back)


def _trip(probe: Probe, result: ResultMessage) -> str:
    way, times = "AMQP" if probe.over_amqp else "HTTPS", _times(probe, result)
    if times is None:
        return f"round trip {probe.arrived - probe.submitting:.2f} s over {way}"
    submission, before, run, connecting, back = times
    total = max(probe.arrived, probe.submitted) - probe.submitting - connecting
    parts = f"submission {submission:.2f} s, start and queue {before:.2f} s, run {run:.2f} s, way back {back:.2f} s"
    return f"round trip {total:.2f} s over {way} ({parts})"


def _clock(probe: Probe, result: ResultMessage) -> Optional[float]:
    """By how many seconds the endpoint's clock is ahead of ours, at least, if that is much."""
    about = dict(result.info)
    if about.get("finished") is not None and about["finished"] > probe.arrived + _CLOCK_SECONDS:
        return float(about["finished"] - probe.arrived)
    if about.get("started") is not None and about["started"] < probe.submitting - _CLOCK_SECONDS:
        return float(about["started"] - probe.submitting)
    return None


def _versions(probe: Probe, result: ResultMessage) -> Iterator[Finding]:
    check = f"versions at {probe.endpoint.name}"
    noted = versions.VersionCheck().note(probe.endpoint.name, result)
    if noted is None:
        return
    if noted.warning:
        yield problem(check, noted.warning, _SAME_VERSIONS)
    else:
        told = ", ".join(f"{key} {version}" for key, version in noted.versions.items())
        yield ok(check, f"{told}: nothing that breaks tasks differs from here")


def _configuration(probe: Probe, there: Dict[str, Any]) -> Finding:
    """What the user may write, checked by making it."""
    check = f"configuration for {probe.endpoint.name}"
    workers, cores = _workers(probe, there), _count(there.get("cores"))
    if workers is None:
        return ok(check, f"Endpoint({probe.endpoint.id!r}, name={probe.endpoint.name!r}), with threads=<its workers>, of which it does not tell")
    on_node = _count(there.get("workers")) or workers
    each = _count(_details(probe).get("cores_per_worker")) or (1 if cores is None else max(1, cores // on_node))
    Endpoint(probe.endpoint.id, name=probe.endpoint.name, threads=workers, cores_per_thread=each)
    return ok(check, f"Endpoint({probe.endpoint.id!r}, name={probe.endpoint.name!r}, threads={workers}, cores_per_thread={each})")


def _workers(probe: Probe, there: Dict[str, Any]) -> Optional[int]:
    """Workers of the child that ran it; if it does not tell yet, those beside the one that did."""
    return _count(_details(probe).get("total_workers")) or _count(there.get("workers"))


def _details(probe: Probe) -> Dict[str, Any]:
    return {} if probe.status is None else probe.status["details"]


def _surroundings(result: ResultMessage) -> Tuple[Dict[str, Any], str]:
    """What the probe's function has returned, and why it cannot be read here, if that is so."""
    if result.outcome is not Outcome.OK or result.value is None:
        return {}, ""
    try:
        there = deserialize(result.value)
    except Exception as e:  # unpickling may raise whatever it likes
        return {}, type(e).__name__
    return (there, "") if isinstance(there, dict) else ({}, f"a {type(there).__name__} came")


def _count(value: Any) -> Optional[int]:
    """A number that can be true, of what an endpoint says of itself."""
    if isinstance(value, str) and printable(value).isdecimal() and len(value) < 10:
        value = int(value)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 1 <= value <= _MOST else None
