"""When the service is asked for results beside the stream; no threads, and time is what the test says."""
from __future__ import annotations

import logging

import pytest

from parsl.executors.globus_compute_multi.compute.matching import Matcher
from parsl.executors.globus_compute_multi.compute.result_fetcher import MOST_AT_ONCE
from parsl.executors.globus_compute_multi.compute.result_watch import (
    PATIENCE,
    POLL_SECONDS,
    ResultWatch,
)

pytestmark = pytest.mark.local


class Bench:
    """A watch with attempts under way, and what it asks for."""

    def __init__(self, spacing=2.5):
        self.matcher, self.asked, self.under_way = Matcher("session"), [], {}
        self.watch = ResultWatch(self.matcher, lambda tasks: self.asked.append(dict(tasks)), spacing)

    def submit(self, now, *attempts):
        self.under_way.update(dict.fromkeys(attempts))
        self.accept(now, *attempts)

    def accept(self, now, *attempts):
        self.matcher.learn([(f"uuid of {attempt_id}", attempt_id) for attempt_id in attempts])
        self.watch.submitted(now, attempts)

    def tick(self, now):
        self.watch.tick(now, self.under_way)

    def change(self, now, connected):
        self.watch.changed(now, connected, list(self.under_way))

    def times_asked(self, seconds):
        """At which seconds it asks, if told the time each second."""
        times = []
        for now in range(seconds):
            before = len(self.asked)
            self.tick(float(now))
            times += [now] if len(self.asked) > before else []
        return times


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_nothing_is_asked_for_while_the_stream_is_connected(bench, said):
    bench.submit(0.0, "1.1")
    bench.change(1.0, True)
    assert not bench.times_asked(1000) and not said()


def test_what_the_scheduler_misses_is_asked_for_at_once_and_told_when_the_service_has_answered(bench):
    bench.submit(0.0, "1.1", "2.1")
    bench.change(0.0, True)
    bench.watch.miss(["1.1"])
    assert bench.asked == [{"1.1": "uuid of 1.1"}]
    assert bench.watch.fetched(["2.1"]) == []  # which was asked for for other reasons
    assert bench.watch.fetched(["1.1", "2.1"]) == ["1.1"]
    assert bench.watch.fetched(["1.1"]) == []


def test_what_the_scheduler_misses_before_its_task_uuid_is_known_is_asked_for_then(bench):
    bench.under_way["1.1"] = None
    bench.watch.miss(["1.1"])
    assert not bench.asked
    bench.accept(5.0, "1.1")
    assert bench.asked == [{"1.1": "uuid of 1.1"}]
    assert bench.watch.fetched(["1.1"]) == ["1.1"]


def test_what_has_ended_is_not_missed_any_more(bench):
    bench.submit(0.0, "1.1")
    bench.change(0.0, True)
    bench.watch.miss(["1.1"])
    bench.under_way.clear()
    bench.tick(1.0)
    assert bench.watch.fetched(["1.1"]) == []


def test_without_a_stream_all_is_asked_for_again_and_again_and_that_is_said_once(bench, said):
    bench.submit(0.0, "1.1", "2.1")
    bench.change(1.0, False)
    times = bench.times_asked(60)
    assert times[0] == PATIENCE
    assert {b - a for a, b in zip(times, times[1:])} == {POLL_SECONDS}
    assert all(set(asked) == {"1.1", "2.1"} for asked in bench.asked)
    assert len(said()) == 1 and "HTTPS" in said()[0] and "amqp_port=443" in said()[0]


def test_a_stream_that_says_nothing_at_all_is_none(bench):
    bench.submit(0.0, "1.1")
    assert bench.times_asked(20)


def test_nothing_is_said_or_asked_for_while_nothing_is_under_way(bench, said):
    bench.submit(0.0, "1.1")
    bench.change(1.0, False)
    bench.under_way.clear()
    assert not bench.times_asked(60) and not said()


def test_when_the_stream_is_back_that_is_said_and_what_it_may_have_missed_is_asked_for_once(bench, said):
    bench.submit(0.0, "1.1", "2.1")
    bench.change(0.0, True)
    bench.change(1.0, False)
    bench.times_asked(20)
    bench.asked.clear()
    bench.change(20.0, True)
    bench.submit(21.0, "3.1")
    del bench.under_way["2.1"]  # its result has come
    for now in range(20, 100):
        bench.tick(float(now))
    assert bench.asked == [{"1.1": "uuid of 1.1"}]
    assert len(said()) == 2 and "again" in said()[1]


def test_a_short_loss_is_made_good_in_silence(bench, said):
    bench.submit(0.0, "1.1")
    bench.change(0.0, True)
    bench.change(1.0, False)
    bench.change(2.0, True)
    assert len(bench.times_asked(100)) == 1 and not said()


def test_the_first_connection_has_missed_nothing(bench):
    bench.submit(0.0, "1.1")
    bench.change(1.0, True)
    assert not bench.times_asked(100)


def test_many_attempts_are_asked_for_no_more_often_than_the_request_budget_allows():
    bench = Bench(spacing=2.5)
    bench.submit(0.0, *(f"{n}.1" for n in range(10 * MOST_AT_ONCE)))
    bench.change(0.0, False)
    times = bench.times_asked(120)
    assert {b - a for a, b in zip(times, times[1:])} == {25}  # ten requests each time
