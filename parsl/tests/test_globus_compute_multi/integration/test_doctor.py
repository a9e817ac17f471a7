"""The doctor on real endpoints, with each fault switched on: the right verdict, the culprit named, a remedy, no secret, and nothing left."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from urllib.parse import urlsplit

import pytest

from local_globus_compute import Limits, LocalEndpoint
from local_globus_compute.client import LocalClient
from local_globus_compute.service.admin import busiest_window
from parsl.executors.globus_compute_multi import versions
from parsl.executors.globus_compute_multi.compute.service import Service
from parsl.executors.globus_compute_multi.doctor import asking, broker, network
from parsl.executors.globus_compute_multi.doctor.diagnose import diagnose, exit_code
from parsl.tests.test_globus_compute_multi.integration.common import until
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    THREADS,
    our_threads,
    sockets,
)
from parsl.tests.test_globus_compute_multi.integration.relay import Relay
from parsl.tests.test_globus_compute_multi.unit.doctoring import (
    answer,
    closed_port,
    listening,
    new_authority,
    say_nothing,
    server_context,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """The tests of this file together send more requests than the service would allow."""
    monkeypatch.setattr(asking, "REQUEST_LIMIT", (1000, 10.0))


@pytest.fixture
def pool(compute):
    return [compute.endpoint_ids[name] for name in THREADS]


@pytest.fixture
def secrets(compute):
    service = Service(compute.client())
    url, _ = service.result_queue()
    service.close()
    return {compute.token, compute.environment["GLOBUS_COMPUTE_CLIENT_SECRET"], urlsplit(url).password, url, "planted-Qx7"}


@pytest.fixture
def broker_port(compute):
    service = Service(compute.client())
    url, _ = service.result_queue()
    service.close()
    return urlsplit(url).port


@pytest.fixture
def examine(compute, secrets):
    """Examines endpoints, by default "small", in this process; checks what holds of each examination, and gives findings by their checks.

    ``then`` is called before it is looked whether anything is left.
    """
    def examine(*endpoint_ids, wanted, client=None, then=lambda: None, **options):
        before = sockets()
        findings = diagnose(endpoint_ids or [compute.endpoint_ids["small"]], client or compute.client(), **options)
        assert not our_threads()
        then()
        until(lambda: sockets() <= before, "the end of all connections")
        text = "\n".join(finding.lines() + finding.to_json() for finding in findings)
        assert not [secret for secret in secrets if secret in text]
        assert exit_code(findings) == wanted, text
        assert len({finding.check for finding in findings}) >= len(findings) - 1, text
        return {finding.check: finding for finding in findings}
    return examine


def run(compute, *arguments, **environment):
    return subprocess.run([sys.executable, "-m", "parsl.executors.globus_compute_multi", *arguments], capture_output=True, text=True,
                          timeout=300, env={**os.environ, **compute.environment, **environment})


def test_all_is_well_and_the_proposed_configuration_is_that_of_the_endpoints(examine, pool):
    found = examine(*pool, wanted=0)
    assert {finding.verdict for finding in found.values()} == {"ok", "skipped"}  # skipped: TLS
    for name, threads in THREADS.items():
        assert re.search(r"round trip [\d.]+ s over AMQP .*submission.*way back.* on ", found[f"probe {name}"].text)
        assert f"name={name!r}, threads={threads}" in found[f"configuration for {name}"].text
        assert "nothing that breaks tasks differs" in found[f"versions at {name}"].text


def test_endpoints_are_probed_within_the_request_budget(examine, faults, pool, monkeypatch):
    monkeypatch.setattr(asking, "REQUEST_LIMIT", (20, 10.0))
    before = faults.requests()[-1].number
    faults.set_limits(Limits())
    examine(*pool, wanted=0)
    requests = faults.requests(before)
    assert busiest_window(requests) <= 20 and not [request for request in requests if request.status == 429]


def test_a_program_of_its_own_with_client_credentials(compute, secrets, pool):
    done = run(compute, "doctor", *pool, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {finding["check"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    assert found.keys() >= {"service: connection", "AMQP: results", *(f"probe {name}" for name in THREADS)}
    assert not [secret for secret in secrets if secret in done.stdout + done.stderr]


def test_findings_are_printed_a_line_each_and_no_probe_runs_no_task(compute, faults):
    before = faults.counters()["tasks_submitted"]
    done = run(compute, "doctor", "--no-probe", compute.endpoint_ids["small"])
    assert done.returncode == 0 and f"ok       endpoint {compute.endpoint_ids['small']}: 'small' is online" in done.stdout
    assert faults.counters()["tasks_submitted"] == before


def test_endpoints_are_listed_for_people_and_for_programs(compute):
    done = run(compute, "endpoints")
    assert done.returncode == 0
    for name in THREADS:
        assert re.search(rf"^{name} +{compute.endpoint_ids[name]} +online ", done.stdout, re.MULTILINE)
    done = run(compute, "endpoints", "--json", "--no-status")
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0 and {name: rows[name]["id"] for name in THREADS} == {name: compute.endpoint_ids[name] for name in THREADS}
    assert {row["status"] for row in rows.values()} == {None}


# The service and the way to it

def test_the_service_is_down(compute, examine):
    client = compute.client()
    compute.stop_service()
    try:
        found = examine(wanted=1, client=client)
    finally:
        compute.start_service()
    assert "refused" in found["service: connection"].text and found["AMQP"].verdict == "skipped"


@pytest.mark.parametrize("proxy, wanted", [("http://[", "does not hold the address"), ("http://user:planted-Qx7@127.0.0.1:1", "refused")])
def test_a_proxy_that_is_none(compute, secrets, proxy, wanted):
    done = run(compute, "doctor", compute.endpoint_ids["small"], http_proxy=proxy)
    assert done.returncode == 1 and wanted in done.stdout and "http_proxy" in done.stdout
    assert not [secret for secret in secrets if secret in done.stdout + done.stderr]


def test_somebody_opens_tls_on_its_way(compute, examine):
    with listening(say_nothing, server_context(new_authority(), "127.0.0.1")) as port:
        found = examine(wanted=1, client=LocalClient(f"https://127.0.0.1:{port}", "planted-Qx7"))
    assert "Site Security Office" in found["service: TLS"].text


@pytest.mark.parametrize("content, wanted", [
    (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nlogin", "is not the service"),
    (b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "HTTP 503"),
    (b"", "cannot get an answer"),
])
def test_something_else_answers_in_the_services_place(examine, content, wanted):
    with listening(answer(*3 * [content])) as port:
        found = examine(wanted=1, client=LocalClient(f"http://127.0.0.1:{port}", "planted-Qx7"))
    assert wanted in found["service: answer"].text


def test_a_clock_that_is_wrong(examine):
    content = b"HTTP/1.1 401 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\nDate: Thu, 01 Jan 2015 00:00:00 GMT\r\n\r\n{}"
    with listening(answer(*10 * [content])) as port:
        found = examine(wanted=1, client=LocalClient(f"http://127.0.0.1:{port}", "planted-Qx7"))
    assert "ahead of the service's" in found["clock"].text and "NTP" in found["clock"].remedy


# Credentials

def test_a_token_that_the_service_does_not_know(compute, examine):
    found = examine(wanted=1, client=LocalClient(compute.address, "planted-Qx7"))
    assert "HTTP 401" in found["credentials: accepted"].text and "login()" in found["credentials: accepted"].remedy


def test_a_token_that_has_expired(compute, examine, faults):
    faults.expire_tokens(compute.client_id)
    try:
        found = examine(wanted=1)
        assert "HTTP 401" in found["credentials: accepted"].text
        done = run(compute, "doctor", "--no-probe")  # client credentials bring a new one
        assert done.returncode == 0, done.stdout
    finally:
        faults.renew_static_tokens()


def test_client_credentials_that_are_wrong(compute, secrets, tmp_path):
    for command, code in ((("doctor", compute.endpoint_ids["small"]), 1), (("endpoints",), 2)):
        done = run(compute, *command, GLOBUS_COMPUTE_CLIENT_SECRET="planted-Qx7", GLOBUS_COMPUTE_USER_DIR=str(tmp_path))
        text = done.stdout + done.stderr
        assert done.returncode == code and re.search("problem  credentials: accepted: .*Globus Auth answers HTTP 401", text)
        assert "unset both to use your login" in text and "login()" not in text
        assert not [secret for secret in secrets if secret in text]


def test_nobody_has_logged_in(compute, tmp_path):
    done = run(compute, "doctor", compute.endpoint_ids["small"], GLOBUS_COMPUTE_CLIENT_ID="", GLOBUS_COMPUTE_CLIENT_SECRET="",
               GLOBUS_COMPUTE_USER_DIR=str(tmp_path))
    assert done.returncode == 1 and "there is no login for Globus Compute" in done.stdout and "login()" in done.stdout


@pytest.mark.parametrize("kind, options, check, wanted", [
    ("reply_status", {"status": 403}, "credentials: accepted", "HTTP 403"),
    ("reply_status", {"status": 500}, "service: requests", "HTTP 500"),
    ("drop_connection", {}, "service: requests", "Connection"),
    ("bad_answer", {}, "service: requests", "result queue"),
])
def test_the_service_does_not_say_where_results_come_from(compute, examine, faults, kind, options, check, wanted):
    faults.add_fault(kind, route="result_queue", **options)
    found = examine(wanted=1)
    assert found[check].verdict == "problem" and wanted in found[check].text and found["AMQP"].verdict == "skipped"
    if kind == "bad_answer":
        assert "Error" not in found[check].text and f"open {compute.address} in a browser" in found[check].remedy


# AMQP

@pytest.fixture
def quick(monkeypatch):
    for module in (network, broker):
        monkeypatch.setattr(module, "STEP_SECONDS", 1.0)


@pytest.mark.parametrize("way", ["closed", "silent", "another program", "closes"])
def test_amqp_is_blocked_and_the_probe_comes_back_over_https(examine, quick, broker_port, way):
    server = {"closed": closed_port, "silent": lambda: listening(say_nothing), "closes": lambda: listening(lambda connection: None),
              "another program": lambda: listening(answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"))}[way]
    with server() as port:
        found = examine(wanted=0, amqp_port=port)
    assert found[f"AMQP: port {port}"].verdict == "warning" and found[f"AMQP: port {broker_port}"].verdict == "ok"
    assert found["AMQP: results"].verdict == "warning" and f"amqp_port={broker_port}" in found["AMQP: results"].remedy
    assert "over HTTPS" in found["probe small"].text


def test_another_port_that_leads_to_the_broker(examine, broker_port):
    with Relay(broker_port) as relay:
        found = examine(wanted=0, amqp_port=relay.port)
    assert f"on port {relay.port}" in found["AMQP: results"].text and "over AMQP" in found["probe small"].text


def test_a_connection_that_is_dead_without_a_word(examine, quick, broker_port):
    with Relay(broker_port) as relay:
        relay.freeze()
        found = examine(wanted=0, amqp_port=relay.port, then=relay.thaw)
    assert "does not answer to AMQP" in found[f"AMQP: port {relay.port}"].text


def test_a_result_that_is_lost_on_the_way(examine, faults):
    faults.add_fault("lose_result")
    found = examine(wanted=0)
    assert "over HTTPS" in found["probe small"].text and found["AMQP: results"].verdict == "warning"


# Endpoints

def test_an_endpoint_that_nobody_knows(compute, examine):
    unknown = str(uuid.uuid4())
    found = examine(unknown, compute.endpoint_ids["small"], wanted=1)
    assert "does not know it" in found[f"endpoint {unknown}"].text and found["probe small"].verdict == "ok"


@pytest.mark.parametrize("kind, options, wanted", [
    ("reply_status", {"status": 403}, "you may not use it"),
    ("reply_status", {"status": 404}, "does not know it"),
    ("reply_status", {"status": 500}, "HTTP 500"),
    ("drop_connection", {}, "Connection"),
    ("bad_answer", {}, "not as expected"),
])
def test_a_status_that_is_not_to_be_had(compute, examine, faults, kind, options, wanted):
    endpoint_id = compute.endpoint_ids["small"]
    faults.add_fault(kind, route="endpoint_status", endpoint_id=endpoint_id, **options)
    found = examine(wanted=1)
    assert found[f"endpoint {endpoint_id}"].verdict == "problem" and wanted in found[f"endpoint {endpoint_id}"].text
    assert "probe small" not in found and found[f"probe {endpoint_id}"].verdict == "skipped"


def test_other_programs_have_used_up_the_requests(compute, examine, faults, monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE", 1.0)
    faults.add_fault("reply_status", route="endpoint_status", status=429, retry_after=1)
    endpoint_id = compute.endpoint_ids["small"]
    found = examine(wanted=1)
    finding = found[f"endpoint {endpoint_id}"]
    assert finding.verdict == "problem" and "was not examined" in finding.text and "stop others, or wait" in finding.remedy
    assert found[f"probe {endpoint_id}"].verdict == "skipped"
    assert f"probe {endpoint_id}" not in examine(wanted=1, probe=False)


@pytest.mark.parametrize("route, check", [("result_queue", "service: requests"), ("submit", "probe small")])
def test_whatever_keeps_an_endpoint_from_being_examined_is_a_problem(examine, faults, monkeypatch, route, check):
    monkeypatch.setattr(asking, "PATIENCE", 1.0)
    faults.add_fault("reply_status", route=route, status=429, retry_after=1)
    finding = examine(wanted=1)[check]
    assert finding.verdict == "problem" and "was not examined" in finding.text


def test_a_description_that_is_not_to_be_had_is_no_trouble(compute, examine, faults):
    faults.add_fault("reply_status", route="endpoint", status=403)
    found = examine(wanted=0)
    assert "HTTP 403" in found[f"endpoint {compute.endpoint_ids['small']}"].text


@pytest.mark.parametrize("how", ["said to be", "stopped"])
def test_an_endpoint_that_is_offline_gets_no_probe(compute, examine, faults, how):
    endpoint_id = compute.endpoint_ids["small"]
    if how == "stopped":
        compute.stop_endpoint("small")
    else:
        faults.add_fault("force_status", endpoint_id=endpoint_id, status="offline")
    try:
        found = examine(wanted=1)
    finally:
        faults.clear_faults()
        compute.start_endpoint("small")
    assert "is offline" in found[f"endpoint {endpoint_id}"].text and "start" in found[f"endpoint {endpoint_id}"].remedy
    assert found["probe small"].verdict == "skipped"


# Probes

@pytest.mark.parametrize("kind, options, wanted", [
    ("reply_status", {"status": 403}, "does not take it"),
    ("reply_status", {"status": 500}, "HTTP 500"),
    ("drop_connection", {}, "Connection"),
    ("lose_answer", {}, "Connection"),
    ("partial_answer", {}, "1 tasks were submitted"),
])
def test_a_probe_that_cannot_be_submitted_leaves_the_others(compute, examine, faults, kind, options, wanted):
    faults.add_fault(kind, route="submit", endpoint_id=compute.endpoint_ids["small"], **options)
    found = examine(compute.endpoint_ids["small"], compute.endpoint_ids["medium"], wanted=1)
    assert found["probe small"].verdict == "problem" and wanted in found["probe small"].text
    assert found["probe medium"].verdict == "ok"


@pytest.mark.parametrize("kind, options", [("reply_status", {"status": 500}), ("drop_connection", {}), ("reply_status", {"status": 403})])
def test_the_runner_cannot_be_registered(examine, faults, kind, options):
    faults.add_fault(kind, route="register_function", **options)
    found = examine(wanted=1)
    assert found["probe"].verdict == "problem" and "register the runner" in found["probe"].text


def test_a_probe_that_does_not_come_back(compute, examine):
    examine(wanted=0)  # so there is a child
    children = compute.processes("small").children
    assert children
    for child in children:
        os.kill(child, signal.SIGSTOP)
    try:
        found = examine(wanted=1, timeout=3)
    finally:
        for child in children:
            os.kill(child, signal.SIGCONT)
    finding = found["probe small"]
    assert "no result within 3 s" in finding.text and "it has no result yet" in finding.text and "--timeout" in finding.remedy


def test_a_child_that_cannot_start(compute, examine):
    endpoint_id = compute.add_endpoint(LocalEndpoint("unfit", variables={"no_such_option": 1}))
    try:
        found = examine(endpoint_id, wanted=1)
    finally:
        compute.stop_endpoint("unfit")
    assert found["probe unfit"].verdict == "problem" and "endpoint failed" in found["probe unfit"].text
    assert "user_config_template" in found["probe unfit"].remedy


def test_versions_that_differ_are_a_problem(examine, monkeypatch):
    monkeypatch.setattr(versions, "our_versions", lambda: {"python": "3.99.0", "parsl": "2026.10.26", "dill": "0.3.9", "sdk": "4.19.0"})
    finding = examine(wanted=1)["versions at small"]
    assert "there and 3.99.0 here" in finding.text and "same versions" in finding.remedy
