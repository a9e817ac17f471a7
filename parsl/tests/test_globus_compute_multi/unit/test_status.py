"""How a run stands, in numbers, as text and as HTML."""
from __future__ import annotations

import dataclasses
import html.parser
import unicodedata

import pytest

from parsl.executors.globus_compute_multi.observe.replay import replay
from parsl.executors.globus_compute_multi.observe.runview import view_of
from parsl.executors.globus_compute_multi.observe.status import (
    ClassStatus,
    EndpointStatus,
    Progress,
    Status,
)
from parsl.executors.globus_compute_multi.observe.status_views import (
    COLUMNS,
    endpoint_state,
)
from parsl.executors.globus_compute_multi.observe.wording import (
    cropped,
    duration,
    plain,
    rate,
)
from parsl.tests.test_globus_compute_multi.unit.log_lines import (
    BEGAN,
    LogLines,
    eventful,
)

pytestmark = pytest.mark.local

HOSTILE = "<b>&\x1b[31m\n\u202e\"'"


def status_of(log, later=0.0):
    return view_of(log.lines).status(log.t + later)


def test_counts_of_tasks_are_those_of_the_log():
    status = status_of(eventful())
    assert (status.pending, status.waiting, status.dispatched, status.done, status.failed) == (1, 0, 1, 3, 2)
    assert (status.progress.unsubmitted, status.tasks, status.left) == (2, 9, 4)


def test_a_task_that_was_submitted_since_the_last_count_of_those_that_wait_for_others_is_counted_once():
    log = LogLines().pending(1).progress(3, None).pending(2, parents=[1])
    assert (status_of(log).progress.unsubmitted, status_of(log).tasks) == (2, 4)
    assert status_of(log.progress(2, None)).tasks == 4


def test_an_endpoint_is_told_with_its_threads_and_attempts_by_class():
    alpha, beta, gamma = status_of(eventful()).endpoints
    assert beta.classes == (ClassStatus(4, 1, running=1), ClassStatus(16, 2))
    assert (beta.threads, beta.running, beta.ahead) == (3, 1, 0)
    assert (alpha.done, alpha.failed, alpha.busy_seconds) == (3, 0, 3.0)
    assert (gamma.done, gamma.failed) == (0, 2)


def test_an_endpoint_that_is_left_alone_says_for_how_long_and_why():
    log = eventful()
    paused_at = next(line["t"] for line in log.lines if line.get("state") == "paused")
    gamma = view_of(log.lines).status(paused_at + 12.0).endpoints[2]
    assert (gamma.online, gamma.available, gamma.probing, gamma.paused_seconds) == (True, False, True, 48.0)
    assert gamma.why == "its child process is offline"
    assert endpoint_state(gamma) == "paused 48 s"
    log.endpoint("gamma", "recovered")
    gamma = status_of(log).endpoints[2]
    assert (gamma.available, gamma.probing, gamma.paused_seconds, gamma.why) == (True, False, None, "")


@pytest.mark.parametrize("fields, words", [
    ({}, "online"), ({"online": False, "available": False}, "offline"), ({"available": False, "paused_seconds": 3.0}, "paused 3.0 s"),
    ({"probing": True}, "probing"), ({"classes": (ClassStatus(1, 1, running=1),)}, "starting"),
    ({"classes": (ClassStatus(1, 1, running=1),), "done": 1}, "online")])
def test_the_state_of_an_endpoint_is_a_word_or_two(fields, words):
    assert endpoint_state(EndpointStatus(**{"name": "a", "classes": (), **fields})) == words


def test_two_are_equal_if_pool_and_tasks_are_whatever_the_time_and_the_rates():
    log = eventful()
    one, other = Status.of(replay(log.lines), log.t), status_of(log, later=30.0)
    assert one == other and one.progress != other.progress and one.endpoints[2].paused_seconds != other.endpoints[2].paused_seconds
    assert one != dataclasses.replace(one, done=4)
    assert one != dataclasses.replace(one, endpoints=(*one.endpoints[:2], dataclasses.replace(one.endpoints[2], done=1)))


def test_it_cannot_be_changed():
    status = status_of(eventful())
    for each, name in ((status, "done"), (status.endpoints[0], "done"), (status.endpoints[0].classes[0], "count"), (status.progress, "label")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(each, name, 1)


def test_the_time_left_runs_out_after_it_was_told_and_gives_the_end():
    log = eventful()
    status = status_of(log, later=30.0)
    assert status.progress.seconds_left == 60.0
    assert status.expected_end == log.t + 90.0
    assert status_of(log, later=100.0).progress.seconds_left == 0.0
    assert "almost done, by estimate" in str(status_of(log, later=100.0))
    assert "about 1 min left, until " in str(status)


@pytest.mark.parametrize("told", [lambda log: log, lambda log: log.progress(1, None)])
def test_the_time_left_is_said_not_to_be_known_if_it_was_not_told(told):
    status = status_of(told(LogLines().pending(1)))
    assert status.expected_end is None
    assert "time left not known" in str(status)


def test_a_run_that_goes_on_with_all_done_has_no_task_left():
    assert "no task is left" in str(status_of(LogLines().pending(1).begin(1).done(1)))


def test_rates_are_over_the_last_minute_and_over_all():
    log = LogLines(seconds=0.0)
    for task in range(90):  # one in a second
        log.t = BEGAN + task + 1
        log.pending(task).begin(task).done(task)
    progress = status_of(log).progress
    assert progress.overall_rate == 1.0
    assert progress.minute_rate == 1.0
    log.t += 30
    progress = status_of(log).progress
    assert progress.overall_rate == 0.75
    assert progress.minute_rate == 0.5


def test_a_run_that_has_ended_stands_as_it_did_then():
    log = eventful().ended()
    status = status_of(log, later=3600.0)
    assert status.time == log.t and status.progress.ended == log.t
    assert str(status) == str(status_of(log))
    assert f"ended after {duration(log.t - BEGAN)}" in str(status)


def test_a_log_that_has_not_grown_for_long_is_said_to_be_silent():
    log = eventful()
    assert "nothing new" not in str(status_of(log, later=100.0))
    assert f"nothing new in the log for 1 h; before, it went on for {duration(log.t - BEGAN)}" in str(status_of(log, later=3600.0))


def test_failures_are_told_by_kind():
    status = status_of(eventful())
    assert dict(status.progress.failures) == {"raised by the app: ValueError": 1, "no thread could ever run it": 1}
    assert dict(status.progress.tried_again) == {"lost with its endpoint": 1}
    text = str(status)
    assert "tasks failed: 1 raised by the app: ValueError, 1 no thread could ever run it" in text
    assert "attempts failed outside the app: 1 lost with its endpoint" in text


def test_failures_of_a_kind_that_follow_one_another_are_told_together():
    log = LogLines(pool={"alpha": {1: 4}})
    for task in range(1, 4):
        log.pending(task).begin(task)
    for task in range(1, 4):
        log.finish(task, "rejected", message="HTTP 503").add(kind="task", task=task, state="pending", after=f"{task}.1", avoids=[])
    assert [failure.text for failure in view_of(log.lines).failures] == ["3 tasks on alpha: submission refused: HTTP 503"]


def test_a_result_that_came_after_its_attempt_was_given_up_tells_why_the_task_failed():
    log = LogLines().pending(1).begin(1).finish(1, "lost", message="gone").add(kind="task", task=1, state="pending", after="1.1", avoids=[])
    log.add(kind="attempt", attempt="1.1", state="duplicate", outcome="raised").add(kind="task", task=1, state="failed", attempt="1.1")
    assert dict(status_of(log).progress.failures) == {"raised outside Parsl's wrapper, or value not packed": 1}


def test_tasks_that_the_shutdown_leaves_are_counted_and_no_news():
    log = LogLines().pending(1).begin(1).finish(1, "abandoned").add(kind="task", task=1, state="failed", reason="shutdown").ended()
    view = view_of(log.lines)
    assert view.status(log.t).progress.failures == (("not done at shutdown", 1),)
    assert not view.failures


def test_lines_that_are_missing_in_the_log_are_told():
    log = LogLines().pending(1).add(kind="log", state="lost", lines=1200)
    status = status_of(log.done(5).finish(9, "lost"))
    assert "1,200 lines could not be written to the log" in str(status)


def test_a_log_of_the_first_schema_is_understood():
    log = LogLines()
    del log.lines[0]["schema"], log.lines[0]["part"], log.lines[0]["t"]
    status = status_of(log.pending(1).begin(1).done(1))
    assert (status.done, status.progress.unsubmitted, status.progress.ended) == (1, None, None)


def test_the_text_is_a_table_that_fits_a_hundred_columns():
    text = str(status_of(eventful()))
    head, threads, *_ = (line for line in text.splitlines() if line.startswith(("endpoint", "beta")))
    assert head.split() == ["endpoint", "threads", "x", "cores", "state", "running", "ahead", "done", "failed", "busy"]
    assert "1 x 4 + 2 x 16" in threads
    assert max(map(len, text.splitlines())) <= COLUMNS


@pytest.mark.parametrize("name", ["n" * 300, "\u754c" * 100, HOSTILE * 30, "e\u0301" * 80], ids=["long", "wide", "hostile", "combining"])
def test_the_text_fits_whatever_the_names(name):
    pool = {name: {cores: 1000 for cores in range(1, 40)}, "other": {1: 1}}
    lines = str(status_of(LogLines(pool, label=name).endpoint(name, "paused", seconds=5.0, reason=name))).split("\n")

    def columns(line):
        return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)
    assert max(map(columns, lines)) <= COLUMNS
    assert all(line.isprintable() for line in lines)
    rows = [line for line in lines if line.endswith("0.0 s")]
    assert len(rows) == 2 and columns(rows[0]) == columns(rows[1])


class Structure(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_html_has_the_same_tags_whatever_the_names_and_messages():
    def structure(name, message):
        log = LogLines({name: {1: 1}}, label=name).pending(1).endpoint(name, "paused", seconds=5.0, reason=message)
        log.begin(1, name).failed(1, error=message)
        return Structure(status_of(log)._repr_html_())
    harmless, hostile = structure("alpha", "gone"), structure(HOSTILE, "</td><script>alert(1)</script>")
    assert harmless.tags == hostile.tags
    assert "<script>alert(1)</script>" in hostile.text and "<b>&" in hostile.text
    assert harmless.tags.count("tr") == 2 and "alpha" in harmless.text and "1 x 1" in harmless.text


def test_a_status_without_any_progress_is_shown_too():
    text = str(Status(BEGAN, (EndpointStatus("alpha", (ClassStatus(1, 2),)),), progress=Progress()))
    assert text.startswith("Run: not begun\n0 tasks: 0 done, 0 failed\n0 of 2 threads busy")


@pytest.mark.parametrize("seconds, words", [
    (-1, "0.0 s"), (0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3599.6, "1 h"),
    (3660, "1 h 1 min"), (86399.9, "1 d"), (90000, "1 d 1 h"), (10 ** 7, "115 d 17 h")])
def test_durations_are_told_in_two_units_at_most(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize("per_second, words", [
    (None, "-"), (0.0, "0/s"), (1234.5, "1,234/s"), (12.34, "12.3/s"), (1.0, "1.0/s"), (0.5, "30.0/min"), (0.01, "36.0/h")])
def test_rates_are_told_in_a_unit_that_suits(per_second, words):
    assert rate(per_second) == words


def test_texts_are_put_on_one_line_without_control_characters():
    assert plain("a\nb\x1b[1mc\u202ed\t\u00e9") == "a b?[1mc?d \u00e9"
    assert cropped("abcdef", 5) == "ab..." and cropped("abcde", 5) == "abcde" and cropped("\u754c\u754c\u754c", 5) == "\u754c..."
