"""Any sequence of events keeps the invariants: the driver checks them after each."""
from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.tests.test_globus_compute_multi.unit.driver import BATCH_BYTES, Driver


class SchedulerStates(RuleBasedStateMachine):

    @initialize(shapes=st.lists(st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 8])), min_size=1, max_size=4),
                rate=st.sampled_from([None, 0.5, 2.0]), prefetch=st.sampled_from([None, 0, 2]), failover=st.integers(0, 3))
    def begin(self, shapes, rate, prefetch, failover):
        specs = [EndpointSpec(f"e{i}", threads, cores) for i, (threads, cores) in enumerate(shapes)]
        self.driver = Driver(specs, requests_per_second=rate, prefetch=prefetch, failover_attempts=failover)
        self.results = []  # attempts that were dispatched; each may bring any number of results, at any time

    @rule(app=st.sampled_from(["short", "long"]), size=st.integers(1, BATCH_BYTES), cores=st.sampled_from([1, 1, 1, 2, 8, 9]),
          priority=st.sampled_from([0, 0, -1, 1.5]), count=st.integers(1, 10))
    def submit(self, app, size, cores, priority, count):
        for _ in range(count):
            self.driver.submit(app, size=size, cores=cores, priority=priority)

    @rule()
    def turn(self):
        dispatch = self.driver.turn()
        if dispatch is not None:
            self.results += [attempt_id for attempt_id, _ in dispatch.attempts]

    @precondition(lambda self: self.driver.unanswered)
    @rule(data=st.data(), answer=st.sampled_from(["accepted", 404, 401, 500, None]))
    def answer(self, data, answer):
        dispatch_id = data.draw(st.sampled_from(self.driver.unanswered))
        self.driver.accept(dispatch_id) if answer == "accepted" else self.driver.reject(dispatch_id, answer)

    @precondition(lambda self: self.results)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), seconds=st.sampled_from([None, 0.0, 0.001, 1.0, 1e5]),
          child=st.sampled_from([None, "c1", "c2"]))
    def result(self, data, outcome, seconds, child):
        self.driver.result(data.draw(st.sampled_from(self.results)), outcome, seconds, child_id=child)

    @rule(data=st.data(), online=st.sampled_from([True, True, False, None]), child=st.sampled_from([None, "c1"]))
    def status(self, data, online, child):
        self.driver.status(data.draw(st.sampled_from(sorted(self.driver.scheduler.pool.endpoints))), online, child)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 100.0]))
    def tick(self, seconds):
        self.driver.tick(seconds)

    @invariant()
    def no_task_is_lost(self):
        d = getattr(self, "driver", None)
        if d is not None:
            assert set(d.submitted) == set(d.resolved) | set(d.failed) | set(d.scheduler.tasks)

    @invariant()
    def no_task_waits_while_a_fitting_thread_is_free(self):
        d = getattr(self, "driver", None)
        if d is None or d.scheduler.wants_turn(d.now):
            return
        for endpoint in d.scheduler.pool:
            if endpoint.free_threads and endpoint.available(d.now):
                def fits(shape):
                    return shape[0] <= endpoint.cores and endpoint.name not in shape[1]
                assert d.scheduler.pending.first(fits) is None

    def teardown(self):
        d = getattr(self, "driver", None)
        if d is not None:
            d.shutdown()
            assert set(d.submitted) == set(d.resolved) | set(d.failed)


@pytest.mark.local
def test_any_sequence_of_events_keeps_the_invariants():
    run_state_machine_as_test(SchedulerStates, settings=settings(max_examples=100, stateful_step_count=60, deadline=None))
