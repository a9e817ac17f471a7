"""What the versions at an endpoint tell, and what is made of it."""
from __future__ import annotations

import logging

import pytest

from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.observe.replay import RunState
from parsl.executors.globus_compute_multi.resolver import _unpack
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.versions import (
    KEYS,
    VersionCheck,
    differences,
    explain,
    our_versions,
)
from parsl.tests.test_globus_compute_multi.unit.driver import header, spec
from parsl.tests.test_globus_compute_multi.unit.owning import running

pytestmark = pytest.mark.local

OURS = {"python": "3.11.7", "parsl": "2026.10.26", "dill": "0.3.9", "sdk": "4.19.0"}


def result(child="c1", outcome=Outcome.OK, message="", enveloped=True, error=None, **versions):
    info = {"host": "node", **versions, **({} if error is None else {"error": error})}
    return ResultMessage(task_uuid="u", session="s" if enveloped else None, attempt_id="1.1" if enveloped else None, outcome=outcome, value=None,
                         message=message, run_seconds=None, child_id=child, info=tuple(info.items()))


@pytest.mark.parametrize("key, version", [
    ("python", "3.11.2"), ("python", "3.11.7+"), ("parsl", "2026.10.26"), ("parsl", "2026.10.26.dev1"), ("sdk", "4.2.1"), ("sdk", "4.20.0"),
])
def test_what_breaks_nothing_is_no_difference(key, version):
    assert not differences({key: version}, OURS) and not explain({key: version}, OURS)


def test_parsls_two_ways_to_write_a_version_are_one():
    assert not differences({"parsl": "2026.07.06"}, {**OURS, "parsl": "2026.7.6"})


@pytest.mark.parametrize("key, version, name", [
    ("python", "3.12.1", "Python"), ("python", "3.1.7", "Python"), ("python", "2.11.7", "Python"), ("parsl", "2026.10.19", "Parsl"),
    ("parsl", "2025.10.26", "Parsl"), ("dill", "0.3.8", "dill"), ("dill", "0.4.0", "dill"), ("dill", "0.3.9.1", "dill"),
    ("sdk", "3.16.1", "the Globus Compute SDK"), ("python", "nonsense", "Python"), ("python", "", "Python"),
])
def test_what_may_break_something_is_named_with_both_versions(key, version, name):
    assert differences({**OURS, key: version}, OURS) == [key]
    assert explain({**OURS, key: version}, OURS) == f"{name} is {version} there and {OURS[key]} here"


def test_what_is_not_known_is_no_difference():
    assert not differences({}, OURS) and not differences({"host": "3.12"}, OURS)


def test_our_versions_are_those_that_the_runner_tells_of_itself():
    from parsl.executors.globus_compute_multi.compute.runner import (
        globus_compute_multi_runner,
    )
    told = globus_compute_multi_runner("s/1.1", "", 1)
    told.pop("sdk", None)
    assert not differences({key: told[key] for key in KEYS if key in told and told[key] != "none"}, our_versions())
    assert set(our_versions()) == set(KEYS)


def test_an_endpoint_that_is_as_we_are_is_noted_once_without_a_warning():
    check = VersionCheck(OURS)
    assert check.note("a", result(**OURS)) == (OURS, "")
    assert check.note("a", result(**OURS)) is None


def test_a_warning_names_endpoint_difference_and_what_it_breaks_once_for_each_child():
    check, theirs = VersionCheck(OURS), {**OURS, "python": "3.12.1", "dill": "0.4.0"}
    for child in ("c1", "c2"):
        warning = check.note("delta", result(child, **theirs)).warning
        for part in ("Endpoint delta", "Python is 3.12.1 there and 3.11.7 here", "dill is 0.4.0 there and 0.3.9 here", "crash", "readable"):
            assert part in warning
        assert check.note("delta", result(child, **theirs)) is None


def test_versions_that_change_are_noted_again_and_those_that_change_back_are_not():
    check = VersionCheck(OURS)
    assert not check.note("a", result(**OURS)).warning
    assert "3.12.1" in check.note("a", result(**{**OURS, "python": "3.12.1"})).warning
    assert check.note("a", result(**OURS)) is None
    assert check.note("a", result(**{**OURS, "python": "3.12.1"})) is None
    assert "3.13.0" in check.note("a", result(**{**OURS, "python": "3.13.0"})).warning


def test_a_change_that_breaks_nothing_new_brings_no_warning_again():
    check = VersionCheck(OURS)
    assert check.note("a", result(**{**OURS, "python": "3.12.1"})).warning
    noted = check.note("a", result(**{**OURS, "python": "3.12.1", "sdk": "4.20.0"}))
    assert noted.versions["sdk"] == "4.20.0" and not noted.warning


def test_failures_told_by_the_endpoint_fill_in_what_its_workers_have_not_told_and_no_more():
    check, agent = VersionCheck(OURS), {"python": "3.11.2", "dill": "0.3.9", "sdk": "4.19.0"}
    failure = result(outcome=Outcome.TASK_FAILED, enveloped=False, **agent)
    assert check.note("a", failure).versions == agent
    assert check.note("a", result(**{**OURS, "python": "3.12.1"})).versions["python"] == "3.12.1"  # workers of another environment
    assert check.note("a", failure) is None


def test_packages_that_the_worker_does_not_have_are_no_versions():
    check = VersionCheck(OURS)
    assert check.note("a", result(outcome=Outcome.NOT_UNPACKED, python="3.11.7", parsl="none", dill="none")).versions == {"python": "3.11.7"}


def test_a_result_that_says_nothing_is_not_noted():
    assert VersionCheck(OURS).note("a", result(outcome=Outcome.UNREADABLE, enveloped=False)) is None


@pytest.mark.parametrize("outcome", [Outcome.NOT_UNPACKED, Outcome.TASK_FAILED, Outcome.UNREADABLE])
def test_failures_outside_the_app_name_the_difference(outcome):
    check, failure = VersionCheck(OURS), result(outcome=outcome, message="it broke", python="3.12.1")
    check.note("a", failure)
    assert check.outcome("a", failure) == (outcome, "it broke (Python is 3.12.1 there and 3.11.7 here)")


def test_a_lost_worker_is_blamed_on_versions_that_its_child_has_told_before():
    check = VersionCheck(OURS)
    check.note("a", result(**{**OURS, "python": "3.12.1"}))
    lost = result(outcome=Outcome.TASK_FAILED, message="WorkerLost", enveloped=False)
    check.note("a", lost)
    assert "3.12.1" in check.outcome("a", lost)[1]
    assert check.outcome("b", lost) == (Outcome.TASK_FAILED, "WorkerLost")


def test_failures_where_versions_agree_stay_as_they_are():
    check, failure = VersionCheck(OURS), result(outcome=Outcome.NOT_UNPACKED, message="ModuleNotFoundError: m", **OURS)
    check.note("a", failure)
    assert check.outcome("a", failure) == (Outcome.NOT_UNPACKED, "ModuleNotFoundError: m")


@pytest.mark.parametrize("outcome", [Outcome.APP_FAILED, Outcome.RAISED])
@pytest.mark.parametrize("python, error, becomes", [
    ("3.12.1", "SystemError", Outcome.NOT_UNPACKED), ("3.11.2", "SystemError", None), ("3.12.1", "ValueError", None), ("3.12.1", None, None),
])
def test_a_system_error_is_no_failure_of_the_apps_where_the_python_is_another(outcome, python, error, becomes):
    check, failure = VersionCheck(OURS), result(outcome=outcome, message="unknown opcode", error=error, **{**OURS, "python": python})
    check.note("a", failure)
    assert check.outcome("a", failure)[0] is (becomes or outcome)


def test_a_system_error_under_another_dill_alone_is_the_apps():
    check, failure = VersionCheck(OURS), result(outcome=Outcome.APP_FAILED, error="SystemError", **{**OURS, "dill": "0.3.8"})
    check.note("a", failure)
    assert check.outcome("a", failure)[0] is Outcome.APP_FAILED


def test_a_value_that_cannot_be_read_here_is_explained_by_the_versions_if_they_differ():
    theirs = {**our_versions(), "parsl": "2025.1.13"}
    assert "Parsl is 2025.1.13 there and" in str(_unpack(result(**theirs), "task 1")[1])
    assert "must be the same" in str(_unpack(result(**our_versions()), "task 1")[1])


def test_replay_of_the_log_knows_the_versions_of_each_child():
    state = RunState(header([spec("a")]))
    state.apply({"t": 1.0, "kind": "endpoint", "endpoint": "a", "state": "versions", "child": "c1", **OURS})
    state.apply({"t": 2.0, "kind": "endpoint", "endpoint": "a", "state": "versions", "python": "3.12.1"})
    assert state.endpoints["a"].versions == {"c1": OURS, None: {"python": "3.12.1"}}


def test_the_owner_logs_the_versions_of_a_result_and_warns(tmp_path, caplog):
    with caplog.at_level(logging.WARNING), running(tmp_path / "log") as harness:
        future = harness.submit(1)
        harness.answer(harness.started(), "value", python="2.7.18")
        assert future.result(10) == "value"
        lines = [line for line in harness.stop() if line.get("state") == "versions"]
    assert "Endpoint a: Python is 2.7.18 there" in caplog.text
    assert [(line["kind"], line["endpoint"], line["child"], line["python"]) for line in lines] == [("endpoint", "a", "child", "2.7.18")]


def test_bytecode_that_another_python_misreads_is_tried_again_as_a_failure_of_the_endpoints(tmp_path):
    with running(tmp_path / "log") as harness:
        future = harness.submit(1)
        harness.answer(harness.started(), outcome=Outcome.APP_FAILED, python="2.7.18", error="SystemError")
        again = harness.started()
        assert again == "1.2"
        harness.answer(again, "value")
        assert future.result(10) == "value"


def test_an_endpoint_that_tells_ever_other_versions_from_ever_other_children_is_warned_of_a_few_times_and_costs_little():
    check = VersionCheck(OURS)
    notes = [check.note("a", result(f"c{child}", python=f"3.{child}.{number}")) for child in range(20, 1520) for number in range(100)]
    assert sum(1 for noted in notes if noted is not None and noted.warning) == 5
    assert len(check._children) == 1000 and max(len(child.noted) for child in check._children.values()) <= 20
    assert check.note("b", result(python="2.7")).warning


def test_the_child_that_was_not_heard_of_for_longest_is_forgotten_first():
    check = VersionCheck(OURS)
    for child in range(2000):
        check.note("a", result("lives", **OURS))
        check.note("a", result(f"c{child}", **OURS))
    assert check.note("a", result("lives", **OURS)) is None
