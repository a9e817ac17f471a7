"""Run times of apps and speeds of endpoints, learned from results."""
from __future__ import annotations

import math
import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.executors.globus_compute_multi.scheduling.runtimes import (
    FIRST_RUNS,
    LONGEST,
    MEMORY,
    OUTLIER,
    RunTimes,
)

pytestmark = pytest.mark.local

UNEQUAL = {"slow": 2.0, "medium": 1.0, "fast": 0.5, "quick": 0.667}
EQUAL = dict.fromkeys("abcd", 1.0)


def learned(*runs, speeds=None):
    times = RunTimes(speeds or {})
    for run in runs:
        times.observe(*run)
    return times


def workload(factors, apps, seed, tasks=300):
    """Tasks of ``apps`` apps at random on endpoints with ``factors``, as (app, endpoint, seconds), and the apps' true means."""
    chance = random.Random(seed)
    means = [math.exp(chance.gauss(1.0, 1.2)) for _ in range(apps)]
    spreads = [math.sqrt(math.log(1 + chance.uniform(0.4, 0.9) ** 2)) for _ in range(apps)]
    runs = []
    for _ in range(tasks):
        app, endpoint = chance.randrange(apps), chance.choice(sorted(factors))
        seconds = means[app] * factors[endpoint] * chance.lognormvariate(-spreads[app] ** 2 / 2, spreads[app])
        runs.append((f"app{app}", endpoint, seconds))
    return runs, {f"app{app}": mean for app, mean in enumerate(means)}


def claims(times, endpoints):
    return [(fast, slow) for fast, slow in permutations(endpoints, 2) if times.clearly_faster(fast, slow)]


class TestMeans:

    def test_nothing_is_known_at_first(self):
        times = RunTimes()
        assert (times.mean("app"), times.samples("app"), times.typical(), times.factor("a")) == (None, 0, 1.0, 1.0)
        assert not times.clearly_faster("a", "b")

    def test_the_mean_is_arithmetic_since_it_is_sums_of_run_times_that_are_predicted(self):
        times = learned(*[("app", "a", seconds) for seconds in (1.0, 2.0, 3.0, 1.0, 3.0, 2.0, 9.0)])
        assert times.mean("app") == pytest.approx(3.0)
        assert times.samples("app") == 7

    def test_what_is_typical_is_the_mean_over_the_apps(self):
        times = learned(*[("short", "a", 1.0)] * 10, *[("long", "a", 9.0)] * 10)
        assert times.typical() == pytest.approx(5.0)

    def test_old_runs_fade(self):
        times = learned(*[("app", "a", 1.0)] * 1000, *[("app", "a", 3.0)] * 4 * MEMORY)
        assert times.mean("app") == pytest.approx(3.0, rel=0.03)

    def test_an_app_that_becomes_a_hundred_times_slower_for_good_is_not_an_outlier_for_long(self):
        times = learned(*[("app", "a", 1.0)] * 100, *[("app", "a", 100.0)] * 2 * MEMORY)
        assert times.mean("app") > 50

    def test_rare_long_runs_that_come_again_and_again_are_learned(self):
        times = learned(*[("app", "a", 100.0 if i % 10 == 0 else 0.01) for i in range(1, 1000)])
        assert times.mean("app") == pytest.approx(10.0, rel=0.5)

    @pytest.mark.parametrize("seconds", [0.0, 1e-6])
    def test_runs_of_next_to_no_time_are_taken_as_they_are_and_say_nothing_about_speed(self, seconds):
        times = learned(*[("app", "a", seconds)] * 50, *[("app", "b", 10 * seconds)] * 50)
        assert 0 <= times.mean("app") <= 10 * seconds
        assert times.factor("a") == times.factor("b") == 1.0 and not times.clearly_faster("a", "b")

    def test_an_app_that_took_no_time_may_take_some_later(self):
        times = learned(*[("app", "a", 0.0)] * 20, *[("app", "a", 5.0)] * 2 * MEMORY)
        assert times.mean("app") > 2.5

    @pytest.mark.parametrize("seconds", [-1.0, -1e-9, math.nan, math.inf, -math.inf, 10 * LONGEST])
    def test_impossible_times_are_refused_and_nothing_is_learned(self, seconds):
        times = RunTimes()
        with pytest.raises(ValueError, match="run time of a task of app on endpoint a"):
            times.observe("app", "a", seconds)
        with pytest.raises(ValueError, match="estimated run time of a task of app on endpoint a"):
            times.observe("app", "a", 1.0, given=seconds)
        assert times.mean("app") is None and times.samples("app") == 0


class TestOutliers:

    @pytest.mark.parametrize("ratio", [1e3, 1e-3])
    @pytest.mark.parametrize("runs", [3, FIRST_RUNS, FIRST_RUNS + 1, 20, 3 * MEMORY])
    def test_one_outlier_moves_the_mean_no_more_than_as_many_ordinary_runs_as_its_bound_wherever_it_comes(self, runs, ratio):
        for position in {0, 1, runs // 2, runs - 1}:
            if position >= FIRST_RUNS or runs <= FIRST_RUNS or ratio > 1:
                times = learned(*[("app", "a", 2.0 * ratio if i == position else 2.0) for i in range(runs)])
                share = (OUTLIER - 1) / min(runs, MEMORY)
                assert 2.0 * (1 - share) <= times.mean("app") <= 2.0 * (1 + share) * (1 + 1e-9)

    def test_one_outlier_does_not_make_an_endpoint_slow(self):
        for position in range(0, 60, 7):
            runs = [("app", "ab"[i % 2], 1.0) for i in range(60)]
            runs[position] = ("app", runs[position][1], 1000.0)
            times = learned(*runs)
            assert 0.9 < times.factor("a") < 1.1 and 0.9 < times.factor("b") < 1.1
            assert not claims(times, "ab")

    def test_slow_first_runs_on_every_endpoint_are_outvoted(self):
        times = learned(*[("app", endpoint, 60.0 if i == 0 else 1.0) for i in range(10) for endpoint in "ab"])
        assert times.mean("app") < 2.0
        assert not claims(times, "ab")


class TestFactors:

    def test_a_factor_is_learned_from_apps_that_ran_elsewhere_too(self):
        times = learned(*[("app", *run) for _ in range(30) for run in (("a", 4.0), ("b", 1.0))])
        assert times.factor("a") / times.factor("b") == pytest.approx(4.0, rel=0.1)
        assert times.factor("a") * times.factor("b") == pytest.approx(1.0, rel=0.05)
        assert times.mean("app") == pytest.approx(2.0, rel=0.1)
        assert times.clearly_faster("b", "a") and not times.clearly_faster("a", "b")

    def test_an_app_that_ran_on_one_endpoint_only_says_nothing_about_it(self):
        times = learned(*[("one", "a", 100.0)] * 100, *[("other", "b", 1.0)] * 100)
        assert times.factor("a") == times.factor("b") == 1.0 and not claims(times, "ab")
        assert (times.mean("one"), times.mean("other")) == (100.0, 1.0)

    def test_such_an_app_does_not_hide_what_another_says(self):
        shared = [("app", *run) for _ in range(30) for run in (("a", 4.0), ("b", 1.0))]
        alone = learned(*shared)
        times = learned(*[("one", "a", 100.0)] * 1000, *shared)
        assert times.factor("a") == pytest.approx(alone.factor("a"), rel=0.05)
        assert times.mean("one") == pytest.approx(100.0 / times.factor("a"))

    def test_what_was_learned_before_a_factor_was_known_is_corrected_by_it(self):
        times = learned(*[("app", "slow", 4.0)] * 40, *[("app", "fast", 1.0)] * 40)
        assert times.mean("app") * times.factor("slow") == pytest.approx(4.0, rel=0.1)
        assert times.mean("app") * times.factor("fast") == pytest.approx(1.0, rel=0.1)

    def test_endpoints_are_compared_over_others(self):
        """a and c have no app in common, but both have one with b."""
        runs = [("x", "a", 8.0), ("x", "b", 2.0), ("y", "b", 30.0), ("y", "c", 7.5)]
        times = learned(*runs * 50)
        assert times.factor("a") / times.factor("c") == pytest.approx(16.0, rel=0.2)
        assert times.clearly_faster("c", "a")

    def test_a_small_difference_is_learned_but_not_called_clear(self):
        times = learned(*[("app", *run) for _ in range(100) for run in (("a", 1.2), ("b", 1.0))])
        assert times.factor("a") / times.factor("b") == pytest.approx(1.2, rel=0.1)
        assert not times.clearly_faster("b", "a")

    def test_an_endpoint_that_changes_its_speed_is_noticed(self):
        runs = [("app", "a", 1.0), ("app", "b", 1.0)] * 100 + [("app", "a", 1.0), ("app", "b", 4.0)] * 3 * MEMORY
        times = learned(*runs)
        assert times.factor("b") / times.factor("a") == pytest.approx(4.0, rel=0.2)


class TestGivenSpeeds:

    def test_given_speeds_hold_whatever_is_seen(self):
        times = learned(*[("app", *run) for _ in range(50) for run in (("a", 1.0), ("b", 9.0))], speeds={"a": 2.0, "b": 2.0})
        assert times.factor("a") == times.factor("b") == 0.5
        assert not claims(times, "ab")

    def test_given_speeds_are_believed_at_once(self):
        times = RunTimes({"a": 2.0, "b": 1.0, "c": 0.9})
        assert claims(times, "abc") == [("a", "b"), ("a", "c")]

    def test_other_endpoints_are_learned_relative_to_them(self):
        times = learned(*[("app", *run) for _ in range(50) for run in (("a", 1.0), ("b", 0.5))], speeds={"a": 4.0})
        assert (times.factor("a"), times.factor("b")) == pytest.approx((0.25, 0.125), rel=0.1)
        assert times.mean("app") == pytest.approx(4.0, rel=0.1)

    @pytest.mark.parametrize("speed", [0.0, -1.0, math.nan, math.inf])
    def test_impossible_speeds_are_refused(self, speed):
        with pytest.raises(ValueError, match="speed of endpoint b"):
            RunTimes({"a": 1.0, "b": speed})


class TestGivenEstimates:

    def test_tasks_of_any_length_teach_factors_when_their_lengths_were_given(self):
        chance = random.Random(1)
        times = RunTimes()
        for _ in range(30):
            for endpoint, factor in (("a", 4.0), ("b", 1.0)):
                length = 10 ** chance.uniform(-2, 4)
                times.observe("app", endpoint, length * factor, given=length)
        assert times.factor("a") / times.factor("b") == pytest.approx(4.0, rel=0.1)
        assert times.clearly_faster("b", "a")

    def test_estimates_that_are_all_wrong_by_the_same_ratio_do_no_harm(self):
        times = learned(*[("app", endpoint, 7.0, 1.0) for _ in range(30) for endpoint in "ab"])
        assert times.factor("a") == times.factor("b") == 1.0
        assert times.mean("app") == pytest.approx(7.0)

    def test_runs_without_an_estimate_tell_the_mean_if_there_are_any(self):
        times = learned(*[("app", "a", 50.0, 50.0)] * 10, *[("app", "a", 2.0)] * 10)
        assert times.mean("app") == pytest.approx(2.0) and times.samples("app") == 20

    def test_an_estimate_of_zero_is_no_error(self):
        assert learned(*[("app", "a", 1.0, 0.0)] * 10).mean("app") >= 0


class TestStatistics:
    """With the spread of run times of real workflows: coefficients of variation of 0.4 to 0.9."""

    @pytest.mark.parametrize("apps", [1, 5, 20])
    def test_equal_endpoints_are_hardly_ever_called_different(self, apps):
        asked = wrong = 0
        for seed in range(60):
            times = RunTimes()
            for number, run in enumerate(workload(EQUAL, apps, seed)[0]):
                times.observe(*run)
                if number % 5 == 0:
                    asked += 1
                    wrong += bool(claims(times, EQUAL))
        assert wrong / asked < 0.02

    def test_nor_are_twenty_of_them_though_some_pair_looks_different_by_chance(self):
        endpoints = {f"e{i}": 1.0 for i in range(20)}
        asked = wrong = 0
        for seed in range(20):
            times = RunTimes()
            for number, run in enumerate(workload(endpoints, 10, seed, tasks=600)[0]):
                times.observe(*run)
                if number % 50 == 49:
                    asked += 1
                    wrong += bool(claims(times, endpoints))
        assert wrong / asked < 0.04

    @pytest.mark.parametrize("apps", [1, 5, 20])
    @pytest.mark.parametrize("fast, slow, results", [
        ("fast", "slow", 10), ("quick", "slow", 14), ("medium", "slow", 25), ("fast", "medium", 25),
    ])
    def test_real_differences_are_noticed_in_most_cases_after_some_results_of_each_endpoint(self, fast, slow, results, apps):
        noticed = []
        for seed in range(60):
            times = learned(*workload(UNEQUAL, apps, seed, tasks=results * len(UNEQUAL))[0])
            noticed.append(times.clearly_faster(fast, slow))
            assert not times.clearly_faster(slow, fast)
        assert sum(noticed) / len(noticed) >= 0.6

    def test_what_was_noticed_stays_so_after_thousands_of_results(self):
        factors = {"a": 2.0, "b": 1.0}
        times = learned(*workload(factors, 1, seed=1, tasks=10_000)[0])
        assert times.clearly_faster("b", "a")
        assert times.factor("a") / times.factor("b") == pytest.approx(2.0, rel=0.4)

    @pytest.mark.parametrize("factors", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
    def test_predictions_come_close_to_what_is_true(self, factors):
        errors = []
        for seed in range(30):
            runs, means = workload(factors, 5, seed)
            times = learned(*runs)
            for app, mean in means.items():
                errors += [abs(math.log(times.mean(app) * times.factor(endpoint) / (mean * factor))) for endpoint, factor in factors.items()]
        assert sum(errors) / len(errors) < 0.12


RUNS = st.lists(st.tuples(st.sampled_from(["x", "y", "z"]), st.sampled_from("abc"), st.floats(0.1, 100.0)), min_size=1, max_size=80)


@settings(max_examples=100, deadline=None)
@given(RUNS, st.floats(0.1, 1000.0))
def test_the_unit_of_time_does_not_matter(runs, unit):
    times, scaled = learned(*runs), learned(*[(app, endpoint, seconds * unit) for app, endpoint, seconds in runs])
    for app in {app for app, _, _ in runs}:
        assert scaled.mean(app) == pytest.approx(times.mean(app) * unit, rel=1e-6)
    assert [scaled.factor(endpoint) for endpoint in "abc"] == pytest.approx([times.factor(endpoint) for endpoint in "abc"], rel=1e-4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), st.sampled_from("abc"),
                          st.one_of(st.floats(0.0, 1e4), st.sampled_from([0.0, 1e-9, LONGEST])),
                          st.one_of(st.none(), st.floats(0.0, LONGEST))), min_size=1, max_size=200))
def test_whatever_is_observed_the_answers_are_usable(runs):
    times = RunTimes()
    for run in runs:
        times.observe(*run)
        assert 0 <= times.mean(run[0]) < math.inf and 0 <= times.typical() < math.inf
        assert all(0 < times.factor(endpoint) < math.inf for endpoint in "abc")
        assert not any(times.clearly_faster(slow, fast) for fast, slow in claims(times, "abc"))
    assert times.samples("x") + times.samples("y") == len(runs)


@settings(max_examples=50, deadline=None)
@given(RUNS, st.permutations("abc"))
def test_the_names_of_endpoints_do_not_matter(runs, names):
    names = dict(zip("abc", names))
    times, renamed = learned(*runs), learned(*[(app, names[endpoint], seconds) for app, endpoint, seconds in runs])
    assert [renamed.factor(names[endpoint]) for endpoint in "abc"] == [times.factor(endpoint) for endpoint in "abc"]
