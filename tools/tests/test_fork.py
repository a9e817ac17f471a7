"""How the fork is built: what is linked, what is refused, and that an error names its cause."""
import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import fork

ADDS_A_LINE = """From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A <a@b.invalid>
Date: Sun, 22 Nov 2026 12:00:00 +0000
Subject: [PATCH] Add a line

---
diff --git a/setup.py b/setup.py
--- a/setup.py
+++ b/setup.py
@@ -1,2 +1,3 @@
 {before}
+added
 last
"""


@pytest.fixture
def sdist(tmp_path):
    """A source archive of one file, with an owner who does not exist here."""
    (tmp_path / "setup.py").write_text("first\nlast\n")

    def other_owner(member):
        member.uid, member.gid = 12345, 12345
        return member

    path = tmp_path / "parsl-1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "setup.py", "parsl-1/setup.py", filter=other_owner)
    return path


def make_patch(tmp_path, before):
    path = tmp_path / "0001-add.patch"
    path.write_text(ADDS_A_LINE.format(before=before))
    return path


def tree_files(tree):
    return {path.name: path.read_text() for path in tree.iterdir() if path.is_file()}


def test_release_and_patches_are_committed_without_the_users_git_settings(tmp_path, sdist, monkeypatch):
    (tmp_path / ".gitconfig").write_text("[commit]\n\tgpgsign = true\n[gpg]\n\tprogram = false\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "as-set-in-a-hook"))
    tree = tmp_path / "folder" / "parsl"
    fork.build(tree, sdist, [make_patch(tmp_path, "first")])
    assert tree_files(tree) == {"setup.py": "first\nadded\nlast\n"}
    monkeypatch.delenv("GIT_DIR")
    log = subprocess.run(["git", "-C", str(tree), "log", "--format=%s|%cn"], check=True, capture_output=True, text=True).stdout
    assert log.splitlines() == [f"Add a line|{fork.AUTHOR}", f"The release parsl-1.tar.gz|{fork.AUTHOR}"]
    assert not (tmp_path / "as-set-in-a-hook").exists()


def test_patch_that_does_not_apply_is_named_and_leaves_the_old_fork(tmp_path, sdist):
    tree = tmp_path / "folder" / "parsl"
    fork.build(tree, sdist, [])
    with pytest.raises(fork.ForkError, match=r"patches/0001-add\.patch does not apply.*git format-patch(?s:.*)patch failed: setup\.py:1"):
        fork.build(tree, sdist, [make_patch(tmp_path, "not there")])
    assert tree_files(tree) == {"setup.py": "first\nlast\n"}


def test_building_again_replaces_the_tree_and_what_a_failure_left(tmp_path, sdist):
    tree = tmp_path / "folder" / "parsl"
    with pytest.raises(fork.ForkError):
        fork.build(tree, sdist, [make_patch(tmp_path, "not there")])
    fork.build(tree, sdist, [])
    (tree / "stray").write_text("")
    fork.build(tree, sdist, [make_patch(tmp_path, "first")])
    assert tree_files(tree) == {"setup.py": "first\nadded\nlast\n"}
    assert [path.name for path in tree.parent.iterdir()] == ["parsl"]


def test_archive_with_another_hash_than_the_pinned_one_is_refused(tmp_path, sdist, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    pin, folder = tmp_path / "pin.txt", tmp_path / "downloads"
    pin.write_text(f"parsl==1 --hash=sha256:{64 * '0'}\n")
    folder.mkdir()
    # A file there already must be checked, too.
    (folder / sdist.name).write_bytes(b"altered")
    with pytest.raises(fork.ForkError, match="Parsl 1 could not be downloaded as pin.txt pins it.*(?s:.*)HASHES"):
        fork.fetch_sdist(pin, folder)
    assert list(folder.iterdir()) == []


def test_archive_downloaded_before_is_used_again(tmp_path, sdist, monkeypatch):
    monkeypatch.setattr(fork, "run", lambda *command, failure: pytest.fail(f"ran {command}"))
    pin = tmp_path / "pin.txt"
    pin.write_text(f"parsl==1 --hash=sha256:{hashlib.sha256(sdist.read_bytes()).hexdigest()}\n")
    assert fork.fetch_sdist(pin, tmp_path) == sdist


@pytest.mark.parametrize("text", ["", "parsl==1", "parsl>=1 --hash=sha256:" + 64 * "0", "parsl==1 --hash=sha256:0"])
def test_pin_without_version_or_hash_is_refused(tmp_path, text):
    pin = tmp_path / "pin.txt"
    pin.write_text(text)
    with pytest.raises(fork.ForkError, match="pin.txt: no line of the form"):
        fork.read_pin(pin)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "ours"
    (path / "executors" / "new" / "part").mkdir(parents=True)
    (path / "executors" / "new" / "part" / "code.py").write_text("one")
    (path / "executors" / "__pycache__").mkdir()
    return path


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "upstream"
    (path / "executors").mkdir(parents=True)
    (path / "executors" / "base.py").write_text("")
    return path


def test_new_folder_is_one_link_so_that_edits_and_new_files_are_live(source, target):
    fork.link_new_files(source, target)
    assert (target / "executors" / "new").is_symlink()
    (source / "executors" / "new" / "part" / "code.py").write_text("two")
    (source / "executors" / "new" / "more.py").write_text("three")
    assert (target / "executors" / "new" / "part" / "code.py").read_text() == "two"
    assert (target / "executors" / "new" / "more.py").read_text() == "three"
    assert sorted(path.name for path in (target / "executors").iterdir()) == ["base.py", "new"]


def test_linking_twice_changes_nothing(source, target):
    fork.link_new_files(source, target)
    before = sorted(target.rglob("*"))
    fork.link_new_files(source, target)
    assert sorted(target.rglob("*")) == before
    assert sorted(path.name for path in (source / "executors" / "new").iterdir()) == ["part"]


def test_links_work_after_the_repository_was_moved(source, target, tmp_path):
    fork.link_new_files(source, target)
    (tmp_path / "moved").mkdir()
    source.rename(tmp_path / "moved" / "ours")
    target.rename(tmp_path / "moved" / "upstream")
    assert (tmp_path / "moved" / "upstream" / "executors" / "new" / "part" / "code.py").read_text() == "one"


def test_file_that_upstream_has_is_refused(source, target):
    (source / "executors" / "base.py").write_text("")
    with pytest.raises(fork.ForkError, match=r"ours/executors/base\.py is a file of upstream's.*patches/"):
        fork.link_new_files(source, target)


def test_link_goes_with_its_file(source, target):
    (source / "executors" / "gone.py").write_text("")
    fork.link_new_files(source, target)
    (source / "executors" / "gone.py").unlink()
    fork.remove_dead_links(target)
    assert sorted(path.name for path in (target / "executors").iterdir()) == ["base.py", "new"]


@pytest.mark.parametrize("patch", sorted((fork.ROOT / "patches").glob("*.patch")), ids=lambda path: path.name)
def test_patch_only_inserts_and_carries_one_line_of_context(patch):
    context = 0
    in_hunk = False
    for line in patch.read_text().splitlines():
        if line.startswith(("diff --git", "@@")):
            in_hunk, context = line.startswith("@@"), 0
        elif in_hunk:
            assert line.startswith(("+", " ")), f"{line!r} is no insertion"
            context = context + 1 if line.startswith(" ") else 0
            assert context <= 1, f"{line!r} is a second line of context"


def test_all_requirements_name_the_release_that_is_forked():
    version, _ = fork.read_pin(fork.ROOT / "tools" / "parsl-sdist.txt")
    for exact in ("agent-requirements.txt", "tools/parsl-release.txt"):
        assert f"parsl=={version}" in (fork.ROOT / exact).read_text().splitlines()
    assert f"parsl>={version}" in (fork.ROOT / "requirements.txt").read_text().splitlines()


@pytest.mark.parametrize("folder", [fork.ROOT, Path("/")], ids=["from the repository's root", "from elsewhere"])
def test_import_finds_the_fork(folder):
    code = "import parsl, parsl.executors.globus_compute_multi as g; print(parsl.__file__); print(g.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
    tree = fork.ROOT / ".fork" / "parsl" / "parsl"
    assert done.stdout.split() == [str(tree / "__init__.py"), str(tree / "executors" / "globus_compute_multi" / "__init__.py")]
