"""The lower bound and the rivals, on examples worked out by hand, and the check of their schedules."""
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import List

import pytest

from simulation.bounds import lower_bound
from simulation.heft import heft
from simulation.rivals import RIVALS
from simulation.schedule import Run, check, makespan, upward_ranks
from simulation.setups import Case, Endpoint, Setup, make_case, read_setups
from simulation.workflows import Task, Workflow, read_workflows

HERE = Path(__file__).parents[1]


def case(tasks: List[Task], *endpoints: Endpoint) -> Case:
    return Case(Workflow("w", tuple(tasks)), Setup("s", endpoints))


def bag(*seconds: float, cores: int = 1) -> List[Task]:
    return [Task("a", s, cores=cores) for s in seconds]


ONE = Endpoint("one", ((1, 1),))
TWO = Endpoint("two", ((1, 2),))
FAST = Endpoint("fast", ((1, 1),), speed=2.0)


# the lower bound

def test_a_chain_is_bound_by_the_fastest_thread_and_by_latencies():
    chain = [Task("a", 2.0), Task("a", 4.0, (0,))]
    assert lower_bound(case(chain, TWO, FAST)) == 3.0
    assert lower_bound(case(chain, replace(TWO, start_latency=0.25, result_latency=0.5))) == 7.5


def test_a_bag_is_bound_by_the_speeds_of_all_threads_together():
    assert lower_bound(case(bag(*[1.0] * 40), TWO, FAST)) == 10.0


def test_work_that_needs_many_cores_is_bound_by_the_threads_that_have_them():
    mixed = Endpoint("mixed", ((1, 3), (8, 1)))
    assert lower_bound(case(bag(1, 1, 1, 1), mixed)) == 1.0
    assert lower_bound(case(bag(1, 1, 1) + bag(1, 1, cores=2), mixed)) == 2.0


def test_an_endpoint_counts_from_its_start_up_on():
    late = replace(ONE, name="late", startup_seconds=4.0)
    assert lower_bound(case(bag(1, 1, 1), ONE, late)) == 3.0
    assert lower_bound(case(bag(*[1.0] * 10), ONE, late)) == 7.0
    assert lower_bound(case(bag(*[1.0] * 10), ONE, replace(late, startup_seconds=math.inf))) == 10.0
    assert lower_bound(case(bag(1, 1), late)) == 6.0


def test_a_task_may_travel_to_an_endpoint_that_has_not_started():
    it = case(bag(5.0), replace(ONE, startup_seconds=100.0, start_latency=10.0))
    assert lower_bound(it) == 105.0
    assert lower_bound(case(bag(5.0), replace(ONE, startup_seconds=100.0, start_latency=10.0, result_latency=2.0))) == 107.0
    # what starts at once still waits for its tasks to arrive: 8 s of work on two threads, of which one begins at 2 and one at 4
    two = case(bag(*[1.0] * 8), replace(ONE, start_latency=2.0), replace(ONE, name="late", startup_seconds=4.0, start_latency=1.0))
    assert lower_bound(two) == 7.0
    for at_all in (it, two):
        assert all(makespan(rival(at_all, 0)) >= lower_bound(at_all) for rival in RIVALS.values())


@pytest.mark.parametrize("setup", ["equal", "heterogeneous", "cores", "latency-heterogeneous", "cold"])
def test_no_rival_beats_the_bound_and_all_schedules_are_possible(setup):
    setups, workflows = read_setups(HERE / "setups"), read_workflows(HERE / "workflows")
    for workflow in workflows[::6]:
        it = make_case(workflow, setups[setup], 1)
        for rival in RIVALS.values():
            runs = rival(it, 1)
            check(it, runs)
            assert makespan(runs) >= lower_bound(it) * (1 - 1e-9)


# the check

@pytest.mark.parametrize("runs, said", [
    ([Run(0, 0, 2, 2)], "1 of 2 tasks have run"),
    ([Run(0, 0, 2, 2), Run(0, 1, 3, 3)], "before its parents"),
    ([Run(0, 0, 2, 2), Run(0, 2, 3, 3)], "task 1 did not run for its run time"),
    ([Run(1, 0, 2, 2), Run(0, 2, 4, 4)], "task 0 ran before late had started"),
    ([Run(0, 0, 2, 2), Run(2, 2, 4, 4)], "too few cores"),
])
def test_an_impossible_schedule_is_found_out(runs, said):
    it = case([Task("a", 2.0), Task("a", 2.0, (0,), 2)], Endpoint("e", ((2, 1),)), Endpoint("late", ((2, 1),), startup_seconds=5.0),
              Endpoint("small", ((1, 1),)))
    check(it, [Run(0, 0, 2, 2), Run(0, 2, 4, 4)])
    with pytest.raises(AssertionError, match=said):
        check(it, runs)


def test_two_tasks_at_once_on_a_thread_are_found_out():
    with pytest.raises(AssertionError, match="thread 0 ran two tasks at once"):
        check(case(bag(2, 2), TWO), [Run(0, 0, 2, 2), Run(0, 1, 3, 3)])


# HEFT

#: Four tasks; 0 comes first, then 1 (long) and 2 (short), which 3 waits for.
DIAMOND = [Task("a", 2.0), Task("b", 6.0, (0,)), Task("c", 2.0, (0,)), Task("d", 4.0, (1, 2))]


def test_upward_ranks_are_the_longest_paths():
    assert upward_ranks(case(DIAMOND, ONE), [2.0, 6.0, 2.0, 4.0]) == [12.0, 10.0, 6.0, 4.0]


def test_heft_sends_the_critical_path_to_the_fast_thread():
    # fast thread: 0 (0-1), 1 (1-4), 3 (4-6); slow thread: 2 (1-3), which ends there at 3 and on the fast one at 5
    assert heft(case(DIAMOND, ONE, FAST)) == [Run(1, 0, 1, 1), Run(1, 1, 4, 4), Run(0, 1, 3, 3), Run(1, 4, 6, 6)]


def test_heft_fills_gaps():
    # the join has a higher rank than the single task, and leaves a gap before it on its thread
    tasks = [Task("long", 5.0), Task("short", 1.0), Task("join", 5.0, (0, 1)), Task("single", 4.0)]
    runs = heft(case(tasks, TWO))
    assert runs[2].start == 5.0
    assert runs[3] == Run(runs[1].thread, 1.0, 5.0, 5.0)


def test_heft_leaves_large_threads_to_large_tasks():
    runs = heft(case(bag(2.0) + bag(1.0, cores=8), Endpoint("mixed", ((1, 1), (8, 1)))))
    assert [run.thread for run in runs] == [0, 1]


# the others

def test_the_pool_serves_in_the_order_of_readiness_and_takes_the_closest_cores():
    it = case(bag(3.0) + bag(2.0) + bag(1.0, cores=8) + bag(1.0), Endpoint("mixed", ((1, 1), (8, 1))))
    assert RIVALS["fifo"](it, 0) == [Run(0, 0, 3, 3), Run(1, 0, 2, 2), Run(1, 2, 3, 3), Run(0, 3, 4, 4)]


def test_hop_count_puts_the_longest_chain_first():
    it = case([*bag(5.0, 5.0), Task("b", 1.0), Task("b", 1.0, (2,))], ONE)
    assert [run.start for run in RIVALS["hop-count"](it, 0)] == [1.0, 6.0, 0.0, 11.0]
    assert [run.start for run in RIVALS["fifo"](it, 0)] == [0.0, 5.0, 10.0, 11.0]


def test_an_endpoint_by_chance_is_kept_however_long_its_queue():
    it = case(bag(*[1.0] * 8), ONE, replace(ONE, name="other"))
    runs = RIVALS["random-executor"](it, 0)
    per_thread = [sum(run.thread == thread for run in runs) for thread in (0, 1)]
    assert makespan(runs) == max(per_thread) > 4
    assert RIVALS["random-executor"](it, 0) == runs


def test_the_luck_of_a_seed_is_another_for_each_workflow():
    pool = (TWO, replace(TWO, name="other"))
    where = [[run.thread // 2 for run in RIVALS["random-executor"](Case(Workflow(name, tuple(bag(*[1.0] * 40))), Setup("s", pool)), 0)]
             for name in ("v", "w")]
    assert where[0] != where[1]


def test_the_pool_takes_the_thread_that_was_free_longest_and_the_fastest_of_those_free_for_the_same_time():
    # fast ends at 0.5, at 1.0 and at 1.5; slow at 1.0: of the two free at 1.0 the fast one is taken
    it = case([Task("a", 1.0), Task("a", 1.0), Task("a", 1.0), Task("a", 1.0)], ONE, FAST)
    assert [(run.thread, run.start) for run in RIVALS["fifo"](it, 0)] == [(1, 0.0), (0, 0.0), (1, 0.5), (1, 1.0)]
    # fast is free from 0.5 on and slow from 0 on when the second task is ready: slow it is
    assert [run.thread for run in RIVALS["fifo"](case([Task("a", 1.0), Task("a", 1.0, (0,))], ONE, FAST), 0)] == [1, 0]


def test_least_loaded_counts_tasks_for_each_thread_not_their_length():
    runs = RIVALS["early-least-loaded"](case(bag(*[1.0] * 9), ONE, TWO), 0)
    assert sum(run.thread == 0 for run in runs) == 3


def test_latencies_delay_what_is_bound_late_more_than_what_is_queued_at_the_endpoint():
    it = case(bag(1.0, 1.0), replace(ONE, start_latency=0.25, result_latency=0.5))
    assert makespan(RIVALS["fifo"](it, 0)) == 3.5
    assert makespan(RIVALS["random-executor"](it, 0)) == 2.75


def test_requests_run_out():
    it = case(bag(*[1.0] * 4), TWO)
    limited = Case(it.workflow, replace(it.setup, requests=(1, 10.0)))
    assert makespan(RIVALS["fifo"](it, 0)) == 2.0
    assert makespan(RIVALS["fifo"](limited, 0)) == pytest.approx(11.0, abs=1e-3)
    assert makespan(RIVALS["random-executor"](limited, 0)) == 2.0
