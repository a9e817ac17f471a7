"""What the doctor says of names, connections, proxies and TLS."""
from __future__ import annotations

import datetime
import socket
import threading
from functools import partial

import certifi
import globus_sdk
import pytest
import requests
from globus_sdk.transport import RequestCallerInfo, RequestsTransport, RetryConfig

from parsl.executors.globus_compute_multi.doctor import network, tls
from parsl.executors.globus_compute_multi.doctor.network import (
    Target,
    check_connection,
    proxy_for,
)
from parsl.executors.globus_compute_multi.doctor.tls import (
    Trust,
    check_https,
    check_tls,
)
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


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in NETWORK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(network, "STEP_SECONDS", 0.5)


@pytest.fixture(scope="module")
def authority():
    return new_authority()


@pytest.fixture
def trusted(authority, tmp_path):
    """A file with the public CAs and that of the site."""
    path = tmp_path / "bundle.pem"
    with open(certifi.where(), "rb") as public:
        path.write_bytes(public.read() + authority.cert_pem.bytes())
    return str(path)


def check(url):
    (finding,), target = run_out(check_connection("connection", "the service", url))
    return finding, target


def test_a_host_that_takes_connections():
    with listening(say_nothing) as port:
        finding, target = check(f"http://127.0.0.1:{port}")
    assert (finding.verdict, target) == ("ok", Target("127.0.0.1", port, False))


def test_a_port_where_nobody_listens():
    with closed_port() as port:
        finding, target = check(f"http://127.0.0.1:{port}")
    assert finding.verdict == "problem" and target is None
    assert "connections are refused" in finding.text and str(port) in finding.text and str(port) in finding.remedy


def test_a_name_without_an_address(monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    finding, target = check("https://compute.invalid")
    assert finding.verdict == "problem" and target is None
    assert "'compute.invalid' has no address" in finding.text and "DNS" in finding.remedy


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://host", "http://[", "http://host:port"])
def test_an_address_that_is_none(url):
    finding, target = check(url)
    assert finding.verdict == "problem" and target is None and "GLOBUS_SDK_" in finding.remedy


@pytest.mark.parametrize("proxy", ["http://[", "http://proxy:port", "http://", "http://no such host:80"])
def test_a_proxy_that_is_none_is_named_by_its_variable(monkeypatch, proxy):
    monkeypatch.setenv("https_proxy", proxy)
    finding, target = check("https://compute.invalid")
    assert finding.verdict == "problem" and target is None and "https_proxy" in finding.text


@pytest.mark.parametrize("password", ["pa/ss", "1/planted", "1?planted", "1#planted", "p/a@planted"])
def test_a_password_of_a_proxy_that_is_not_percent_encoded(monkeypatch, password):
    monkeypatch.setenv("https_proxy", f"http://bob:{password}@127.0.0.1:8888")
    finding, target = check("https://compute.invalid")
    assert finding.verdict == "problem" and target is None and "%2F, %40" in finding.remedy
    assert "bob" not in finding.lines() and "planted" not in finding.lines()


def test_a_proxy_that_does_not_answer_is_named_and_its_password_is_not(monkeypatch):
    with closed_port() as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:planted-Qx7@127.0.0.1:{port}")
        finding, target = check("https://compute.invalid")
    assert finding.verdict == "problem" and target is None
    assert "HTTPS_PROXY" in finding.text + finding.remedy and "compute.invalid" in finding.text
    assert "planted" not in finding.lines()


def test_the_name_of_the_service_need_not_have_an_address_here_where_there_is_a_proxy(monkeypatch):
    with listening(say_nothing) as port:
        monkeypatch.setenv("all_proxy", f"127.0.0.1:{port}")
        finding, target = check("https://compute.invalid")
    assert finding.verdict == "ok" and target == Target("compute.invalid", 443, True) and "all_proxy" in finding.text


def test_no_proxy_is_heeded(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert proxy_for("http://127.0.0.1:5000") is None
    assert proxy_for("http://localhost:5000").host == "proxy"


def test_a_certificate_of_an_authority_that_is_not_trusted_is_told_with_who_has_issued_it(authority):
    with listening(say_nothing, server_context(authority, "127.0.0.1")) as port:
        finding = check_https("TLS", Target("127.0.0.1", port, True), None)
    assert finding.verdict == "problem" and "Site Security Office" in finding.text and "GLOBUS_SDK_VERIFY_SSL" in finding.remedy


def test_a_certificate_of_an_authority_that_only_the_user_trusts_means_that_tls_is_opened_on_its_way(authority, trusted, monkeypatch):
    monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", trusted)
    with listening(say_nothing, server_context(authority, "127.0.0.1")) as port:
        finding = check_https("TLS", Target("127.0.0.1", port, True), None)
    assert finding.verdict == "warning" and "Site Security Office" in finding.text and trusted in finding.text and "on its way" in finding.text


@pytest.mark.parametrize("variable, trusts", [("REQUESTS_CA_BUNDLE", False), ("CURL_CA_BUNDLE", False), ("GLOBUS_SDK_VERIFY_SSL", True)])
def test_the_authorities_are_those_that_the_sdk_trusts(authority, trusted, monkeypatch, variable, trusts):
    monkeypatch.setenv(variable, trusted)
    content = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    with listening(answer(content), server_context(authority, "127.0.0.1")) as port:
        transport = RequestsTransport()
        try:
            request = partial(transport.request, "GET", f"https://127.0.0.1:{port}/", caller_info=RequestCallerInfo(
                retry_config=RetryConfig(max_retries=0)))
            if trusts:
                assert request().status_code == 200
            else:
                with pytest.raises(globus_sdk.GlobusConnectionError) as caught:
                    request()
                assert isinstance(caught.value.underlying_exception, requests.exceptions.SSLError)
        finally:
            transport.close()
        assert check_https("TLS", Target("127.0.0.1", port, True), None).verdict == ("warning" if trusts else "problem")


def test_a_certificate_of_a_public_authority_is_all_right_whoever_is_trusted_beside(authority, trusted, monkeypatch):
    monkeypatch.setattr(tls, "PUBLIC", Trust("the public CAs", trusted, "GLOBUS_SDK_VERIFY_SSL", public=True))
    with listening(say_nothing, server_context(authority, "127.0.0.1")) as port:
        target = Target("127.0.0.1", port, True)
        assert check_https("TLS", target, None).verdict == "ok"
        monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", trusted)
        assert check_https("TLS", target, None).verdict == "ok"


def test_amqp_trusts_others_than_https(authority, trusted, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", trusted)
    with listening(say_nothing, server_context(authority, "127.0.0.1")) as port:
        target = Target("127.0.0.1", port, True)
        assert check_https("TLS", target, None).verdict == "problem"
        assert check_tls("TLS", target, None, tls.amqp_trust()).verdict == "warning"


@pytest.mark.parametrize("names, options, wanted", [
    (["elsewhere.invalid"], {}, "login page"),
    (["127.0.0.1"], {"not_after": datetime.datetime(2020, 1, 1), "not_before": datetime.datetime(2019, 1, 1)}, "clock"),
])
def test_other_faults_of_a_certificate_have_remedies_of_their_own(authority, trusted, monkeypatch, names, options, wanted):
    monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", trusted)
    with listening(say_nothing, server_context(authority, *names, **options)) as port:
        finding = check_https("TLS", Target("127.0.0.1", port, True), None)
    assert finding.verdict == "problem" and wanted in finding.remedy


@pytest.mark.parametrize("serve", [say_nothing, answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), lambda connection: None])
def test_a_port_that_does_not_speak_tls(serve):
    with listening(serve) as port:
        finding = check_https("TLS", Target("127.0.0.1", port, True), None)
    assert finding.verdict == "problem" and "no TLS" in finding.text


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_read_is_named(monkeypatch, tmp_path, content):
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", str(path))
    with listening(say_nothing) as port:
        finding = check_https("TLS", Target("127.0.0.1", port, True), None)
    assert finding.verdict == "problem" and "GLOBUS_SDK_VERIFY_SSL" in finding.text + finding.remedy and str(path) in finding.text


def test_certificates_that_are_not_checked_are_a_warning_and_a_wrong_setting_is_a_problem(monkeypatch):
    target = Target("compute.invalid", 443, True)
    monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", "false")
    assert check_https("TLS", target, None).verdict == "warning"
    monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", "perhaps")
    assert check_https("TLS", target, None).verdict == "problem"


def test_no_tls_is_right_on_this_machine_only():
    assert check_https("TLS", Target("localhost", 80, False), None).verdict == "skipped"
    assert check_https("TLS", Target("compute.invalid", 80, False), None).verdict == "problem"


def tunnel(target_port, status=b"200 Connection established"):
    """A proxy that takes CONNECT, and leads to a port of this machine."""
    def serve(connection):
        request = connection.recv(4096)
        assert request.startswith(b"CONNECT compute.invalid:443 ")
        connection.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n")
        if not status.startswith(b"200"):
            return
        with socket.create_connection(("127.0.0.1", target_port)) as target:
            thread = threading.Thread(target=pump, args=(target, connection))
            thread.start()
            pump(connection, target)
            thread.join()

    def pump(source, sink):
        try:
            while content := source.recv(4096):
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # either side has gone
    return serve


def test_tls_is_looked_at_through_a_proxy(authority, monkeypatch):
    with listening(say_nothing, server_context(authority, "compute.invalid")) as port, listening(tunnel(port)) as proxy_port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy_port}")
        finding = check_https("TLS", Target("compute.invalid", 443, True), proxy_for("https://compute.invalid"))
    assert finding.verdict == "problem" and "Site Security Office" in finding.text


@pytest.mark.parametrize("serve, told, remedy", [
    (tunnel(0, b"403 Not for you"), "403 Not for you", "does not allow this host"),
    (tunnel(0, b"407 Proxy Authentication Required"), "407", "put user:password of the proxy, percent-encoded, into https_proxy"),
    (tunnel(0, b"502 Bad Gateway"), "502", "why its proxy does not reach compute.invalid:443"),
    (say_nothing, "no answer within", "does not answer"),
    (answer(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not answer as a proxy", "correct or unset https_proxy"),
])
def test_a_proxy_that_does_not_lead_to_the_service_is_not_taken_for_tls_that_is_inspected(monkeypatch, serve, told, remedy):
    with listening(serve) as port:
        monkeypatch.setenv("https_proxy", f"http://user:planted-Qx7@127.0.0.1:{port}")
        finding = check_https("TLS", Target("compute.invalid", 443, True), proxy_for("https://compute.invalid"))
    assert finding.verdict == "problem" and told in finding.text and remedy in finding.remedy
    assert f"http://127.0.0.1:{port} (https_proxy)" in finding.text and "inspected" not in finding.remedy and "planted" not in finding.lines()


def test_a_proxy_of_a_kind_that_cannot_be_looked_through_is_no_problem(monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    assert check_https("TLS", Target("compute.invalid", 443, True), proxy_for("https://compute.invalid")).verdict == "skipped"


def test_a_broken_second_look_is_not_taken_for_interception(authority, trusted, monkeypatch):
    monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", trusted)
    first = threading.Event()

    def only_once(connection):
        if first.is_set():
            connection.close()
            return
        first.set()
        with context.wrap_socket(connection, server_side=True) as encrypted:
            say_nothing(encrypted)

    context = server_context(authority, "127.0.0.1")
    with listening(only_once) as port:
        finding = check_https("TLS", Target("127.0.0.1", port, True), None)
    assert finding.verdict == "ok"
