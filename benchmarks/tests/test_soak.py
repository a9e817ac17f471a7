"""What the soak test measures, and what it says of it; the long run itself is no test."""
from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import pytest

import soak
import soak_cloud
from parsl.executors.globus_compute_multi.scheduling import health
from soak import Use, grown

BEFORE = Use(tasks=20_000, rss=100_000_000, objects=90_000, threads=14, files=7)


@pytest.mark.parametrize("change", [{}, {"rss": 100_000_000 + soak.MOST_BYTES}, {"rss": 90_000_000}, {"objects": 90_000 + soak.MOST_OBJECTS},
                                    {"threads": 13}, {"files": 6}, {"tasks": 100_000}])
def test_what_stays_within_bounds_is_flat(change):
    assert grown(BEFORE, replace(BEFORE, **change)) == []


@pytest.mark.parametrize("name, more", [("rss", soak.MOST_BYTES + 1), ("objects", soak.MOST_OBJECTS + 1), ("threads", 1), ("files", 1)])
def test_what_has_grown_is_named(name, more):
    after = replace(BEFORE, **{name: getattr(BEFORE, name) + more})
    assert grown(BEFORE, after) == [f"{name}: {getattr(BEFORE, name)} to {getattr(after, name)}"]


def broken(after: object) -> Future[None]:
    """Takes the place of the app."""
    future: Future[None] = Future()
    future.set_exception(ValueError("on purpose"))
    return future


@pytest.fixture
def small(monkeypatch):
    """A run of some seconds, in which losses are believed at once."""
    monkeypatch.setattr(soak, "WINDOW", 100)
    monkeypatch.setattr(soak_cloud, "STEP", 0.1)  # so that endpoints hold something that can be lost
    monkeypatch.setattr(health, "DOUBT_CHILD_SECONDS", 0.0)


def test_tasks_survive_losses_and_the_tenths_are_printed(small, capsys, monkeypatch):
    monkeypatch.setattr(soak, "grown", lambda before, after: [])  # what a process grows by when it has just begun says nothing
    assert soak.main(["--tasks", "500", "--losses", "2"]) == 0
    out = capsys.readouterr().out
    assert "0 of 500 tasks failed, 2 of 2 losses" in out and "flat" in out
    assert len(out.splitlines()) == 12


def test_growth_makes_the_status_1(small, capsys, monkeypatch):
    monkeypatch.setattr(soak, "grown", lambda before, after: ["threads: 14 to 15"])
    assert soak.main(["--tasks", "100", "--losses", "0"]) == 1
    assert "NOT FLAT: threads: 14 to 15" in capsys.readouterr().out


def test_a_task_that_fails_makes_the_status_1(small, capsys, monkeypatch):
    monkeypatch.setattr(soak, "grown", lambda before, after: [])
    monkeypatch.setattr(soak, "nothing", broken)
    assert soak.main(["--tasks", "10", "--losses", "0"]) == 1
    assert "10 of 10 tasks failed" in capsys.readouterr().out
