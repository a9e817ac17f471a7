"""What the benchmark runs, in which order, and what it says of the times; the times themselves are not measured here."""
from __future__ import annotations

import importlib
import json
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import bench
import bench_lanes
import bench_scale
from bench_lanes import Run, RunFailed
from bench_results import Measurement, Results
from bench_workloads import SIXTEEN, SYSTEMS, THREE, WORKLOADS, Workload
from simulation.workflows import Task


def measured(workload="chain-50", system="multi", repeat=1, seconds=10.0, tasks=50, bound=5.0, **more) -> Measurement:
    return Measurement(workload, system, repeat, seconds, tasks, bound, **more)


def verdicts(*measurements: Measurement) -> dict[str, str]:
    """What is said of each requirement, by its text."""
    return {must.text: str(must).split()[0] for must in Results(measurements).requirements()}


# The workloads


@pytest.mark.parametrize("tasks, seconds", [
    ([Task("a", 3.0)] * 8, 6.0),                                            # 24 s of work on four threads
    ([Task("a", 3.0), Task("a", 2.0, (0,)), Task("a", 0.0)], 5.0),          # a path
    ([Task("a", 0.0), Task("a", 0.0, (0,)), Task("a", 0.1, (1,))], 1.5),    # the agent's period counts for each task of a path
])
def test_the_lower_bound_is_work_or_path(tasks, seconds):
    workload = Workload("w", {"a": 1, "b": 3}, False, lambda repeat: tasks)
    assert workload.lower_bound(tasks) == pytest.approx(seconds)


@pytest.mark.parametrize("name, count, bound", [("chain-50", 50, 25.0), ("bag-2000", 2000, 0.5), ("sixteen", 96, 12.0), ("montage", 291, 8.0)])
def test_workloads_are_what_they_are_called(name, count, bound):
    workload = WORKLOADS[name]
    tasks = workload.make(1)
    assert len(tasks) == count
    assert workload.lower_bound(tasks) == pytest.approx(bound)
    assert workload.threads == (SIXTEEN if name == "sixteen" else THREE)


def test_the_sleeps_are_log_normal_and_the_same_for_all_systems():
    workload = WORKLOADS["sleep-600"]
    tasks = [task for repeat in range(20) for task in workload.make(repeat)]
    assert len(tasks) == 20 * 600
    assert sum(task.seconds for task in tasks) / len(tasks) == pytest.approx(0.3, rel=0.03)
    assert workload.make(3) == workload.make(3) != workload.make(4)


def test_threads_that_take_the_next_task_at_once_lose_only_at_the_end():
    workload = Workload("w", {"a": 1, "b": 1}, False, lambda repeat: ())
    assert workload.greedy([Task("a", seconds) for seconds in (1.0, 1.0, 1.0, 3.0)]) == 4.0  # 1 + 3 beside 1 + 1
    with pytest.raises(ValueError, match="not independent"):
        workload.greedy([Task("a", 1.0), Task("a", 1.0, (0,))])


def test_what_is_judged_by_its_lower_bound_is_shown_beside_what_knows_no_delay():
    first, *_ = [line for line in Results([measured("sleep-600"), measured("sleep-600", repeat=2)]).tables() if line]
    assert "; threads that take the next task at once: 1.0" in first
    assert "at once" not in "".join(Results([measured("chain-50")]).tables())


# The order


class Lane:
    """Stands where real endpoints do, which these tests do not need."""

    def __init__(self, threads: dict[str, int], fails: bool = False) -> None:
        self.threads, self.fails, self.stopped = threads, fails, False
        self.done: list[tuple[str, str, int]] = []

    def measure(self, workload: Workload, system: str, repeat: int) -> Measurement:
        if self.fails:
            raise OSError("broken")
        self.done.append((workload.name, system, repeat))
        return measured(workload.name, system, repeat)

    def stop(self) -> None:
        self.stopped = True


def test_each_system_is_first_in_its_turn():
    assert [bench.turns(SYSTEMS, repeat)[0] for repeat in range(1, 7)] == [*SYSTEMS, SYSTEMS[0]]
    assert all(sorted(bench.turns(SYSTEMS, repeat)) == sorted(SYSTEMS) for repeat in range(1, 7))


def test_lanes_share_the_repeats_and_do_all_systems_of_one_in_turns():
    lanes = [Lane(THREE), Lane(THREE), Lane(SIXTEEN)]
    runs = bench.Bench(SYSTEMS, repeats=3)
    workloads = [WORKLOADS[name] for name in ("chain-50", "montage", "sixteen")]
    runs.side_by_side(workloads, lanes)
    done = [key for lane in lanes for key in lane.done]
    assert sorted(done) == sorted((w.name, system, repeat) for w in workloads for system in SYSTEMS for repeat in (1, 2, 3))
    assert len(runs.measurements) == len(done)
    assert {name for name, _, _ in lanes[2].done} == {"sixteen"}
    for lane in lanes:
        for start in range(0, len(lane.done), len(SYSTEMS)):
            name, _, repeat = lane.done[start]
            assert lane.done[start:start + len(SYSTEMS)] == [(name, system, repeat) for system in bench.turns(SYSTEMS, repeat)]


def test_an_error_in_one_lane_stops_the_others():
    both_run = threading.Barrier(2)

    class MeetingLane(Lane):
        def measure(self, *args: Any) -> Measurement:
            if not self.done:
                both_run.wait(10)
            return super().measure(*args)

    lanes = [MeetingLane(THREE), MeetingLane(THREE, fails=True)]
    with pytest.raises(OSError, match="broken"):
        bench.Bench(SYSTEMS, repeats=2).side_by_side([WORKLOADS["montage"]], lanes)
    assert all(lane.stopped for lane in lanes)


@pytest.fixture
def log(monkeypatch):
    """What the runs do, in order: what, on which lane, which system, which repeat."""
    log: list[tuple[str, object, str, int]] = []

    class Prepared:
        def __init__(self, lane: object, workload: Workload, system: str, repeat: int) -> None:
            self.about = lane, system, repeat
            self.workload = workload

        def warm_up(self) -> None:
            log.append(("warm", *self.about))

        def measure(self) -> Measurement:
            log.append(("run", *self.about))
            return measured(self.workload.name, *self.about[1:])

        def close(self) -> None:
            log.append(("end", *self.about))

    monkeypatch.setattr(bench, "Prepared", Prepared)
    return log


@pytest.mark.parametrize("count", [1, 2, 4])
def test_what_is_run_alone_never_runs_beside_another_nor_while_one_warms_up(log, count):
    runs = bench.Bench(SYSTEMS, repeats=2)
    runs.alone(WORKLOADS["bag-2000"], [Lane(THREE) for _ in range(count)])
    assert sorted((found.system, found.repeat) for found in runs.measurements) == sorted((s, r) for s in SYSTEMS for r in (1, 2))
    warm: dict[str, object] = {}
    for what, lane, system, _ in log:
        if what == "warm":
            assert lane not in [other for name, other in warm.items() if "htex" not in (name, system)]  # they would share a request budget
            warm[system] = lane
        elif what == "run":
            assert system in warm
        else:
            del warm[system]
    assert not warm


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_repeated_with_nothing_beside_it_is_warm_before_one_after_the_other_runs(log, count):
    runs = bench.Bench(SYSTEMS, repeats=3)
    runs.undisturbed([WORKLOADS["sleep-600"]], [Lane(THREE) for _ in range(count)])
    assert [(found.workload, found.system, found.repeat) for found in runs.again] == [("sleep-600", "multi", repeat) for repeat in (1, 2, 3)]
    assert not runs.measurements
    for start in range(0, 3, count):
        repeats = range(start + 1, min(start + count, 3) + 1)
        here = [what for what, _, _, repeat in log if repeat in repeats]
        assert here[:2 * len(repeats)] == ["warm"] * len(repeats) + ["run"] * len(repeats)
        assert len({lane for what, lane, _, repeat in log if repeat in repeats}) == len(repeats)  # each with a request budget of its own


# What is said


def test_ratios_are_of_the_same_repeat():
    results = Results([measured(repeat=1, seconds=1.0), measured(repeat=2, seconds=30.0), measured(repeat=3, seconds=5.0),
                       measured(system="gce-tuned", repeat=1, seconds=2.0), measured(system="gce-tuned", repeat=2, seconds=10.0)])
    assert sorted(results.of_other("chain-50", "gce-tuned").figures) == [0.5, 3.0]
    assert results.of_other("chain-50", "gce-tuned").text(2) == "1.75 (0.50 to 3.00)"
    assert results.seconds("chain-50", "multi").text(1) == "5.0 (1.0 to 30.0)"


@pytest.mark.parametrize("workload, system, most", [
    ("chain-50", "gce-default", 0.45), ("chain-50", "gce-tuned", 1.10), ("bag-2000", "gce-tuned", 1.0), ("sleep-600", "gce-default", 0.40),
    ("sleep-600", "gce-tuned", 0.40), ("montage", "gce-default", 0.60), ("montage", "gce-tuned", 0.80), ("parsl-perf", "gce-tuned", 1.0)])
@pytest.mark.parametrize("factor, verdict", [(0.999, "ok"), (1.001, "MISSED")])
def test_what_must_be_reached_beside_others(workload, system, most, factor, verdict):
    said = verdicts(measured(workload, "multi", seconds=most * factor), measured(workload, system, seconds=1.0))
    assert said[f"{workload}: multi over {system}"] == verdict


@pytest.mark.parametrize("seconds, verdict", [(29.9, "ok"), (30.1, "MISSED")])
def test_a_step_of_the_chain_may_take_six_tenths_of_a_second(seconds, verdict):
    assert verdicts(measured(seconds=seconds))["chain-50: multi, seconds a task"] == verdict


@pytest.mark.parametrize("seconds, verdict", [(10.79, "ok"), (10.81, "MISSED")])
def test_the_sleeps_may_take_little_more_than_their_lower_bound(seconds, verdict):
    assert verdicts(measured("sleep-600", seconds=seconds, bound=10.0))["sleep-600: multi over the lower bound"] == verdict


def test_what_the_sleeps_took_alone_counts_if_they_were_run_alone(capsys):
    beside, alone = measured("sleep-600", seconds=12.0, bound=10.0), measured("sleep-600", seconds=10.5, bound=10.0)
    results = Results([beside], [alone])
    must = next(must for must in results.requirements() if "lower bound" in must.text)
    assert (must.text, must.figure) == ("sleep-600: multi alone over the lower bound", pytest.approx(1.05))
    assert results.of_other("sleep-600", "multi").median == 1.0
    table = "\n".join(results.tables())
    assert "multi       12.00" in table and "multi alone 10.50" in table


def test_a_run_alone_that_failed_is_named_too():
    failed = measured("sleep-600", seconds=None, error="broken")
    assert any("broken" in line for line in Results([], [failed]).failures())


def test_what_was_not_run_is_neither_reached_nor_missed():
    assert set(verdicts().values()) == {"not"}
    assert bench.report(Results([])) == 0


def test_a_run_that_failed_is_named_and_makes_the_status_1(capsys):
    failed = measured("montage", "gce-tuned", 2, seconds=None, error="did not run within 240 s")
    assert bench.report(Results([measured("montage"), failed])) == 1
    assert "FAILED: montage, gce-tuned, repeat 2: did not run within 240 s" in capsys.readouterr().out


def test_a_requirement_that_is_missed_makes_the_status_1(capsys):
    assert bench.report(Results([measured(seconds=10.0)])) == 0
    assert bench.report(Results([measured(seconds=50.0)])) == 1
    assert "MISSED" in capsys.readouterr().out


def test_the_json_has_an_object_for_each_run(tmp_path):
    file = tmp_path / "out.json"
    Results([measured(), measured(system="htex", seconds=None, error="broken", requests=3)]).write_json(file)
    assert json.loads(file.read_text()) == [
        {"workload": "chain-50", "system": "multi", "repeat": 1, "seconds": 10.0, "tasks": 50, "lower_bound": 5.0},
        {"workload": "chain-50", "system": "htex", "repeat": 1, "seconds": None, "tasks": 50, "lower_bound": 5.0}]


@pytest.mark.parametrize("name, begins", [("p.png", b"\x89PNG"), ("p.svg", b"<?xml"), ("p.pdf", b"%PDF")])
def test_the_picture_shows_failed_runs_too(tmp_path, name, begins):
    bench.plot(Results([measured(), measured(system="htex", seconds=None), measured("montage"), measured("sixteen"), measured("bag-2000")]),
               tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize("arguments, message", [
    (["--repeats", "0"], "1 or more"), (["--lanes", "-1"], "1 or more"), (["--only", "chain-20"], "invalid choice: 'chain-20'"),
    (["--systems", "dask"], "invalid choice: 'dask'"),
    (["--plot", "p.html"], "must end with .png"),
    (["--plot", "p.png", "--only", "core", "budget"], "only of what is run on endpoints"),
    (["--json", "p.json", "--only", "core"], "only of what is run on endpoints")])
def test_wrong_arguments_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_file_that_cannot_be_written_is_named_before_anything_is_run(monkeypatch, capsys, tmp_path, option):
    monkeypatch.setattr(bench, "measure", lambda options: pytest.fail("something was run"))
    file = tmp_path / "none" / "out.png"
    assert bench.main([option, str(file)]) == 2
    assert str(file) in capsys.readouterr().err


# Programs that need no endpoints


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes "core" a program with that source; its file."""
    def write(source: str) -> Path:
        file = tmp_path / "program.py"
        file.write_text(source)
        monkeypatch.setitem(bench_scale.PROGRAMS, "core", (str(file), "one", "two"))
        return file
    return write


@pytest.mark.parametrize("name", bench_scale.PROGRAMS)
def test_the_programs_exist_and_take_their_arguments(name):
    file, *arguments = bench_scale.PROGRAMS[name]
    assert (Path(bench_scale.__file__).parent / file).is_file()
    importlib.import_module(file[:-len(".py")]).parse(arguments)


@pytest.mark.parametrize("status", [0, 1])
def test_what_a_program_says_must_be_reached_is_repeated_at_the_end(program, capsys, status):
    program(f"import sys\nprint(sys.argv[1:], 'Must reach: no')\nprint('Must reach:\\n  ok one\\n  MISSED two')\nsys.exit({status})")
    assert bench.main(["--only", "core"]) == status
    table, end = capsys.readouterr().out.split("\nMust reach (")
    assert "['one', 'two'] Must reach: no\n" in table
    assert end.splitlines()[-3:-1] == ["  ok one", "  MISSED two"]
    assert "FAILED" not in end


@pytest.mark.parametrize("source, message", [
    ("print('Must reach:\\n  ok one')\nraise SystemExit(2)", "FAILED: {} ended with status 2"),
    ("raise SystemExit(0)", "FAILED: {} ended with status 0, and said nothing of what must be reached")])
def test_a_program_that_fails_is_named_and_makes_the_status_1(program, capsys, source, message):
    file = program(source)
    assert bench.main(["--only", "core"]) == 1
    assert message.format(file) in capsys.readouterr().out


def test_a_program_ends_with_what_runs_it_and_so_does_what_it_started(program, monkeypatch):
    program("import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
            "print(child.pid, flush=True)\nchild.wait()")
    pids: list[int] = []

    def interrupt(*words: str, **how: Any) -> None:
        if words[0].strip().isdigit():
            pids.append(int(words[0]))
            raise KeyboardInterrupt

    monkeypatch.setattr(bench_scale, "print", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt):
        bench_scale.run("core")
    assert pids and not any(is_alive(pid) for pid in pids)


def test_a_program_that_hangs_is_killed_and_named(program, monkeypatch, capsys):
    # what it leaves behind holds its output open
    file = program("import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])")
    monkeypatch.setattr(bench_scale, "PATIENCE", 1.0)
    assert bench.main(["--only", "core"]) == 1
    assert f"FAILED: {file} ended" in capsys.readouterr().out


def test_what_was_measured_on_endpoints_is_written_before_the_other_programs_run(monkeypatch, tmp_path):
    file = tmp_path / "out.json"
    monkeypatch.setattr(bench, "measure", lambda options: Results([measured()]))
    monkeypatch.setattr(bench_scale, "run", lambda name: pytest.fail("stopped") if json.loads(file.read_text()) else None)
    with pytest.raises(pytest.fail.Exception, match="stopped"):
        bench.main(["--only", "chain-50", "core", "--json", str(file)])


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_runs_on_endpoints_is_all_but_these_programs(monkeypatch, capsys):
    monkeypatch.setattr(bench, "measure", lambda options: Results([measured()]))
    monkeypatch.setattr(bench_scale, "run", lambda name: pytest.fail(f"{name} was run"))
    assert bench.main(["--only", "chain-50"]) == 0
    assert "chain-50: 50 tasks" in capsys.readouterr().out


# A run in a process of its own


def order(system: str = "htex", **more) -> dict:
    return {"system": system, "ids": {}, "whole": "", "threads": {"a": 2}, "tasks": [["nap", 0.1, []], ["nap", 0.1, [0]]], **more}


def environment() -> dict[str, str]:
    return bench_lanes.environment({})


def test_a_run_on_this_machine_tells_its_seconds_and_ends():
    run = Run(order(), environment())
    run.wait_until_warm()
    assert 0.2 <= run.seconds() < bench_lanes.PATIENCE
    run.end()


def test_a_run_that_ends_early_fails_with_what_it_printed():
    run = Run(order("dask"), environment())
    with pytest.raises(RunFailed, match="(?s)ended while it should warm up.*KeyError: 'dask'"):
        run.wait_until_warm()
    with pytest.raises(RunFailed, match="ended with status 1"):
        run.end()


def test_a_run_that_hangs_is_killed_and_says_so(monkeypatch):
    run = Run(order(tasks=[["nap", 1000.0, []]]), environment())
    run.wait_until_warm()
    monkeypatch.setattr(bench_lanes, "PATIENCE", 0.5)
    with pytest.raises(RunFailed, match="did not run within 0"):
        run.seconds()
    with pytest.raises(RunFailed, match="ended with status -9"):
        run.end()
