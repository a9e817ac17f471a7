"""The page of a run, as it is written."""
from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import parsl.executors.globus_compute_multi as package
from parsl.errors import OptionalModuleMissing
from parsl.executors.globus_compute_multi.observe.report import write_report
from parsl.tests.test_globus_compute_multi.unit.reporting import (
    ended,
    figures_of,
    finished,
    generated,
    lines_of,
    page_of,
    pending,
    running,
)

pytestmark = pytest.mark.local


def test_a_run_without_tasks_has_a_page():
    assert "No task was submitted" in page_of(lines_of({"kind": "log", "state": "ended"}))


def test_a_log_of_schema_1_has_a_page():
    older = [{k: v for k, v in line.items() if k not in ("node", "parents", "part")} for line in generated(30, {"a": 2}, ended=False)]
    older[0]["schema"] = 1
    page = page_of(older)
    assert "only a Parsl whose DataFlowKernel has the hooks" in page and "has not ended" not in page


HOSTILE = "</script><script>bad()</script><img src=x onerror=bad()>\"'&amp;\u2028"


class Tags(HTMLParser):
    """Counts the elements of a page."""

    def __init__(self, page):
        super().__init__()
        self.seen = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, tuple(sorted(name for name, _ in attrs))))


def test_text_of_the_log_stays_text():
    def lines(text):
        first, *rest = lines_of(
            pending(1, node=1), running(1, text), finished(1, "task_failed", message=text), pending(1, after="1.1", avoids=[]),
            running(1, text, 2), finished(1, "app_failed", 2, error=text, started=5.0, finished=5.5, host=text),
            {**ended(1, "failed"), "attempt": "1.2"},
            {"kind": "endpoint", "endpoint": text, "state": "paused", "seconds": 3.0, "reason": text},
            {"kind": "endpoint", "endpoint": text, "state": "versions", "child": text, "python": text},
            {"kind": "task", "task": 2, "state": "pending", "app": text, "node": 2, "parents": [1]},
            {"kind": "task", "task": 2, "state": "failed", "reason": text, "message": text}, threads={text: 1})
        rest[0]["app"] = text
        return [{**first, "label": text, "run_id": text, "policy": text}, *rest]
    page, harmless = page_of(lines(HOSTILE)), page_of(lines("x"))
    assert Tags(page).seen == Tags(harmless).seen
    assert "<img" not in page and page.lower().count("<script") == 2 + len(figures_of(page))
    texts = json.dumps(figures_of(page))
    assert "<img" not in texts and "<script" not in texts and "&lt;/script&gt;" in texts


def test_figures_are_what_plotly_takes():
    graph_objects = pytest.importorskip("plotly.graph_objects")
    lines = list(generated(80, {"a": 2, "b": 3}, failing=0.3))
    lines[5:5] = [{"t": lines[5]["t"], "kind": "endpoint", "endpoint": "a", "state": state, **more} for state, more in (
        ("warm", {}), ("offline", {}), ("online", {}), ("paused", {"seconds": 2.0, "reason": "x"}), ("probing", {}), ("recovered", {}))]
    figures = figures_of(page_of(lines))
    assert len(figures) == 13
    for figure in figures.values():
        graph_objects.Figure(figure)  # refuses properties that there are not


def test_many_threads_are_drawn_as_a_map():
    page = page_of(generated(300, {"a": 500, "b": 30}))
    assert [trace for figure in figures_of(page).values() for trace in figure["data"] if trace["type"] == "heatmap"]
    assert "too many to draw each" in page


def test_many_tasks_are_drawn_together():
    page = page_of(generated(7000, {"a": 8}, seconds=0.1))
    assert "are drawn as one" in page and "too many to draw one by one" in page
    assert sum(len(trace.get("y") or ()) for figure in figures_of(page).values() for trace in figure["data"]) < 40_000


def test_costs_are_those_of_core_seconds():
    rows = page_of(lines_of(pending(1), running(1), finished(1, started=2.0, finished=3.0), ended(1), a={
        "cost_per_core_hour": 7200.0, "threads": [{"cores": 4, "count": 1, "config": None}]}))
    assert 'core-seconds">4.0</td>' in rows and 'cost">8</td>' in rows


def test_endpoint_events_and_versions_are_in_the_page():
    page = page_of(lines_of(pending(1), {"kind": "endpoint", "endpoint": "a", "state": "paused", "seconds": 5.0, "reason": "three failures"},
                            {"kind": "endpoint", "endpoint": "a", "state": "versions", "python": "3.12.1", "parsl": "2026.1.5"}))
    assert "paused after failures" in page and "for 5 s: three failures" in page and "python 3.12.1" in page


def test_what_is_left_out_of_a_figure_is_said():
    events = [{"kind": "endpoint", "endpoint": "a", "state": state} for _ in range(300) for state in ("offline", "warm", "cold", "online")]
    lost = [line for task in range(600) for line in (pending(task), running(task), finished(task, "lost"), pending(task, after=f"{task}.1"))]
    page = page_of(lines_of(*events, *lost)).replace("\u00a0", " ")
    assert "Of 1,200 events the first 1,000 are drawn." in page and "The first 200 of 1,200." in page
    assert "Of 600 attempts that failed the first 500 have their cross." in page and "The first 500 of 600 are listed." in page
    page = page_of(lines_of(pending(1), *events)).replace("\u00a0", " ")
    assert page.count('Of 300 times &quot;endpoint not available&quot; the 200 longest are shaded.') == 2 and "and others" in page


def test_a_report_is_written_beside_the_log_by_the_command(tmp_path):
    log = tmp_path / "multi.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in generated(20, {"a": 2})))
    program = ("import argparse, sys; from parsl.executors.globus_compute_multi.commands import report; p = argparse.ArgumentParser(); "
               "report.add_arguments(p); sys.exit(report.run(p.parse_args()))")
    done = subprocess.run([sys.executable, "-c", program, str(log)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "multi.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["multi.html", "multi.jsonl"]
    page = (tmp_path / "multi.html").read_text(encoding="utf-8")
    assert "plotly.js v" in page and not re.search(r'<(link|script|img)[^>]* (src|href)=', page[:20_000])
    other = tmp_path / "other.html"
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path), "-o", str(other)], check=True).returncode == 0 and other.is_file()


def test_without_plotly_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(OptionalModuleMissing, match="pip install plotly"):
        write_report(tmp_path / "multi.jsonl", tmp_path / "multi.html")


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    log = tmp_path / "multi.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in generated(3, {"a": 1})))
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_report(log, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "multi.jsonl"]


def test_the_report_needs_neither_plotly_nor_pandas_to_be_imported():
    program = f"import sys, {package.__name__}.observe.report.page; print(sorted({{'plotly', 'pandas', 'numpy'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"
