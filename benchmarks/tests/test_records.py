"""How the cost of log and records is measured; the times themselves are not judged here."""
from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import records
import records_run
from parsl.executors.globus_compute_multi.scheduling import ledger
from records import Cost, cost, requirements
from records_run import without_log
from simulation.core_speed import JUDGED

SOURCE = '''
class Ledger:
    def first(self, task):
        """What it does."""
        told = {"message": "m"} if task.failed else {}
        kept = {"other": 1}
        self.log(kind="task", task=task.id, **told)
        return kept

    def second(self, task):
        line: Line = {"kind": "task"}
        if task.seconds:
            line["seconds"] = task.seconds
        line.update(task.info)
        self._ledger.log(line)
        if task.again:
            self._log(line)
        else:
            task.end()

    def third(self):
        line = {"kind": "task"}
        self.log(line)
        return line
'''

BARE = '''
class Ledger:
    def first(self, task):
        """What it does."""
        kept = {"other": 1}
        return kept

    def second(self, task):
        if task.again:
            pass
        else:
            task.end()

    def third(self):
        line = {"kind": "task"}
        return line
'''


def test_what_logs_is_left_out_and_nothing_else():
    assert without_log(SOURCE) == ast.unparse(ast.parse(BARE))


def test_the_ledger_without_its_log_is_still_the_ledger():
    bare = without_log(inspect.getsource(ledger))
    assert ".log(" not in bare
    compile(bare, "ledger", "exec")


@pytest.mark.parametrize("with_records", [False, True])
@pytest.mark.parametrize("load", range(len(JUDGED)), ids=lambda load: JUDGED[load].text)
def test_both_cores_do_the_same_and_one_logs_it(load, with_records):
    job = json.dumps({"load": load, "tasks": 150, "records": with_records})
    command = [sys.executable, str(Path(records_run.__file__))]
    spent = json.loads(subprocess.run(command, input=job, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout)
    assert len(spent["bare"]) == len(spent["core"]) > 2 and min(spent["bare"] + spent["core"]) >= 0
    assert spent["lines"] >= 4 * 150 and spent["log"] > 0
    assert (spent["publishing"] > 0) == with_records


def test_the_least_of_each_turn_counts():
    runs = [{"bare": [1.0, 5.0], "core": [2.0, 9.0], "log": 4.0, "publishing": 7.0, "lines": 40},
            {"bare": [3.0, 2.0], "core": [4.0, 3.0], "log": 6.0, "publishing": 5.0, "lines": 40}]
    assert cost(runs, 10) == Cost(bare=0.3e6, core=pytest.approx(0.2e6), log=0.4e6, publishing=0.5e6, lines=4.0)


def test_what_must_be_reached_is_judged_with_all_threads(monkeypatch, capsys):
    monkeypatch.setattr(records, "measure", lambda load, tasks, with_records, runs: Cost(50.0, 4.0, 30.0, 7.0 * with_records, 6.0))
    assert [requirement.missed for requirement in requirements([Cost(50.0, 4.0, 30.0, 7.0, 6.0)] * 2)] == [False, True] * 2
    assert records.main([]) == 1
    assert "41.0" in capsys.readouterr().out
    monkeypatch.setattr(records, "measure", lambda load, tasks, with_records, runs: Cost(50.0, 4.0, 30.0, 5.0 * with_records, 6.0))
    assert records.main([]) == 0
