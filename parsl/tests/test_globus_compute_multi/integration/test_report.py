"""The report's page in a real browser: Debian's chromium."""
from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from parsl.app.app import python_app
from parsl.executors.globus_compute_multi.observe.report import write_report
from parsl.executors.globus_compute_multi.observe.report.page import make_page
from parsl.executors.globus_compute_multi.observe.report.reading import read_run
from parsl.tests.test_globus_compute_multi.integration.common import DEADLINE
from parsl.tests.test_globus_compute_multi.integration.conftest import portable
from parsl.tests.test_globus_compute_multi.unit.reporting import generated

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]

#: Widths of a window on a desktop, and of half of one.
WIDTHS = (1400, 700)

#: For each figure, how many things plotly.js has drawn in it.
DRAWN = """Array.from(document.querySelectorAll(".figure")).map(figure =>
    figure.querySelectorAll(".main-svg .trace, .main-svg .bars .point, .main-svg .hm image, .main-svg .shapelayer path").length)"""


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    assert chromium, "there is no chromium on PATH: apt-get install chromium"
    with sync_playwright() as playwright:
        # root may not use chromium's sandbox, and a container's /dev/shm may be small
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def open_page(browser, path, width=WIDTHS[0], before=""):
    """Open the page, off line, after a script; returns it, and lists of what the browser complains about and of what it asks for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page = context.new_page()
    page.add_init_script(before)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    return page, said, asked


def whole(page):
    """Wait until all figures are drawn, and check that there is something in each."""
    page.wait_for_selector("body[data-drawn]", timeout=DEADLINE * 1000)
    counts = page.evaluate(DRAWN)
    assert counts and all(counts), f"figures without anything in them: {counts}"


def scroll_through(page):
    """Look at one figure after the other, until it is drawn, as a reader does."""
    for figure in page.query_selector_all(".figure"):
        figure.scroll_into_view_if_needed()
        page.wait_for_function("figure => figure.querySelector('.main-svg')", arg=figure, timeout=DEADLINE * 1000)


def look(browser, path, width):
    """Read the page from top to bottom, and check that it is whole; returns it, and the seconds until it was loaded, the first figure was
    drawn, and all were."""
    page, said, asked = open_page(browser, path, width)
    page.wait_for_selector("body[data-shown]", timeout=DEADLINE * 1000)
    height = page.evaluate("document.documentElement.scrollHeight")
    scroll_through(page)
    whole(page)
    assert said == []
    assert asked == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.scrollHeight") == height, "the page jumps when figures are drawn"
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    return page, [float(time) / 1000 for time in (loaded, page.get_attribute("body", "data-shown"), page.get_attribute("body", "data-drawn"))]


@portable
def double(x):
    return 2 * x


@portable
def total(*numbers):
    return sum(numbers)


@portable
def refuse(x):
    raise KeyError(x)


def test_the_page_of_a_real_run_is_whole_at_both_widths(workflow, browser, tmp_path):
    with workflow() as (dfk, executor):
        doubles = [python_app(double, data_flow_kernel=dfk)(i) for i in range(20)]
        assert python_app(total, data_flow_kernel=dfk)(*doubles).result(DEADLINE) == 380
        assert isinstance(python_app(refuse, data_flow_kernel=dfk)(1).exception(DEADLINE), KeyError)
        live = write_report(Path(executor.log_file), tmp_path / "live.html")
    over = write_report(Path(executor.log_file), tmp_path / "over.html")
    for width in WIDTHS:
        page, _ = look(browser, over, width)
        said = page.inner_text("main").replace("\u00a0", " ")
        assert "22 tasks in " in said and "21 done, 1 failed" in said and "has not ended" not in said
        assert "Critical path: 2 tasks" in said or "Critical path: 1 task" in said
        assert all(name in said for name in ("small", "medium", "large", "KeyError", "refuse"))
        page.context.close()
    page, _ = look(browser, live, WIDTHS[0])
    assert "This run has not ended" in page.inner_text("main")
    page.context.close()


def test_the_page_of_a_hundred_thousand_tasks_is_whole(browser, tmp_path, capsys):
    began = time.monotonic()
    lines = generated(100_000, {"a": 8, "b": 32, "c </script><img src=x>": 64}, skew={"b": 5.0})
    path = tmp_path / "large.html"
    path.write_text(make_page(read_run(lines), "large.jsonl", plotly_js()), encoding="utf-8")
    made = time.monotonic() - began
    for width in WIDTHS:
        page, (loaded, shown, drawn) = look(browser, path, width)
        assert "100,000" in page.inner_text("main") and "clock of b" in page.inner_text("main").replace("\u00a0", " ")
        with capsys.disabled():
            print(f"\nreport on 100,000 tasks: made in {made:.0f} s, {path.stat().st_size / 1e6:.1f} MB; "
                  f"{width} px wide: loaded after {loaded:.2f} s, first figure after {shown:.2f} s, all after scrolling through after "
                  f"{drawn:.2f} s; load average {os.getloadavg()[0]:.1f}")
        page.context.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The page of a run that was not, long enough to be scrolled."""
    path = tmp_path_factory.mktemp("page") / "small.html"
    path.write_text(make_page(read_run(generated(200, {"a": 2, "b": 3})), "small.jsonl", plotly_js()), encoding="utf-8")
    return path


def test_figures_are_drawn_when_they_come_near(browser, small):
    page, _, _ = open_page(browser, small)
    page.wait_for_selector("body[data-shown]", timeout=DEADLINE * 1000)
    figures = page.query_selector_all(".figure")
    drawn = [figure.query_selector(".main-svg") is not None for figure in figures]
    assert drawn[0] and not drawn[-1]
    figures[-1].scroll_into_view_if_needed()
    page.wait_for_function("figure => figure.querySelector('.main-svg')", arg=figures[-1], timeout=DEADLINE * 1000)
    assert page.get_attribute("body", "data-drawn") is None
    scroll_through(page)
    whole(page)
    page.context.close()


def test_a_browser_that_cannot_tell_what_is_near_draws_all_figures(browser, small):
    page, said, _ = open_page(browser, small, before="delete window.IntersectionObserver")
    whole(page)
    assert said == []
    page.context.close()


def test_all_figures_are_printed(browser, small):
    page, said, _ = open_page(browser, small)
    page.wait_for_selector("body[data-shown]", timeout=DEADLINE * 1000)
    assert page.get_attribute("body", "data-drawn") is None
    page.pdf()
    whole(page)
    assert said == []
    page.context.close()


def plotly_js():
    from plotly.offline import get_plotlyjs
    return get_plotlyjs()
