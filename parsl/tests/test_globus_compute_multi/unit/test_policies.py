"""What each policy chooses, and what becomes of tasks for which a policy fails."""
from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest

from parsl.executors.globus_compute_multi.scheduling.actions import FailureKind
from parsl.executors.globus_compute_multi.scheduling.policy import (
    Cheapest,
    EarliestFinish,
    LeastLoaded,
    Policy,
    Random,
    RoundRobin,
)
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec

pytestmark = pytest.mark.local


def only(*endpoints):
    return frozenset(endpoints)


def unequal(policy, threads=1) -> Driver:
    d = Driver([spec("slow", threads, speed=1.0), spec("fast", threads, speed=4.0)], policy=policy, prefetch=0)
    for endpoint in ("slow", "fast"):
        d.warm(endpoint, runs=1)
    return d


@pytest.mark.parametrize("policy", [EarliestFinish(), RoundRobin(), LeastLoaded(), Random(1)], ids=repr)
def test_each_endpoint_needs_one_request_however_the_policy_spreads_tasks(policy):
    d = Driver([spec(f"e{i}", 30) for i in range(10)], policy=policy)
    for _ in range(300):
        d.submit()
    assert [len(dispatch.attempts) for dispatch in d.turns()] == [30] * 10


def test_each_endpoint_needs_one_request_for_tasks_that_can_go_there_only():
    d = Driver([spec(f"e{i}", 5) for i in range(60)])
    for task in range(300):
        d.submit(endpoints=only(f"e{task % 60}"))
    assert [len(dispatch.attempts) for dispatch in d.turns()] == [5] * 60


class TestEarliestFinish:

    def test_it_is_the_default(self):
        d = unequal(None)
        assert d.where(d.put(seconds=1.0))[0] == "fast"
        d.submit(seconds=10.0)
        assert [endpoint for _, endpoint, _ in d.waits] == ["fast"]

    def test_a_task_goes_where_it_is_finished_first(self):
        d = unequal(EarliestFinish())
        assert [d.where(d.put(seconds=seconds))[0] for seconds in (1.0, 0.2)] == ["fast", "slow"]

    def test_where_that_is_the_same_a_few_tasks_go_where_they_just_fit_in_one_request(self):
        d = Driver([spec("large", 8), spec("small", 2), spec("medium", 4)])
        for _ in range(3):
            d.submit()
        assert [(x.endpoint, len(x.attempts)) for x in d.turns()] == [("medium", 3)]

    def test_and_more_than_fit_anywhere_go_to_the_largest_first(self):
        d = Driver([spec("small", 2), spec("large", 8), spec("medium", 4)])
        for _ in range(13):
            d.submit()
        assert [(x.endpoint, len(x.attempts)) for x in d.turns()] == [("large", 8), ("medium", 4), ("small", 1)]

    @pytest.mark.parametrize("configs", ["a", "ab"])
    def test_tasks_that_ask_for_one_configuration_and_another_in_turn_fill_a_child_with_each_request(self, configs):
        d = Driver([spec(f"e{i}", [ClassSpec(1, 4, config) for config in configs]) for i in range(60)])
        for _ in range(2):
            for i in range(len(configs) * 240):
                d.submit(config=configs[i % len(configs)])
            dispatches = d.turns()
            assert {len(dispatch.attempts) for dispatch in dispatches} == {4}
            for dispatch in dispatches:
                for attempt_id, _ in dispatch.attempts:
                    d.result(attempt_id, child_id=f"child {dispatch.config} of {dispatch.endpoint}")

    def test_caution_multiplies_run_times_that_are_learned_and_not_those_that_are_given(self):
        for caution, given, place in ((1.0, False, "slow"), (4.0, False, None), (4.0, True, "slow")):
            d = unequal(EarliestFinish(caution))
            d.put(seconds=16.0)
            # 4 s on the fast thread that is free in 4 s, or 10 s on the slow one
            d.warm("slow", "app10", run_seconds=5.0, runs=1)
            task = d.submit("app10", seconds=5.0 if given else None)
            assert d.place().get(task) == place

    @pytest.mark.parametrize("caution", [0, -1.0, float("inf"), float("nan"), "2", True, None, 10 ** 400, 1j])
    def test_impossible_caution_is_refused(self, caution):
        with pytest.raises(ValueError, match="caution must be a positive number"):
            EarliestFinish(caution)


class TestLeastLoaded:

    def test_the_largest_share_of_free_threads_comes_first_then_more_threads_then_the_users_order(self):
        d = Driver([spec("a", 2), spec("b", 4), spec("c", 4)], policy=LeastLoaded())
        assert [d.where(d.put())[0] for _ in range(10)] == ["b", "c", "a", "b", "c", "b", "c", "a", "b", "c"]

    def test_among_full_endpoints_the_one_with_less_queued_ahead(self):
        d = Driver([spec("a"), spec("b")], policy=LeastLoaded(), prefetch=5)
        for endpoint in ("a", "b"):
            d.warm(endpoint, runs=1)
            d.put(endpoints=only(endpoint))
        d.put(endpoints=only("a"))
        assert d.where(d.put()) == ("b", 1)


class TestRoundRobin:

    def test_endpoints_are_served_in_turn(self):
        d = Driver([spec("a", 4), spec("b", 4), spec("c", 4)], policy=RoundRobin())
        assert [d.where(d.put())[0] for _ in range(7)] == ["a", "b", "c", "a", "b", "c", "a"]

    def test_those_without_a_free_thread_are_left_out(self):
        d = Driver([spec("a", 1), spec("b", 3)], policy=RoundRobin())
        assert [d.where(d.put())[0] for _ in range(4)] == ["a", "b", "b", "b"]

    def test_tasks_that_come_at_once_are_spread_alike(self):
        d = Driver([spec("a", 10), spec("b", 10), spec("c", 10)], policy=RoundRobin())
        for _ in range(3):
            d.submit()
        assert Counter(d.place().values()) == {"a": 1, "b": 1, "c": 1}
        for _ in range(9):
            d.submit()
        assert [(x.endpoint, len(x.attempts)) for x in d.turns()] == [("a", 3), ("b", 3), ("c", 3)]


class TestRandom:

    def places(self, seed):
        d = Driver([spec("a", 30), spec("b", 30)], policy=Random(seed))
        return [d.where(d.put())[0] for _ in range(20)]

    def test_the_same_seed_gives_the_same_places_and_another_others(self):
        assert self.places(1) == self.places(1) != self.places(2)

    def test_endpoints_are_chosen_in_proportion_to_their_free_threads(self):
        d = Driver([spec("a", 10), spec("b", 30)], policy=Random(1))
        chosen = Counter()
        for _ in range(400):
            task = d.put()
            chosen[d.where(task)[0]] += 1
            d.result(f"{task}.1")
        assert 260 < chosen["b"] < 340

    def test_it_needs_no_seed(self):
        assert set(self.places(None)) <= {"a", "b"}

    @pytest.mark.parametrize("seed", ["1", 1.0, True, [1]])
    def test_a_seed_that_is_no_whole_number_is_refused(self, seed):
        with pytest.raises(ValueError, match="seed must be a whole number or None"):
            Random(seed)


class TestCheapest:

    def test_the_cheapest_free_thread_is_taken_and_no_thread_waits(self):
        d = Driver([spec("dear", cost_per_core_hour=2.0), spec("cheap", cost_per_core_hour=1.0)], policy=Cheapest())
        assert [d.where(d.put())[0] for _ in range(2)] == ["cheap", "dear"]

    def test_what_counts_is_the_cost_of_the_run(self):
        d = Driver([spec("slow", speed=1.0, cost_per_core_hour=1.0), spec("fast", speed=4.0, cost_per_core_hour=3.0)], policy=Cheapest())
        assert d.where(d.put(seconds=1.0))[0] == "fast"

    def test_where_nothing_costs_anything_the_earliest_finish_decides(self):
        d = unequal(Cheapest())
        assert d.where(d.put(seconds=1.0))[0] == "fast"

    def test_with_endless_patience_all_tasks_go_to_the_cheapest(self):
        policy = Cheapest(float("inf"))
        d = Driver([spec("dear", 2, cost_per_core_hour=2.0), spec("cheap", cost_per_core_hour=1.0)], policy=policy, prefetch=0)
        tasks = [d.submit(seconds=5.0) for _ in range(5)]
        for task in tasks:
            assert d.place() == {task: "cheap"}
            d.tick(5.0)
            d.result(f"{task}.1", run_seconds=5.0)

    @pytest.mark.parametrize("wait", [-1.0, float("nan"), "2", True, None, 10 ** 400, 1j])
    def test_an_impossible_wait_is_refused(self, wait):
        with pytest.raises(ValueError, match="wait_seconds must be a number of at least 0"):
            Cheapest(wait)


class Mine(Policy):
    """Does as told for the app "bad", and takes the last candidate for others."""

    waits = True

    def __init__(self, bad=None, worth=lambda: True, patience=lambda: 10.0):
        self.bad = bad
        self.worth = worth
        self.seconds = patience
        self.seen = []

    def choose(self, task, candidates, outlook):
        self.seen.append((task.app, [threads.endpoint.name for threads in candidates]))
        return self.bad(candidates) if task.app == "bad" else candidates[-1]

    def worth_waiting(self, busy, free, outlook):
        return busy.endpoint.name == "fast" and self.worth()

    def patience(self, task, busy, free, outlook):
        return self.seconds()


def fail(*_):
    raise RuntimeError("no idea")


class TestUsersOwn:

    def test_it_may_ask_for_estimates(self):
        class Curious(Policy):
            def choose(self, task, candidates, outlook):
                estimates = outlook.starts_in, outlook.run_seconds, outlook.finish
                self.seen = {t.endpoint.name: [estimate(task, t) for estimate in estimates] for t in candidates}
                return candidates[0]

        policy = Curious()
        d = Driver([spec("a", speed=2.0), spec("b", startup_seconds=60.0)], policy=policy)
        d.put(seconds=10.0)
        assert policy.seen == {"a": [0.0, 5.0, 5.0], "b": [60.0, 10.0, 70.0]}

    def test_one_that_does_not_wait_sees_free_threads_only_and_only_of_endpoints_that_are_available(self):
        policy = Mine()
        policy.waits = False
        d = Driver([spec("a"), spec("b"), spec("c"), spec("d")], policy=policy)
        d.status("b", False)
        assert [d.where(d.put())[0] for _ in range(2)] == ["d", "c"]
        assert policy.seen == [("app", ["a", "c", "d"]), ("app", ["a", "c"])]

    def test_none_is_asked_where_there_is_no_choice(self):
        d = Driver([spec("a")], policy=Mine(fail))
        d.put("bad")
        assert not d.failed

    def test_one_that_waits_sees_those_too_that_it_finds_worth_waiting_for(self):
        policy = Mine()
        d = unequal(policy)
        d.put()
        d.submit()
        assert policy.seen[-1] == ("app", ["slow", "fast"]) and [wait[1:] for wait in d.waits] == [("fast", 10.0)]


class TestFailures:

    def run(self, policy):
        """A task for which the policy fails, and one for which it does not, which runs."""
        d = Driver([spec("a", 2), spec("b", 2)], policy=policy)
        d.policy_may_fail = True
        bad, good = d.submit("bad"), d.submit()
        for _ in range(3):
            d.turn()
        assert list(d.failed) == [bad] and d.failed[bad].kind is FailureKind.POLICY
        d.result(f"{good}.1")
        assert good in d.resolved
        return d.failed[bad].message

    @pytest.mark.parametrize("waits", [True, False])
    def test_one_that_raises_fails_that_task_alone_and_says_what_was_raised(self, waits):
        policy = Mine(fail)
        policy.waits = waits
        message = self.run(policy)
        assert "Mine" in message and "RuntimeError" in message and "no idea" in message

    @pytest.mark.parametrize("bad", [lambda c: None, lambda c: "a", lambda c: c[0].endpoint, lambda c: c, lambda c: 0, lambda c: type(c[0])])
    def test_one_that_returns_nonsense_does_so_too(self, bad):
        assert "which it was not offered" in self.run(Mine(bad))

    def test_so_does_one_that_returns_threads_it_was_not_offered(self):
        kept = []

        class Keeps(Mine):
            def choose(self, task, candidates, outlook):
                kept.extend(candidates)
                return super().choose(task, candidates, outlook)

        d = Driver([spec("a"), spec("b"), spec("c", 2)], policy=Keeps(lambda _: next(t for t in kept if t.endpoint.name == "a")))
        d.policy_may_fail = True
        d.put()
        d.status("a", False)
        bad, good = d.submit("bad"), d.submit()
        assert d.place() == {good: "c"} and d.failed[bad].kind is FailureKind.POLICY

    def test_one_whose_name_cannot_be_told_either(self):
        class Forgetful(EarliestFinish):
            def __init__(self):
                pass  # without super().__init__(), so that both choose() and repr() raise

        d = Driver([spec("a"), spec("b")], policy=Forgetful())
        d.policy_may_fail = True
        task = d.submit()
        d.turn()
        assert d.failed[task].kind is FailureKind.POLICY and "Forgetful" in d.failed[task].message

    def test_it_fails_a_task_that_would_be_queued_ahead(self):
        d = Driver([spec("a"), spec("b")], policy=Mine(fail), prefetch=3)
        d.policy_may_fail = True
        for endpoint in ("a", "b"):
            d.warm(endpoint, runs=1)
            d.put(endpoints=only(endpoint))
        bad, good = d.submit("bad"), d.submit()
        d.turns()
        assert list(d.failed) == [bad] and d.where(good) == ("b", 1)

    def waits(self, **hooks):
        """A task for which worth_waiting() and patience() are asked, and others that go on."""
        d = Driver([spec("slow"), spec("fast")], policy=Mine(**hooks), prefetch=0)
        d.policy_may_fail = True
        d.put(endpoints=only("fast"))
        return d, d.submit()

    def check_only(self, d, task):
        assert list(d.failed) == [task] and d.failed[task].kind is FailureKind.POLICY and not d.scheduler.placement.waiting
        other = d.put(endpoints=only("slow"))
        d.result(f"{other}.1")
        assert other in d.resolved

    def test_one_that_raises_when_asked_what_is_worth_waiting_for_fails_the_task_that_asked(self):
        answers = iter([fail])
        d, task = self.waits(worth=lambda: next(answers, bool)())
        self.check_only(d, task)
        assert "worth_waiting" in d.failed[task].message

    def test_so_does_one_whose_answer_is_neither_true_nor_false(self):
        class Neither:
            __bool__ = fail

        answers = iter([Neither()])
        d, task = self.waits(worth=lambda: next(answers, False))
        self.check_only(d, task)

    def test_one_that_raises_when_asked_again_while_a_task_waits_harms_no_other_task(self):
        answers = iter([lambda: True, fail])
        d, task = self.waits(worth=lambda: next(answers, bool)())
        assert d.log.tasks[task] == "waiting"
        other = d.put(endpoints=only("slow"), priority=-1.0)
        d.result(f"{other}.1")  # makes it warm, so that what is worth waiting for may be another now
        d.turns()
        assert other in d.resolved and set(d.failed) <= {task} and d.log.tasks[task] in ("failed", "dispatched")
        assert next(answers, None) is None, "it was asked again"

    @pytest.mark.parametrize("patience", [fail, lambda: None, lambda: "long", lambda: 1j, lambda: 10 ** 400])
    def test_one_without_a_number_for_its_patience_fails_the_task(self, patience):
        d, task = self.waits(patience=patience)
        self.check_only(d, task)
        assert "patience" in d.failed[task].message

    @pytest.mark.parametrize("patience, seconds", [(-5.0, 0.0), (3, 3.0), (Fraction(1, 2), 0.5)])
    def test_any_number_of_seconds_is_a_patience(self, patience, seconds):
        d, task = self.waits(patience=lambda: patience)
        assert d.waits[0] == (task, "fast", seconds)
        for _ in range(10):
            d.tick(5.0)
        assert not d.failed

    @pytest.mark.parametrize("policy", [EarliestFinish(), LeastLoaded(), RoundRobin(), Random(3), Cheapest(2.0)], ids=repr)
    def test_none_of_ours_fails_whatever_comes(self, policy):
        pool = [spec("a", {1: 2, 4: 1}, cost_per_core_hour=1.0), spec("b", 3, speed=4.0), spec("c", 2, startup_seconds=100.0)]
        d = Driver(pool, policy=policy)
        for number in range(60):
            d.submit(cores=1 + number % 2, seconds=[None, 0.0, 5.0, 1e9][number % 4])
            if number % 3 == 0:
                d.turns()
                running = sorted(d.scheduler.attempts)
                d.result(running[number % len(running)], run_seconds=float(number % 5))
            d.tick(1.0)
        assert not d.failed and d.resolved
