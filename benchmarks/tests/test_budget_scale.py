"""Many endpoints under one request budget in virtual time, and the program's verdicts."""
from __future__ import annotations

import json
import math
from collections import Counter

import pytest

import budget_scale
from parsl.executors.globus_compute_multi.scheduling.actions import Dispatch
from parsl.executors.globus_compute_multi.scheduling.events import TurnGranted
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from simulation.at_once import AtOnce, best_makespan, best_utilisation
from simulation.fleet import BATCH_BYTES, REQUESTS, Fleet, FleetError, Load, Run

TWO_CONFIGS = ((2, "a"), (2, "b"))


def executor(load, tasks_per_thread=None):
    return Scheduler(load.endpoint_specs(), Settings(AheadRule(2.0, tasks_per_thread), BATCH_BYTES))


def test_one_task_takes_its_latencies_and_its_run_time():
    load = Load("one", 1, 1)
    run = Fleet(load, executor(load)).run()
    # 0.2 s for the request, 0.1 s to the child, 1.5 s until it runs, 2.001 s there; published within 0.5 s, and seen 0.1 s later
    assert 3.901 <= run.makespan <= 4.401
    assert run.utilisation(0.0, 4.0) == pytest.approx(2.0 / (8 * 4.0))


@pytest.mark.parametrize("load", [Load("plain", 4, 400), Load("varied", 4, 400, sigma=0.8), Load("configs", 4, 200, classes=TWO_CONFIGS),
                                  Load("specs", 4, 400, specs=3), Load("large", 4, 400, task_bytes=1_000_000)], ids=lambda load: load.name)
@pytest.mark.parametrize("core", [AtOnce, executor])
def test_every_task_runs_once_within_the_budget_and_no_sooner_than_theory_allows(load, core):
    run = Fleet(load, core(load)).run()
    assert len(run.busy) == run.sent == load.tasks
    assert run.makespan > best_makespan(load)
    assert run.most_in_window <= REQUESTS
    assert run.sent <= sum(run.requests.values()) * (BATCH_BYTES // load.task_bytes)
    changes = sorted([(begin, 1) for begin, _ in run.busy] + [(end, -1) for _, end in run.busy])
    running = [0]
    for _, change in changes:
        running.append(running[-1] + change)
    assert max(running) <= load.threads


def test_requests_are_counted_by_endpoint_configuration_and_resource_specification():
    load = Load("both", 2, 80, classes=TWO_CONFIGS, specs=2)
    requests = Fleet(load, executor(load)).run().requests
    assert set(requests) == {(f"endpoint{i}", config, (("num_nodes", nodes),)) for i in (0, 1) for config in "ab" for nodes in (1, 2)}


def test_everything_at_once_needs_one_request_for_each_child():
    load = Load("64", 64, 6400, classes=TWO_CONFIGS)
    run = Fleet(load, AtOnce(load)).run()
    assert run.requests == Counter({(f"endpoint{i}", config, ()): 1 for i in range(64) for config in "ab"})


def test_a_run_can_be_cut_off():
    load = Load("cut", 2, 1000)
    run = Fleet(load, executor(load), until=5.0).run()
    assert run.cut_off and run.makespan == 5.0


def test_a_core_that_makes_nothing_of_its_turns_is_an_error():
    class Idle:
        wants_turn, wakes_at, settled = True, None, True

        def handle(self, event, settle):
            return []

        def settle(self, now):
            return []

    with pytest.raises(FleetError, match="makes nothing of it"):
        Fleet(Load("idle", 1, 1), Idle()).run()


def test_an_unanswered_request_is_the_only_one_until_the_service_has_made_the_task_group():
    class Eager(AtOnce):
        def __init__(self, load):
            super().__init__(load)
            self.times = []

        def handle(self, event, settle=True):
            if isinstance(event, TurnGranted):
                self.times.append(event.time)
            return super().handle(event, settle)

    core = Eager(Load("eager", 8, 80))
    Fleet(Load("eager", 8, 80), core).run()
    assert core.times[0] == 0.0 and core.times[1] >= 0.2


def test_at_best_the_children_begin_as_the_windows_allow():
    # 20 of 40 children begin at once, the others 10 s later: 20 x 8 x 15 s + 20 x 8 x 5 s
    assert best_makespan(Load("40", 40, 1600)) == pytest.approx(15.0)


def test_large_tasks_keep_fewer_threads_busy():
    assert best_utilisation(Load("small", 64, 1)) == 1.0
    assert best_utilisation(Load("large", 64, 1, task_bytes=BATCH_BYTES // 64)) == pytest.approx(2 * 64 * 2 / 512)


def test_at_once_keeps_to_the_batch_limit():
    load = Load("bytes", 2, 40, task_bytes=BATCH_BYTES // 3)
    core = AtOnce(load)
    sizes = []
    while core.wants_turn:
        (dispatch,) = core.handle(TurnGranted(0.0))
        assert isinstance(dispatch, Dispatch)
        sizes.append(len(dispatch.attempts))
    assert sum(sizes) == 40 and max(sizes) == 3


# the verdicts

def rows(load, best, ours):
    return [budget_scale.Row(load.name, system, makespan, utilisation, 1.0, 1, 1, 1, 1.0, 0, 20)
            for system, (makespan, utilisation) in zip(budget_scale.SYSTEMS, (best, ours, (None, 0.1)))]


@pytest.mark.parametrize("utilisation, missed", [(0.90, False), (0.89, True), (math.nan, True)])
def test_sixteen_endpoints_are_judged_by_their_utilisation(utilisation, missed):
    load = Load("x", 16, 1)
    (verdict,) = budget_scale.verdicts(load, rows(load, (100.0, 1.0), (200.0, utilisation)))
    assert verdict.missed is missed


def test_sixty_four_endpoints_are_judged_beside_everything_at_once():
    load = Load("x", 64, 1)
    used, speed = budget_scale.verdicts(load, rows(load, (100.0, 0.9), (130.0, 0.8)))
    assert (used.missed, speed.missed) == (False, True)


def test_the_utilisation_is_that_without_the_edges():
    run = Run(threads=1, makespan=100.0, busy=[(20.0, 50.0), (90.0, 100.0)])
    run.requests["e", None, ()] = 2
    row = budget_scale.summary(Load("x", 1, 1), "executor", run)
    assert (row.utilisation, row.at_end) == (0.5, 0.5)


def test_the_program_prints_a_table_and_writes_json(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(budget_scale, "LOADS", (Load("little", 16, 1600),))
    file = tmp_path / "out.json"
    assert budget_scale.main(["--json", str(file), "--processes", "1"]) == 1  # so few tasks leave no steady state
    assert "MISSED" in capsys.readouterr().out
    assert [row["system"] for row in json.loads(file.read_text())] == ["at once", "executor", "none ahead"]


def test_the_program_says_which_loads_there_are(capsys):
    with pytest.raises(SystemExit) as e:
        budget_scale.main(["nothing"])
    assert e.value.code == 2 and "no load 'nothing'; there are 16, " in capsys.readouterr().err
