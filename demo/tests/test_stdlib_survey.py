"""The tasks of the survey, its workflow and its program, without endpoints."""
from __future__ import annotations

import builtins
import types
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdlib_survey import (
    FAN_IN,
    difference,
    draw_up,
    find_sources,
    merge,
    merge_tree,
    parse,
    survey_file,
    survey_here,
)
from survey_types import Source, Survey

SHAPES = '''\
"""A module."""
import os.path
from . import sibling  # a comment
from .. import uncle as other

class Shape:
    def area(self):
        import lazily

        def square():
            return self.side * self.side

        return square()

async def wait(): await other

if __name__ == "__main__":
    import program
'''


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def survey_text(folder: Path, text: str, module: str = "a.b.shapes", name: str = "shapes.py") -> Survey:
    write(folder, {name: text})
    return survey_file(str(folder / name), module)


words = st.text("abc", min_size=1, max_size=3)
modules = st.lists(words, min_size=1, max_size=3).map(".".join)


@st.composite
def surveys_of(draw: st.DrawFn, module: str) -> Survey:
    lengths = st.tuples(st.integers(1, 5), st.just(module), words, st.integers(1, 9))
    return {
        "totals": Counter(draw(st.dictionaries(st.sampled_from(["files", "lines", "tokens"]), st.integers(1, 9)))),
        "identifiers": Counter(draw(st.dictionaries(words, st.integers(1, 9)))),
        "functions": {module: draw(st.integers(0, 9))},
        "longest": sorted(draw(st.lists(lengths, max_size=10)), key=lambda length: (-length[0], length)),
        "imports": {module: sorted(draw(st.sets(modules)))},
        "unreadable": draw(st.sampled_from([{}, {module: "SyntaxError"}])),
    }


@st.composite
def different_surveys(draw: st.DrawFn) -> list[Survey]:
    return [draw(surveys_of(module)) for module in draw(st.lists(modules, min_size=1, max_size=2 * FAN_IN + 2, unique=True))]


# the tasks


def test_a_file_s_lines_tokens_functions_and_classes_are_counted(tmp_path):
    survey = survey_text(tmp_path, 'x = """\n\n"""  # a string\n\ndef f(): g\nclass C: f(x)\n')
    assert survey["totals"] == Counter({"files": 1, "lines": 6, "code lines": 5, "comments": 1, "tokens": 16, "functions": 1, "classes": 1})


def test_a_file_s_names_are_counted_without_keywords(tmp_path):
    identifiers = survey_text(tmp_path, SHAPES)["identifiers"]
    assert (identifiers["self"], identifiers["side"], identifiers["other"]) == (3, 2, 2)
    assert not {"def", "import", "return"} & identifiers.keys()


def test_functions_have_their_qualified_names_and_the_longest_come_first(tmp_path):
    survey = survey_text(tmp_path, SHAPES)
    assert survey["functions"] == {"a.b.shapes": 3}
    assert survey["longest"] == [
        (7, "a.b.shapes", "Shape.area", 7), (2, "a.b.shapes", "Shape.area.square", 10), (1, "a.b.shapes", "wait", 15)]


def test_imports_count_when_loading_the_module_does_them(tmp_path):
    assert survey_text(tmp_path, SHAPES)["imports"] == {"a.b.shapes": ["a.b.sibling", "a.uncle", "os.path"]}


def test_a_package_s_relative_imports_begin_at_the_package_itself(tmp_path):
    survey = survey_text(tmp_path, "from . import sibling\nfrom .. import uncle\n", module="a.b", name="__init__.py")
    assert survey["imports"] == {"a.b": ["a.b.sibling", "a.uncle"]}


@pytest.mark.parametrize("text", ["def (:\n", "'''\n", "  a\n b\n", "# coding: klingon\n"])
def test_a_file_that_is_not_python_is_counted_and_named_with_the_reason(tmp_path, text):
    survey = survey_text(tmp_path, text)
    assert survey["totals"] == Counter(files=1)
    assert "Error: " in survey["unreadable"]["a.b.shapes"]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_merging_is_associative(data):
    one, two, three = (data.draw(surveys_of(module)) for module in ("a", "b", "c"))
    assert merge(merge(one, two), three) == merge(one, merge(two, three)) == merge(one, two, three)


@settings(max_examples=50, deadline=None)
@given(different_surveys(), st.randoms())
def test_neither_order_nor_tree_changes_the_report(surveys, random):
    expected = draw_up(merge(*surveys))
    random.shuffle(surveys)
    assert draw_up(merge_tree(surveys, merge)) == expected


def test_surveys_are_not_changed_by_merging(tmp_path):
    survey = survey_text(tmp_path, SHAPES)
    merge(survey, survey)
    assert survey == survey_text(tmp_path, SHAPES)


def test_the_report_tells_who_imports_whom(tmp_path):
    write(tmp_path, {"a.py": "import sys, b.c.d\n", "b/__init__.py": "", "b/c.py": "from b import e\n", "b/e.py": "import sys, a\n",
                     "f.py": "from a import x\nimport f\n"})
    report = survey_here(find_sources(tmp_path))
    assert report["most_imported"] == [("a", 2), ("sys", 2), ("b.c", 1), ("b.e", 1)]
    assert report["largest_circle"] == ["a", "b.c", "b.e"]
    assert report["furthest_reach"] == [("f", 4), ("a", 3), ("b.c", 3), ("b.e", 3), ("b", 0)]


def test_the_report_orders_equal_counts_by_name(tmp_path):
    write(tmp_path, {"a.py": "z, y, x, x\n"})
    report = survey_here(find_sources(tmp_path))
    assert report["top_identifiers"] == [("x", 2), ("y", 1), ("z", 1)]
    assert (report["totals"]["identifiers"], report["totals"]["identifiers used once"]) == (3, 2)


@pytest.mark.parametrize("task", [survey_file, merge, draw_up])
def test_a_task_needs_nothing_of_the_program_that_it_is_defined_in(tmp_path, task):
    survey = survey_text(tmp_path, SHAPES)
    arguments = {survey_file: (str(tmp_path / "shapes.py"), "a"), merge: (survey,), draw_up: (survey,)}
    alone = types.FunctionType(task.__code__, {"__builtins__": builtins})
    assert alone(*arguments[task]) == task(*arguments[task])


# the workflow


def test_modules_are_found_the_largest_first_without_tests_programs_and_what_cannot_be_imported(tmp_path):
    write(tmp_path, {"small.py": "1\n", "large.py": "1\n" * 9, "package/__init__.py": "1\n" * 3, "package/module.py": "1\n" * 2,
                     "test/x.py": "", "package/tests/x.py": "", "idlelib/x.py": "", "site-packages/x.py": "", "no-name.py": "", "text.txt": ""})
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere")
    assert [source.module for source in find_sources(tmp_path)] == ["large", "package", "package.module", "small"]
    assert find_sources(tmp_path)[1] == Source(str(tmp_path / "package" / "__init__.py"), "package")


@pytest.mark.parametrize("count, merges", [(1, 0), (2, 1), (FAN_IN, 1), (FAN_IN + 1, 2), (FAN_IN + 2, 3), (FAN_IN ** 2, FAN_IN + 1)])
def test_the_tree_merges_no_part_alone(count, merges):
    merged = []

    def concatenate(*parts):
        merged.append(parts)
        return "".join(parts)

    parts = [chr(ord("A") + i) for i in range(count)]
    assert merge_tree(parts, concatenate) == "".join(parts)
    assert len(merged) == merges
    assert all(2 <= len(parts) <= FAN_IN for parts in merged)


def test_equal_reports_do_not_differ(tmp_path):
    write(tmp_path, {"a.py": SHAPES})
    assert difference(survey_here(find_sources(tmp_path)), survey_here(find_sources(tmp_path))) is None


@pytest.mark.parametrize("part", list(draw_up(merge())))
def test_a_report_that_differs_in_any_part_is_told_by_that_part(part):
    wrong = {**draw_up(merge()), part: ["wrong"]}
    assert difference(wrong, draw_up(merge())).startswith(f"{part} is ['wrong'], but")


def test_a_report_with_a_part_too_few_or_too_many_differs():
    report = draw_up(merge())
    assert difference({k: v for k, v in report.items() if k != "totals"}, report)
    assert difference({**report, "more": 1}, report)


# the command line


def test_the_command_line_is_read():
    options = parse(["--files", "9", "--threads", "3,1", "--run-dir", "kept"])
    assert (options.files, options.threads, options.run_dir) == (9, [3, 1], Path("kept"))


@pytest.mark.parametrize("arguments, error", [
    (["--files", "0"], "argument --files: '0' is not a whole number of at least 1"),
    (["--files", "many"], "argument --files: 'many' is not a whole number"),
    (["--threads", "1,,2"], "argument --threads: '' is not a whole number"),
    (["--threads", "1,-2"], "argument --threads: '-2' is not a whole number"),
    (["--threads", "1,1000"], "argument --threads: 1000 threads are more than"),
    (["--threads", ",".join("1" * 99)], "argument --threads: 99 endpoints are more than"),
])
def test_an_argument_that_makes_no_sense_is_refused_by_name(capsys, arguments, error):
    with pytest.raises(SystemExit) as exit:
        parse(arguments)
    assert exit.value.code == 2
    assert error in capsys.readouterr().err
