"""Nothing stays behind in the scheduler of tasks that are finished, however they ended."""
from __future__ import annotations

import gc
import types
from typing import Any, List, Set

import pytest

from parsl.executors.globus_compute_multi.scheduling.events import (
    Outcome,
    TaskCancelled,
)
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec

pytestmark = pytest.mark.local

NAMES = ("a", "b", "c", "d")
TASKS = 100  # in each round
ROUNDS = 50

#: Objects that may be added: floats of what is learned, and caches.
_MOST_NEW = 100

_NOT_COUNTED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.FrameType)


def reachable(start: Any) -> int:
    """How many objects ``start`` keeps alive, code apart."""
    seen: Set[int] = {id(start)}
    todo: List[Any] = [start]
    while todo:
        for found in gc.get_referents(todo.pop()):
            if id(found) not in seen and not isinstance(found, _NOT_COUNTED):
                seen.add(id(found))
                todo.append(found)
    return len(seen)


class Rounds:
    """Rounds of tasks in which everything happens that can: an endpoint is lost in each."""

    def __init__(self) -> None:
        self.d = Driver([spec(name, 2) for name in NAMES], failover_attempts=3)
        self.d.scheduler.validate = lambda: None  # type: ignore[method-assign]  # other tests call it after every event; it takes long
        self.number = 0
        self.nodes = 0
        for name in NAMES:
            self.d.submit(endpoints=frozenset({name}))
            for dispatch in self.d.turns():
                self._end(dispatch.attempts[0][0], name, Outcome.OK)
                self.d.accept(dispatch.dispatch_id)

    def run(self) -> None:
        d, lost = self.d, NAMES[self.number % len(NAMES)]
        first = self.nodes
        for node in range(first, first + TASKS):
            d.announce(node, *([node - 1] if node % 10 == 9 else []))
            d.submit(f"app{node % 3}", node=node, priority=float(node % 2), endpoints=frozenset(NAMES[:3]) if node % 7 == 0 else None,
                     redispatch=False if node % 11 == 0 else None)
        self.nodes += TASKS
        self._finish(TASKS // 2, but_on=lost)
        held = [attempt.id for attempt in d.scheduler.attempts.values() if attempt.threads.endpoint.name == lost]
        d.tick(30.0)
        d.status(lost, False, f"child of {lost}")
        assert not {attempt for attempt in held if attempt in d.scheduler.attempts}, "the endpoint was lost, and what it held with it"
        for attempt in held[:1]:
            self._end(attempt, lost, Outcome.OK)  # it comes after all
        for task_id in list(d.scheduler.tasks)[:5]:
            d.handle(TaskCancelled(d.now, task_id))
        self._finish(10 * TASKS)
        for node in range(first, self.nodes):
            d.leave(node)
        self.number += 1

    def _finish(self, most: int, but_on: str = "") -> None:
        """Run tasks until so many attempts have ended, or none is left."""
        d, ended = self.d, 0
        for step in range(1000):
            for dispatch in d.turns():
                if (dispatch.dispatch_id + self.number) % 17 == 0:
                    d.reject(dispatch.dispatch_id, (503, 400, 404)[dispatch.dispatch_id % 3])
                else:
                    d.accept(dispatch.dispatch_id)
            here = [attempt for attempt in d.scheduler.attempts.values() if attempt.threads.endpoint.name != but_on]
            for attempt in here:
                ended += 1
                outcome = (Outcome.TASK_FAILED, Outcome.APP_FAILED, Outcome.OK)[0 if ended % 31 == 0 else 1 if ended % 13 == 0 else 2]
                self._end(attempt.id, attempt.threads.endpoint.name, outcome)
            if ended >= most or not d.scheduler.tasks:
                return
            d.tick(1.0 if here else 60.0)
        raise AssertionError(f"{len(d.scheduler.tasks)} tasks never end")

    def _end(self, attempt_id: str, endpoint: str, outcome: Outcome) -> None:
        self.d.result(attempt_id, outcome, 0.5, child_id=f"child of {endpoint}")


def test_5000_tasks_and_50_losses_leave_nothing_behind():
    rounds = Rounds()
    scheduler = rounds.d.scheduler
    for _ in range(10):
        rounds.run()
    early = reachable(scheduler)
    while rounds.number < ROUNDS:
        rounds.run()
    d = rounds.d
    assert len(d.submitted) == TASKS * ROUNDS + len(NAMES) == len(d.resolved) + len(d.failed)
    assert sum(line["state"] == "child_offline" for line in d.lines) >= ROUNDS - 5
    assert not scheduler.tasks and not scheduler.attempts and not len(scheduler.pending) and not len(scheduler.graph)
    assert reachable(scheduler) - early <= _MOST_NEW
