"""The commands doctor and endpoints: arguments, output, exit codes, where they cannot even begin."""
from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import parsl.executors.globus_compute_multi as package
from parsl.executors.globus_compute_multi.doctor import diagnose as module
from parsl.executors.globus_compute_multi.doctor import here
from parsl.executors.globus_compute_multi.doctor.diagnose import diagnose, exit_code
from parsl.executors.globus_compute_multi.doctor.findings import (
    Finding,
    Verdict,
    ok,
    problem,
    skipped,
    warning,
)
from parsl.tests.test_globus_compute_multi.unit.doctoring import (
    NETWORK_VARIABLES,
    closed_port,
    run_out,
)

pytestmark = pytest.mark.local

ENDPOINT = "4b116d3c-1703-4f8f-9f6f-39921e5864df"


def run(*arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in NETWORK_VARIABLES}
    return subprocess.run([sys.executable, "-m", package.__name__, *arguments], capture_output=True, text=True, timeout=120,
                          env={**kept, **environment})


@pytest.mark.parametrize("command", ["doctor", "endpoints"])
def test_help_says_what_it_does_and_its_exit_codes(command):
    done = run(command, "--help")
    assert done.returncode == 0 and "Exit code" in done.stdout and "example:" in done.stdout


@pytest.mark.parametrize("arguments, named", [
    (["no-uuid"], "no-uuid"), ([ENDPOINT, "4b116d3c"], "4b116d3c"), (["--timeout", "0"], "'0'"), (["--timeout", "nan"], "'nan'"),
    (["--amqp-port", "65536"], "'65536'"), (["--amqp-port", "x"], "'x'"), (["--runner-id", "x"], "'x'"),
])
def test_wrong_arguments_are_named(arguments, named):
    done = run("doctor", *arguments)
    assert done.returncode == 2 and named in done.stderr and not done.stdout


def test_a_service_that_cannot_be_reached_gives_a_problem_with_a_remedy_and_the_rest_is_skipped(tmp_path):
    with closed_port() as port:
        done = run("doctor", ENDPOINT, "--json", GLOBUS_SDK_ENVIRONMENT="local", GLOBUS_COMPUTE_USER_DIR=str(tmp_path),
                   http_proxy=f"http://user:planted-Qx7@127.0.0.1:{port}", GLOBUS_SDK_SERVICE_URL_AUTH=f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(f["check"], f["verdict"]) for f in findings] == [
        ("versions here", "ok"), ("credentials", "ok"), ("service: connection", "problem"), ("credentials: accepted", "skipped"),
        ("AMQP", "skipped"), (f"endpoint {ENDPOINT}", "skipped")]
    assert "http_proxy" in findings[2]["remedy"] and "planted" not in done.stdout + done.stderr


def test_endpoints_says_why_it_cannot_list_them(tmp_path):
    with closed_port() as port:
        done = run("endpoints", GLOBUS_SDK_ENVIRONMENT="local", GLOBUS_COMPUTE_USER_DIR=str(tmp_path),
                   http_proxy=f"http://127.0.0.1:{port}", GLOBUS_SDK_SERVICE_URL_AUTH=f"http://127.0.0.1:{port}")
    assert done.returncode == 2 and not done.stdout and "http_proxy" in done.stderr


def test_warnings_of_libraries_are_not_printed_between_the_findings():
    program = f"import warnings; from {package.__name__}.doctor.command import set_up; set_up(); warnings.warn('unverified')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_half_a_client_identity_is_named(monkeypatch):
    monkeypatch.delenv("GLOBUS_COMPUTE_CLIENT_ID", raising=False)
    monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_SECRET", "planted-Qx7")
    findings = diagnose([ENDPOINT])
    assert "GLOBUS_COMPUTE_CLIENT_ID" in next(f for f in findings if f.verdict is Verdict.PROBLEM).remedy
    assert not [f for f in findings if "planted" in f.to_json()]


@pytest.mark.parametrize("environment", [{"GLOBUS_SDK_ENVIRONMENT": "nowhere"}, {"GLOBUS_COMPUTE_USER_DIR": os.devnull}])
def test_settings_with_which_the_sdk_cannot_work(monkeypatch, environment):
    for name in NETWORK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    findings, client = run_out(here.find_client())
    assert client is None and [f.verdict for f in findings] == ["problem"]


@pytest.mark.parametrize("missing", ["pika", "globus_compute_sdk"])
def test_without_a_package_that_is_needed_it_says_what_to_install(monkeypatch, missing):
    def import_module(name):
        if name == missing:
            raise ImportError(f"No module named {missing}")
        return imported(name)

    imported = importlib.import_module
    monkeypatch.setattr(here.importlib, "import_module", import_module)
    findings, complete = run_out(here.check_versions())
    assert not complete and "pip install" in findings[0].remedy and missing.replace("_", "-") in findings[0].remedy


def test_an_old_sdk_is_a_problem(monkeypatch):
    monkeypatch.setattr(here.metadata, "version", lambda name: "4.18.2" if name == "globus-compute-sdk" else "99")
    findings, complete = run_out(here.check_versions())
    assert not complete and "4.18.2" in findings[0].text and "globus-compute-sdk>=4.19" in findings[0].remedy


def test_exit_code_is_1_only_for_problems():
    assert exit_code([ok("a", "b"), warning("a", "b", "c"), skipped("a", "b")]) == 0
    assert exit_code([ok("a", "b"), problem("a", "b", "c")]) == 1


@pytest.mark.parametrize("verdict", [Verdict.WARNING, Verdict.PROBLEM])
def test_whatever_is_not_ok_has_a_remedy(verdict):
    with pytest.raises(ValueError, match="remedy"):
        Finding("check", verdict, "text")


def test_a_finding_is_safe_to_print(monkeypatch):
    monkeypatch.setenv("GLOBUS_COMPUTE_CLIENT_SECRET", "planted-1")
    finding = problem("a\x1b[31m", "amqps://user:planted-2@host/x Bearer planted-3\nAuthorization: Basic planted-4 planted-1", "b" * 10_000)
    assert "planted" not in finding.lines() + finding.to_json() and "\x1b" not in finding.lines() and len(finding.lines()) < 4000
    assert finding.lines().count("\n") == 1


@pytest.mark.parametrize("address, looked_at", [
    ("https://compute.api.globus.org", ["amqps://compute.amqps.globus.org:5671"]), ("http://127.0.0.1:5000", [])])
def test_without_credentials_only_the_hosted_services_broker_is_known(monkeypatch, address, looked_at):
    monkeypatch.delenv("GLOBUS_SDK_ENVIRONMENT", raising=False)
    urls = []
    monkeypatch.setattr(module, "check_broker", lambda url, port: iter(urls.append(url) or ()))
    findings = list(module._broker_of_hosted_service(SimpleNamespace(web_service_address=address), None))
    assert urls == looked_at and [f.verdict for f in findings] == ([] if looked_at else ["skipped"])
