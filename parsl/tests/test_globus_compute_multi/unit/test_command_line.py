"""The command line, and what imports what."""
from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import parsl.executors.globus_compute_multi as package
from parsl.executors.globus_compute_multi.__main__ import main

pytestmark = pytest.mark.local

FOLDER = Path(package.__file__).parent
NAME = package.__name__


def test_help_works_as_a_module():
    done = subprocess.run([sys.executable, "-m", NAME, "--help"], capture_output=True, text=True, check=True)
    assert "show" in done.stdout


def test_show_summarises_a_run(tmp_path, capsys):
    log = tmp_path / "run.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in [
        {"t": 1.0, "kind": "log", "log": "globus_compute_multi", "endpoints": [{"endpoint": "a", "threads": [{"cores": 4, "count": 2}]}]},
        {"t": 1.0, "kind": "task", "task": 1, "state": "pending"},
        {"t": 2.0, "kind": "attempt", "attempt": "1.1", "state": "running", "task": 1, "endpoint": "a", "thread_class": 0, "dispatch": 1},
        {"t": 5.0, "kind": "attempt", "attempt": "1.1", "state": "finished", "outcome": "ok", "started": 2.0, "finished": 4.5},
        {"t": 5.0, "kind": "task", "task": 1, "state": "done"},
    ]))
    assert main(["show", str(log)]) == 0
    first, headings, row = capsys.readouterr().out.splitlines()
    assert first == "1 tasks in 4.0 s: 0 pending, 0 waiting, 0 dispatched, 1 done, 0 failed"
    assert dict(zip(re.split("  +", headings), re.split("  +", row))) == {
        "endpoint": "a", "threads x cores": "2 x 4", "state": "online", "running": "0", "ahead": "0", "done": "1", "failed": "0",
        "busy": "2.5 s"}


@pytest.mark.parametrize("content", [None, "", "{}\n", "no JSON\n"])
def test_show_says_what_is_wrong_with_a_log(tmp_path, capsys, content):
    log = tmp_path / "run.jsonl"
    if content is not None:
        log.write_text(content)
    assert main(["show", str(log)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def imports(path):
    """Modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("folder, allowed", [
    ("scheduling", {"scheduling"}),
    ("compute", {"compute", "errors", "scheduling.events", "scheduling.actions"}),
    ("observe", {"observe", "scheduling.events", "scheduling.actions"}),
])
def test_what_a_part_knows_of_the_others(folder, allowed):
    for path in sorted((FOLDER / folder).glob("*.py")):
        for module in imports(path):
            if module.startswith(NAME + "."):
                inner = module[len(NAME) + 1:]
                assert any(inner == a or inner.startswith(a + ".") for a in allowed), f"{path.name} imports {inner}"


def test_the_scheduler_core_is_pure():
    banned = {"threading", "time", "queue", "socket", "logging", "random", "pika", "globus_sdk", "globus_compute_sdk", "os", "datetime"}
    for path in sorted((FOLDER / "scheduling").glob("*.py")):
        drawn = {"random"} if path.name == "policy.py" else set()  # for the policy that chooses at random, from a seed if need be
        assert not (banned - drawn) & {module.partition(".")[0] for module in imports(path)}, path.name


def test_the_executor_needs_none_of_the_libraries_that_only_people_look_at():
    program = f"import sys, {NAME}; print(sorted({{'rich', 'plotly', 'starlette', 'pandas'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
