"""The core in virtual time, and the program with its JSON."""
from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import scheduling
from simulation.core import (
    ESTIMATES,
    POLICIES,
    Attempt,
    Child,
    Simulation,
    SimulationError,
    told_seconds,
)
from simulation.report import Requirement, Results, requirements
from simulation.run import LEAST_DRAWS, Plan, Record, run_all
from simulation.setups import Case, Endpoint, Setup, read_setups
from simulation.workflows import Task, Workflow, read_workflows, write_workflow

SETUPS = Path(__file__).parents[1] / "setups"

FORK = Workflow("w", (Task("a", 2.0), *(Task("b", float(i), (0,)) for i in range(1, 7)), Task("c", 1.0, tuple(range(1, 7)))))
PAIR = Setup("s", (Endpoint("one", ((1, 2),)), Endpoint("two", ((1, 1),), speed=2.0)))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("estimates", ESTIMATES)
def test_every_policy_runs_all_tasks(policy, estimates):
    # 24 s of work at speed 4; the chain 0, 6, 7 takes 4.5 s on the fast thread
    assert 6.0 <= Simulation(Case(FORK, PAIR), policy, estimates, 0).run() <= 16.0


def test_a_chain_takes_its_run_times_and_latencies():
    chain = Workflow("w", tuple(Task("a", 2.0, (i - 1,) if i else ()) for i in range(5)))
    setup = Setup("s", (Endpoint("one", ((1, 2),), start_latency=0.25, result_latency=0.5),))
    assert Simulation(Case(chain, setup), "default", "exact", 0).run() == 5 * 2.75


def test_a_request_budget_is_kept():
    bag = Workflow("w", tuple(Task("a", 1.0) for _ in range(6)))
    one = Setup("s", (Endpoint("one", ((1, 1),)),))
    assert Simulation(Case(bag, one), "default", "learned", 0).run() == 6.0
    # nothing can be queued ahead before the first result, and there is no second request before 10 s
    assert Simulation(Case(bag, replace(one, requests=(1, 10.0))), "default", "learned", 0).run() >= 11.0


def test_noise_depends_on_the_seed():
    assert len({tuple(told_seconds(Case(FORK, PAIR), "noisy", seed)) for seed in (0, 1, 1)}) == 2
    assert told_seconds(Case(FORK, PAIR), "exact", 0) == [task.seconds for task in FORK.tasks]
    assert set(told_seconds(Case(FORK, PAIR), "learned", 0)) == {None}


def test_a_start_up_is_waited_for():
    late = Setup("s", (Endpoint("one", ((1, 1),), startup_seconds=7.0),))
    assert Simulation(Case(Workflow("w", (Task("a", 2.0),)), late), "default", "exact", 0).run() == 9.0


def test_a_core_that_comes_to_a_halt_is_an_error():
    never = Setup("s", (Endpoint("one", ((1, 1),), startup_seconds=math.inf),))
    with pytest.raises(SimulationError, match="nothing happens any more .* 1 of 1 tasks have no result"):
        Simulation(Case(Workflow("w", (Task("a", 2.0),)), never), "default", "exact", 0).run()


def test_an_endpoint_refuses_what_it_has_no_thread_for():
    child = Child(Endpoint("e", ((1, 1), (8, 1))), queues=False)
    for number, cores in enumerate((8, 1)):
        child.take(Attempt(str(number), cores, 1.0, "e"))
    with pytest.raises(SimulationError, match="all threads are in use"):
        child.take(Attempt("2", 1, 1.0, "e"))


def test_an_endpoint_takes_another_task_for_one_that_was_given_up_and_runs_it_later():
    child = Child(Endpoint("e", ((1, 1),)), queues=False)
    slow, other = Attempt("slow", 1, 9.0, "e"), Attempt("other", 1, 1.0, "e")
    child.take(slow)
    assert child.start(0.0) == [slow]
    child.give_up("slow")
    child.take(other)
    assert child.start(1.0) == []
    child.end(slow)
    assert child.start(9.0) == [other]


def test_a_large_task_waits_for_a_large_thread():
    child = Child(Endpoint("e", ((1, 1), (8, 1))), queues=True)
    first, second, third = (Attempt(str(i), cores, 1.0, "e") for i, cores in enumerate((8, 4, 1)))
    for attempt in (first, second, third):
        child.take(attempt)
    assert child.start(0.0) == [first]
    child.end(first)
    assert child.start(1.0) == [second, third]


# the program

@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "workflows"
    folder.mkdir()
    write_workflow(folder / "fork.json", FORK, "a test")
    write_workflow(folder / "adversarial-bag.json", Workflow("adversarial-bag", tuple(Task("a", 1.0) for _ in range(40))), "a test")
    return folder


def test_the_json_has_one_object_for_each_run_with_exactly_these_keys(inputs, tmp_path, capsys):
    file = tmp_path / "out.json"
    scheduling.main(["--workflows", str(inputs), "--setups", "equal", "cold-never", "--policies", "default", "fifo", "heft-offline",
                     "--seeds", "2", "--processes", "1", "--no-speed", "--json", str(file)])
    records = json.loads(file.read_text())
    assert all(list(record) == ["workflow", "setup", "policy", "estimates", "seed", "makespan", "lower_bound"] for record in records)
    runs = [tuple(record.values())[:5] for record in records]
    assert len(set(runs)) == len(runs)
    assert {(w, s, p, e, i) for w in ("fork", "adversarial-bag") for s in ("equal", "cold-never") for p in ("default", "heft-offline")
            for e in ESTIMATES for i in (0, 1)} <= set(runs)
    assert all(0 < record["lower_bound"] <= record["makespan"] * (1 + 1e-9) < math.inf for record in records)


def test_the_program_says_what_it_cannot_read(inputs, capsys):
    (inputs / "bad.json").write_text("{}")
    assert scheduling.main(["--workflows", str(inputs)]) == 2
    assert "bad.json" in capsys.readouterr().err
    assert scheduling.main(["--setups", "nothing"]) == 2
    assert 'no set-up "nothing"' in capsys.readouterr().err


def test_random_executor_choice_is_drawn_often_however_few_seeds_and_the_json_has_the_seeds(inputs, tmp_path, capsys):
    plan = Plan(("default", "random-executor"), ("learned",), 3)
    records = list(run_all(read_workflows(inputs), [read_setups(SETUPS)["equal"]], plan, 1))
    draws = [r for r in records if r.policy == "random-executor" and r.workflow == "adversarial-bag"]
    assert [r.seed for r in draws if r.seed < 3] == [0, 1, 2]
    assert len({r.seed for r in draws}) == len(draws) >= LEAST_DRAWS
    assert len({r.makespan for r in draws}) > 1
    assert sum(r.policy == "default" for r in records) == 2 * 3
    file = tmp_path / "out.json"
    scheduling.main(["--workflows", str(inputs), "--setups", "equal", "--policies", "default", "random-executor", "--estimates", "learned",
                     "--processes", "1", "--no-speed", "--json", str(file)])
    assert json.loads(file.read_text()) == [asdict(r) for r in records if r.seed < 3]


def test_a_workflow_too_large_for_a_set_up_is_left_out_and_the_others_run(inputs, tmp_path, capsys):
    write_workflow(inputs / "large.json", Workflow("large", (Task("a", 1.0, cores=16),)), "a test")
    setups = tmp_path / "setups"
    setups.mkdir()
    for name, threads in (("small", {"8": 1}), ("big", {"16": 1})):
        (setups / f"{name}.json").write_text(json.dumps({"endpoints": [{"name": "e", "threads": threads}]}))
    file = tmp_path / "out.json"
    assert scheduling.main(["--workflows", str(inputs), "--setups", str(setups), "--policies", "fifo", "--estimates", "learned", "--seeds", "1",
                            "--processes", "1", "--no-speed", "--json", str(file)]) == 0
    ran = {(record["setup"], record["workflow"]) for record in json.loads(file.read_text())}
    assert ran == {(setup, workflow) for setup in ("small", "big") for workflow in ("fork", "adversarial-bag", "large")} - {("small", "large")}
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "left out: set-up small: task 0 (a) of large needs 16 cores" in said


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(inputs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scheduling, "run_all", lambda *_: pytest.fail("it ran"))
    assert scheduling.main(["--workflows", str(inputs), "--json", str(tmp_path / "nowhere" / "out.json")]) == 2
    assert "out.json: cannot be written: No such file" in capsys.readouterr().err


def record(policy: str, makespan: float, setup: str = "equal", estimates: str = "exact", workflow: str = "w") -> Record:
    return Record(workflow, setup, policy, estimates, 0, makespan, 100.0)


def found(records: list, text: str) -> Requirement:
    return next(requirement for requirement in requirements(Results(records)) if requirement.text == text)


def test_means_are_geometric_and_without_adversarial_inputs():
    records = [record("default", 100.0), record("default", 121.0, workflow="v"), record("default", 900.0, workflow="adversarial-x")]
    requirement = found(records, "equal, exact: makespan over lower bound")
    assert requirement.figure == pytest.approx(1.1)


@pytest.mark.parametrize("ours, missed", [(110.0, False), (111.0, True)])
def test_a_bound_is_missed_when_the_figure_is_more(ours, missed):
    assert found([record("default", ours)], "equal, exact: makespan over lower bound").missed is missed


def test_the_worst_input_is_judged_beside_the_best_rival_on_it():
    records = [record("default", 120.0), record("fifo", 110.0), record("heft-offline", 100.0), record("default", 110.0, workflow="v"),
               record("fifo", 105.0, workflow="v")]
    requirement = found(records, "equal, exact: makespan over that of the best rival, on the worst input")
    assert (requirement.figure, requirement.detail, requirement.missed) == (1.2, "w", False)


def test_what_was_not_run_is_neither_reached_nor_missed():
    requirement = found([], "equal, exact: makespan over lower bound")
    assert requirement.figure is None and not requirement.missed and "not run" in str(requirement)
