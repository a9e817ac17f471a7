"""The page by itself: nothing is started."""
from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .page import DOCS, KINDS, PAGE, one_script, read_blocks


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The documentation built as "make docs" does: Sphinx's process, and the folder of its HTML."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", folder / "doctrees", DOCS, folder / "html"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100), folder / "html"


def test_documentation_builds_without_a_warning(build):
    done, _ = build
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_class_that_the_page_names_is_linked(build):
    _, folder = build
    html = (folder / PAGE.relative_to(DOCS).with_suffix(".html")).read_text(encoding="utf-8")
    found = re.findall(r'(<a class="reference [^>]*>)?<code class="xref.*?>(.*?)</code>', html)
    assert found and [text for link, text in found if not link] == []


def test_every_code_block_is_of_a_kind_that_is_run_or_checked(tmp_path):
    blocks = read_blocks(PAGE, tmp_path)
    assert KINDS == {block.kind for block in blocks}


@pytest.mark.parametrize("markup", [
    ".. code-block:: fortran\n\n   PRINT *, 1", ".. code-block::\n\n   1", "Like this::\n\n   1", ">>> 1", ".. parsed-literal::\n\n   1",
    ".. literalinclude:: other.txt"])
def test_a_code_block_of_another_kind_would_be_noticed(markup, tmp_path):
    (tmp_path / "page.rst").write_text(f"Page\n====\n\n{markup}\n")
    (tmp_path / "other.txt").write_text("1\n")
    kinds = {block.kind for block in read_blocks(tmp_path / "page.rst", tmp_path / "scratch")}
    assert len(kinds) == 1 and not kinds & KINDS


def test_lines_of_the_script_are_those_of_the_page(tmp_path):
    page = PAGE.read_text(encoding="utf-8").splitlines()
    blocks = [block for block in read_blocks(PAGE, tmp_path) if block.kind == "python" and not block.caption]
    for number, line in enumerate(one_script(blocks).splitlines()):
        assert line.strip() in ("", page[number].strip())
