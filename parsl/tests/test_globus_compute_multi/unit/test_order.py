"""In which order pending tasks are taken: the user's priority, the longest way to go, submission."""
from __future__ import annotations

import random

import pytest

from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.pending import (
    PendingTasks,
    Shape,
    Task,
)
from parsl.tests.test_globus_compute_multi.unit.driver import Driver, spec

pytestmark = pytest.mark.local


def one(threads: int = 1, **settings) -> Driver:
    """One endpoint that queues nothing ahead unless asked."""
    settings.setdefault("prefetch", 0)
    return Driver([spec("a", threads)], **settings)


def chain(d: Driver, *nodes: int, seconds: float = 1.0) -> None:
    """Announce tasks each of which waits for the one before."""
    for parent, node in zip((None, *nodes), nodes):
        d.announce(node, *([] if parent is None else [parent]), seconds=seconds)


class TestRanks:

    def test_priority_comes_first_then_the_longest_way_to_go_then_submission(self):
        d = one()
        chain(d, 1, 11)
        chain(d, 2, 12, 13)
        chain(d, 3)
        chain(d, 4, 14)
        low = d.submit(node=2, priority=1.0)
        two, one_left, also_two = d.submit(node=1), d.submit(node=3), d.submit(node=4)
        urgent = d.submit(node=3, priority=-1.0)
        assert d.in_order() == [urgent, two, also_two, one_left, low]

    def test_the_way_is_measured_in_seconds_not_in_tasks(self):
        d = one()
        chain(d, 1, 11, 12, 13, seconds=1.0)
        chain(d, 2, seconds=100.0)
        many, long = d.submit(node=1), d.submit(node=2)
        assert d.in_order() == [long, many]

    def test_tasks_that_the_graph_does_not_know_come_after_those_it_knows_in_order_of_submission(self):
        d = one()
        chain(d, 1, seconds=0.001)
        plain, unannounced, known = d.submit(), d.submit(node=99), d.submit(node=1)
        assert d.in_order() == [known, plain, unannounced]

    def test_but_before_those_of_a_later_priority(self):
        d = one()
        chain(d, 1, 11, 12)
        known, plain = d.submit(node=1, priority=1.0), d.submit()
        assert d.in_order() == [plain, known]

    def test_run_times_that_were_learned_decide_where_none_are_given(self):
        d = one()
        for _ in range(5):
            d.warm("a", "short", run_seconds=1.0, runs=1)
            d.warm("a", "long", run_seconds=50.0, runs=1)
        d.announce(1, app="short")
        d.announce(2, app="long")
        d.announce(11, 1, app="short")
        short, long = d.submit(node=1), d.submit(node=2)
        assert d.in_order() == [long, short]

    def test_ranks_follow_what_is_learned_while_tasks_are_pending(self):
        d = one()
        d.announce(1, app="first")
        d.announce(11, 1, app="first")
        d.announce(2, app="second")
        first, second = d.submit("first", node=1), d.submit("second", node=2)
        assert d.turn().attempts[0][1] == first  # nothing is known: two tasks to go are more than one
        d.result(f"{first}.1", Outcome.TASK_FAILED)
        d.tick(1e6)
        for app, run_seconds in (("first", 1.0), ("second", 100.0)):
            other = d.submit(app, priority=-1.0)
            d.turn()
            d.result(f"{other}.1", run_seconds=run_seconds)
            d.tick(1e6)
        assert d.in_order() == [second, first]

    def test_a_task_announced_below_one_that_is_pending_moves_it_forward(self):
        d = one()
        d.announce(1, seconds=5.0)
        d.announce(2, seconds=1.0)
        first, second = d.submit(node=1), d.submit(node=2)
        d.announce(20, 2, seconds=10.0)
        d.tick(1e6)
        assert d.in_order() == [second, first]

    def test_a_task_below_it_that_leaves_moves_it_back(self):
        d = one()
        d.announce(1, seconds=5.0)
        d.announce(2, seconds=1.0)
        d.announce(20, 2, seconds=10.0)
        first, second = d.submit(node=1), d.submit(node=2)
        d.leave(20)
        d.tick(1e6)
        assert d.in_order() == [first, second]

    def test_an_announcement_after_the_submission_counts(self):
        d = one()
        plain, known = d.submit(), d.submit(node=1)
        d.announce(1, seconds=3.0)
        d.tick(1e6)
        d.announce(2, 1, seconds=1.0)
        d.tick(1e6)
        assert d.in_order() == [known, plain]

    def test_ranks_of_tasks_that_wait_for_threads_are_refreshed_too(self):
        d = Driver([spec("slow", speed=1.0), spec("fast", speed=4.0)], prefetch=0)
        for endpoint in ("slow", "fast"):
            d.warm(endpoint, runs=1)
        running = d.put(seconds=4.0, endpoints=frozenset({"fast"}))
        d.announce(1, seconds=10.0)
        d.announce(2, seconds=10.0)
        d.announce(11, 1, seconds=1.0)
        tasks = [d.submit(seconds=10.0, node=1), d.submit(seconds=10.0, node=2)]
        assert [task for task, _, _ in d.waits] == tasks
        d.announce(12, 2, seconds=5.0)
        d.tick(1.0)
        d.result(f"{running}.1")
        assert d.place() == {tasks[1]: "fast"}
        d.shutdown()
        assert set(d.failed) == set(tasks)


class TestPlaces:

    def test_a_task_that_comes_back_takes_its_place_by_rank(self):
        d = one()
        chain(d, 1, 11, 12)
        chain(d, 2, 21)
        chain(d, 3)
        long = d.submit(node=1)
        d.turn()
        middle, short = d.submit(node=2), d.submit(node=3)
        d.result(f"{long}.1", Outcome.TASK_FAILED)
        assert d.in_order() == [long, middle, short]

    def test_order_holds_between_tasks_of_different_needs(self):
        d = Driver([spec("a", {8: 1})], prefetch=0)
        needs = [{"cores": 4}, {}, {"endpoints": frozenset({"a"})}, {"cores": 8}, {"filesystem": "a"}, {}]
        tasks = [d.submit(**need) for need in needs]
        assert d.in_order() == tasks

    def test_a_task_that_does_not_fit_is_in_nobodys_way(self):
        d = Driver([spec("a", {1: 1}), spec("b", {8: 1})], prefetch=0)
        d.put(cores=8)
        large = d.submit(cores=8, priority=-1.0)
        small = d.submit()
        assert d.place() == {small: "a"} and d.log.tasks[large] == "pending"

    def test_the_first_in_order_are_queued_ahead_in_order(self):
        d = one(prefetch=3)
        d.warm("a", runs=1)
        tasks = [d.submit(priority=priority) for priority in (4, 3, 2, 1, 0)]
        assert [task for _, task in d.turn().attempts] == tasks[:0:-1]

    def test_the_first_of_those_that_fit_different_endpoints_is_queued_ahead_first(self):
        d = Driver([spec("a"), spec("b")], prefetch=3)
        for endpoint in ("a", "b"):
            d.warm(endpoint, runs=1)
            d.put(endpoints=frozenset({endpoint}))
        d.submit(endpoints=frozenset({"b"}), priority=1.0)
        first = d.submit(endpoints=frozenset({"a"}))
        assert [task for _, task in d.turn().attempts] == [first]

    def test_a_task_may_be_discarded_wherever_it_stands_after_ranks_have_moved(self):
        rng = random.Random(1)
        d = one(threads=20)
        for node in range(1, 21):
            d.announce(node, seconds=float(rng.randint(1, 9)))
        tasks = [d.submit(node=node) for node in range(1, 21)]
        d.reject(d.turn().dispatch_id, None)
        for node in range(21, 41):
            d.announce(node, rng.randint(1, 20), seconds=float(rng.randint(1, 99)))
            d.tick(0.01)
        for task in rng.sample(tasks, 15):
            d.result(f"{task}.1")
            assert task in d.resolved
        assert len(d.scheduler.pending) == 5

    def test_the_graph_is_empty_when_all_tasks_have_left(self):
        d = one()
        chain(d, 1, 2, 3)
        d.announce(5, 4)
        for node in (2, 5, 1, 3):
            d.leave(node)
        assert not len(d.scheduler.graph)

    def test_a_cycle_is_reported_and_the_tasks_run(self):
        d = one()
        d.announce(1, 2)
        d.announce(2, 1)
        tasks = [d.submit(node=1), d.submit(node=2)]
        assert len(d.reports) == 1 and "task 2 was announced to depend on 1" in d.reports[0]
        assert set(d.in_order()) == set(tasks)


class Counted(float):
    """A priority that counts how often it is compared."""

    compared = 0

    def __eq__(self, other):
        Counted.compared += 1
        return float(self) == float(other)

    def __lt__(self, other):
        Counted.compared += 1
        return float(self) < float(other)

    __hash__ = float.__hash__


def test_shutdown_with_many_pending_tasks_looks_at_each_only_a_few_times():
    d = one()
    many = 500
    for _ in range(many):
        d.submit(priority=Counted(1.0))
    Counted.compared = 0
    d.shutdown()
    assert len(d.failed) == many and Counted.compared < 30 * many


def test_tasks_that_are_taken_out_of_the_middle_cost_little_and_leave_the_order():
    pending, tasks = PendingTasks(), [Task(number, "app", 1, 0.0, Shape(), None, None, 0.0, None) for number in range(100_000)]
    for task in tasks:
        pending.add(task)
    for task in tasks[::-2]:  # those with odd numbers, the last first
        pending.discard(task)
    pending.discard(tasks[2])
    pending.add(tasks[2])
    order = []
    while pending:
        task = pending.first(lambda shape: True)
        pending.remove_first(task)
        order.append(task.id)
    assert order == list(range(0, 100_000, 2)) and not pending.shapes()
