"""What is known of free threads for each shape of tasks, while they are taken and become free."""
from __future__ import annotations

import pytest

from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.pending import Shape
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec

pytestmark = pytest.mark.local


def test_the_order_of_the_fastest_does_not_grow_while_nothing_is_learned():
    d = Driver([spec("fast", 4, speed=4.0), spec("a", 1, speed=1.0), spec("b", 1, speed=1.0)])
    for _ in range(100):
        for more in ({}, {"endpoints": frozenset({"b"})}, {}):
            d.submit(**more)
            d.turns()
        for attempt in list(d.scheduler.attempts):
            d.result(attempt, Outcome.APP_FAILED, run_seconds=None)
    assert max(len(level.fastest) for known in d.scheduler.placement._free.values() for level in known.free._levels.values()) < 30


def test_what_is_free_is_looked_up_afresh_only_if_an_endpoint_comes_or_goes():
    d = Driver([spec("a", 2), spec("b", 2)])
    free, version = d.scheduler.placement.free_for(Shape()), d.scheduler.pool.version
    d.status("a", True)
    d.put()
    assert d.scheduler.placement.free_for(Shape()) is free and d.scheduler.pool.version == version
    d.status("a", False)
    afresh = d.scheduler.placement.free_for(Shape())
    assert afresh is not free and [threads.endpoint.name for threads in afresh.offered] == ["b"]
