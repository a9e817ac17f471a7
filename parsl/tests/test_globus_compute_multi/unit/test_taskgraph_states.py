"""Any sequence of announcements and ends, and the ranks that a naive model gives."""
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from parsl.executors.globus_compute_multi.scheduling.taskgraph import (
    CyclicDependency,
    TaskGraph,
)
from parsl.tests.test_globus_compute_multi.unit.test_taskgraph import (
    SECONDS,
    Clock,
    Estimates,
    holds_nothing,
    ranks,
)

pytestmark = pytest.mark.local


class GraphStates(RuleBasedStateMachine):
    """Any sequence of announcements and ends, compared with a model that computes ranks by recursion."""

    def __init__(self):
        super().__init__()
        self.graph = TaskGraph()
        self.clock = Clock()
        self.estimates = Estimates()
        self.apps, self.given, self.edges = {}, {}, set()

    def model_rank(self, node):
        below = [self.model_rank(child) for parent, child in self.edges if parent == node and child in self.apps]
        own = self.given.get(node)
        return (self.estimates.seconds[self.apps[node]] if own is None else own) + max(below, default=0.0)

    def model_waits_for(self, node, ancestor):
        parents = [parent for parent, child in self.edges if child == node and parent in self.apps]
        return node == ancestor or any(self.model_waits_for(parent, ancestor) for parent in parents)

    @rule(node=st.integers(0, 12), app=st.sampled_from(sorted(SECONDS)), parents=st.lists(st.integers(0, 14), max_size=4),
          seconds=st.sampled_from([None, None, 0.0, 3.0]))
    def announce(self, node, app, parents, seconds):
        self.apps[node] = app
        if seconds is not None:
            self.given[node] = seconds
        cyclic = {parent for parent in parents if parent == node or parent in self.apps and self.model_waits_for(parent, node)}
        self.edges |= {(parent, node) for parent in parents if parent not in cyclic}
        try:
            self.graph.announce(node, app, iter(parents), seconds)
        except CyclicDependency as e:
            assert set(e.parents) == cyclic and e.node == node
        else:
            assert not cyclic

    @rule(node=st.integers(0, 14))
    def finish(self, node):
        if node in self.apps:
            self.edges = {(parent, child) for parent, child in self.edges if node not in (parent, child)}
        self.apps.pop(node, None)
        self.given.pop(node, None)
        self.graph.finish(node)

    @rule(app=st.sampled_from(sorted(SECONDS)), factor=st.sampled_from([0.5, 2.0]))
    def learn(self, app, factor):
        self.estimates.seconds[app] *= factor

    @rule()
    def refresh(self):
        self.graph.refresh(self.estimates, self.clock.later())
        assert ranks(self.graph, self.apps) == pytest.approx([self.model_rank(node) for node in self.apps])

    @invariant()
    def consistent(self):
        self.graph.validate()
        assert len(self.graph) == len(self.apps)

    def teardown(self):
        for node in list(self.apps):
            self.graph.finish(node)
        assert holds_nothing(self.graph)


def test_any_sequence_of_announcements_and_ends_keeps_the_ranks_of_a_naive_model():
    run_state_machine_as_test(GraphStates, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_order_of_announcement_does_not_matter(data):
    count = data.draw(st.integers(1, 25))
    parents = {node: data.draw(st.lists(st.integers(0, node - 1), max_size=4)) if node else [] for node in range(count)}
    apps = {node: data.draw(st.sampled_from(sorted(SECONDS))) for node in parents}
    graph, clock = TaskGraph(), Clock()
    for node in data.draw(st.permutations(range(count))):
        graph.announce(node, apps[node], parents[node])
        if data.draw(st.booleans()):
            graph.refresh(Estimates(), clock.later())
    graph.refresh(Estimates(), clock.later())
    expected = {}
    for node in reversed(range(count)):
        expected[node] = SECONDS[apps[node]] + max((expected[child] for child in expected if node in parents[child]), default=0.0)
    assert ranks(graph, range(count)) == [expected[node] for node in range(count)]
