"""Counts what has ended, and tells how the executor stands."""
from __future__ import annotations

from collections import Counter, deque
from typing import Deque, Dict, Optional, Tuple

from parsl.executors.globus_compute_multi.observe.status import (
    ClassStatus,
    EndpointStatus,
    Progress,
    Status,
)
from parsl.executors.globus_compute_multi.observe.wording import failure
from parsl.executors.globus_compute_multi.scheduling.actions import AttemptEnded
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.scheduler import Scheduler

#: Seconds over which the present rate is taken.
_RATE_SECONDS = 60.0


class _Count:
    """What has ended on an endpoint."""

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self.busy_seconds = 0.0


class Tally:
    """Belongs to the owner of the scheduler, and is used on its thread only.

    Parameters
    ----------
    label : str
        Of the executor.
    scheduler : Scheduler
    began : float
        When the run began, in the scheduler's time.
    epoch : float
        What makes seconds since 1970 of that.
    """

    def __init__(self, label: str, scheduler: Scheduler, began: float, epoch: float) -> None:
        self._label = label
        self._scheduler = scheduler
        self._began = began
        self._epoch = epoch
        self._endpoints: Dict[str, _Count] = {endpoint.name: _Count() for endpoint in scheduler.pool}
        self._done = 0
        self._failed = 0
        self._failures: Counter[str] = Counter()
        self._tried_again: Counter[str] = Counter()  # attempts
        self._samples: Deque[Tuple[float, int]] = deque([(began, 0)])

    def ended(self, action: AttemptEnded) -> None:
        """Count an attempt, and its task if that has ended with it."""
        outcome, result = action.outcome, action.payload
        ok = outcome is Outcome.OK
        if action.resolves:
            if ok:
                self._done += 1
            else:
                self.failed(outcome.value, dict(result.info).get("error"))
        if action.late:
            return  # it was counted when it was given up
        count = self._endpoints[action.attempt.threads.endpoint.name]
        if ok:
            count.done += 1
        else:
            count.failed += 1
            if not outcome.is_final:
                self._tried_again[failure(outcome.value)] += 1
        if result is not None and result.run_seconds is not None:
            count.busy_seconds += result.run_seconds

    def failed(self, kind: str, error: Optional[str] = None) -> None:
        """Count a task that has ended with an error: its outcome, or why the executor gave it up, and the type of what the app raised."""
        self._failed += 1
        self._failures[failure(kind, error)] += 1

    def tick(self, now: float) -> None:
        """Note how many tasks are done, for the present rate. To be called now and then."""
        self._samples.append((now, self._done))
        while len(self._samples) > 1 and now - self._samples[1][0] >= _RATE_SECONDS:
            self._samples.popleft()

    def status(self, now: float, ended: bool = False) -> Status:
        """How the executor stands at ``now``, in the scheduler's time; ``ended``: it is shut down."""
        scheduler = self._scheduler
        dispatched = {attempt.task.id for attempt in scheduler.attempts.values() if not attempt.task.done}
        waiting = len(scheduler.placement.waiting)
        progress = Progress(
            label=self._label, began=self._epoch + self._began, ended=self._epoch + now if ended else None,
            unsubmitted=None if ended else scheduler.graph.waiting,
            minute_rate=_rate(*self._samples[0], now, self._done), overall_rate=_rate(self._began, 0, now, self._done),
            seconds_left=scheduler.seconds_left(now), failures=tuple(self._failures.most_common()),
            tried_again=tuple(self._tried_again.most_common()))
        return Status(
            self._epoch + now, tuple(self._endpoint(name, now) for name in self._endpoints),
            pending=len(scheduler.tasks) - len(dispatched) - waiting, waiting=waiting, dispatched=len(dispatched),
            done=self._done, failed=self._failed, progress=progress)

    def _endpoint(self, name: str, now: float) -> EndpointStatus:
        endpoint, count = self._scheduler.pool[name], self._endpoints[name]
        classes = tuple(
            ClassStatus(c.cores, c.count, len(c.running), len(c.child.ahead) if len(c.child.classes) == 1 else 0, c.child.config)
            for c in endpoint.classes)
        paused = endpoint.paused_until
        return EndpointStatus(
            name, classes, online=endpoint.online, available=endpoint.available, probing=endpoint.probing, done=count.done,
            failed=count.failed, busy_seconds=count.busy_seconds, paused_seconds=None if paused is None else max(0.0, paused - now),
            why=endpoint.trouble, speed=self._scheduler.speed(name))


def _rate(began: float, before: int, now: float, done: int) -> Optional[float]:
    return (done - before) / (now - began) if now > began else None
