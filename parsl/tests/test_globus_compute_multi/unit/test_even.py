"""Work that is given to one after the other so that all end at the same time."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.globus_compute_multi.scheduling.even import EvenEnd

pytestmark = pytest.mark.local

SPEEDS = st.lists(st.floats(0.01, 1000), min_size=1, max_size=30)


@given(speeds=SPEEDS, work=st.floats(0.001, 1e6), gap=st.floats(0, 100))
def test_all_that_are_served_are_done_then_with_all_of_the_work(speeds, work, gap):
    end = EvenEnd(speeds).seconds(work, gap)
    done = sum(speed * max(0.0, end - i * gap) for i, speed in enumerate(sorted(speeds, reverse=True)))
    assert done == pytest.approx(work, rel=1e-6)


@given(speeds=SPEEDS, work=st.floats(0, 1e6), gap=st.floats(0.001, 100))
def test_it_takes_no_longer_with_one_more_or_with_a_smaller_gap(speeds, work, gap):
    end = EvenEnd(speeds).seconds(work, gap)
    assert EvenEnd([*speeds, 1.0]).seconds(work, gap) <= end * (1 + 1e-9)
    assert EvenEnd(speeds).seconds(work, gap / 2) <= end * (1 + 1e-9)


def test_with_nobody_there_or_nothing_to_do_there_is_nothing_to_wait_for():
    assert EvenEnd().seconds(5.0, 1.0) == EvenEnd([0.0]).seconds(5.0, 1.0) == EvenEnd([1.0]).seconds(0.0, 1.0) == 0.0
