"""The page with the benchmarks, beside what the command printed."""
from __future__ import annotations

import re

import pytest

from .page import DOCS

PRINTED = (DOCS / "bench.txt").read_text(encoding="utf-8")
PAGE = (DOCS / "benchmarks.rst").read_text(encoding="utf-8")


def missed(text: str) -> list[str]:
    """What each line is about that says that something was missed."""
    return [line.split("  ")[-1].split(":")[0].split(",")[0] for line in text.splitlines() if line.lstrip().startswith("MISSED")]


def test_a_line_that_says_that_something_was_missed_is_found():
    assert missed("  ok        0.9  at most  1.0  a: b\n  MISSED    1.5  at most  1.0  c-1: over d (1 to 2)\n") == ["c-1"]


@pytest.mark.parametrize("what", sorted(set(missed(PRINTED))))
def test_whatever_was_missed_is_named_where_it_says_what_is_lost(what):
    section = PAGE[PAGE.index("Where It Loses, and Why"):]
    assert what in " ".join(section.split())


def test_what_the_page_takes_from_the_output_is_all_of_it_but_the_runs():
    marks = re.findall(r":(?:start-at|end-before): (.*)", PAGE)
    assert marks and all(mark in PRINTED for mark in marks)
    assert PAGE.count("literalinclude:: bench.txt") == 3


def test_the_output_names_no_folder_of_the_machine_where_it_was_printed():
    assert not re.search(r"/(home|root|work|tmp|usr)/", PRINTED)
