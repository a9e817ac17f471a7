"""Timing the core: that it is driven to the end, not how long it takes."""
from __future__ import annotations

from dataclasses import replace

import pytest

import simulation.core_speed
import simulation.speed
from simulation.core_speed import JUDGED, OTHERS, CoreRun, Timing, fastest
from simulation.setups import Endpoint, Setup


@pytest.mark.parametrize("load", [*JUDGED, *OTHERS], ids=lambda load: load.text)
def test_every_load_runs_to_its_end(load):
    timing = CoreRun(replace(load, tasks=300)).run()
    assert timing.tasks >= 300
    assert 0 < timing.longest <= 300 * timing.microseconds * 1e-6
    assert all(seconds > 0 for seconds in timing.steps.values())


@pytest.mark.parametrize("load", [JUDGED[0], *OTHERS], ids=lambda load: load.text)
def test_a_run_ends_when_its_time_is_up(load):
    assert CoreRun(replace(load, tasks=50)).run(limit=0.0).tasks == 0


def test_the_fastest_run_counts(monkeypatch):
    times = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(simulation.core_speed.CoreRun, "run", lambda self, limit: Timing({"submit": next(times)}, 0.0, 1))
    assert fastest(replace(JUDGED[0], tasks=1)).microseconds == 1e6


def test_adversarial_workflows_alone_leave_staleness_out(monkeypatch):
    monkeypatch.setattr(simulation.speed, "fastest", lambda load: Timing({"submit": 1e-6}, 0.0, 1))
    monkeypatch.setattr(simulation.speed, "TASKS", 100)
    lines = list(simulation.speed.measure([], [Setup("s", (Endpoint("e", ((1, 1),)),))]))
    assert not any("stale" in line for line, _ in lines)
    assert sum(len(requirements) for _, requirements in lines) == len(JUDGED)
