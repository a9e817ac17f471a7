"""What the survey shows of a run log and of a report."""
from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from parsl.dataflow.errors import DependencyError
from parsl.executors.globus_compute_multi.observe.replay import RunState, replay
from stdlib_survey import draw_up, merge, survey_file
from survey_display import (
    Workflow,
    endpoint_table,
    follow,
    picture,
    print_report,
    sentence,
    states,
    timed,
)

HEADER = {"t": 0.0, "kind": "log", "log": "globus_compute_multi", "schema": 1, "endpoints": [
    {"endpoint": "alpha", "threads": [{"cores": 1, "count": 1}]}, {"endpoint": "beta", "threads": [{"cores": 1, "count": 3}]}]}


def task_lines(task: int, endpoint: str, seconds: float, outcome: str = "ok") -> list[dict[str, Any]]:
    return [
        {"t": 1.0, "kind": "task", "task": task, "state": "pending"},
        {"t": 1.0, "kind": "attempt", "attempt": f"{task}.1", "state": "running", "task": task, "endpoint": endpoint,
         "thread_class": 0},
        {"t": 2.0, "kind": "attempt", "attempt": f"{task}.1", "state": "finished", "outcome": outcome, "started": 1.0, "finished": 1 + seconds},
        {"t": 2.0, "kind": "task", "task": task, "state": "done" if outcome == "ok" else "failed"},
    ]


@pytest.fixture
def state() -> RunState:
    """One task done on alpha, two on beta, one failed, one running, one pending."""
    lines = [*task_lines(1, "alpha", 2.0), *task_lines(2, "beta", 0.5), *task_lines(3, "beta", 0.5), *task_lines(4, "alpha", 0.0, "app_failed"),
             *task_lines(5, "beta", 1.0)[:2], *task_lines(6, "beta", 1.0)[:1]]
    return replay([HEADER, *lines])


def workflow(surveys: int, done: int) -> Workflow:
    futures: list[Future[Any]] = [Future() for _ in range(surveys)]
    for future in futures[:done]:
        future.set_result(None)
    return Workflow(futures, [Future()], Future())


def shown(what: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def write(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_the_state_is_that_of_the_log_as_far_as_it_is_written(tmp_path):
    log = tmp_path / "run.jsonl"
    with closing(states(log)) as run:
        assert next(run) is None
        write(log, [HEADER, *task_lines(1, "alpha", 1.0)[:2]])
        state = next(run)
        assert state is not None and state.tasks == {1: "dispatched"}
        write(log, task_lines(1, "alpha", 1.0)[2:])
        assert next(run) is state
        assert state.tasks == {1: "done"}


def test_the_picture_shows_tasks_and_threads(state):
    lines = shown(picture(state, workflow(surveys=9, done=4), 7.04)).splitlines()
    assert lines[0].endswith("3 of 11 tasks  7.0 s")
    assert lines[1].strip() == "4 of 9 files, 0 of 1 merges; 1 tasks pending, 5 waiting for others, 1 failed"
    assert [line.split() for line in lines[2:]] == [
        ["alpha", "○", "0", "queued", "ahead", "1", "done"], ["beta", "●○○", "0", "queued", "ahead", "2", "done"]]


def test_the_sentence_says_the_same(state):
    assert sentence(state, workflow(surveys=9, done=4), 7.04) == (
        "    7.0 s: 3 of 11 tasks done, 1 failed, 1 pending; alpha 0/1 busy +0 queued, beta 1/3 busy +0 queued")


def test_the_endpoint_table_sums_up_what_each_did(state):
    rows = [line.split() for line in shown(endpoint_table(state, seconds=4.0), width=80).splitlines()]
    assert ["alpha", "1", "2", "50", "%", "2.0", "s", "50", "%"] in rows
    assert ["beta", "3", "2", "50", "%", "1.0", "s", "8", "%"] in rows
    assert ["all", "4", "4", "100", "%", "3.0", "s", "19", "%"] in rows


def test_the_excerpt_of_a_report_fits_80_columns(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import sys\ndef function(): return sys.path\n", encoding="utf-8")
    survey = survey_file(str(path), "module")
    survey["unreadable"]["other"] = "SyntaxError"
    console = Console(file=io.StringIO(), width=80, highlight=False)
    print_report(console, draw_up(survey))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "1 files with 2 lines, 2 of them code; 0 comments" in text
    assert "1 files that this Python cannot read: other" in text
    assert "Loading module loads the most other modules: 1" in text
    assert ["function", "1", "module,", "line", "2"] in [line.split() for line in text.splitlines()]


def test_a_report_on_nothing_can_be_shown():
    print_report(Console(file=io.StringIO()), draw_up(merge()))


@pytest.mark.parametrize("terminal", [True, False])
def test_following_ends_when_the_report_is_there(tmp_path, terminal):
    log = tmp_path / "run.jsonl"
    write(log, [HEADER])
    tasks = workflow(surveys=1, done=1)
    tasks.report.set_result(None)
    assert follow(Console(file=io.StringIO(), force_terminal=terminal), log, tasks, began=time.monotonic()) >= 0


def test_the_cause_of_a_failure_is_the_error_of_the_task_that_began_it():
    tasks = workflow(surveys=3, done=1)
    tasks.surveys[1].set_exception(KeyError("mine"))
    tasks.surveys[2].set_result(None)
    for future in (*tasks.merges, tasks.report):
        future.set_exception(DependencyError([(KeyError("mine"), "task 1")], 2))
    assert tasks.cause_of_failure() == "KeyError: 'mine'"


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_timed_is_said_with_its_time_and_an_error_passes_through(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, color_system=None)
    assert isinstance(console.file, io.StringIO)
    with timed(console, "Working"):
        pass
    assert re.search(r"Working \.\.\. \d+\.\d s\n$", console.file.getvalue())
    with pytest.raises(KeyError):
        with timed(console, "Failing"):
            raise KeyError
    assert re.search(r"Failing \.\.\.(?! \d)", console.file.getvalue())
