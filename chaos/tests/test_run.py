"""What is made of a run: what each future came to, what counts as wrong, and a program that says nothing."""
from __future__ import annotations

import json
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from types import SimpleNamespace

import pytest

from chaos import run as running
from chaos.budget import RequestWatch
from chaos.client import Progress, count_twice, outcome, watch_resolutions
from chaos.killer import Struck
from chaos.plan import Fault
from chaos.run import Order, UserProgram, judge
from parsl.dataflow.errors import DependencyError

REPORT = {"states": {"ok": 2}, "twice": 0, "seconds": 1.0, "followed": 0, "errors": []}
SHUTDOWN = {"seconds": 0.1, "threads": [], "sockets": 0, "processes": 0, "twice": 0}
STRUCK = [Struck(Fault("kill_child", 0.1, "a"), Fault("kill_child", 0.1, "a"), 0.0, hits=1)] * 5


def log(path):
    pool = [{"endpoint": "a", "threads": [{"cores": 1, "count": 1}]}]
    lines = [{"t": 0.0, "kind": "log", "log": "globus_compute_multi", "endpoints": pool}]
    for task in (1, 2):
        attempt = {"kind": "attempt", "attempt": f"{task}.1"}
        lines += [{"kind": "task", "task": task, "state": "pending"},
                  {**attempt, "state": "running", "task": task, "endpoint": "a", "thread_class": 0, "dispatch": 1},
                  {**attempt, "state": "finished", "outcome": "ok"},
                  {"kind": "task", "task": task, "state": "done", "attempt": f"{task}.1"}]
    path.write_text("".join(json.dumps({"t": 1.0, **line}) + "\n" for line in lines))
    return path


@pytest.fixture
def judged(tmp_path):
    """``judged(side, report={...}, ...)`` judges a run of two tasks that went well but for what is given."""
    requests = RequestWatch(SimpleNamespace(admin=SimpleNamespace(requests=lambda since: [])))

    def make(side="ours", struck=STRUCK, report=REPORT, shutdown=SHUTDOWN):
        killer = SimpleNamespace(struck=struck, problems=[])
        return judge(Order(side, 1, 2), killer, report, shutdown, requests, log(tmp_path / "log.jsonl"))
    return make


@pytest.mark.parametrize("side", ["ours", "rival"])
def test_a_run_in_which_all_went_well_is_good(judged, side):
    result = judged(side)
    assert result.good, result
    assert result.faults == ["kill_child a"] * 5


@pytest.mark.parametrize("side", ["ours", "rival"])
@pytest.mark.parametrize("what, complaint", [
    ({"struck": STRUCK[:4]}, "4 faults struck, fewer than 5"),
    ({"report": None}, "gave no report"),
    ({"report": {**REPORT, "states": {"ok": 1}}}, "1 futures were reported of 2 tasks"),
    ({"report": {**REPORT, "states": {"ok": 3}}}, "3 futures were reported of 2 tasks"),
])
def test_what_is_wrong_with_a_run_of_either_side_is_a_violation(judged, side, what, complaint):
    result = judged(side, **what)
    assert not result.good
    assert any(complaint in violation for violation in result.violations)


@pytest.mark.parametrize("what, found", [
    ({"report": {**REPORT, "states": {"ok": 1, "hung": 1}}}, {"hung": 1, "lost": 1}),
    ({"report": {**REPORT, "states": {"ok": 1, "failed": 1}}}, {"failed": 1, "lost": 1}),
    ({"report": {**REPORT, "states": {"ok": 1, "wrong": 1}}}, {"wrong": 1, "lost": 0}),
    ({"shutdown": {**SHUTDOWN, "twice": 1}}, {"twice": 1}),
    ({"report": {**REPORT, "twice": 2}, "shutdown": None}, {"twice": 2}),
    ({"report": None}, {"hung": 2, "lost": 2}),
])
def test_what_came_of_futures_is_counted_and_not_good(judged, what, found):
    result = judged(**what)
    assert {name: getattr(result, name) for name in found} == found
    assert not result.good


def test_failures_that_follow_from_others_are_told_apart(judged):
    result = judged("rival", report={**REPORT, "states": {"failed": 2}, "followed": 1, "errors": ["1 x Oops: x"]})
    assert result.remarks[0].startswith("1 tasks failed, and 1 because of a task") and "1 x Oops: x" in result.remarks


def resolved(value=None, error=None):
    future = Future()
    future.set_result(value) if error is None else future.set_exception(error)
    return future


@pytest.mark.parametrize("future, raises, state", [
    (Future(), False, "hung"),
    (resolved("right"), False, "ok"),
    (resolved("other"), False, "wrong"),
    (resolved("right"), True, "wrong"),
    (resolved(error=ValueError("right")), True, "ok"),
    (resolved(error=ValueError("other")), True, "wrong"),
    (resolved(error=ValueError("right")), False, "failed"),
    (resolved(error=OSError("x")), True, "failed"),
])
def test_each_future_has_come_to_something(future, raises, state):
    assert outcome(future, "right", raises)[0] == state


def test_a_failure_that_follows_from_another_is_known_by_its_name():
    assert outcome(resolved(error=DependencyError([], "task 1")), "x", False)[1].startswith("DependencyError")


def test_a_second_resolution_is_found_whether_it_is_refused_or_not(monkeypatch):
    for name in ("set_result", "set_exception"):
        monkeypatch.setattr(Future, name, getattr(Future, name))  # to be put back
    twice, progress = watch_resolutions(), Progress()
    once, again, failed = Future(), Future(), Future()
    for number, future in enumerate((once, again, failed)):
        progress.watch(number, future)
        future.set_result(1)
    assert count_twice(twice, progress) == 0
    with suppress(InvalidStateError):
        again.set_result(2)
    with suppress(InvalidStateError):
        failed.set_exception(OSError())
    assert count_twice(twice, progress) == 2


def test_a_callback_that_is_called_twice_is_found():
    progress, future = Progress(), Future()
    progress.watch(7, future)
    progress.watch(7, future)
    future.set_result(1)
    assert count_twice([], progress) == 1


def test_a_program_that_says_nothing_is_not_waited_for_for_ever(monkeypatch, tmp_path):
    monkeypatch.setattr(running, "_PROGRAM", ("-c", "import time; time.sleep(60)"))
    compute = SimpleNamespace(token="", endpoint_ids={})
    program = UserProgram(Order("ours", 1, 2, patience=1.5), compute, SimpleNamespace(ports={"broker": 1, "service": 2}), tmp_path)
    try:
        assert program.report() is None
    finally:
        program.kill()
