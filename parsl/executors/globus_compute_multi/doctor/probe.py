"""Runs a small task on each endpoint, all at once, by the same way as the executor's tasks."""
from __future__ import annotations

import inspect
import queue
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from parsl.executors.globus_compute_multi.compute.envelope import (
    ResultMessage,
    encode_arguments,
)
from parsl.executors.globus_compute_multi.compute.messages import (
    Message,
    ResultArrived,
    StreamChanged,
)
from parsl.executors.globus_compute_multi.compute.result_fetcher import ResultFetcher
from parsl.executors.globus_compute_multi.compute.result_stream import ResultStream
from parsl.executors.globus_compute_multi.compute.startup import register_runner
from parsl.executors.globus_compute_multi.doctor.asking import (
    FAILURES,
    PATIENCE,
    Asker,
)
from parsl.executors.globus_compute_multi.doctor.endpoint_status import EndpointSeen
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.serialize import pack_apply_message

#: Seconds after which results are asked for over HTTPS: the first time beside AMQP, then ever later, and each time without AMQP.
_BESIDE_AMQP, _WITHOUT_AMQP = 4.0, 2.0

#: Seconds that AMQP is given to bring a result that the service has already given over HTTPS.
_GRACE = 2.0

#: Seconds that a child which has just started is given to tell of its workers, and how often it is asked.
_FIRST_HEARTBEAT, _LOOK_SECONDS = 6.0, 1.5

#: Seconds that a thread is waited for, which may be in a request.
_JOIN_SECONDS = 20.0


def look_around() -> dict:
    """What a worker can tell of where it runs. Sent by its source, for any Python 3; it may use nothing of this module."""
    import os
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    batch = next((name for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "COBALT_JOBID", "JOB_ID") if name in os.environ), None)
    return {"cores": cores, "batch": batch, "workers": os.environ.get("PARSL_WORKER_COUNT")}


def pack_probe() -> bytes:
    """The probe, packed as a task.

    Not as a function, which would go as bytecode: another version of Python there could crash on it. So the worker is given ``eval``, which it
    has itself, and source.
    """
    source = f"(lambda names: exec({inspect.getsource(look_around)!r}, names) or names[{look_around.__name__!r}]())({{}})"
    return pack_apply_message(eval, (source,), {})


@dataclass
class Probe:
    """One probe, and what became of it.

    Parameters
    ----------
    endpoint : EndpointSeen
    task_uuid : str or None
        The service's ID; None if it was not submitted.
    submitting, submitted, connected, arrived : float
        When that began, when it was answered, when there was a connection to the broker, when the result came; seconds since the epoch by the
        clock here.
    result : ResultMessage or None
    over_amqp : bool
        By which way the result came; else over HTTPS.
    status : dict or None
        What the child, which ran it, says of itself.
    error : Exception or None
        Why it was not submitted.
    waits : str
        What the service says of a task without a result.
    """

    endpoint: EndpointSeen
    task_uuid: Optional[str] = None
    submitting: float = 0.0
    submitted: float = 0.0
    connected: float = 0.0
    arrived: float = 0.0
    result: Optional[ResultMessage] = None
    over_amqp: bool = False
    status: Optional[Dict[str, Any]] = None
    error: Optional[Exception] = None
    waits: str = ""


def _tells_workers(probe: Probe) -> bool:
    """Whether the child has told of its workers, or never will."""
    ran = probe.result is not None and probe.result.outcome is Outcome.OK and probe.result.child_id is not None
    return not ran or (probe.status is not None and "total_workers" in probe.status["details"])


class Probing:
    """Submits the probes, and collects their results.

    Parameters
    ----------
    asker : Asker
    timeout : float
        Seconds that results are waited for after the last submission.
    amqp : bool
        Whether results can come over AMQP.
    amqp_port : int or None
        Port of the broker, instead of the one that the service names.
    runner_id : str or None
        Function ID of the runner, if it was registered before.
    """

    def __init__(self, *, asker: Asker, timeout: float, amqp: bool, amqp_port: Optional[int], runner_id: Optional[str]) -> None:
        self._asker = asker
        self._timeout = timeout
        self._runner_id = runner_id
        self._session = uuid.uuid4().hex
        self._box: "queue.SimpleQueue[Tuple[float, bool, Message]]" = queue.SimpleQueue()
        self._stopping = threading.Event()
        common: Dict[str, Any] = dict(client=asker.client, governor=asker.governor, stopping=self._stopping)
        self._stream = ResultStream(post=self._poster(True), amqp_port=amqp_port, **common) if amqp else None
        self._fetcher = ResultFetcher(post=self._poster(False), **common)
        self._connected = False
        self._connected_at = 0.0
        #: Whether results could come over AMQP, and at least one came only over HTTPS.
        self.amqp_failed = False

    def _poster(self, amqp: bool) -> Callable[[Message], None]:
        return lambda message: self._box.put((time.time(), amqp, message))

    def run(self, endpoints: Sequence[EndpointSeen]) -> Iterator[Probe]:
        """Probe the endpoints; yields each probe when it is known what became of it.

        Raises
        ------
        GlobusComputeMultiError
            If the runner cannot be registered.
        """
        runner_id = self._runner_id or register_runner(self._asker.governor, self._asker.service)
        threads = [part for part in (self._stream, self._fetcher) if part is not None]
        for part in threads:
            part.start()
        try:
            waiting: Dict[str, Probe] = {}
            for number, probe in enumerate(self._submit(runner_id, endpoints), start=1):
                if probe.error is not None:
                    yield probe
                else:
                    waiting[f"{number}.1"] = probe
            fresh = []
            for probe in self._collect(waiting):
                if probe.result is None or _tells_workers(probe):
                    yield probe
                else:
                    fresh.append(probe)
            yield from self._ask_again(fresh)
        finally:
            self._stopping.set()
            self._asker.governor.wake()
            for part in threads:
                part.stop()
            for part in threads:
                part.join(_JOIN_SECONDS)

    def _submit(self, runner_id: str, endpoints: Sequence[EndpointSeen]) -> List[Probe]:
        packed, group = pack_probe(), None
        probes = [Probe(endpoint) for endpoint in endpoints]
        deadline = time.monotonic() + PATIENCE
        failed: Optional[Exception] = None
        for number, probe in enumerate(probes, start=1):
            if failed is not None and time.monotonic() > deadline:
                probe.error = failed  # the others would end alike, each after its time
                continue
            # not as submissions, which are spread over the time that the budget is for
            try:
                group, (probe.task_uuid,) = self._asker.ask(
                    self._submit_one, probe, runner_id, group, [encode_arguments(self._session, f"{number}.1", packed)])
            except FAILURES as e:
                probe.error = failed = e
                continue
            probe.submitted = time.time()
            if self._stream is not None:
                self._stream.consume(group)
        return probes

    def _submit_one(self, probe: Probe, *args: Any) -> Tuple[str, List[str]]:
        probe.submitting = time.time()  # when it is sent, not when it begins to wait for its share of the budget
        return self._asker.service.submit(probe.endpoint.id, *args)

    def _collect(self, waiting: Dict[str, Probe]) -> Iterator[Probe]:
        now = time.monotonic()
        deadline, pause = now + self._timeout, _BESIDE_AMQP if self._stream is not None else _WITHOUT_AMQP
        ask_at = now + pause
        held: Dict[str, float] = {}  # results that have come over HTTPS, and until when AMQP may bring them too
        while waiting and now < deadline:
            try:
                arrived, amqp, message = self._box.get(timeout=max(0.0, min([deadline, ask_at, *held.values()]) - now))
            except queue.Empty:
                pass
            else:
                if isinstance(message, StreamChanged):
                    self._connected = message.connected
                    self._connected_at = arrived
                elif isinstance(message, ResultArrived):
                    attempt = self._attempt(message.message, waiting)
                    if attempt is not None:
                        self._note(waiting[attempt], message.message, arrived, amqp)
                        if amqp or self._stream is None:
                            held.pop(attempt, None)
                            yield self._finished(waiting.pop(attempt))
                        else:
                            held.setdefault(attempt, time.monotonic() + _GRACE)
            now = time.monotonic()
            for attempt in [attempt for attempt, until in held.items() if until <= now]:
                del held[attempt]
                self.amqp_failed = True
                yield self._finished(waiting.pop(attempt))
            if now >= ask_at:
                self._fetcher.fetch([(attempt, str(probe.task_uuid)) for attempt, probe in waiting.items() if attempt not in held])
                pause = min(2 * pause, 15.0) if self._connected else _WITHOUT_AMQP
                ask_at = now + pause
        for attempt, probe in waiting.items():
            if attempt in held:
                self.amqp_failed = True
                yield self._finished(probe)
        yield from self._late([probe for attempt, probe in waiting.items() if attempt not in held])

    def _attempt(self, result: ResultMessage, waiting: Dict[str, Probe]) -> Optional[str]:
        """Which probe's result it is: our word for it first, then the service's, as failures have no other."""
        if result.session == self._session and result.attempt_id in waiting:
            return result.attempt_id
        return next((attempt for attempt, probe in waiting.items() if probe.task_uuid == result.task_uuid), None)

    def _note(self, probe: Probe, result: ResultMessage, arrived: float, amqp: bool) -> None:
        if probe.result is None:
            probe.result, probe.arrived, probe.connected = result, arrived, self._connected_at
        probe.over_amqp = probe.over_amqp or amqp

    def _finished(self, probe: Probe) -> Probe:
        """Ask the child that ran it how many workers it has; not all tell, and what matters is known."""
        assert probe.result is not None
        if probe.result.child_id is not None:
            try:
                probe.status = self._asker.ask(self._asker.service.endpoint_status, probe.result.child_id)
            except FAILURES:
                probe.status = None
        return probe

    def _ask_again(self, probes: List[Probe]) -> Iterator[Probe]:
        """Give children that have just started the time to tell the service of their workers."""
        deadline = time.monotonic() + _FIRST_HEARTBEAT
        while probes and time.monotonic() < deadline:
            self._stopping.wait(_LOOK_SECONDS)
            for probe in probes:
                if _tells_workers(self._finished(probe)):
                    yield probe
            probes = [probe for probe in probes if not _tells_workers(probe)]
        yield from probes

    def _late(self, probes: List[Probe]) -> Iterator[Probe]:
        """Ask what the service says of tasks whose results have not come, and of their endpoints."""
        if not probes:
            return
        try:
            answers = self._asker.ask(self._asker.service.task_results, [str(probe.task_uuid) for probe in probes])
        except FAILURES as e:
            answers = {}
            for probe in probes:
                probe.error = e
        for probe in probes:
            answer = answers.get(str(probe.task_uuid))
            probe.waits = str(answer.get("status")) if isinstance(answer, dict) else ""
            if probe.error is None:
                try:
                    probe.status = self._asker.ask(self._asker.service.endpoint_status, probe.endpoint.id)
                except FAILURES as e:
                    probe.error = e
            yield probe
