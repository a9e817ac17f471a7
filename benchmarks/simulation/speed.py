"""How fast the core itself is, in real time, and what its ranks cost and bring."""
from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace
from typing import Callable, Iterator, List, Mapping, Sequence, Tuple

from parsl.executors.globus_compute_multi.scheduling import taskgraph
from parsl.executors.globus_compute_multi.scheduling.taskgraph import TaskGraph
from simulation.core import Simulation
from simulation.core_speed import ENDPOINTS, JUDGED, OTHERS, RUNS, fastest
from simulation.report import Requirement
from simulation.setups import Setup, make_case, misfit
from simulation.workflows import Workflow

#: Nodes of the task graphs that are timed.
TASKS = 100_000

APPS = 10

#: Most microseconds a task for submit, dispatch and result.
MOST_MICROSECONDS = 50.0

#: Most that stale ranks may cost, relative to the makespan with exact ones.
MOST_STALENESS = 1.02

Parents = Sequence[Tuple[int, ...]]


def measure(workflows: Sequence[Workflow], setups: Sequence[Setup]) -> Iterator[Tuple[str, List[Requirement]]]:
    """Measure, and give lines to print with what must be reached."""
    yield f"  Each figure of the core is the least of {RUNS} runs: a machine that others use, too, only ever makes it slower.", []
    for load in (*JUDGED, *OTHERS):
        timing = fastest(load)
        total = timing.microseconds
        parts = ", ".join(f"{name} {seconds * 1e6:.1f}" for name, seconds in timing.steps.items())
        must = [Requirement(f"the core alone, microseconds a task, {load.text}", total, MOST_MICROSECONDS)] if load in JUDGED else []
        yield (f"  {total:6.1f} microseconds a task ({parts}), longest event {timing.longest * 1e3:.1f} ms: {timing.tasks:,} tasks, "
               f"{ENDPOINTS} endpoints, {load.text}"), must
    for name, parents in dags(TASKS).items():
        alone, ranked = (rank_seconds(parents, refresh) * 1e6 for refresh in (False, True))
        small = rank_seconds(dags(TASKS // 10)[name], True) * 1e6
        yield (f"  {ranked:6.1f} microseconds a task in the task graph, {alone:.1f} without ranks: {name} of {TASKS:,} "
               f"(of {TASKS // 10:,}: {small:.1f})"), []
    for setup in setups:
        able = [workflow for workflow in workflows if misfit(workflow, setup) is None]
        if not able:
            continue
        ratio = staleness(able, setup)
        yield f"  {ratio:6.3f} makespan with ranks as stale as in a workflow of {TASKS:,} tasks over that with exact ones: {setup.name}", [
            Requirement(f"{setup.name}: makespan with stale ranks over that with exact ones", ratio, MOST_STALENESS)]


def dags(tasks: int) -> Mapping[str, Parents]:
    """The parents of each task of a chain, of a fan-out, and of a graph with up to three random parents among the hundred tasks before."""
    rng = random.Random(0)
    return {
        "a chain": [(node - 1,) if node else () for node in range(tasks)],
        "a fan-out": [(0,) if node else () for node in range(tasks)],
        "a random graph": [tuple({rng.randrange(max(0, node - 100), node) for _ in range(rng.randrange(1, 4))}) if node else ()
                           for node in range(tasks)],
    }


def rank_seconds(parents: Parents, refresh: bool) -> float:
    """Seconds a task to announce all, then to finish all, with estimates that drift, and ranks refreshed after each event, or never."""
    graph = TaskGraph()
    finished = 0
    start = time.process_time()

    def estimate(app: str) -> float:
        return 1.0 + finished / len(parents) + int(app) / APPS

    for node, above in enumerate(parents):
        graph.announce(node, str(node % APPS), above)
        if refresh:
            graph.refresh(estimate, time.process_time())
    for node in range(len(parents)):
        graph.finish(node)
        finished = node
        if refresh:
            graph.refresh(estimate, time.process_time())
    return (time.process_time() - start) / len(parents)


class _ExactRanks(TaskGraph):
    """All ranks afresh at every event, whatever it costs."""

    def refresh(self, estimate: Callable[[str], float], now: float, by_clock: bool = True, events: int = 1) -> bool:
        self._compute_ranks(estimate)
        return True


def staleness(workflows: Sequence[Workflow], setup: Setup) -> float:
    """Geometric mean of the makespan with ranks as stale as in a large workflow, over that with exact ranks; run times are learned.

    The core lets more time pass between refreshes the larger the graph is. So that small graphs show what that costs, a pass is counted
    here as if the graph had :data:`TASKS` tasks, and run times are scaled to a mean of a second, as short as makes sense for so many.
    """
    ratios = []
    per_node = taskgraph.PASS_SECONDS
    for workflow in workflows:
        case = make_case(workflow, replace(setup, mean_seconds=1.0), 0)
        exact = Simulation(case, "default", "learned", 0)
        exact.scheduler.graph = _ExactRanks()
        try:
            taskgraph.PASS_SECONDS = per_node * TASKS / len(workflow.tasks)
            stale = Simulation(case, "default", "learned", 0).run()
        finally:
            taskgraph.PASS_SECONDS = per_node
        ratios.append(stale / exact.run())
    return statistics.geometric_mean(ratios)
