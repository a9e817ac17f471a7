"""The known unfinished part of the workflow and the upward ranks in it."""
from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.globus_compute_multi.scheduling import taskgraph
from parsl.executors.globus_compute_multi.scheduling.taskgraph import (
    FREE_VISITS,
    GROWTH,
    MOVED,
    PASS_SECONDS,
    PASS_SHARE,
    SMALL_SHARE,
    VISITS_PER_EVENT,
    CyclicDependency,
    TaskGraph,
)

pytestmark = pytest.mark.local

SECONDS = {"short": 1.0, "long": 10.0, "none": 0.0}
UNKNOWN = -1.0


class Clock:
    """Time at which everything is affordable again whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def later(self):
        self.now += 1e9
        return self.now


class Estimates:
    """Run times of apps, counting the questions."""

    def __init__(self, **seconds):
        self.seconds = seconds or dict(SECONDS)
        self.asked = 0

    def __call__(self, app):
        self.asked += 1
        return self.seconds[app]


def graph_of(*edges, nodes=(), app="short"):
    """A graph with every node announced after its parents, ranks fresh."""
    graph = TaskGraph()
    parents = {node: set() for node in nodes}
    for parent, child in edges:
        parents.setdefault(parent, set())
        parents.setdefault(child, set()).add(parent)
    for node in sorted(parents):
        graph.announce(node, app, parents[node])
    graph.refresh(Estimates(), 0.0)
    graph.validate()
    return graph


def ranks(graph, nodes):
    return [graph.rank(node, UNKNOWN) for node in nodes]


def holds_nothing(graph):
    graph.validate()
    return not len(graph) and not graph._awaited and not graph._edges


class TestRanks:

    def test_the_rank_is_the_longest_path_that_starts_with_the_task(self):
        graph = TaskGraph()
        for node, app, parents in [(1, "short", []), (2, "short", [1]), (3, "long", [1]), (4, "short", [2, 3]), (5, "long", [])]:
            graph.announce(node, app, parents)
        assert graph.refresh(Estimates(), 0.0)
        assert ranks(graph, [1, 2, 3, 4, 5]) == [12, 2, 11, 1, 10]

    def test_a_given_run_time_takes_the_place_of_the_apps(self):
        graph = TaskGraph()
        graph.announce(1, "short", [])
        graph.announce(2, "short", [1], seconds=100.0)
        graph.refresh(Estimates(), 0.0)
        assert ranks(graph, [1, 2]) == [101, 100]

    def test_a_given_run_time_stays_when_the_task_is_announced_again_without_one(self):
        graph = graph_of((1, 2))
        graph.announce(2, "short", [], seconds=100.0)
        graph.announce(2, "short", [1])
        graph.refresh(Estimates(), 1e9)
        assert ranks(graph, [1, 2]) == [101, 100]

    def test_an_unknown_task_and_none_have_the_default(self):
        graph = graph_of((1, 2))
        assert graph.rank(None, 7.0) == graph.rank(3, 7.0) == 7.0

    def test_a_task_has_the_default_until_the_run_time_of_its_app_is_known(self):
        graph = TaskGraph()
        graph.announce(1, "short", [])
        assert graph.rank(1, 7.0) == 7.0
        graph.refresh(Estimates(), 0.0)
        assert graph.rank(1, 7.0) == 1.0

    def test_a_new_leaf_has_its_own_run_time_at_once(self):
        graph = graph_of((1, 2))
        graph.announce(3, "short", [2])
        graph.announce(4, "unheard of", [2], seconds=4.0)
        assert ranks(graph, [3, 4]) == [1, 4]

    def test_a_late_parent_has_its_rank_over_its_children_at_once(self):
        graph = graph_of((1, 2), (2, 3))
        graph.announce(5, "short", [4])
        graph.announce(4, "short", [1])
        assert graph.rank(4, UNKNOWN) == 2

    def test_finishing_moves_no_rank_below(self):
        graph = graph_of((1, 2), (2, 3))
        graph.finish(1)
        assert ranks(graph, [2, 3]) == [2, 1]
        assert not graph.refresh(Estimates(), 1e9)

    def test_a_task_that_ends_before_its_parent_no_longer_counts_in_its_rank(self):
        graph = graph_of((1, 2), (2, 3))
        graph.finish(3)
        assert graph.refresh(Estimates(), 1e9)
        assert ranks(graph, [1, 2]) == [2, 1]

    @pytest.mark.parametrize("order", [range(100_000), reversed(range(100_000))], ids=["in order", "backwards"])
    def test_a_chain_of_a_hundred_thousand_is_ranked_without_recursion(self, order):
        graph = TaskGraph()
        for node in order:
            graph.announce(node, "short", [node - 1] if node else [])
        assert graph.refresh(Estimates(), 0.0)
        assert ranks(graph, [0, 1, 99_999]) == [100_000, 99_999, 1]
        for node in range(100_000):
            graph.finish(node)
        assert holds_nothing(graph)


class TestAnnouncements:

    def test_parents_may_be_announced_after_their_children(self):
        graph = TaskGraph()
        graph.announce(2, "short", [1])
        assert len(graph) == 1
        graph.announce(1, "long", [])
        graph.refresh(Estimates(), 0.0)
        assert ranks(graph, [1, 2]) == [11, 1]

    def test_repeated_parents_are_one(self):
        graph = TaskGraph()
        graph.announce(1, "short", [])
        graph.announce(2, "short", [1, 1, 1])
        graph.refresh(Estimates(), 0.0)
        assert ranks(graph, [1, 2]) == [2, 1]
        graph.validate()
        graph.finish(1)
        graph.finish(2)
        assert holds_nothing(graph)

    def test_the_same_announcement_again_changes_nothing(self):
        graph = graph_of((1, 2), (2, 3))
        graph.announce(2, "short", [1])
        assert not graph.refresh(Estimates(), 1e9)
        assert ranks(graph, [1, 2, 3]) == [3, 2, 1]
        graph.validate()

    def test_further_parents_are_added_to_those_known(self):
        graph = graph_of((1, 2), nodes=[3])
        graph.announce(2, "short", [3])
        graph.refresh(Estimates(), 1e9)
        assert ranks(graph, [1, 2, 3]) == [2, 1, 2]

    def test_a_task_may_come_back_after_it_was_finished(self):
        graph = graph_of((1, 2))
        graph.finish(1)
        graph.announce(1, "long", [])
        graph.announce(2, "short", [1])
        graph.refresh(Estimates(), 1e9)
        assert ranks(graph, [1, 2]) == [11, 1]

    @pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
    def test_an_impossible_run_time_is_refused_and_leaves_no_trace(self, seconds):
        graph = TaskGraph()
        with pytest.raises(ValueError, match="task 1 "):
            graph.announce(1, "short", [2], seconds=seconds)
        assert holds_nothing(graph)


class TestMemory:

    def test_parents_that_are_never_announced_are_forgotten_with_their_last_child(self):
        graph = TaskGraph()
        graph.announce(2, "short", [1])
        graph.announce(3, "short", [1])
        graph.finish(2)
        assert list(graph._awaited) == [1]
        graph.finish(3)
        assert holds_nothing(graph)

    def test_parents_that_finished_long_ago_cost_nothing_in_a_pass_and_leave_with_the_child(self):
        graph = graph_of(*[(parent, 1000) for parent in range(1000)])
        for parent in range(1000):
            graph.finish(parent)
        graph.announce(1000, "short", range(1000))
        assert len(graph) == 1 and graph._edges == 0
        graph.finish(1000)
        assert holds_nothing(graph)

    def test_an_unknown_task_may_be_finished_and_a_known_one_twice(self):
        graph = graph_of((1, 2))
        graph.finish(9)
        graph.finish(1)
        graph.finish(1)
        assert ranks(graph, [1, 2]) == [UNKNOWN, 1]

    def test_nothing_is_kept_of_a_long_workflow_with_few_tasks_at_a_time(self):
        graph, estimates = TaskGraph(), Estimates()
        for node in range(1000):
            graph.announce(node, "short", range(max(0, node - 7), node))
            graph.refresh(estimates, float(node))
            graph.finish(node - 3)
            assert len(graph) <= 4 and len(graph._awaited) <= 7
        for node in range(1000):
            graph.finish(node)
        assert holds_nothing(graph)


class TestCycles:

    def test_a_task_that_waits_for_itself_is_refused(self):
        graph = graph_of((1, 2))
        with pytest.raises(CyclicDependency, match="task 3 was announced to depend on 3"):
            graph.announce(3, "short", [2, 3])
        graph.refresh(Estimates(), 1e9)
        assert ranks(graph, [1, 2, 3]) == [3, 2, 1]

    def test_a_parent_that_waits_for_the_task_is_left_out_and_the_others_stay(self):
        graph = graph_of((1, 2), (2, 3), nodes=[4])
        with pytest.raises(CyclicDependency) as raised:
            graph.announce(1, "short", [2, 3, 4])
        assert (raised.value.node, raised.value.parents) == (1, (2, 3))
        graph.validate()
        graph.refresh(Estimates(), 1e9)
        assert ranks(graph, [1, 2, 3, 4]) == [3, 2, 1, 4]

    def test_a_cycle_is_found_that_closes_when_an_awaited_parent_is_announced(self):
        graph = TaskGraph()
        graph.announce(2, "short", [1])
        graph.announce(3, "short", [2])
        with pytest.raises(CyclicDependency):
            graph.announce(1, "short", [3])
        graph.refresh(Estimates(), 0.0)
        assert ranks(graph, [1, 2, 3]) == [3, 2, 1]

    def test_a_cycle_is_found_by_whichever_side_is_shorter(self):
        long_below = graph_of(*[(i, i + 1) for i in range(100)])
        with pytest.raises(CyclicDependency):
            long_below.announce(0, "short", [1])
        long_above = graph_of(*[(i, i + 1) for i in range(100)])
        with pytest.raises(CyclicDependency):
            long_above.announce(99, "short", [100])

    @pytest.mark.parametrize("node, parent", [(2001, 1000), (0, 2000)], ids=["much above", "much below"])
    def test_looking_for_a_cycle_goes_no_further_than_the_smaller_side(self, node, parent, monkeypatch):
        """A task announced after its child, at the end of a long chain; and one before a chain that turns out to wait for another."""
        graph = graph_of(*[(i, i + 1) for i in range(1000)])
        graph.announce(2000, "short", [2001])
        visited = []
        reachable = taskgraph._reachable

        def counted(starts, step):
            for reached in reachable(starts, step):
                visited.append(reached.id)
                yield reached

        monkeypatch.setattr(taskgraph, "_reachable", counted)
        graph.announce(node, "short", [parent])
        assert 0 < len(visited) <= 6
        graph.validate()

    def test_nothing_is_searched_for_a_task_without_children_or_news(self, monkeypatch):
        graph = graph_of((1, 2), (2, 3))
        monkeypatch.setattr(taskgraph, "_reachable", None)
        graph.announce(4, "short", [1, 3])
        graph.announce(2, "short", [1])


class TestRefresh:

    def test_nothing_is_computed_without_tasks_or_without_reason(self):
        graph, clock, estimates = TaskGraph(), Clock(), Estimates()
        assert not graph.refresh(estimates, clock.later())
        graph.announce(1, "short", [])
        assert graph.refresh(estimates, clock.later())
        assert not graph.refresh(estimates, clock.later())

    def test_tasks_that_move_no_rank_are_no_reason(self):
        graph, clock = graph_of((1, 2), (2, 3)), Clock()
        graph.announce(4, "short", [])
        graph.announce(5, "short", [1, 2])
        assert not graph.refresh(Estimates(), clock.later())
        assert ranks(graph, [1, 2, 3, 4, 5]) == [3, 2, 1, 1, 1]
        graph.announce(6, "short", [5])
        assert graph.refresh(Estimates(), clock.later())
        assert ranks(graph, [1, 2, 5]) == [4, 3, 2]

    def test_each_app_is_asked_for_once_a_pass(self):
        graph, estimates = TaskGraph(), Estimates()
        for node in range(100):
            graph.announce(node, "short" if node % 2 else "long", [node - 1])
        graph.refresh(estimates, 0.0)
        assert estimates.asked == 2

    def test_a_run_time_that_moved_much_is_a_reason_and_one_that_moved_little_is_not(self):
        graph, clock = graph_of((1, 2)), Clock()
        assert not graph.refresh(Estimates(short=1.0 + 0.9 * MOVED), clock.later())
        assert graph.refresh(Estimates(short=1.0 + 1.1 * MOVED), clock.later())
        assert ranks(graph, [1, 2]) == pytest.approx([2 + 2.2 * MOVED, 1 + 1.1 * MOVED])

    def test_small_moves_that_add_up_are_a_reason(self):
        graph, clock, seconds, refreshed = graph_of((1, 2)), Clock(), 1.0, 0
        for _ in range(10):
            seconds *= 1 + 0.4 * MOVED
            refreshed += graph.refresh(Estimates(short=seconds), clock.later())
        assert 2 <= refreshed <= 4

    def test_the_estimates_are_not_looked_at_again_before_that_is_affordable(self):
        graph, estimates = graph_of((1, 2)), Estimates()
        rest = PASS_SECONDS / PASS_SHARE
        assert not graph.refresh(estimates, 1.0)
        asked = estimates.asked
        assert asked and not graph.refresh(estimates, 1.0 + 0.9 * rest) and estimates.asked == asked
        assert not graph.refresh(estimates, 1.0 + 1.1 * rest) and estimates.asked > asked

    def test_passes_take_no_more_than_their_share_of_the_time(self):
        graph, count = graph_of(*[(i, i + 1) for i in range(1000)]), 0
        items = len(graph) + graph._edges
        start, end = 10.0, 10.0 + 20 * items * PASS_SECONDS / PASS_SHARE
        for step in range(1000):
            moving = Estimates(short=2.0 ** step)
            count += graph.refresh(moving, start + (end - start) * step / 1000)
        assert 19 <= count <= 21

    def test_in_a_large_graph_passes_take_a_number_of_events_or_a_small_share_of_the_time(self):
        graph = graph_of(*[(i, i + 1) for i in range(20_000)])
        items = len(graph) + graph._edges
        graph.refresh(Estimates(), 10.0)
        while graph._visits > 0:  # what was saved up
            graph.refresh(Estimates(short=graph._estimates["short"] * 2), graph._rest_until)
        often, seldom = (items * PASS_SECONDS / share for share in (PASS_SHARE, SMALL_SHARE))
        now, moving = graph._rest_until, Estimates(short=1000.0)
        assert seldom > often and not graph.refresh(moving, now)
        assert not graph.refresh(moving, now - often + 0.9 * seldom)
        assert graph.refresh(moving, now - often + 1.1 * seldom)
        events = 0
        now, moving = graph._rest_until, Estimates(short=1e6)
        while not graph.refresh(moving, now):
            events += 1
        assert 0 < events <= (items - FREE_VISITS) / VISITS_PER_EVENT

    def test_after_announcements_for_a_tenth_of_the_tasks_no_time_need_go_by(self):
        graph = graph_of(*[(i, i + 1) for i in range(999)])
        assert len(graph) == 1000
        for node in range(1000, 2000):
            graph.announce(node, "short", [node - 1])
            if graph.refresh(Estimates(), 0.0):
                break
        assert GROWTH * 1000 <= node - 999 <= 1.2 * GROWTH * 1000
        assert graph.rank(0, UNKNOWN) == node + 1

    @pytest.mark.parametrize("parents_of", [
        lambda i: [i - 1], lambda i: [0], lambda i: [i - 1 - (i * 7919) % min(i, 50), i - 1 - (i * 104_729) % min(i, 50)],
    ], ids=["chain", "fan-out", "tangle"])
    def test_passes_over_a_growing_workflow_visit_each_task_a_bounded_number_of_times_however_many_there_are(self, parents_of, monkeypatch):
        visits = {}
        compute = TaskGraph._compute_ranks

        def counted(graph, estimate):
            visits[count] = visits.get(count, 0) + len(graph)
            compute(graph, estimate)

        monkeypatch.setattr(TaskGraph, "_compute_ranks", counted)
        for count in (1000, 10_000):
            graph = TaskGraph()
            graph.announce(0, "short", [])
            for node in range(1, count):
                graph.announce(node, "short", parents_of(node))
                graph.refresh(Estimates(), 0.0)
        assert all(total / count <= 1 + 1 / GROWTH for count, total in visits.items())
