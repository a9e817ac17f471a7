"""The report on a run: what it reads from the log, and what it makes of that."""
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.executors.globus_compute_multi.observe.logfile import InconsistentLog
from parsl.executors.globus_compute_multi.observe.replay import replay
from parsl.executors.globus_compute_multi.observe.report.accounting import (
    BINS,
    phases,
    use_of_threads,
)
from parsl.executors.globus_compute_multi.observe.report.paths import critical_path
from parsl.executors.globus_compute_multi.observe.report.placing import bars, place
from parsl.executors.globus_compute_multi.observe.report.reading import read_run
from parsl.executors.globus_compute_multi.observe.report.sampling import Sampled
from parsl.executors.globus_compute_multi.observe.report.words import (
    findings,
    headline,
    state_of_run,
)
from parsl.tests.test_globus_compute_multi.unit.reporting import (
    ended,
    finished,
    generated,
    lines_of,
    page_of,
    pending,
    running,
)

pytestmark = pytest.mark.local

RUNS = st.builds(generated, st.integers(1, 60), st.dictionaries(st.sampled_from("abc"), st.integers(1, 4), min_size=1),
                 seed=st.integers(0, 10**6), failing=st.sampled_from([0.0, 0.1, 0.6]),
                 skew=st.dictionaries(st.sampled_from("abc"), st.sampled_from([-3600.0, 2.5, 1e6]))).map(list)


@settings(deadline=None, max_examples=60)
@given(RUNS)
def test_totals_are_those_of_the_replay(lines):
    run, state = read_run(lines), replay(lines)
    for endpoint in run.pool:
        other = state.endpoints[endpoint.name]
        assert (endpoint.done, endpoint.failed) == (other.done, other.failed)
        assert endpoint.busy_seconds == pytest.approx(other.busy_seconds)
    for name in ("pending", "done", "failed"):
        assert run.counts[name] == state.count(name) + (state.count("waiting") if name == "pending" else 0)
    assert len(run.attempts) == len(state.attempts) and len(run.tasks) == state.count("done") + state.count("failed")


@settings(deadline=None, max_examples=60)
@given(RUNS, st.integers(1, 10**4))
def test_the_same_holds_for_a_log_cut_off_anywhere(lines, length):
    lines = lines[:1 + length % len(lines)]
    run, state = read_run(lines), replay(lines)
    assert sum(run.counts.values()) == len(state.tasks)
    assert run.counts["running"] + run.counts["queued ahead"] == state.count("dispatched")
    assert len(run.attempts) == len(state.attempts)
    assert page_of(lines)


@settings(deadline=None, max_examples=60)
@given(RUNS)
def test_at_each_moment_the_states_add_up_to_the_tasks_submitted_so_far(lines):
    times, counts = read_run(lines).states.columns()
    submitted = [line["t"] for line in lines if line["kind"] == "task" and line["state"] == "pending" and "after" not in line]
    assert times == sorted(times)
    for i, time in enumerate(times):
        assert sum(column[i] for column in counts) == sum(t <= time for t in submitted)
    assert all(value >= 0 for column in counts for value in column)


@settings(deadline=None, max_examples=60)
@given(RUNS)
def test_no_two_attempts_overlap_on_a_lane_and_each_lies_between_dispatch_and_result(lines):
    run = read_run(lines)
    placed = place(run)
    by_lane = {}
    for i in range(len(run.attempts)):
        if placed.lane[i] >= 0:
            assert run.attempts.dispatched[i] <= placed.begin[i] <= placed.end[i] <= run.attempts.received[i]
            assert placed.lanes[placed.lane[i]][0] == run.attempts.endpoint[i]
            by_lane.setdefault(placed.lane[i], []).append((placed.begin[i], placed.end[i]))
    for intervals in by_lane.values():
        intervals.sort()
        assert all(before[1] <= after[0] for before, after in zip(intervals, intervals[1:]))
    assert len(placed.lanes) == sum(endpoint.threads for endpoint in run.pool)


@settings(deadline=None, max_examples=60)
@given(RUNS)
def test_what_threads_did_adds_up_to_the_time_that_there_was(lines):
    run = read_run(lines)
    begin, end = run.window
    for endpoint, usage in zip(run.pool, use_of_threads(run, place(run))):
        assert usage.total == pytest.approx(endpoint.threads * (end - begin))
        if end > begin:
            busy = usage.uses["running, succeeded"] + usage.uses["failed or lost attempts"]
            assert sum(usage.busy) * (end - begin) / BINS == pytest.approx(busy, abs=1e-6)
            assert sum(usage.capacity) * (end - begin) / BINS == pytest.approx(endpoint.threads * (end - begin), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(RUNS)
def test_the_critical_path_and_the_phases_of_tasks_leave_no_gap(lines):
    run = read_run(lines)
    placed = place(run)
    steps = critical_path(run, placed)
    assert sum(sum(step.seconds) for step in steps) == pytest.approx(run.window[1] - run.window[0], abs=1e-6)
    for before, after in zip(steps, steps[1:]):
        assert after.begin == pytest.approx(before.begin + sum(before.seconds))
    for row in range(len(run.tasks)):
        parts = phases(run, placed, row)
        assert all(part >= -1e-6 for part in parts)
        assert sum(parts) == pytest.approx(run.tasks.ended[row] - run.tasks.submitted[row], abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(RUNS, st.integers(3, 20))
def test_merged_bars_hold_all_attempts_and_do_not_overlap(lines, most):
    run = read_run(lines)
    placed = place(run)
    merged, resolution = bars(run, placed, most)
    assert sum(bar.count for bar in merged) == sum(lane >= 0 for lane in placed.lane)
    assert len(merged) <= max(most, 2 * len(placed.lanes)) and (resolution > 0 or len(merged) == sum(bar.count for bar in merged))
    for before, after in zip(merged, merged[1:]):
        assert before.lane < after.lane or before.end <= after.begin + 1e-9


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 9)), max_size=300))
def test_samples_are_bounded_and_the_last_one_is_what_was_noted_last(changes):
    sampled = Sampled(1, most=20)
    for time, value in changes:
        sampled.note(time, [value])
    times, (values,) = sampled.columns()
    assert len(times) == len(values) <= 20 and times == sorted(times)
    assert not changes or values[-1] == changes[-1][1]


def test_a_clock_that_is_off_is_told_of_and_put_right():
    lines = lines_of(pending(1), running(1), finished(1, started=1002.5, finished=1002.9, host="node <1>"), ended(1))
    run = read_run(lines)
    placed = place(run)
    assert placed.end[0] - placed.begin[0] == pytest.approx(0.4) and placed.end[0] == 3.0
    (what, more), = [found for found in findings(run, use_of_threads(run, placed), placed, []) if "clock" in found[0]]
    assert "a is at least" in what and "ahead" in what and "node <1>" in more
    assert "node &lt;1&gt;" in page_of(lines)


def test_a_clock_that_is_right_is_left_alone():
    run = read_run(lines_of(pending(1), running(1), finished(1, started=2.2, finished=2.9), ended(1)))
    placed = place(run)
    assert (placed.begin[0], placed.end[0], placed.clocks) == (2.2, 2.9, {})


def test_each_idle_second_of_a_thread_has_its_reason():
    run = read_run(lines_of(
        pending(1),                                                  # 1 to 2: pending
        running(1),                                                  # 2 to 3: dispatched, not begun: the endpoint's first
        finished(1, started=3.0, finished=3.0), ended(1),            # received at 3, done at 4: nothing left, more comes later
        {"kind": "endpoint", "endpoint": "a", "state": "offline"},   # 5 to 6
        {"kind": "endpoint", "endpoint": "a", "state": "online"},
        pending(2), running(2),                                      # 6 to 7: nothing; 7 to 8: pending; 8 to 9 runs
        finished(2, started=8.0, finished=9.0), ended(2),            # 9 to 11: nothing again
        {"kind": "endpoint", "endpoint": "a", "state": "probing"},   # 11 to 13
        pending(3), {"kind": "endpoint", "endpoint": "a", "state": "recovered"}))
    usage, = use_of_threads(run, place(run))
    assert usage.uses == pytest.approx({
        "running, succeeded": 1.0, "failed or lost attempts": 0.0, "starting up": 1.0, "tasks on their way": 0.0,
        "idle although tasks were pending": 2.0, "idle, no task ready": 5.0, "idle, all tasks given out": 0.0,
        "idle, probed after failures": 2.0, "unavailable": 1.0})


def test_a_failure_says_what_came_of_it():
    lost = [pending(1), running(1), finished(1, "lost", message="no news"), pending(1, after="1.1", avoids=["a"])]
    again = [*lost, running(1, "b", 2), finished(1, "ok", 2, started=4.0, finished=4.5), {**ended(1), "attempt": "1.2"}]
    threads = {"a": 1, "b": 1}
    for fields, came in ((lost, "not finished yet"), (again, "then done on b")):
        failure, = read_run(lines_of(*fields, threads=threads)).failures
        assert (failure.endpoint, failure.outcome, failure.message, failure.came) == ("a", "lost", "no news", came)
    run = read_run(lines_of(pending(1, node=7), running(1), finished(1, "app_failed", error="KeyError", started=2.0, finished=2.5),
                            ended(1, "failed"), pending(2, node=7, **{"try": 1})))
    assert [(f.outcome, f.came) for f in run.failures] == [("KeyError", "failed; Parsl tried again, as task 2")]
    run = read_run(lines_of(pending(1), {"kind": "task", "task": 1, "state": "failed", "reason": "no_such_thread", "message": "needs 99 cores"}))
    assert [(f.endpoint, f.outcome, f.message, f.came) for f in run.failures] == [(None, "no_such_thread", "needs 99 cores", "task failed")]


def test_a_task_completed_by_an_attempt_that_was_given_up_is_done_where_that_ran():
    run = read_run(lines_of(pending(1), running(1), finished(1, "lost"), pending(1, after="1.1", avoids=[]),
                            {"kind": "attempt", "attempt": "1.1", "state": "duplicate", "outcome": "ok"}, ended(1)))
    assert run.pool[0].completed == 1 and run.duplicates == 1 and run.counts["done"] == 1


def test_it_is_said_whether_a_run_is_over():
    log = {"kind": "log", "state": "ended"}
    done = [pending(1), running(1), finished(1, started=2.0, finished=2.5), ended(1)]
    assert state_of_run(read_run(lines_of(*done, log))) == ""
    assert "has not ended" in state_of_run(read_run(lines_of(*done)), now=10.0)
    left = state_of_run(read_run(lines_of(*done[:2], {"kind": "run", "state": "progress", "unsubmitted": 3, "seconds_left": 42.0})), now=10.0)
    assert "killed" in left and "1\u00a0task not finished" in left and "42\u00a0s more" in left and "7\u00a0s old" in left
    older = [{**line, "schema": 1} if line["kind"] == "log" else line for line in lines_of(*done)]
    assert state_of_run(read_run(older)) == ""


def test_a_run_that_was_shut_down_lasted_until_its_last_task_ended():
    fields = [pending(1), {"kind": "run", "state": "progress", "unsubmitted": 2, "seconds_left": None}, running(1),
              finished(1, started=3.0, finished=3.5), ended(1)]
    assert read_run(lines_of(*fields, {"kind": "endpoint", "endpoint": "a", "state": "status"})).window == (1.0, 6.0)
    assert read_run(lines_of(*fields, {"kind": "log", "state": "ended"})).window == (1.0, 5.0)


def test_the_headline_says_who_did_what():
    run = read_run(lines_of(pending(1), pending(2), running(1), running(2, "b"), finished(1, started=3.0, finished=4.0), ended(1),
                            finished(2, "app_failed", started=4.0, finished=5.0), ended(2, "failed", attempt="2.1"), threads={"a": 1, "b": 3}))
    said = headline(run, use_of_threads(run, place(run))).replace("\u00a0", " ")
    assert said.startswith("2 tasks in 7 s: 1 done, 1 failed. a did 100 % (1 thread), 1 endpoint none. "
                           "Functions that succeeded ran for 4 % of the threads' ")


@pytest.mark.parametrize("lines", [
    [], [{"a": 1}], [{"log": "globus_compute_multi"}], [*lines_of(), {"t": "x"}], [*lines_of(), 3],
    lines_of(running(1)), lines_of(pending(1), running(1, "x")), lines_of(finished(1)), lines_of(ended(9))])
def test_what_is_not_a_run_log_is_refused(lines):
    with pytest.raises(InconsistentLog):
        read_run(lines)


def test_an_outage_is_told_with_its_reason_and_its_end():
    paused = {"kind": "endpoint", "endpoint": "a", "state": "paused", "seconds": 5.0, "reason": "its child is offline"}
    run = read_run(lines_of(pending(1), paused, *({**paused, "state": state} for state in ("probing", "resumed", "recovered"))))
    placed = place(run)
    (_, more), = [found for found in findings(run, use_of_threads(run, placed), placed, []) if "outage" in found[0]]
    assert "a at 1 s, paused for 5 s: its child is offline, in full use again at 4 s" in more.replace("\u00a0", " ")
    assert run.pool[0].probes == [(3.0, True), (5.0, False)]


def test_each_try_of_a_task_that_parsl_retried_is_a_step_of_the_critical_path():
    failing = [pending(1, node=7), running(1), finished(1, "app_failed", error="KeyError", started=2.0, finished=2.5), ended(1, "failed")]
    run = read_run(lines_of(*failing, pending(2, node=7, **{"try": 1}), running(2), finished(2, started=6.5, finished=7.0), ended(2)))
    placed = place(run)
    assert [(step.node, step.row, sum(step.seconds)) for step in critical_path(run, placed)] == [(7, 0, 3.0), (7, 1, 4.0)]
    said = headline(run, use_of_threads(run, placed)).replace("\u00a0", " ")
    assert said.startswith("2 tasks (1 retry by Parsl included) in 7 s: 1 done, 1 failed. ")


def test_a_lost_attempt_ends_at_the_latest_when_another_one_needs_its_thread():
    run = read_run(lines_of(pending(1), running(1), pending(2), running(2, state="queued_ahead"), finished(1, "lost"), pending(1, after="1.1"),
                            {"kind": "attempt", "attempt": "2.1", "state": "running"}, finished(2, started=4.5, finished=5.0), ended(2)))
    placed = place(run)
    assert [(placed.begin[i], placed.end[i], placed.lane[i]) for i in range(2)] == [(2.0, 4.5, 0), (4.5, 5.0, 0)] and len(placed.lanes) == 1


def test_an_attempt_that_could_not_be_unpacked_takes_no_time_of_a_thread():
    run = read_run(lines_of(pending(1), running(1), pending(2), running(2, state="queued_ahead"), finished(1, "not_unpacked"),
                            {"kind": "attempt", "attempt": "2.1", "state": "running"}, finished(2, started=4.5, finished=7.0), ended(2)))
    placed = place(run)
    assert (placed.begin[0], placed.end[0], placed.lane[0], len(placed.lanes)) == (5.0, 5.0, 0, 1)


def test_after_lines_that_could_not_be_written_what_contradicts_is_left_out():
    lines = lines_of(pending(1), {"kind": "log", "state": "lost", "lines": 3}, finished(7), ended(7), running(1), finished(1), ended(1))
    assert read_run(lines).counts["done"] == 1 and "3\u00a0lines of the log could not be written" in page_of(lines)
