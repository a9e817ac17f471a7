"""Endpoints that send nothing: when that is too long, who is asked, and what becomes of their tasks."""
from __future__ import annotations

import pytest

from parsl.tests.test_globus_compute_multi.unit.driver import spec
from parsl.tests.test_globus_compute_multi.unit.steering import (
    SILENCE,
    Steerable,
    only,
    outcomes,
    pool,
    put,
    warm,
)

pytestmark = pytest.mark.local


class TestSilenceBeforeTheFirstResult:

    def cold(self, startup=None, **settings):
        d = Steerable(spec("warm", 2, speed=1.0), spec("cold", 2, speed=1.0, startup_seconds=startup), **settings)
        warm(d, "warm")
        busy = [put(d, "warm", seconds=1e4, endpoints=only("warm")) for _ in range(2)]
        return d, [put(d, "cold", seconds=10.0) for _ in range(2)], busy

    def after(self, d, seconds):
        for _ in range(int(seconds)):
            d.tick(1.0)

    def test_its_tasks_go_to_an_endpoint_that_runs_and_cost_nothing(self):
        d, held, busy = self.cold(failover_attempts=0)
        self.after(d, SILENCE + 14)
        assert not outcomes(d).keys() & {f"{task}.1" for task in held}
        self.after(d, 2)
        assert {outcomes(d)[f"{task}.1"] for task in held} == {"lost"} and d.scheduler.pool["cold"].probing
        for task in busy:
            d.result(f"{task}.1", child_id="child of warm")
        d.steer.target = "warm"
        assert d.place() == dict.fromkeys(held, "warm")

    def test_a_start_up_that_is_known_to_take_long_is_waited_for(self):
        d, held, _ = self.cold(startup=600.0)
        self.after(d, 600 + SILENCE)
        assert not outcomes(d).keys() & {f"{task}.1" for task in held}

    def test_they_stay_if_no_other_endpoint_is_known_to_run(self):
        d = Steerable(spec("a"), spec("b"))
        tasks = [put(d, "a"), put(d, "b")]
        self.after(d, 1000)
        assert not outcomes(d) and len(tasks) == len(d.scheduler.attempts)

    def test_or_if_they_may_not_run_there_or_not_twice(self):
        d = Steerable(spec("warm", 4, speed=1.0), spec("cold", 2, speed=1.0))
        warm(d, "warm")
        put(d, "cold", endpoints=only("cold"))
        put(d, "cold", redispatch=False)
        self.after(d, 1000)
        assert len(d.scheduler.attempts) == 2 and not d.failed

    def test_or_if_the_user_does_not_want_that(self):
        d, held, _ = self.cold(silence=None)
        self.after(d, 1000)
        assert not outcomes(d).keys() & {f"{task}.1" for task in held}

    def test_or_as_long_as_the_service_has_not_taken_them(self):
        d = Steerable(spec("warm", speed=1.0), spec("cold", speed=1.0))
        warm(d, "warm")
        put(d, "warm", seconds=1e4)
        d.submit(seconds=10.0)
        assert d.turn().endpoint == "cold"
        self.after(d, 1000)
        assert len(d.scheduler.attempts) == 2

    def test_its_first_result_brings_it_back(self):
        d, held, _ = self.cold()
        self.after(d, SILENCE + 20)
        d.result(f"{held[0]}.1", child_id="child of cold")
        assert held[0] in d.resolved and d.scheduler.pool["cold"].available and not d.scheduler.pool["cold"].probing


class TestOverdue:

    def test_the_service_is_asked_for_a_result_that_is_very_late(self):
        d = pool()
        task = put(d, "a", seconds=10.0)
        for _ in range(3):  # others go on
            d.tick((SILENCE + 99.0) / 3)
            d.result(f"{put(d, 'a')}.1", child_id="child of a")
        assert d.late == []
        d.tick(2.0)
        assert d.late == [f"{task}.1"]
        d.tick(100.0)
        assert d.late == [f"{task}.1"]

    def test_what_the_service_has_completes_the_task(self):
        d = pool()
        task = put(d, "a", seconds=10.0)
        d.tick(200.0)
        d.result(f"{task}.1", child_id="child of a")
        d.check_results()
        assert task in d.resolved and "lost" not in outcomes(d).values()

    def test_what_it_has_not_is_lost_alone_if_others_go_on(self):
        d = pool()
        task = put(d, "a", seconds=10.0)
        d.tick(SILENCE + 101.0)
        other = put(d, "a", seconds=10.0)
        d.check_results()
        assert outcomes(d)[f"{task}.1"] == "lost" and f"{other}.1" not in outcomes(d) and d.scheduler.pool["a"].available

    def test_a_child_that_has_fallen_silent_loses_all_it_holds_and_is_left_alone(self):
        d = pool(a=2, b=1, prefetch=1)
        put(d, "b", seconds=1e4)
        held = [put(d, "a", seconds=10.0) for _ in range(3)]
        d.tick(SILENCE + 31.0)
        assert set(d.late) == {f"{task}.1" for task in held[:2]}
        d.check_results()
        assert {outcomes(d)[f"{task}.1"] for task in held} == {"lost"} and not d.scheduler.pool["a"].available

    def test_for_an_app_that_was_never_seen_much_longer_is_waited_and_it_costs_nothing(self):
        d = pool(failover_attempts=0)
        task = put(d, "a", app="never seen")
        d.tick(SILENCE + 29.0)
        assert d.late == []
        d.tick(2.0)
        d.check_results()
        assert outcomes(d)[f"{task}.1"] == "lost" and d.place() == {task: "b"}

    def test_for_ever_if_nothing_was_seen_at_all_or_it_must_not_run_twice(self):
        d = Steerable(spec("a"))
        d.put()
        d.tick(1e6)
        assert d.late == []
        d = pool(redispatch=False)
        put(d, "a", app="never seen")
        d.tick(1e6)
        assert d.late == []

    def test_and_so_is_what_the_service_has_not_taken(self):
        d = pool()
        d.submit(seconds=1.0)
        d.turn()
        d.tick(1e4)
        assert d.late == []


class TestTelling:

    def test_tasks_for_which_no_endpoint_is_available_are_told_of_once(self):
        d = pool()
        d.tick(61.0)
        d.status("a", False)
        d.submit(endpoints=only("a"))
        for _ in range(200):
            d.tick()
        told = [report for report in d.reports if report.startswith("Tasks wait")]
        assert len(told) == 1 and "a is offline" in told[0] and "b" not in told[0].split(":")[1]


class TestStatuses:

    def asked(self, d, seconds, heartbeat=5.0):
        before, answered = len(d.queries), []
        for _ in range(seconds):
            d.tick()
            for query in d.queries[before + len(answered):]:
                answered.append(query)
                d.status(query.endpoint, True, query.child_id, heartbeat=heartbeat)
        return [(query.endpoint, query.child_id) for query in d.queries[before:]]

    def test_a_child_whose_tasks_are_late_is_asked_about_first_and_often(self):
        d = pool()
        put(d, "a", seconds=1.0)
        asked = self.asked(d, 20)
        assert asked.count(("a", "child of a")) >= 2 and set(asked) == {("a", "child of a")}

    def test_a_task_that_takes_far_longer_than_others_is_let_run_while_its_busy_child_says_so(self):
        d = pool()
        long, asked = put(d, "a", seconds=1.0), 0
        for _ in range(400):
            short = put(d, "a", seconds=0.5)
            d.tick(0.5)
            d.result(f"{short}.1", child_id="child of a")
            for query in d.queries[asked:]:
                d.status(query.endpoint, True, query.child_id, heartbeat=5.0, outstanding=2)
            asked = len(d.queries)
            d.tick(0.5)
            d.check_results()
        assert f"{long}.1" in d.scheduler.attempts and f"{long}.2" not in d.log.attempts

    def test_one_whose_tasks_are_not_yet_due_as_often_as_its_heartbeat_is_worth(self):
        d = pool()
        d.status("a", True, child_id="child of a", heartbeat=30.0)
        put(d, "a", seconds=1000.0)
        assert self.asked(d, 14, 30.0) == [] and ("a", "child of a") in self.asked(d, 5, 30.0)

    def test_a_child_that_another_has_replaced_is_asked_about_no_more(self):
        d = pool()
        d.result(f"{put(d, 'a')}.1", child_id="another")
        asked = self.asked(d, 200)
        assert ("a", "another") in asked and ("a", "child of a") not in asked
