"""The request budget, on a clock of the test's own."""
from __future__ import annotations

import random
import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.executors.globus_compute_multi.compute.governor import (
    BURST_SECONDS,
    Governor,
    Kind,
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


@pytest.mark.parametrize("requests, before, least, most",
                         [(None, 30, BURST_SECONDS, 0.02), (20, 0, BURST_SECONDS, 0.05), (20, 200, 0.1, 1.0)],
                         ids=["no limit", "after a quiet time", "in a stream"])
def test_the_gap_tells_about_when_the_next_submission_may_go(requests, before, least, most):
    clock = Clock()
    governor = Governor(requests, 10.0, clock)
    for _ in range(before):
        next_submission(governor, clock)
        governor.ended()
    next_submission(governor, clock)
    assert least - 1e-6 <= governor.submission_gap <= most


@pytest.mark.parametrize("before", range(20))
def test_a_submission_may_go_when_the_gap_said_so_and_not_before(before):
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    for _ in range(before):
        next_submission(governor, clock)
        governor.ended()
    next_submission(governor, clock)
    governor.ended()
    start, told = clock.now, governor.submission_gap
    clock.now = start + 0.99 * told
    assert not governor.try_submission()
    clock.now = start + told + 1e-6
    assert governor.try_submission()


def test_a_permit_that_was_not_used_does_not_delay_the_next_submission():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    for _ in range(18):
        next_submission(governor, clock)
        governor.ended()
    next_submission(governor, clock)
    governor.unused()
    assert governor.submission_wait() <= 0


def test_the_gap_has_no_end_while_only_what_is_under_way_is_in_the_way():
    governor = Governor(1, 10.0, Clock())
    assert governor.submission_gap == 0.0
    assert governor.try_submission()
    assert governor.submission_gap == float("inf")


def test_the_gap_lasts_as_long_as_a_pause_that_the_service_asks_for():
    governor = Governor(20, 10.0, Clock())
    governor.refused(7.0)
    assert governor.submission_gap == pytest.approx(7.0)


def play(governor, clock, wants, seconds, latency=0.1):
    """Let callers, each with one kind of request and always another one to send, compete for permits; times of grants by caller."""
    granted = {who: [] for who in wants}
    under_way = []
    end = clock.now + seconds
    while clock.now < end:
        for done in [entry for entry in under_way if entry[0] <= clock.now]:
            under_way.remove(done)
            governor.ended(done[1])
        for who, kind in wants.items():
            if governor.try_permit(kind, who):
                granted[who].append(clock.now)
                under_way.append((clock.now + latency, kind))
        waits = [governor.wait(kind, who) for who, kind in wants.items()] + [ends - clock.now for ends, _ in under_way]
        clock.now += min(1.0, max(1e-6, min(waits))) + 1e-9
    return granted


@settings(deadline=None)
@given(requests=st.integers(1, 20), seed=st.integers(0, 10_000))
def test_nobody_starves_however_many_want_permits(requests, seed):
    clock, rng = Clock(), random.Random(seed)
    governor = Governor(requests, 10.0, clock)
    wants = {number: rng.choice(list(Kind)) for number in range(rng.randint(2, 6))}
    start = clock.now
    granted = play(governor, clock, wants, 300.0)
    for who, times in granted.items():
        mates = sum(kind is wants[who] for kind in wants.values())
        longest = max(b - a for a, b in zip([start, *times], [*times, clock.now]))
        # each kind has one permit in each window, of which those of a kind take turns; when there are fewer permits than kinds, all take turns
        assert longest <= 11.0 * max(3 * mates, len(wants)), f"{wants[who]} waited {longest:.1f} s"
    every = sorted(time for times in granted.values() for time in times)
    assert all(later - earlier >= 10.0 for earlier, later in zip(every, every[requests:]))


def test_with_every_kind_wanted_without_end_statuses_keep_to_their_share_and_submissions_have_most():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    granted = play(governor, clock, {"s": Kind.SUBMISSION, "t": Kind.STATUS, "o": Kind.OTHER}, 1000.0)
    counts = Counter({who: len(times) for who, times in granted.items()})
    assert sum(counts.values()) > 0.95 * 20 * 98, "none of the budget is left lying"
    assert all(later - earlier >= 10.0 for earlier, later in zip(granted["t"], granted["t"][4:])), "4 of 20 are statuses at most"
    assert counts["t"] > 300 and counts["s"] > counts["o"] > 300


def test_statuses_have_one_request_in_each_window_however_small_the_budget():
    clock = Clock()
    governor = Governor(2, 10.0, clock)
    granted = play(governor, clock, {"s": Kind.SUBMISSION, "t": Kind.STATUS, "o": Kind.OTHER}, 500.0)
    assert min(len(times) for times in granted.values()) > 20


def test_owners_who_submit_without_end_take_turns():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    granted = play(governor, clock, {"a": Kind.SUBMISSION, "b": Kind.SUBMISSION, "c": Kind.SUBMISSION}, 300.0)
    counts = [len(times) for times in granted.values()]
    assert max(counts) - min(counts) <= 2


def test_who_asks_no_more_holds_up_nobody_for_long():
    clock = Clock()
    governor = Governor(1, 10.0, clock)
    assert governor.try_submission()
    governor.ended()
    assert governor.wait(Kind.SUBMISSION, "somebody who then has nothing to submit any more") > 0
    assert not governor.try_permit(Kind.OTHER, "me")
    clock.now += 10.1
    assert governor.try_permit(Kind.OTHER, "me")


def test_a_permit_that_was_not_used_can_be_had_again_at_once():
    clock = Clock()
    governor = Governor(1, 10.0, clock)
    assert governor.try_submission()
    governor.unused()
    clock.now += BURST_SECONDS
    assert governor.try_submission()


# when the service refuses

def test_after_a_refusal_nothing_is_sent_before_the_time_that_the_service_names():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    assert governor.try_submission()
    governor.refused(7.0)
    governor.ended()
    start = clock.now
    assert not any(governor.try_permit(kind, kind) for kind in Kind)
    next_submission(governor, clock)
    assert clock.now - start == pytest.approx(7.0, abs=0.1)


def test_without_a_limit_a_refusal_is_heeded_too():
    clock = Clock()
    governor = Governor(None, 1.0, clock)
    governor.refused(7.0)
    assert governor.submission_wait() == pytest.approx(7.0)


def test_refusals_that_name_no_time_are_answered_with_ever_longer_pauses():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    pauses = []
    for _ in range(5):
        governor.refused(None)
        pauses.append(governor.wait(Kind.OTHER, "me"))
        clock.now += pauses[-1]
    assert pauses[0] <= 0.5 and 4.0 <= pauses[-1] <= 8.0


def test_the_budget_shrinks_with_refusals_and_comes_back_slowly_without():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    rates = [governor.requests_per_second]
    for _ in range(3):
        governor.refused(2.0)
        clock.now += 2.0
        rates.append(governor.requests_per_second)
    assert rates[0] == 2.0 and rates == sorted(rates, reverse=True) and rates[-1] <= 0.7
    clock.now += 50.0
    assert 1.0 <= governor.requests_per_second <= 1.2
    clock.now += 200.0
    assert governor.requests_per_second == 2.0


def test_refusals_of_requests_that_were_under_way_together_shrink_the_budget_once():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    for _ in range(4):
        governor.refused(1.0)
        clock.now += 0.1
    assert governor.requests_per_second == 1.4


def test_refusals_are_said_once_while_they_go_on(caplog):
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    for gap in (30.0, 30.0, 30.0, 3600.0, 30.0):
        governor.refused(2.0)
        clock.now += gap
    governor.refused(2.0)
    told = [record.message for record in caplog.records if "429" in record.message]
    assert len(told) == 2 and "nothing is sent to it for 2.0 s, then 14 requests in 10 s" in told[0]


def test_a_thousand_refusals_leave_one_request_in_a_window():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    for _ in range(1000):
        governor.refused(2.0)
        clock.now += 2.0
    assert governor.requests_per_second == 0.1
    next_submission(governor, clock)


@settings(deadline=None)
@given(other=st.integers(0, 19), seed=st.integers(0, 1000))
def test_beside_another_program_that_spends_the_same_budget_refusals_are_rare(other, seed):
    clock, rng = Clock(), random.Random(seed)
    governor = Governor(20, 10.0, clock)
    others = sorted(clock.now + rng.uniform(0, 600) for _ in range(other * 60))
    taken, refusals = [], 0
    while clock.now < 700.0:
        next_submission(governor, clock)
        while others and others[0] <= clock.now:
            taken.append(others.pop(0))
        window = [time for time in taken if time > clock.now - 10.0]
        taken = [*window, clock.now]
        if len(window) >= 20:  # which also count
            governor.refused(sorted(window)[len(window) - 20] + 10.0 - clock.now)
            refusals += 1
        governor.ended()
        clock.now += 0.1
    assert refusals <= 60, "one in a window of 10 s at the most"


def test_a_permit_is_waited_for_no_longer_than_was_said():
    governor = Governor(1, 1000.0)
    with governor.permit(threading.Event()):
        with pytest.raises(TimeoutError, match="used up"):
            with governor.permit(threading.Event(), timeout=0.05):
                pass
    assert governor.wait(Kind.OTHER, "me") > 900, "and it is not held"


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


def test_a_request_that_was_not_answered_may_arrive_late_and_counts_for_longer():
    clock = Clock()
    governor = Governor(2, 10.0, clock)
    next_submission(governor, clock)
    governor.given_up(Kind.SUBMISSION)
    governor.ended()
    clock.now += 11.0
    next_submission(governor, clock)
    governor.ended()
    assert governor.submission_wait() > 9.0
    clock.now += 30.0
    next_submission(governor, clock)
    governor.ended()
    clock.now += 1.0
    next_submission(governor, clock)


def test_a_request_that_was_not_answered_takes_one_place_and_none_of_its_kinds_share():
    clock = Clock()
    governor = Governor(20, 10.0, clock)
    for number in range(20):
        assert governor.try_permit(Kind.STATUS, "me"), f"{number} statuses without an answer stop the next"
        governor.given_up(Kind.STATUS)
        governor.ended(Kind.STATUS)
    assert not governor.try_permit(Kind.STATUS, "me") and governor.wait(Kind.STATUS, "me") == pytest.approx(40.0)
    clock.now += 40.1
    for _ in range(4):
        assert governor.try_permit(Kind.STATUS, "me")
        governor.ended(Kind.STATUS)
    assert not governor.try_permit(Kind.STATUS, "me"), "answered ones count in their share"


def test_who_wants_nothing_any_more_is_not_in_the_line_of_others():
    governor = Governor(1, 10.0, clock=lambda: 0.0)
    assert governor.submission_wait() <= 0
    assert not governor.try_permit(Kind.SUBMISSION, "another")
    governor.want_no_submission()
    assert governor.try_permit(Kind.SUBMISSION, "another")
