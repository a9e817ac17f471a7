"""What strikes when."""
from __future__ import annotations

import pytest

from chaos.plan import (
    CORES_PER_THREAD,
    ENDPOINTS,
    ENGINE_KINDS,
    FIRST,
    GROUPS,
    KINDS,
    LAST,
    LINKS,
    LONGEST_PAUSE,
    MORTAL,
    describe,
    plan_faults,
)
from chaos.workflow import plan_workflow

SEEDS = range(1, 201)


@pytest.mark.parametrize("seed", [1, 2, 77])
def test_the_same_seed_gives_the_same_plan(seed):
    assert plan_faults(seed) == plan_faults(seed)


def test_another_seed_gives_another_plan():
    assert len({describe(plan_faults(seed)) for seed in SEEDS}) > 190


def test_each_run_has_as_many_faults_as_it_should_of_every_group_in_order():
    for seed in SEEDS:
        faults = plan_faults(seed, 5, 8)
        assert 5 <= len(faults) <= 8
        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
        assert FIRST <= faults[0].at and faults[-1].at <= LAST
        assert all(any(fault.kind in kinds for fault in faults) for kinds in GROUPS.values())


def test_twenty_runs_have_every_kind():
    assert {fault.kind for seed in range(1, 21) for fault in plan_faults(seed)} == set(KINDS)


def test_only_one_endpoint_may_end_for_good_and_only_once():
    for seed in SEEDS:
        ended = [fault for fault in plan_faults(seed) if fault.kind in ("kill_parent", "kill_endpoint", "stop_endpoint")]
        assert [fault.target for fault in ended if fault.seconds is None] in ([], [MORTAL])


def test_what_the_workflow_needs_is_there_without_the_endpoint_that_may_end():
    needed = {task.cores for seed in SEEDS for task in plan_workflow(seed, 100)}
    assert max(needed) <= max(cores for name, cores in CORES_PER_THREAD.items() if name != MORTAL)


def test_every_target_can_be_struck():
    engines = {endpoint.name: endpoint.engine for endpoint in ENDPOINTS}
    for seed in SEEDS:
        for fault in plan_faults(seed):
            if fault.kind in ENGINE_KINDS:
                assert engines[fault.target] == "GlobusComputeEngine"
            elif fault.kind in GROUPS["endpoint"]:
                assert fault.target in engines
            elif fault.kind in GROUPS["network"]:
                assert fault.target in LINKS


def test_no_endpoint_is_paused_for_longer_than_allowed():
    for most in (3.0, 20.0, LONGEST_PAUSE):
        pauses = [fault for seed in SEEDS for fault in plan_faults(seed, longest_pause=most) if fault.kind == "pause_endpoint"]
        assert pauses and all(0 < (fault.seconds or 0) <= most for fault in pauses)


def test_only_the_kinds_asked_for_strike():
    assert {fault.kind for seed in SEEDS for fault in plan_faults(seed, kinds=["latency", "kill_child"])} == {"latency", "kill_child"}
