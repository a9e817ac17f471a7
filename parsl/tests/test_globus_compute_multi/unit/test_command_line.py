"""The command line, and what imports what."""
from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import parsl.executors.globus_compute_multi as package
from parsl.errors import OptionalModuleMissing
from parsl.executors.globus_compute_multi.__main__ import COMMANDS, main
from parsl.executors.globus_compute_multi.commands import show
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.executors.globus_compute_multi.observe.runview import view_of
from parsl.tests.test_globus_compute_multi.unit.log_lines import LogLines, eventful

pytestmark = pytest.mark.local

FOLDER = Path(package.__file__).parent
NAME = package.__name__


def command(*arguments, cwd, **environment):
    """Run the command line as people do, from a folder of their own."""
    return subprocess.run([sys.executable, "-m", NAME, *map(str, arguments)], cwd=cwd, capture_output=True, timeout=120,
                          env={**os.environ, **environment})


def test_help_lists_the_commands_and_loads_nothing_that_draws(tmp_path):
    program = ("import runpy, sys; sys.argv[1:] = ['--help']; sys.modules.update(rich=None, plotly=None); "
               f"runpy.run_module({NAME!r}, run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(re.findall(r"^    ([a-z]+)", done.stdout, re.M)) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_fits_the_terminal(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"  python -m {NAME} {name}" in text
    assert all(len(line) <= 70 or line.startswith("  python -m ") for line in text.splitlines())


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "runinfo" / "000" / "multi.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(eventful().ended().text())
    return path


@pytest.mark.parametrize("named", ["runinfo/000/multi.jsonl", "runinfo/000", "runinfo", None])
def test_show_finds_the_log_of_a_run(tmp_path, log, capsys, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    assert main(["show", *([named] if named else [])]) == 0
    assert capsys.readouterr().out == f"{view_of(read_log(log)).status(0.0)}\n"


@pytest.mark.parametrize("name, content", [
    ("show", None), ("show", ""), ("show", "{}\n"), ("show", "no JSON\n"), ("watch", None), ("watch", "{}\n"), ("watch", "no JSON\n")])
def test_what_is_wrong_with_a_log_is_said_with_exit_code_two(tmp_path, capsys, name, content):
    log = tmp_path / "run.jsonl"
    if content is not None:
        log.write_text(content)
    assert main([name, str(log)]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"error: {log}") and output.err.count(str(log)) == 1 and output.out == ""
    assert content is None or "run log of GlobusComputeMultiExecutor" in output.err


@pytest.mark.parametrize("name", ["show", "watch"])
def test_a_line_that_contradicts_those_before_it_is_reported_with_the_path_of_the_log(tmp_path, capsys, name):
    log = tmp_path / "run.jsonl"
    log.write_text(LogLines().done(1).text())
    assert main([name, str(log)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {log}: ")


@pytest.mark.parametrize("arguments", [[], ["odd"], ["show", "--odd"]])
def test_usage_errors_have_exit_code_two(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and "usage: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["show", "watch"])
@pytest.mark.parametrize("environment", [
    {"COLUMNS": "40"}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"PYTHONIOENCODING": "latin-1"}], ids=lambda environment: next(iter(environment)))
def test_commands_print_plain_text_to_a_pipe_whatever_the_surroundings(tmp_path, name, environment):
    log = tmp_path / "multi.jsonl"
    log.write_text(LogLines({"\u754c\u0161": {1: 2}}, label="\u754c").pending(1).begin(1, "\u754c\u0161").done(1).ended().text())
    done = command(name, log, cwd=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"ended after" in done.stdout and b"1 task: 1 done, 0 failed" in done.stdout and b"\x1b" not in done.stdout


@pytest.mark.parametrize("name", ["show", "watch"])
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path, name):
    log = tmp_path / "multi.jsonl"
    log.write_text(LogLines({f"endpoint-{i}": {1: 1} for i in range(5000)}).ended().text())  # more than a pipe holds
    with subprocess.Popen([sys.executable, "-m", NAME, name, str(log)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert b"ended after" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(120) == 0


def test_a_missing_library_is_named_with_exit_code_two(monkeypatch, capsys, log):
    def run(options):
        raise OptionalModuleMissing(["rich"], "pip install rich")
    monkeypatch.setattr(show, "run", run)
    assert main(["show", str(log)]) == 2
    assert "pip install rich" in capsys.readouterr().err


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
    ("observe", {"observe", "errors", "arguments", "messages", "compute.envelope", "scheduling.events", "scheduling.actions",
                 "scheduling.lines"}),
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
