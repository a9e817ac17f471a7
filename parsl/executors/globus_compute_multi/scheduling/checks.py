"""The invariants of the scheduler's state."""
from __future__ import annotations

from typing import TYPE_CHECKING, Dict

from parsl.executors.globus_compute_multi.scheduling.threads import Attempt

if TYPE_CHECKING:
    from parsl.executors.globus_compute_multi.scheduling.scheduler import Scheduler


def check(scheduler: "Scheduler") -> None:
    """Check the state of ``scheduler`` between two events.

    Raises
    ------
    AssertionError
        If an invariant does not hold.
    """
    bound: Dict[str, Attempt] = {}
    for threads in scheduler.pool.classes:
        name, child = threads.endpoint.name, threads.child
        assert threads.promised == 0
        assert len(threads.running) <= threads.count, f"{name} runs more attempts than it has threads"
        assert not (child.ahead and threads.free), f"{name} has attempts queued ahead and a free thread"
        assert not child.ahead or len(child.classes) == 1, f"{name} has attempts queued ahead where classes share a child"
        assert not threads.running.keys() & child.ahead.keys()
        assert abs(child.ahead_seconds - sum(a.seconds for a in child.ahead.values())) < 1e-6
        assert threads.awaited.keys() <= scheduler.placement.waiting.keys()
        in_account = scheduler.pool.is_free(threads)
        assert in_account == (threads.endpoint.available and threads.free > 0), f"the account of free threads of {name} is wrong"
        for attempt in [*threads.running.values(), *child.ahead.values()]:
            assert attempt.threads is threads
            assert threads.fits(attempt.task.shape._replace(awaits=None)), f"task {attempt.task.id} does not fit {name}"
            bound[attempt.id] = attempt
    assert scheduler.pool.any_probing == any(endpoint.available and endpoint.probing for endpoint in scheduler.pool)
    scheduler.placement.check()
    scheduler.ahead.check()
    assert bound == scheduler.attempts, "an attempt is known that no endpoint holds, or the other way round"
    for task in scheduler.placement.waiting.values():
        assert scheduler.tasks[task.id] is task and not task.active, f"task {task.id} waits for a thread, and is not pending"
        assert task.shape.awaits is not None and task.id in task.shape.awaits.awaited
        assert task.shape.awaits.endpoint.available, f"task {task.id} waits for threads of an endpoint that is not available"
    unfinished = 0
    for task in scheduler.tasks.values():
        assert task.active == sum(attempt.id in scheduler.attempts for attempt in task.attempts)
        unfinished += not task.active
    assert unfinished == len(scheduler.pending), "a task is neither pending nor dispatched"
    assert not (scheduler.closed and (scheduler.tasks or scheduler.attempts))
