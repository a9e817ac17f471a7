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
from parsl.executors.globus_compute_multi.scheduling.policy import (
    Cheapest,
    EarliestFinish,
    LeastLoaded,
    Policy,
    Random,
    RoundRobin,
)
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec
from parsl.tests.test_globus_compute_multi.unit.driver import BATCH_BYTES, Driver

CONFIGS = [None, '{"workers":2}', '{"workers":3}']

CLASSES = st.lists(st.builds(ClassSpec, st.sampled_from([1, 2, 8]), st.integers(1, 4), st.sampled_from(CONFIGS)),
                   min_size=1, max_size=3, unique_by=lambda c: (c.cores, c.config)).map(tuple)


class Moody(Policy):
    """Does at times what a policy must not do."""

    waits = True

    def __init__(self):
        self.calls = 0

    def worth_waiting(self, busy, free, outlook):
        return True

    def choose(self, task, candidates, outlook):
        self.calls += 1
        if self.calls % 7 == 0:
            raise RuntimeError("moody")
        if self.calls % 11 == 0:
            return "nonsense"
        return candidates[-1]


POLICIES = {"earliest finish": EarliestFinish, "least loaded": LeastLoaded, "round robin": RoundRobin, "random": lambda: Random(1),
            "cheapest": Cheapest, "cheapest, patient": lambda: Cheapest(5.0), "moody": Moody}


class SchedulerStates(RuleBasedStateMachine):

    @initialize(pool=st.lists(st.tuples(CLASSES, st.booleans(), st.sampled_from([None, 0.5, 1.0, 4.0]), st.sampled_from([None, "shared"]),
                                        st.sampled_from([None, 0.0, 50.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=4),
                rate=st.sampled_from([None, 0.5, 2.0]), prefetch=st.sampled_from([None, 0, 2]), failover=st.integers(0, 3),
                redispatch=st.booleans(), policy=st.sampled_from(sorted(POLICIES)))
    def begin(self, pool, rate, prefetch, failover, redispatch, policy):
        specs = [EndpointSpec(f"e{i}", *more) for i, more in enumerate(pool)]
        self.driver = Driver(specs, requests_per_second=rate, prefetch=prefetch, failover_attempts=failover, redispatch=redispatch,
                             policy=POLICIES[policy]())
        self.driver.policy_may_fail = policy == "moody"
        self.results = []  # attempts that were dispatched; each may bring any number of results, at any time
        self.nodes = 0

    @rule(parents=st.lists(st.integers(-3, 3), max_size=3), app=st.sampled_from(["short", "long"]),
          seconds=st.sampled_from([None, None, 0.0, 3.0, 1e5]))
    def announce(self, parents, app, seconds):
        self.nodes += 1
        # parents may be unknown yet, finished, the task itself, or close a cycle
        self.driver.announce(self.nodes, *(max(0, self.nodes + p) for p in parents), app=app, seconds=seconds)

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def leave(self, data):
        self.driver.leave(data.draw(st.integers(1, self.nodes)))

    @rule(data=st.data(), app=st.sampled_from(["short", "long"]), size=st.integers(1, BATCH_BYTES), cores=st.sampled_from([1, 1, 1, 2, 8, 9]),
          priority=st.sampled_from([0, 0, -1, 1.5]), count=st.integers(1, 10), seconds=st.sampled_from([None, None, 0.0, 2.0, 1e5]),
          endpoints=st.sampled_from([None, None, None, frozenset({"e0"}), frozenset({"e0", "e1"})]),
          filesystem=st.sampled_from([None, None, None, "e0", "shared"]), config=st.sampled_from([None, None, None, *CONFIGS]),
          mpi=st.sampled_from([(), (), (("num_nodes", 2),)]), redispatch=st.sampled_from([None, None, False]))
    def submit(self, data, app, size, cores, priority, count, seconds, endpoints, filesystem, config, mpi, redispatch):
        for _ in range(count):
            node = data.draw(st.integers(1, self.nodes)) if self.nodes else None
            self.driver.submit(app, size=size, cores=cores, priority=priority, node=node, seconds=seconds, endpoints=endpoints,
                               filesystem=filesystem, config=config, mpi=mpi, redispatch=redispatch)

    @rule(count=st.integers(1, 3))
    def turn(self, count):
        for _ in range(count):
            dispatch = self.driver.turn()
            if dispatch is not None:
                self.results += [attempt_id for attempt_id, _ in dispatch.attempts]

    @precondition(lambda self: self.driver.unanswered)
    @rule(data=st.data(), answer=st.sampled_from(["accepted", "accepted", "accepted", 404, 401, 422, 500, None]))
    def answer(self, data, answer):
        dispatch_id = data.draw(st.sampled_from(self.driver.unanswered))
        self.driver.accept(dispatch_id) if answer == "accepted" else self.driver.reject(dispatch_id, answer)

    @precondition(lambda self: self.results)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.OK, Outcome.OK, Outcome.OK, *Outcome]),
          seconds=st.sampled_from([None, 0.0, 0.001, 1.0, 1e5]), child=st.sampled_from([None, "c1", "c2"]),
          process=st.sampled_from([None, "p1", "p1", "p2"]))
    def result(self, data, outcome, seconds, child, process):
        self.driver.result(data.draw(st.sampled_from(self.results)), outcome, seconds, child_id=child, process=process)

    @rule(data=st.data(), online=st.sampled_from([True, True, False, None]), child=st.sampled_from([None, "c1"]),
          workers=st.sampled_from([None, 0, 1, 2, 6]), outstanding=st.sampled_from([None, 0, 3]), taken=st.sampled_from([None, 0, 3]))
    def status(self, data, online, child, workers, outstanding, taken):
        self.driver.status(data.draw(st.sampled_from(sorted(self.driver.scheduler.pool.endpoints))), online, child, workers,
                           outstanding=outstanding, taken=taken, heartbeat=5.0)

    @rule(together=st.booleans())
    def come_in(self, together):
        self.driver.together = together

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 100.0]))
    def tick(self, seconds):
        self.driver.tick(seconds)

    @precondition(lambda self: self.driver.submitted)
    @rule(data=st.data())
    def cancel(self, data):
        self.driver.cancel(data.draw(st.sampled_from(self.driver.submitted)))

    @precondition(lambda self: self.driver.late)
    @rule()
    def check_results(self):
        self.driver.check_results()

    @invariant()
    def no_task_is_lost(self):
        d = getattr(self, "driver", None)
        if d is not None:
            assert set(d.submitted) == set(d.resolved) | set(d.failed) | set(d.scheduler.tasks)

    @invariant()
    def no_task_waits_while_a_fitting_thread_is_free_unless_the_log_says_why(self):
        d = getattr(self, "driver", None)
        if d is None or d.scheduler.wants_turn or not d.scheduler.settled:
            return
        for task in d.scheduler.tasks.values():
            if not task.active and d.log.tasks[task.id] != "waiting":
                for threads in d.scheduler.pool.classes:
                    if threads.free and threads.endpoint.available and threads.endpoint.name not in task.shape.avoid:
                        assert not threads.fits(task.shape), f"task {task.id} is pending, and {threads.endpoint.name} could run it"

    def teardown(self):
        d = getattr(self, "driver", None)
        if d is not None:
            d.shutdown()
            assert set(d.submitted) == set(d.resolved) | set(d.failed)
            for node in range(self.nodes + 1):
                d.leave(node)
            assert not len(d.scheduler.graph), "finished tasks leave the graph"
            assert not d.scheduler._ledger.failed, "nothing is kept of finished tasks"


@pytest.mark.local
def test_any_sequence_of_events_keeps_the_invariants():
    run_state_machine_as_test(SchedulerStates, settings=settings(max_examples=200, stateful_step_count=50, deadline=None, derandomize=True))
