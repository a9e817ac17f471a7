"""What the doctor says of the broker's ports."""
from __future__ import annotations

import pytest

from parsl.executors.globus_compute_multi.doctor import broker, network
from parsl.executors.globus_compute_multi.doctor.broker import (
    check_broker,
    ports_to_look_at,
)
from parsl.executors.globus_compute_multi.doctor.network import Target
from parsl.tests.test_globus_compute_multi.unit.doctoring import (
    NETWORK_VARIABLES,
    answer,
    closed_port,
    listening,
    new_authority,
    run_out,
    say_nothing,
    server_context,
)

pytestmark = pytest.mark.local

#: The beginning of Connection.Start, as a broker answers the greeting of AMQP.
START = b"\x01\x00\x00\x00\x00\x01\xf4\x00\x0a\x00\x0a\x00\x09"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in NETWORK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(network, "STEP_SECONDS", 0.5)
    monkeypatch.setattr(broker, "STEP_SECONDS", 0.5)
    monkeypatch.setattr(Target, "is_loopback", False)


def check(url, amqp_port=None, hosted=()):
    return run_out(check_broker(url, amqp_port, hosted))


@pytest.mark.parametrize("host, amqp_port, ports", [
    ("compute.amqps.globus.org", None, [5671, 443, 5672]),
    ("compute.amqps.globus.org", 443, [443, 5671, 5672]),
    ("compute.amqps.globus.org", 9, [9, 5671, 443, 5672]),
])
def test_the_port_that_is_used_is_looked_at_first(host, amqp_port, ports):
    assert ports_to_look_at(Target(host, 5671, True), amqp_port) == ports


def test_on_this_machine_only_the_ports_that_are_named_are_looked_at(monkeypatch):
    monkeypatch.undo()
    assert ports_to_look_at(Target("127.0.0.1", 25672, False), None) == [25672]
    assert ports_to_look_at(Target("localhost", 25672, False), 25673) == [25673, 25672]


def test_without_a_login_a_broker_is_looked_at_as_far_as_it_goes():
    with listening(answer(START)) as port:
        findings, over_amqp = check(f"amqp://127.0.0.1:{port}")
    assert over_amqp and [f.verdict for f in findings] == ["ok", "ok"] and f"on port {port}" in findings[-1].text


def test_another_port_that_works_is_the_remedy():
    with closed_port() as port, listening(answer(START)) as other:
        findings, over_amqp = check(f"amqp://127.0.0.1:{port}", hosted=[other])
    assert not over_amqp
    assert [(f.check, f.verdict) for f in findings] == [
        (f"AMQP: port {port}", "warning"), (f"AMQP: port {other}", "ok"), ("AMQP: results", "warning")]
    assert f"amqp_port={other}" in findings[-1].remedy


def test_a_closed_port_that_is_not_needed_is_no_trouble():
    with closed_port() as closed, listening(answer(START)) as port:
        findings, over_amqp = check(f"amqp://127.0.0.1:{port}", hosted=[closed])
    assert over_amqp and [f.verdict for f in findings] == ["ok"] * 3 and "not needed" in findings[1].text


def test_where_no_port_works_results_come_over_https_and_the_remedy_names_host_and_port():
    with closed_port() as port:
        findings, over_amqp = check(f"amqp://127.0.0.1:{port}")
    assert not over_amqp and {f.verdict for f in findings} == {"warning"}
    assert "HTTPS" in findings[-1].text and f"127.0.0.1, port {port}" in findings[-1].remedy


@pytest.mark.parametrize("serve, wanted", [
    (say_nothing, "does not answer to AMQP"),
    (answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "does not speak AMQP"),
    (answer(b""), "closes them when AMQP is spoken"),
    (answer(b"\x01\x00\x00"), "does not speak AMQP"),
])
def test_a_port_where_something_else_listens(serve, wanted):
    with listening(serve) as port:
        findings, over_amqp = check(f"amqp://127.0.0.1:{port}")
    assert not over_amqp and wanted in findings[0].text and str(port) in findings[0].remedy


def test_a_broker_of_another_version_is_one(monkeypatch):
    with listening(answer(b"AMQP\x03\x01\x00\x00")) as port:
        findings, over_amqp = check(f"amqp://127.0.0.1:{port}")
    assert over_amqp


@pytest.mark.parametrize("serve", [
    answer(START), answer(START, b"nonsense"), answer(b"AMQP\x00\x01\x00\x00")], ids=["silent", "garbled", "another version"])
def test_a_login_that_does_not_work_is_told_without_the_password(serve):
    with listening(serve) as port:
        findings, over_amqp = check(f"amqp://user:planted-Qx7@127.0.0.1:{port}/vhost")
    assert not over_amqp and "it speaks AMQP, and" in findings[0].text
    assert not [f for f in findings if "planted" in f.to_json()]


def test_interception_of_tls_is_told_with_who_does_it(monkeypatch, tmp_path):
    authority = new_authority()
    with listening(answer(START), server_context(authority, "127.0.0.1")) as port:
        findings, over_amqp = check(f"amqps://127.0.0.1:{port}")
        assert not over_amqp and "Site Security Office" in findings[0].text and "SSL_CERT_FILE" in findings[0].remedy
        authority.cert_pem.write_to_path(str(tmp_path / "site.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "site.pem"))
        findings, over_amqp = check(f"amqps://127.0.0.1:{port}")
        assert over_amqp and findings[0].verdict == "warning" and "on its way" in findings[0].text


@pytest.mark.parametrize("url", ["", "amqps://", "http", "amqps://host:port"])
def test_an_address_that_cannot_be_one(url):
    findings, over_amqp = check(url)
    assert not over_amqp and [f.verdict for f in findings] == ["problem"]
