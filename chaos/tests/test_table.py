"""What is printed, and the exit status."""
from __future__ import annotations

import csv
import json

import pytest

import chaos.__main__ as program
from chaos import table
from chaos.run import Result


def result(side="ours", **more):
    logged = {"failovers": 3, "duplicates": 2} if side == "ours" else {}
    return Result(**{"seed": 7, "side": side, "tasks": 500, "faults": ["kill_child alpha", "stall broker"], "settings": "retries=1",
                     "seconds": 41.26, **logged, **more})


def test_a_run_has_a_line_and_one_for_each_violation_and_remark():
    lines = table.line(result(violations=["bad"], remarks=["odd"])).splitlines()
    assert "seed   7" in lines[0] and "lost 0" in lines[0] and "failovers 3" in lines[0]
    assert lines[1:] == ["    kill_child alpha, stall broker; retries=1", "    violation: bad", "    remark: odd"]


def test_what_is_hung_or_failed_is_lost():
    assert result(hung=2, failed=3).lost == 5


def test_the_table_has_the_sums_of_each_side():
    rows = table.rows([result(), result(seed=8), result("rival", hung=4)])
    assert [row[0] for row in rows] == ["7", "8", "7", "all", "all"]
    assert rows[3][1:4] == ("4 faults", "this executor", "retries=1") and rows[3][-2:] == ("6", "4")
    assert rows[4][2:7] == ("three GlobusComputeExecutors", "retries=1", "500", "4", "4") and rows[4][-2:] == ("", "")


def test_the_table_for_the_documentation_has_the_sides_beside_each_other_and_their_sums(tmp_path):
    table.write_csv([result(), result("rival", hung=4, failed=1), result(seed=8)], tmp_path / "table.csv")
    with open(tmp_path / "table.csv") as file:
        header, *rows = csv.reader(file)
    assert header == ["Seed", "Faults that struck", "This executor", "s", "Three executors", "s"]
    assert rows == [["7", "kill_child alpha, stall broker", "0", "41", "5 (4 hung)", "41"],
                    ["8", "kill_child alpha, stall broker", "0", "41", "", ""],
                    ["all", "", "0 in 2 runs", "83", "5 (4 hung)", "41"]]


@pytest.mark.parametrize("wrong", [{"hung": 1}, {"failed": 1}, {"wrong": 1}, {"twice": 1}, {"violations": ["x"]}])
def test_anything_wrong_with_this_executor_gives_status_1(monkeypatch, capsys, wrong):
    monkeypatch.setattr(program, "run", lambda *_: result(**wrong))
    assert program.main(["--runs", "1"]) == 1


def test_what_the_rival_loses_gives_no_status_1(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(program, "run", lambda order, *_: result(order.side, hung=5 if order.side == "rival" else 0))
    assert program.main(["--runs", "2", "--rival", "--json", str(tmp_path / "out.json")]) == 0
    assert [found["side"] for found in json.loads((tmp_path / "out.json").read_text())] == ["ours", "rival"] * 2
    assert "three GlobusComputeExecutors" in capsys.readouterr().out


@pytest.mark.parametrize("more, of_rival", [([], 2), (["--rival-retries", "0"], 0)])
def test_both_sides_have_the_same_faults_and_retries_unless_those_of_the_rival_are_given(monkeypatch, capsys, more, of_rival):
    seen = []

    def note(order, faults, keep):
        seen.append((order.side, order.seed, order.retries, faults))
        return result(order.side)

    monkeypatch.setattr(program, "run", note)
    program.main(["--runs", "2", "--seed", "5", "--rival", "--retries", "2", *more])
    assert [found[:3] for found in seen] == [(side, seed, retries) for seed in (5, 6) for side, retries in (("ours", 2), ("rival", of_rival))]
    assert seen[0][3] == seen[1][3] != seen[2][3] == seen[3][3]


@pytest.mark.parametrize("arguments", [["--faults", "earthquake"], ["--runs", "0"], ["--least", "6", "--most", "5"]])
def test_what_makes_no_sense_is_refused(capsys, arguments):
    with pytest.raises(SystemExit):
        program.main(arguments)
    assert "error" in capsys.readouterr().err
