"""The branches for Parsl, made on the release that is forked, which has what they begin from, but for some files."""
import ast
import re
import subprocess
import sys

import pytest

import fork
import upstream_pr
from fork import ForkError
from upstream.assign import assign
from upstream.files import place_of, read_files
from upstream.plan import BRANCH, COMMITS, PAGE, Commit

PARTS = [f"{BRANCH}-1-hooks", f"{BRANCH}-2-executor", f"{BRANCH}-3-localhost"]
NOT_IN_THE_RELEASE = {".gitignore", "Makefile", "mypy.ini", "test-requirements.txt", "docs/reference.rst",
                      "docs/userguide/configuration/executors/index.rst"}
PATCHES = sorted((fork.ROOT / "patches" / "upstream").glob("*.patch"))


def git(tree, *arguments):
    return subprocess.run(["git", "-C", str(tree), *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def no_settings_of_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "EMAIL", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The release, as a git repository of one commit."""
    tree = tmp_path_factory.mktemp("release") / "parsl"
    fork.build(tree, fork.fetch_sdist(fork.ROOT / "tools" / "parsl-sdist.txt", fork.ROOT / ".fork"), [])
    return tree


def cloned(release, folder):
    subprocess.run(["git", "clone", "--quiet", str(release), str(folder)], check=True)
    git(folder, "config", "user.name", "A Contributor")
    git(folder, "config", "user.email", "contributor@example.org")
    return folder


@pytest.fixture
def clone(release, tmp_path):
    """A clone of one's own."""
    return cloned(release, tmp_path / "parsl")


@pytest.fixture(scope="module")
def made(release, tmp_path_factory):
    """A clone with the branches, not to be changed; the commits' hashes; and the files that were said to be missing."""
    tree = cloned(release, tmp_path_factory.mktemp("made") / "parsl")
    _, missing = upstream_pr.make_branches(tree)
    return tree, git(tree, "rev-list", "--reverse", f"HEAD..{BRANCH}").split(), missing


def added(tree, commit):
    return set(git(tree, "diff", "--name-only", f"{commit}^", commit).split())


def untouched(tree):
    """Whether a clone is as it was cloned."""
    branches = git(tree, "for-each-ref", "--format=%(refname)", "refs/heads").split()
    return len(branches) == 1 and not git(tree, "status", "--porcelain") and len(git(tree, "worktree", "list").splitlines()) == 1


def test_each_branch_goes_on_from_the_one_before_and_the_last_is_the_whole(made):
    tree, commits, _ = made
    places = [commits.index(git(tree, "rev-parse", branch).strip()) for branch in PARTS]
    assert places == sorted(set(places)) and places[-1] == len(commits) - 1
    assert git(tree, "rev-parse", BRANCH).strip() == commits[-1]
    assert [git(tree, "log", "-1", "--format=%s", commit).strip() for commit in commits] == [commit.summary for commit in COMMITS]


def test_the_checkout_stays_as_it_is_and_nothing_else_is_left(made):
    tree, commits, _ = made
    assert not git(tree, "status", "--porcelain")
    assert git(tree, "rev-parse", "HEAD") == git(tree, "rev-parse", f"{commits[0]}^")
    assert git(tree, "symbolic-ref", "--short", "HEAD").strip() not in [*PARTS, BRANCH]
    assert len(git(tree, "worktree", "list").splitlines()) == 1


def test_the_commits_are_the_users_own(made):
    tree, commits, _ = made
    assert set(git(tree, "log", "--format=%an %ae %cn %ce", f"HEAD..{BRANCH}").splitlines()) == {
        "A Contributor contributor@example.org A Contributor contributor@example.org"}


def test_the_hooks_come_first_with_their_tests_and_nothing_else(made):
    tree, commits, _ = made
    assert added(tree, commits[0]) == {"parsl/dataflow/dflow.py", "parsl/executors/base.py", "parsl/tests/unit/test_task_observers.py"}


def test_the_executor_and_its_unit_tests_are_there_before_anything_of_localhost(made):
    tree, _, _ = made
    files = set(git(tree, "ls-tree", "-r", "--name-only", PARTS[1]).split())
    for folder in ("parsl/executors/globus_compute_multi", "parsl/tests/test_globus_compute_multi/unit"):
        ours = {path.relative_to(fork.ROOT).as_posix() for path in (fork.ROOT / folder).rglob("*.py")}
        missing = {place_of(name) for name in ours} - files
        assert not missing
    assert not [name for name in files if "local_globus_compute" in name or "globus_compute_multi/integration" in name]
    assert "Developing on Localhost" not in git(tree, "show", f"{PARTS[1]}:{PAGE}")
    assert "Developing on Localhost" in git(tree, "show", f"{PARTS[2]}:{PAGE}")


def test_the_parts_of_the_executor_come_one_by_one_each_with_its_tests(made):
    tree, commits, _ = made
    order = ["scheduling/taskgraph.py", "observe/replay.py", "scheduling/scheduler.py", "compute/dispatcher.py",
             "observe/readers.py", "observe/live.py", "doctor/diagnose.py", "executor.py"]
    tests = ["test_taskgraph.py", "test_runlog.py", "test_scheduler.py", "test_governor.py", "test_records.py", "test_status.py",
             "test_doctor_network.py", "test_command_line.py"]
    for commit, module, test in zip(commits[1:], order, tests):
        assert {f"parsl/executors/globus_compute_multi/{module}", f"parsl/tests/test_globus_compute_multi/unit/{test}"} <= added(tree, commit)


def test_all_of_parsl_that_a_commit_imports_is_there_by_then(made):
    tree, commits, _ = made
    for commit in commits:
        files = set(git(tree, "ls-tree", "-r", "--name-only", commit).split())
        for name in added(tree, commit):
            if name.endswith(".py"):
                for module in re.findall(r"^ *from (parsl[\w.]*) import", git(tree, "show", f"{commit}:{name}"), re.MULTILINE):
                    path = module.replace(".", "/")
                    assert {f"{path}.py", f"{path}/__init__.py"} & files, f"{name} imports {module}, which is not there at {commit}"


def test_every_folder_with_python_is_a_package_in_every_commit(made):
    tree, commits, _ = made
    for commit in commits:
        files = set(git(tree, "ls-tree", "-r", "--name-only", commit).split())
        folders = {name.rpartition("/")[0] for name in added(tree, commit) if name.startswith("parsl/") and name.endswith(".py")}
        assert [folder for folder in folders if f"{folder}/__init__.py" not in files] == []


def test_the_files_that_the_release_lacks_are_named_once_each(made):
    _, _, missing = made
    assert set(missing) == NOT_IN_THE_RELEASE
    assert len(missing) == len(NOT_IN_THE_RELEASE)


def test_the_executor_is_imported_from_the_tree_and_exported(made, tmp_path):
    tree, _, _ = made
    archive = subprocess.run(["git", "-C", str(tree), "archive", BRANCH, "parsl"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=archive, check=True)
    code = ("import parsl.executors.globus_compute_multi as package, parsl.executors as all, parsl.tests.local_globus_compute as local\n"
            "print(package.__file__, local.__file__, all.GlobusComputeMultiExecutor is package.GlobusComputeMultiExecutor)")
    done = subprocess.run([sys.executable, "-c", code], cwd="/", env={"PYTHONPATH": str(tmp_path)}, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(tmp_path / "parsl/executors/globus_compute_multi/__init__.py"),
                                   str(tmp_path / "parsl/tests/local_globus_compute/__init__.py"), "True"]


def test_what_is_changed_obeys_upstreams_style_and_what_is_new_names_no_place_of_this_repository(made, tmp_path):
    tree, commits, _ = made
    changed = sorted(set().union(*(added(tree, commit) for commit in commits)))
    archive = subprocess.run(["git", "-C", str(tree), "archive", BRANCH, *changed], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=archive, check=True)
    for tool in (["flake8", "--config", str(fork.ROOT / ".flake8")], ["isort", "--check", "--profile", "black", "--project", "parsl"]):
        done = subprocess.run([sys.executable, "-m", *tool, "parsl"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    new = [name for name in changed if not git(tree, "ls-tree", "HEAD", name)]
    ours = re.compile(r"test_configs|\.fork/|[Nn]ot upstream|patches/|make fork|(?<![\w.])local_globus_compute\.")
    assert [line for name in new for line in (tmp_path / name).read_text().splitlines() if ours.search(line)] == []


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.name)
def test_patch_only_inserts_and_carries_one_line_of_context(patch):
    for hunk in re.split(r"^@@.*\n", patch.read_text(), flags=re.MULTILINE)[1:]:
        lines = [line[:1] for line in hunk.partition("\ndiff --git")[0].splitlines()]
        assert re.fullmatch(r" ?\++ ?( ?\++ ?)*", "".join(lines)), f"not only insertions with a line of context:\n{hunk}"


def test_every_patch_and_no_other_is_in_a_commit():
    own = {path.name for path in (fork.ROOT / "patches").glob("*.patch")}
    assert sorted(name for commit in COMMITS for name in commit.patches) == sorted(own | {path.name for path in PATCHES})


def test_the_api_reference_names_all_that_is_public():
    listed = (fork.ROOT / "patches" / "upstream" / "docs-reference.patch").read_text()
    package = fork.ROOT / "parsl" / "executors" / "globus_compute_multi"
    exported = re.findall(r'^    "(\w+)",$', (package / "__init__.py").read_text(), re.MULTILINE)
    errors = [f"errors.{node.name}" for node in ast.parse((package / "errors.py").read_text()).body if isinstance(node, ast.ClassDef)]
    assert exported and errors
    for name in [*exported, *errors]:
        assert re.search(rf"^\+    parsl\.executors\.(globus_compute_multi\.)?{re.escape(name)}$", listed, re.MULTILINE), name


def test_upstreams_test_requirements_have_what_localhost_needs():
    added_lines = (fork.ROOT / "patches" / "upstream" / "test-requirements-localhost.patch").read_text().splitlines()
    for line in (fork.ROOT / "localhost-requirements.txt").read_text().splitlines():
        if line and not line.startswith(("#", "psutil")):  # Parsl itself needs psutil
            assert f"+{line}" in added_lines


def test_the_description_has_the_headings_of_parsls_template():
    text = (fork.ROOT / "docs" / "pull-request.md").read_text()
    assert re.findall(r"^#.*", text, re.MULTILINE) == ["# Description", "# Changed Behaviour", "# Fixes", "## Type of change"]
    assert "#3113" in text and "#3620" in text


# What is refused, before anything is changed


def test_without_a_clone_it_says_how_to_name_one():
    with pytest.raises(ForkError, match="PARSL is not set.*git clone.*make upstream-pr PARSL="):
        upstream_pr.main([""])


def test_a_folder_that_is_not_there_or_no_repository_is_refused(tmp_path):
    with pytest.raises(ForkError, match="There is no folder .*/nowhere"):
        upstream_pr.main([str(tmp_path / "nowhere")])
    with pytest.raises(ForkError, match="is not the top folder of a git repository"):
        upstream_pr.main([str(tmp_path)])


def test_another_repository_is_refused_with_what_it_lacks(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "setup.py").touch()
    with pytest.raises(ForkError, match="is no clone of Parsl: it has no parsl/version.py, parsl/dataflow/dflow.py"):
        upstream_pr.main([str(tmp_path)])


@pytest.mark.parametrize("name", ["setup.py", "new.py"])
def test_changes_that_are_not_committed_are_named(clone, name):
    (clone / name).write_text("changed")
    with pytest.raises(ForkError, match=rf"(?s)not committed.*git stash.*{name}"):
        upstream_pr.main([str(clone)])
    assert (clone / name).read_text() == "changed"


def test_a_branch_that_is_there_is_kept_and_it_says_how_to_remove_it(clone):
    git(clone, "branch", PARTS[1])
    with pytest.raises(ForkError, match=f"{PARTS[1]} already.*git -C {clone} branch -D {PARTS[1]}"):
        upstream_pr.main([str(clone)])
    assert len(git(clone, "branch").splitlines()) == 2


def test_a_second_run_says_how_to_remove_the_branches_and_works_when_they_are(clone, capsys):
    upstream_pr.main([str(clone)])
    with pytest.raises(ForkError) as refused:
        upstream_pr.main([str(clone)])
    command = re.search(r"git -C .*? branch -D .*?(?= \()", str(refused.value))
    subprocess.run(command[0].split(), check=True, stdout=subprocess.DEVNULL)
    assert untouched(clone)
    upstream_pr.main([str(clone)])
    said = capsys.readouterr().out
    assert f"{BRANCH}-2-executor" in said and "mypy.ini" in said and "docs/pull-request.md" in said


def test_a_commit_that_has_the_executor_is_no_place_to_begin(clone):
    upstream_pr.main([str(clone)])
    git(clone, "checkout", "--quiet", "--detach", BRANCH)
    git(clone, "branch", "-D", BRANCH, *PARTS)
    with pytest.raises(ForkError, match="already, at its commit.*git checkout master"):
        upstream_pr.main([str(clone)])


def test_without_an_identity_it_says_how_to_set_one(clone):
    git(clone, "config", "--unset", "user.email")
    with pytest.raises(ForkError, match="git config --global user.email"):
        upstream_pr.main([str(clone)])
    assert untouched(clone)


@pytest.mark.parametrize("name, line, patch", [
    ("parsl/dataflow/dflow.py", "        with self.submitter_lock:\n", "patches/0003-"),
    ("parsl/executors/__init__.py", "           'FluxExecutor',\n", "patches/0001-"),
])
def test_a_patch_that_does_not_apply_is_named_with_the_file_and_nothing_is_left(clone, name, line, patch):
    text = (clone / name).read_text()
    assert line in text
    (clone / name).write_text(text.replace(line, line.replace("'", '"').replace("_lock", "_mutex")))
    git(clone, "commit", "--quiet", "--all", "--message", "Upstream has changed")
    with pytest.raises(ForkError, match=rf"(?s){patch}.*does not apply.*the clone is as it was.*patch failed: {re.escape(name)}"):
        upstream_pr.main([str(clone)])
    assert untouched(clone)


def test_the_clones_hooks_and_the_environment_of_a_hook_have_no_part_in_it(clone, tmp_path, monkeypatch):
    hook = clone / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    upstream_pr.main([str(clone)])
    monkeypatch.undo()
    assert git(clone, "rev-parse", BRANCH)


# Which commit brings which file


def small_plan():
    return (
        Commit("1", "Part", "", takes=("parsl/new/part/",), tests=("parsl/tests/*.py",)),
        Commit("1", "Whole", "", takes=("parsl/new/*.py",)),
    )


FILES = {
    "parsl/new/__init__.py": '"""A package."""\nfrom parsl.new.whole import Whole\n',
    "parsl/new/part/__init__.py": "",
    "parsl/new/part/a.py": "from parsl.new import shared\n",
    "parsl/new/shared.py": "",
    "parsl/new/whole.py": "import parsl.new.part.a\n",
    "parsl/tests/test_part.py": "from .helper import x\n",
    "parsl/tests/helper.py": "def x():\n    from parsl.new.part import a\n",
    "parsl/tests/test_whole.py": "from parsl.new import Whole\n",
}


def test_a_commit_brings_what_its_files_import_and_the_tests_that_this_allows():
    first, second = assign(FILES, small_plan())
    assert set(first) == {"parsl/new/__init__.py", "parsl/new/part/__init__.py", "parsl/new/part/a.py", "parsl/new/shared.py",
                          "parsl/tests/test_part.py", "parsl/tests/helper.py"}
    assert set(second) == {"parsl/new/__init__.py", "parsl/new/whole.py", "parsl/tests/test_whole.py"}


def test_a_package_begins_with_its_docstring_until_what_it_imports_is_there():
    first, second = assign(FILES, small_plan())
    assert first["parsl/new/__init__.py"] == '"""A package."""\n'
    assert second["parsl/new/__init__.py"] == FILES["parsl/new/__init__.py"]


@pytest.mark.parametrize("path", ["parsl/new/live/view.py", "parsl/elsewhere.py", "docs/userguide/new.rst"])
def test_a_file_that_no_rule_knows_is_named(path):
    with pytest.raises(ForkError, match=f"(?s)belong to no commit.*plan.py.*{path}"):
        assign({**FILES, path: ""}, small_plan())


def test_a_new_folder_of_the_real_repository_is_named():
    with pytest.raises(ForkError, match="globus_compute_multi/live/view.py"):
        assign({**read_files(fork.ROOT), "parsl/executors/globus_compute_multi/live/view.py": ""}, COMMITS)


def test_a_rule_without_files_is_named():
    with pytest.raises(ForkError, match='There is no parsl/gone/, which the commit "Gone"'):
        assign(FILES, (*small_plan(), Commit("1", "Gone", "", takes=("parsl/gone/",))))


def test_what_is_marked_as_not_upstreams_is_cut_with_the_imports_that_only_it_needs(tmp_path):
    (tmp_path / "test_configs").mkdir()
    (tmp_path / "test_configs" / "conf.py").write_text(
        "import os\nimport sys\nfrom re import compile, match, sub\n\n\nx = sub\n\n\n# Not upstream: begin (here)\n"
        "sys.path.insert(0, match(os.curdir))\n# Not upstream: end\n\n\ndef f():\n    print(os)\n"
        "    # Not upstream: begin\n    print(sys)\n    # Not upstream: end\n\n\nf()\n"
        "\n\n# Not upstream: begin\nf()\n# Not upstream: end\n")
    assert read_files(tmp_path) == {
        "parsl/tests/configs/conf.py": "import os\nfrom re import compile, sub\n\nx = sub\n\n\ndef f():\n    print(os)\n\n\nf()\n"}


@pytest.mark.parametrize("line", ["# Not upstream: begin", "    # Not upstream: end"])
def test_a_mark_without_its_counterpart_is_refused(tmp_path, line):
    (tmp_path / "test_configs").mkdir()
    (tmp_path / "test_configs" / "conf.py").write_text(f"import os\n{line}\n")
    with pytest.raises(ForkError, match="parsl/tests/configs/conf.py.*without the other"):
        read_files(tmp_path)


def test_names_of_what_is_moved_are_changed_and_the_imports_sorted_anew(tmp_path):
    package, other = tmp_path / "test_configs" / "local_globus_compute", tmp_path / "test_configs" / "other.py"
    package.mkdir(parents=True)
    (package / "a.py").write_text("")
    (tmp_path / "test_configs" / "conf.py").write_text("")
    other.write_text('''"""Use ``pytest -p other`` with test_configs/conf.py. See :mod:`local_globus_compute.a`, in ./local_globus_compute."""
from conf import x
from local_globus_compute import a

from parsl.executors.base import ParslExecutor

other = conf = "python -m local_globus_compute"
''')
    assert read_files(tmp_path)["parsl/tests/configs/other.py"] == (
        '"""Use ``pytest -p parsl.tests.configs.other`` with parsl/tests/configs/conf.py. '
        '''See :mod:`parsl.tests.local_globus_compute.a`, in ./local_globus_compute."""
from parsl.executors.base import ParslExecutor
from parsl.tests.configs.conf import x
from parsl.tests.local_globus_compute import a

other = conf = "python -m parsl.tests.local_globus_compute"
''')
