"""Whatever has happened, tasks end once endpoints run what they are given, though nothing ever comes of what they held before."""
from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec
from parsl.tests.test_globus_compute_multi.unit.driver import Driver

ONE_CLASS = (ClassSpec(1, 3),)
TWO_CHILDREN = (ClassSpec(1, 2), ClassSpec(1, 2, '{"workers":2}'))

#: Steps of ten seconds, of virtual time, within which all must end.
STEPS = 1000


class Liveness(RuleBasedStateMachine):

    @initialize(endpoints=st.integers(1, 3), failover=st.integers(0, 3), classes=st.sampled_from([ONE_CLASS, TWO_CHILDREN]))
    def begin(self, endpoints, failover, classes):
        names = [f"e{i}" for i in range(endpoints)]
        self.driver = Driver([EndpointSpec(name, classes, True, 1.0) for name in names], failover_attempts=failover)
        self.results = []
        for name in names:
            for config in {c.config for c in classes}:
                self.driver.submit("short", endpoints=frozenset({name}), config=config)
                self.serve()

    def child(self, attempt_id):
        """ID of the child that an attempt was given to."""
        attempt = self.driver.scheduler.attempts.get(attempt_id)
        return None if attempt is None else f"{attempt.threads.endpoint.name} {attempt.threads.child.config}"

    def serve(self):
        """Run whatever is dispatched."""
        for dispatch in self.driver.turns():
            self.driver.accept(dispatch.dispatch_id)
            for attempt_id, _ in dispatch.attempts:
                child = self.child(attempt_id)
                if child is not None:
                    self.driver.result(attempt_id, child_id=child)

    @rule(count=st.integers(1, 5), app=st.sampled_from(["short", "unseen"]), endpoints=st.sampled_from([None, None, frozenset({"e0"})]))
    def submit(self, count, app, endpoints):
        for _ in range(count):
            self.driver.submit(app, endpoints=endpoints)

    @rule()
    def turn(self):
        dispatch = self.driver.turn()
        if dispatch is not None:
            self.results += [attempt_id for attempt_id, _ in dispatch.attempts]

    @precondition(lambda self: self.driver.unanswered)
    @rule(data=st.data(), answer=st.sampled_from(["accepted", "accepted", "accepted", 404, 422, 500, None]))
    def answer(self, data, answer):
        dispatch_id = data.draw(st.sampled_from(self.driver.unanswered))
        self.driver.accept(dispatch_id) if answer == "accepted" else self.driver.reject(dispatch_id, answer)

    @precondition(lambda self: self.results)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.OK, Outcome.OK, Outcome.OK, Outcome.TASK_FAILED, Outcome.APP_FAILED]),
          refused=st.booleans())
    def result(self, data, outcome, refused):
        attempt_id = data.draw(st.sampled_from(self.results))
        self.driver.result(attempt_id, outcome, child_id=None if refused and outcome is Outcome.TASK_FAILED else self.child(attempt_id))

    @rule(data=st.data(), online=st.booleans(), of_child=st.booleans())
    def status(self, data, online, of_child):
        endpoint = data.draw(st.sampled_from(list(self.driver.scheduler.pool)))
        self.driver.status(endpoint.name, online, data.draw(st.sampled_from(endpoint.children)).id if of_child else None)

    @rule(data=st.data())
    def cancel(self, data):
        self.driver.cancel(data.draw(st.sampled_from(self.driver.submitted)))

    @rule(seconds=st.sampled_from([1.0, 20.0, 100.0]))
    def tick(self, seconds):
        self.driver.tick(seconds)

    @rule()
    def check_results(self):
        self.driver.check_results()

    def teardown(self):
        d = getattr(self, "driver", None)
        if d is None:
            return
        for dispatch_id in list(d.unanswered):
            d.accept(dispatch_id)
        for _ in range(STEPS):
            if not d.scheduler.tasks:
                return
            d.tick(10.0)
            for endpoint in d.scheduler.pool:
                d.status(endpoint.name, True)
                for child in endpoint.children:
                    if child.id is not None:
                        d.status(endpoint.name, child.warm, child.id)
            d.check_results()
            self.serve()
        raise AssertionError(f"tasks {sorted(d.scheduler.tasks)} never end, of which endpoints hold {sorted(d.scheduler.attempts)}")


@pytest.mark.local
def test_all_tasks_end_whatever_was_lost():
    run_state_machine_as_test(Liveness, settings=settings(max_examples=200, stateful_step_count=30, deadline=None, derandomize=True))
