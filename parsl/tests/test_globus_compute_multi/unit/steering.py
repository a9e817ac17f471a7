"""Endpoints whose tasks go where a test wants them, and die when it wants."""
from __future__ import annotations

from parsl.executors.globus_compute_multi.scheduling.policy import Policy
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec

SILENCE = 60.0


def only(*endpoints):
    return frozenset(endpoints)


class Steered(Policy):
    """Gives tasks to the endpoint that the test names, if it can."""

    target = ""

    def choose(self, task, candidates, outlook):
        return next((threads for threads in candidates if threads.endpoint.name == self.target), candidates[0])


class Steerable(Driver):

    def __init__(self, *endpoints, **settings):
        self.steer = Steered()
        super().__init__(endpoints, policy=self.steer, **settings)


def pool(a=2, b=2, **settings) -> Steerable:
    """Two endpoints of equal speed, both warm and with nothing to do."""
    d = Steerable(spec("a", a, speed=1.0), spec("b", b, speed=1.0), **settings)
    for name in ("a", "b"):
        warm(d, name)
    return d


def accept_all(d):
    for dispatch_id in list(d.unanswered):
        d.accept(dispatch_id)


def warm(d, name):
    task = d.submit(endpoints=only(name))
    assert d.place() == {task: name}
    accept_all(d)
    d.result(f"{task}.1", child_id=f"child of {name}")


def put(d, name, **more):
    """A task that runs on this endpoint, and may run on others."""
    d.steer.target = name
    task = d.submit(**more)
    assert d.place()[task] == name
    accept_all(d)
    return task


def driver_with_one() -> Steerable:
    d = Steerable(spec("a", 2, speed=1.0))
    warm(d, "a")
    return d


def outcomes(d):
    return {line["attempt"]: line["outcome"] for line in d.lines if line["kind"] == "attempt" and line["state"] == "finished"}


def threads(d, name):
    return d.scheduler.pool[name].classes[0]


def child_dies(d, name):
    d.tick(11.0)
    d.status(name, False, child_id=f"child of {name}")
