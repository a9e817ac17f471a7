"""The request budget, on a clock of the test's own."""
from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.globus_compute_multi.compute.governor import (
    BURST_SECONDS,
    Governor,
    Stopped,
    governor_for,
)

pytestmark = pytest.mark.local


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def next_submission(governor, clock):
    """Advance the clock to the next submission that is granted, and take it."""
    while not governor.try_submission():
        wait = governor.submission_wait()
        assert 0 < wait < float("inf"), "a wait that is not granted has an end"
        clock.now += wait + 1e-9


@given(requests=st.integers(1, 20), seconds=st.floats(0.5, 20), seed=st.integers(0, 10_000))
def test_the_service_never_sees_more_than_the_budget_in_any_window(requests, seconds, seed):
    clock, rng = Clock(), random.Random(seed)
    governor = Governor(requests, seconds, clock)
    seen = []
    for _ in range(60):
        clock.now += rng.choice([0.0, 0.0, 0.01, seconds / 3])
        next_submission(governor, clock)
        sent, latency = clock.now, rng.choice([0.0, 0.1, seconds])
        seen.append(sent + rng.random() * latency)  # anywhere between sending and answer
        clock.now = sent + latency
        governor.ended()
    seen.sort()
    assert all(later - earlier >= seconds - 1e-6 for earlier, later in zip(seen, seen[requests:]))


def test_a_submission_after_a_quiet_time_goes_at_once():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    assert governor.submission_wait() <= 0 and governor.try_submission()


def test_a_burst_shares_a_request_and_further_ones_are_spread():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    times = []
    for _ in range(60):
        next_submission(governor, clock)
        times.append(clock.now)
        governor.ended()
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert gaps[0] >= BURST_SECONDS
    assert times[9] - times[0] < 2.0, "half of the budget is there when it is needed"
    assert max(gaps) < 1.5, "a steady stream is never stopped dead until the window has passed"


def test_a_stream_of_dependent_tasks_is_not_slowed_below_the_budgets_rate():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    start = clock.now
    for _ in range(100):
        next_submission(governor, clock)
        governor.ended()
        clock.now += 0.55  # the answer's way there and back
    assert clock.now - start < 100 * 0.55 * 1.02


def test_without_a_limit_only_bursts_are_gathered():
    clock = Clock()
    governor = Governor(None, 1.0, clock)
    for _ in range(100):
        next_submission(governor, clock)
        governor.ended()
    assert clock.now - 100.0 < 100 * BURST_SECONDS * 1.1
    assert governor.requests_per_second is None


def test_a_permit_is_waited_for_until_the_window_has_room():
    governor, stopping = Governor(1, 0.2), threading.Event()
    order = []

    def ask():
        with governor.permit(stopping):
            order.append("second")

    with governor.permit(stopping):
        thread = threading.Thread(target=ask)
        thread.start()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_stopping_wakes_those_who_wait():
    governor, stopping, held = Governor(1, 1000.0), threading.Event(), threading.Event()
    errors = []

    def ask():
        try:
            with governor.permit(stopping):
                pass
        except Stopped as e:
            errors.append(e)

    with governor.permit(held):
        thread = threading.Thread(target=ask)
        thread.start()
        stopping.set()
        governor.wake()
        thread.join(10)
    assert len(errors) == 1


def test_executors_on_one_service_share_one_budget():
    assert governor_for("http://a", (20, 10.0)) is governor_for("http://a", (20, 10.0))
    assert governor_for("http://a", (20, 10.0)) is not governor_for("http://b", (20, 10.0))
    assert governor_for("http://a", None) is not governor_for("http://a", None)
