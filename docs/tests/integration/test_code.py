"""The code on the page, run as a reader runs it, on real endpoints; but for endpoint IDs and a path, as it stands there."""
from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from local_globus_compute import LocalEndpoint, LocalGlobusCompute
from local_globus_compute.agents import find_agent_program
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.executors.globus_compute_multi.observe.replay import replay

from ..page import PAGE, Block, one_script, read_blocks

#: The page's endpoints: monitoring wants a process for each task.
ENDPOINTS = {
    "11111111-1111-1111-1111-111111111111": LocalEndpoint("laptop", workers=4),
    "22222222-2222-2222-2222-222222222222": LocalEndpoint("cluster", workers=4, engine="GlobusComputeEngine"),
    "33333333-3333-3333-3333-333333333333": LocalEndpoint("supercomputer", workers=8),
}
SHARED_FOLDER = "/lab/scratch"

AGENT_PROGRAMS = find_agent_program(None).parent

#: What does its work here, and does it at once. Other programs on the page need the internet, or go on for ever.
RUN = ("python", "-m", "parsl.executors.globus_compute_multi")

#: Of the other programs, how many words come before the arguments: with --help after them they name their options.
WORDS_BEFORE_ARGUMENTS = {"globus-compute-endpoint": 2, "globus-compute-diagnostic": 1, "python": 3}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return read_blocks(PAGE, tmp_path_factory.mktemp("sphinx"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Where the page's code runs: a function that runs a command, and one that puts what is there into a block."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "shared").mkdir()
    with LocalGlobusCompute(list(ENDPOINTS.values())) as compute:
        programs = os.pathsep.join([str(Path(sys.executable).parent), str(AGENT_PROGRAMS), os.environ["PATH"]])
        variables = {**os.environ, **compute.environment, "PATH": programs}
        places = {**{id: compute.endpoint_ids[endpoint.name] for id, endpoint in ENDPOINTS.items()}, SHARED_FOLDER: str(folder / "shared")}

        def run(*command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)

        def put(block: Block) -> Block:
            return replace(block, text=re.sub("|".join(places), lambda found: places[found[0]], block.text))

        yield folder, run, put, places


@pytest.fixture(scope="module")
def session(page, environment):
    """The blocks without a caption, run: they go on from one another."""
    folder, run, put, _ = environment
    (folder / "page.py").write_text(one_script([put(block) for block in page if block.kind == "python" and not block.caption]))
    return run("python", "page.py")


@pytest.fixture(scope="module")
def scripts(page, environment, session):
    """The blocks with a caption, each run as a file of that name, after the session, whose runs have the numbers that the page names."""
    folder, run, put, _ = environment
    blocks = [put(block) for block in page if block.kind == "python" and block.caption]
    for block in blocks:
        (folder / block.caption).write_text(block.text)
    return {block.caption: run("python", block.caption) for block in blocks}


def test_blocks_without_a_caption_run_as_one_script_and_the_first_run_does_its_300_tasks(session, environment):
    assert session.returncode == 0, session.stdout + session.stderr
    state = replay(read_log(environment[0] / "runinfo/000/globus_compute_multi.jsonl"))
    assert (state.count("done"), len(state.tasks)) == (300, 300)


def test_blocks_with_a_caption_run_as_scripts_of_that_name(scripts):
    assert scripts
    for name, done in scripts.items():
        assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"


def test_monitoring_on_the_page_has_records_of_every_task(scripts, environment):
    with sqlite3.connect(environment[0] / "runinfo/monitoring.db") as database:
        (tasks, recorded), = database.execute("SELECT (SELECT COUNT(*) FROM task), (SELECT COUNT(DISTINCT task_id) FROM resource)")
    assert tasks == recorded > 0


def commands(page):
    return [(block, shlex.split(line)) for block in page if block.kind == "bash" for line in block.text.splitlines()]


def test_the_commands_do_their_work_and_print_what_the_page_shows(page, session, environment):
    _, run, _, places = environment
    shown = {page[number - 1].text: block.text for number, block in enumerate(page) if block.kind == "text"}
    ran = [(block, words) for block, words in commands(page) if tuple(words[:3]) == RUN]
    assert {block.text for block, _ in ran} >= set(shown) != set()
    for block, words in ran:
        done = run(*[places.get(word, word) for word in words])
        assert done.returncode == 0, f"line {block.line} of the page\n{session.stderr}{done.stdout}{done.stderr}"
        if block.text in shown:
            assert form(done.stdout) == form(shown[block.text])


def form(text):
    """A table without its figures and the widths that they make."""
    return [re.sub(r"[0-9.]+", "#", line).split() for line in text.splitlines()]


def test_programs_that_cannot_be_run_here_exist_with_the_options_on_the_page(page, environment):
    _, run, _, _ = environment
    for block, words in commands(page):
        if tuple(words[:3]) == RUN:
            continue
        where = f"line {block.line} of the page: {shlex.join(words)}"
        if words[:2] == ["pip", "install"]:
            # what is installed for our tests satisfies it, on one side or the other
            tries = [run(str(folder / "python"), "-m", *words, "--no-index") for folder in (Path(sys.executable).parent, AGENT_PROGRAMS)]
            assert any(done.returncode == 0 and "does not provide" not in done.stderr for done in tries), (where, tries)
        else:
            assert words[0] in WORDS_BEFORE_ARGUMENTS, f"no check is known for it: {where}"
            before = WORDS_BEFORE_ARGUMENTS[words[0]]
            done = run(*words[:before], "--help")
            assert done.returncode == 0, (where, done.stderr)
            missing = [word for word in words[before:] if word.startswith("-") and not re.search(rf"(?<![\w-]){word}(?![\w-])", done.stdout)]
            assert not missing, where


def test_template_gives_the_number_of_workers_that_is_asked_for_and_a_default(page, environment):
    folder, run, _, _ = environment
    for block in page:
        if block.kind == "yaml+jinja":
            (folder / "template.j2").write_text(block.text)
            for options, workers in (({}, 16), ({"workers": 32}, 32)):
                (folder / "options.json").write_text(json.dumps(options))
                done = run("globus-compute-endpoint", "render-user-config", "-t", "template.j2", "-o", "options.json")
                assert done.returncode == 0, done.stderr
                assert re.search(r"max_workers_per_node: (\d+)", done.stdout)[1] == str(workers)
