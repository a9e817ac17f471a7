"""What the doctor's probe sends, and what it makes of what comes back."""
from __future__ import annotations

import ast
import os
from dataclasses import replace

import pytest

from parsl.executors.globus_compute_multi import versions
from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.doctor.endpoint_status import EndpointSeen
from parsl.executors.globus_compute_multi.doctor.probe import (
    Probe,
    look_around,
    pack_probe,
)
from parsl.executors.globus_compute_multi.doctor.probe_findings import findings_of
from parsl.executors.globus_compute_multi.endpoint import Endpoint
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.serialize import serialize, unpack_apply_message

pytestmark = pytest.mark.local

ID = "4b116d3c-1703-4f8f-9f6f-39921e5864df"
OURS = tuple(versions.our_versions().items())
RESULT = ResultMessage(task_uuid="t", session="s", attempt_id="1.1", outcome=Outcome.OK, value=serialize({"cores": 8}), message="",
                       run_seconds=0.5, child_id=ID, info=(("host", "node7"), ("started", 103.0), ("finished", 103.5), *OURS))
PROBE = Probe(EndpointSeen(ID, "cluster", True), task_uuid="t", submitting=100.0, submitted=101.0, connected=100.5, arrived=104.5, result=RESULT,
              over_amqp=True, status={"status": "online", "details": {"total_workers": 4}})


def found(probe=PROBE, **result):
    changed = probe if not result else replace(probe, result=replace(probe.result, **result))
    return {finding.check: finding for finding in findings_of(changed, 60.0, "https://compute.invalid")}


def test_the_probe_has_no_bytecode_and_runs_where_this_package_is_not():
    function, args, kwargs = unpack_apply_message(pack_probe())
    assert function is eval and b"globus_compute_multi" not in pack_probe()
    assert function(*args, **kwargs) == look_around()
    assert look_around()["cores"] == len(os.sched_getaffinity(0))


def test_the_times_of_a_round_trip_add_up():
    text = found()["probe cluster"].text
    assert "round trip 4.50 s over AMQP (submission 1.00 s, start and queue 2.00 s, run 0.50 s, way back 1.00 s)" in text


def test_the_time_until_we_were_connected_is_not_the_endpoints():
    assert "round trip 3.80 s over AMQP" in found(replace(PROBE, connected=104.2))["probe cluster"].text


def test_a_result_that_came_before_the_answer_to_its_submission():
    text = found(replace(PROBE, submitted=105.0))["probe cluster"].text
    assert "round trip 5.00 s over AMQP (submission 5.00 s, start and queue 0.00 s, run 0.50 s, way back 0.00 s)" in text


@pytest.mark.parametrize("started, word", [(40.0, "behind"), (400.0, "ahead of")])
def test_a_clock_that_is_wrong_is_told_and_the_parts_are_not(started, word):
    finding = found(info=(("host", "h"), ("started", started), ("finished", started + 0.5), *OURS))["probe cluster"]
    assert finding.verdict == "warning" and word in finding.text and "start and queue" not in finding.text and "NTP" in finding.remedy


@pytest.mark.parametrize("details, there, threads, cores", [
    ({"total_workers": 4}, {"cores": 8}, 4, 2),
    ({"total_workers": 64}, {"cores": 32, "workers": "16"}, 64, 2),  # four nodes
    ({"total_workers": 4, "cores_per_worker": 2.0}, {"cores": 64}, 4, 2),
    ({"total_workers": 4, "cores_per_worker": 0.5}, {"cores": 2}, 4, 1),
    ({}, {"cores": 32, "workers": "16"}, 16, 2),
    ({"total_workers": 3}, {}, 3, 1),
])
def test_the_configuration_that_is_proposed_is_one(details, there, threads, cores):
    text = found(replace(PROBE, status={"status": "online", "details": details}), value=serialize(there))["configuration for cluster"].text
    call = ast.parse(text, mode="eval").body
    made = Endpoint(*map(ast.literal_eval, call.args), **{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords})
    assert (made.id, made.name, made.threads, made.cores_per_thread) == (ID, "cluster", threads, cores)


@pytest.mark.parametrize("details", [{}, {"total_workers": "many"}, {"total_workers": -1}, {"total_workers": True}])
def test_workers_of_which_nothing_is_told_are_not_made_up(details):
    assert "threads=<its workers>" in found(replace(PROBE, status={"status": "online", "details": details}))["configuration for cluster"].text


def test_versions_that_break_tasks_are_a_problem_with_a_remedy():
    finding = found(info=(*RESULT.info, ("python", "3.99.0")))["versions at cluster"]
    assert finding.verdict == "problem" and "Python is 3.99.0 there" in finding.text and "same versions" in finding.remedy


@pytest.mark.parametrize("outcome, message, wanted", [
    (Outcome.NOT_UNPACKED, "ModuleNotFoundError: No module named 'parsl'", "Parsl"),
    (Outcome.TASK_FAILED, "ENDPOINT_ERROR: the template is wrong", "user_config_template"),
    (Outcome.RAISED, "SystemError: unknown opcode", "same versions"),
    (Outcome.UNREADABLE, "not what our runner returns", "same versions"),
])
def test_a_failure_has_its_reason_and_a_remedy(outcome, message, wanted):
    finding = found(outcome=outcome, message=message, value=None)["probe cluster"]
    assert finding.verdict == "problem" and message in finding.text and wanted in finding.remedy


@pytest.mark.parametrize("value", [b"garbage", b"01\ngarbage", serialize("no dict")])
def test_a_value_that_cannot_be_read_is_a_problem(value):
    findings = found(value=value)
    assert findings["probe cluster"].verdict == "problem" and "configuration for cluster" not in findings


@pytest.mark.parametrize("waits, verdict, wanted", [
    ("waiting-for-nodes", "warning", "batch system"), ("pending", "problem", "endpoint.log"), ("", "problem", "endpoint.log")])
def test_no_result_is_told_with_what_is_known(waits, verdict, wanted):
    late = replace(PROBE, result=None, waits=waits)
    finding = found(late)["probe cluster"]
    assert finding.verdict == verdict and "within 60 s" in finding.text and "is online" in finding.text and wanted in finding.remedy
