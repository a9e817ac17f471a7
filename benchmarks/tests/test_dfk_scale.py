"""What is measured of a run with the DataFlowKernel, and what is said of it; the times themselves are not judged here."""
from __future__ import annotations

import io
import json
import threading
import time

import pytest

import dfk_scale
import dfk_scale_run
from dfk_scale import LEAST, MOST_ON_LAUNCH, OURS, ROWS

FOUND = {"seconds": 500.0, "bytes": 4000.0, "submit": 60.0, "hooks": 30.0, "packing": 20.0, "launching": 150.0, "calling apps": 40.0}


@pytest.fixture
def told(monkeypatch):
    """What runs tell, changed by the test; which ones there were is a list."""
    figures, sides = dict(FOUND), []
    monkeypatch.setattr(dfk_scale, "measure", lambda side, tasks: sides.append((side, tasks)) or figures)
    return figures, sides


def test_what_parsls_launch_thread_spends_in_the_executor_is_judged(told, capsys):
    figures, sides = told
    assert dfk_scale.main(["--tasks", "10", "--runs", "2"]) == 0
    assert sides == [(OURS, 10), (LEAST, 10)] * 2
    assert "ok" in capsys.readouterr().out
    figures["submit"] = MOST_ON_LAUNCH
    assert dfk_scale.main([]) == 1
    out = capsys.readouterr().out
    assert "MISSED" in out and "130.000" in out


def test_packing_is_not_judged(told):
    told[0]["packing"] = told[0]["launching"] = 1000.0
    assert dfk_scale.main([]) == 0


def test_of_some_runs_the_least_of_each_figure_counts():
    assert dfk_scale.least([{"a": 1.0, "b": 4.0}, {"a": 2.0, "b": 3.0}]) == {"a": 1.0, "b": 3.0}


@pytest.mark.parametrize("arguments", [["--tasks", "0"], ["--runs", "0"], ["--tasks", "many"]])
def test_impossible_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        dfk_scale.parse(arguments)
    assert raised.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def on_launch_thread(function):
    thread = threading.Thread(target=function, name="Task-Launch_0")
    thread.start()
    thread.join()


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_what_a_metered_function_calls_of_the_others_is_not_its_own():
    meter = dfk_scale_run.Meter()
    inner = meter.metered("inner", lambda: burn(0.05))
    outer = meter.metered("outer", lambda: (inner(), inner()))
    on_launch_thread(outer)
    assert meter.seconds["inner"] >= 0.1
    assert meter.seconds["outer"] < 0.05


def test_what_other_threads_do_is_not_metered():
    meter = dfk_scale_run.Meter()
    assert meter.metered("name", lambda: 7)() == 7
    assert not meter.seconds


def test_a_metered_function_that_fails_fails_as_before_and_counts():
    meter = dfk_scale_run.Meter()

    def fail():
        burn(0.01)
        raise ValueError("on purpose")

    def check():
        with pytest.raises(ValueError, match="on purpose"):
            meter.metered("name", fail)()

    on_launch_thread(check)
    assert meter.seconds["name"] >= 0.01


@pytest.mark.parametrize("side, threads", [
    (OURS, {"core", "sending", "receiving", "resolver", "log", "submit", "hooks", "packing"}), (LEAST, {"completing"})])
def test_a_run_tells_what_each_thread_has_used(side, threads, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"side": side, "tasks": 100})))
    dfk_scale_run.main()
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"seconds", "bytes", "launching", "calling apps", *threads}
    assert set(told) - {"seconds", "bytes"} <= set(ROWS)
    assert all(told[name] > 0 for name in threads)
