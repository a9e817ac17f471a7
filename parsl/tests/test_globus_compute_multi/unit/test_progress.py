"""What the scheduler tells of what is left, and what the log tells of tasks."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.globus_compute_multi.scheduling.actions import FailureKind
from parsl.executors.globus_compute_multi.scheduling.events import (
    Outcome,
    TaskAnnounced,
)
from parsl.executors.globus_compute_multi.scheduling.taskgraph import (
    CyclicDependency,
    TaskGraph,
)
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec
from parsl.tests.test_globus_compute_multi.unit.steering import only

pytestmark = pytest.mark.local


def told(d):
    """All that was told of progress, as pairs of the tasks not submitted and the seconds left."""
    return [(line["unsubmitted"], line["seconds_left"]) for line in d.lines if line["kind"] == "run"]


def of_task(d, task):
    return [line for line in d.lines if line["kind"] == "task" and line["task"] == task]


class TestProgress:
    def test_nothing_is_told_of_a_run_in_which_nothing_happens(self):
        d = Driver([spec("a", 1)])
        for _ in range(5):
            d.tick()
        assert told(d) == []

    def test_without_any_run_time_the_time_left_is_not_known(self):
        d = Driver([spec("a", 1)])
        d.announce(1)
        d.announce(2, 1)
        d.submit(node=1)
        d.tick()
        assert told(d) == [(1, None)]

    def test_without_an_available_endpoint_neither(self):
        d = Driver([spec("a", 1)])
        d.submit(seconds=10.0)
        d.status("a", False)
        d.tick()
        assert told(d) == [(0, None)]

    def test_work_is_shared_among_the_threads(self):
        d = Driver([spec("a", 2, speed=1.0), spec("b", 2, speed=1.0)])
        for _ in range(40):
            d.submit(seconds=10.0)
        d.tick()
        assert told(d) == [(0, 100.0)]

    def test_a_chain_takes_as_long_as_its_tasks_one_after_another(self):
        d = Driver([spec("a", 4, speed=1.0)])
        for node in range(1, 6):
            d.announce(node, *([node - 1] if node > 1 else []), seconds=10.0)
        d.submit(node=1, seconds=10.0)
        d.tick()
        assert told(d) == [(4, 50.0)]

    def test_what_has_run_of_a_task_is_not_left(self):
        d = Driver([spec("a", 1, speed=1.0)])
        d.put(seconds=10.0)
        d.submit(seconds=10.0)
        d.tick(4.0)
        assert told(d) == [(0, 16.0)]
        d.tick(30.0)
        assert told(d) == [(0, 16.0), (0, 10.0)]

    def test_a_single_long_task_is_not_shared(self):
        d = Driver([spec("a", 10, speed=1.0)])
        d.submit(seconds=100.0)
        d.tick()
        assert told(d) == [(0, 100.0)]

    def test_speeds_count(self):
        d = Driver([spec("a", 2, speed=5.0)])
        for _ in range(100):
            d.submit(seconds=10.0)
        d.tick()
        assert told(d) == [(0, pytest.approx(100.0, rel=0.01))]

    def test_a_single_task_counts_down_as_it_runs_also_in_a_chain(self):
        d = Driver([spec("a", 4, speed=1.0)])
        d.announce(1, seconds=100.0)
        d.announce(2, 1, seconds=10.0)
        d.put(node=1, seconds=100.0)
        d.tick(95.0)
        assert told(d) == [(1, 15.0)]

    def test_the_fastest_endpoint_is_what_a_path_waits_for(self):
        d = Driver([spec("a", 4, speed=10.0), spec("b", 4, speed=1.0)])
        for node in range(1, 4):
            d.announce(node, *([node - 1] if node > 1 else []), seconds=100.0)
        d.submit(node=1, seconds=100.0)
        d.tick()
        assert told(d) == [(2, pytest.approx(30.0, rel=0.01))]

    def test_tasks_that_may_run_on_few_threads_are_shared_among_those(self):
        d = Driver([spec("a", 1, speed=1.0), spec("b", 1000, speed=1.0)])
        for _ in range(100):
            d.submit(seconds=60.0, endpoints=only("a"))
        d.tick()
        assert told(d) == [(0, 6000.0)]

    def test_tasks_of_other_executors_are_none_of_ours(self):
        d = Driver([spec("a", 1, speed=1.0)])
        for node in range(1, 100):
            d.handle(TaskAnnounced(d.now, node, "app", (node - 1,), 10.0, ours=False))
        d.submit(node=100, seconds=1.0)
        d.tick()
        assert told(d) == [(0, 1.0)]

    def test_it_comes_down_to_nothing(self):
        d = Driver([spec("a", 1, speed=1.0)])
        task = d.put(seconds=10.0)
        d.tick()
        d.result(f"{task}.1")
        d.tick()
        assert told(d)[-1] == (0, 0.0)

    def test_the_same_is_told_once(self):
        d = Driver([spec("a", 1, speed=1.0)])
        d.announce(1)
        d.announce(2, 1)
        for _ in range(5):
            d.tick()
        assert told(d) == [(1, None)]


@given(st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(0, 8), max_size=4), st.booleans()), max_size=60))
def test_the_graph_knows_at_any_time_how_many_tasks_wait_for_others(steps):
    graph = TaskGraph()
    for node, parents, leaves in steps:
        if leaves:
            graph.finish(node)
        else:
            try:
                graph.announce(node, "app", parents)
            except CyclicDependency:
                pass
        graph.validate()  # counts them


class TestLog:
    def test_a_submission_tells_node_parents_and_try_if_there_are_any(self):
        d = Driver([spec("a", 1)])
        first, second = d.submit(), d.submit(node=7, parents=(3, 4), tries=2)
        assert not {"node", "parents", "try"} & of_task(d, first)[0].keys()
        line = of_task(d, second)[0]
        assert (line["node"], line["parents"], line["try"]) == (7, [3, 4], 2)

    def test_why_the_executor_gave_a_task_up_is_there(self):
        d = Driver([spec("a", 1)])
        task = d.submit(endpoints=only("elsewhere"))
        line = of_task(d, task)[-1]
        assert line["reason"] == "impossible" and "no thread can ever run" in line["message"]

    def test_but_not_at_shutdown(self):
        d = Driver([spec("a", 1)])
        task = d.submit()
        d.shutdown()
        assert of_task(d, task)[-1].get("message") is None


class TestEnds:
    """The driver checks each of them against the log."""

    def test_of_an_attempt_that_is_tried_again_and_of_the_one_that_completes_the_task(self):
        token = object()
        d = Driver([spec("a", 1), spec("b", 1)])
        task = d.put(token=token)
        d.tick(2.0)
        d.result(f"{task}.1", Outcome.TASK_FAILED, message="worker lost")
        assert d.place()
        d.tick(3.0)
        d.result(f"{task}.2")
        first, second = d.ended
        assert (first.attempt_id, first.resolves, first.outcome, first.message) == (f"{task}.1", False, Outcome.TASK_FAILED, "worker lost")
        assert (second.attempt_id, second.resolves, second.outcome) == (f"{task}.2", True, Outcome.OK)
        assert first.token is second.token is token
        assert (first.submitted, first.dispatched, second.submitted, second.dispatched) == (0.0, 0.0, 0.0, 2.0)
        assert first.endpoint != second.endpoint

    def test_of_a_task_that_the_executor_gives_up(self):
        token = object()
        d = Driver([spec("a", 1)], failover_attempts=0)
        task = d.put(token=token)
        d.tick()
        d.result(f"{task}.1", Outcome.TASK_FAILED)
        assert [e.resolves for e in d.ended] == [False]
        failed = d.failed[task]
        assert failed.kind is FailureKind.ENDPOINTS_FAILED and failed.token is token and failed.submitted == 0.0

    def test_of_a_copy_that_comes_too_late_and_of_one_that_was_given_up_and_completes_its_task(self):
        d = Driver([spec("a", 1, startup_seconds=1.0), spec("b", 1)])
        d.warm("b")
        d.ended.clear()
        task = d.submit(endpoints=only("a", "b"))
        assert d.place()
        d.accept(d.unanswered[0])
        d.result(f"{task}.1", Outcome.TASK_FAILED)
        assert d.place()
        d.result(f"{task}.1")  # it ran all the same
        d.result(f"{task}.2")
        assert [(e.attempt_id, e.outcome, e.resolves) for e in d.ended] == [
            (f"{task}.1", Outcome.TASK_FAILED, False), (f"{task}.1", Outcome.OK, True), (f"{task}.2", Outcome.OK, False)]
