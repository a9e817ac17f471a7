"""The demo, run as a user runs it, on real endpoints."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "stdlib_survey.py"


def test_a_small_survey_is_verified_and_leaves_its_log_and_page_where_asked(tmp_path):
    command = [sys.executable, str(PROGRAM), "--files", "64", "--threads", "1,2,4", "--run-dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.rstrip().splitlines()[-1]
    # 64 maps, 8 + 1 reductions, 1 report
    assert re.fullmatch(r"demo: 74 tasks on 3 endpoints in [0-9.]+ s, 0 failed, result verified", last), last
    log, = (tmp_path / "run").rglob("*.jsonl")
    page = log.with_suffix(".html")
    assert str(page) in done.stdout and page.stat().st_size > 100_000


def test_a_wrong_argument_is_refused_before_anything_starts(tmp_path):
    done = subprocess.run([sys.executable, str(PROGRAM), "--threads", "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "threads" in done.stderr
