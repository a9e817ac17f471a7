"""Servers and tools for the tests of the doctor."""
from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager

import trustme

#: Environment variables that change how the network is used; each test begins without them.
NETWORK_VARIABLES = [name for lower in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (lower, lower.upper())] + [
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "GLOBUS_SDK_VERIFY_SSL", "GLOBUS_SDK_ENVIRONMENT",
    "GLOBUS_SDK_SERVICE_URL_AUTH", "GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET", "GLOBUS_SDK_HTTP_TIMEOUT"]


@contextmanager
def listening(serve=lambda connection: None, context=None):
    """A server on a port of this machine, which it gives; ``serve`` is called with each connection, which is closed when it returns."""
    server = socket.create_server(("127.0.0.1", 0))
    open_now = set()

    def accept():
        threads = []
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                break
            open_now.add(connection)
            threads.append(threading.Thread(target=handle, args=(connection,)))
            threads[-1].start()
        for connection in list(open_now):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed by now
        for thread in threads:
            thread.join()

    def handle(connection):
        try:
            serve(connection if context is None else context.wrap_socket(connection, server_side=True))
        except (OSError, ssl.SSLError):
            pass  # the client has gone
        finally:
            open_now.discard(connection)
            connection.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def say_nothing(connection):
    """Take what comes, and answer nothing."""
    while connection.recv(4096):
        pass


def answer(*answers):
    """Answer what comes with one after the other."""
    def serve(connection):
        for content in answers:
            connection.recv(4096)
            connection.sendall(content)
    return serve


@contextmanager
def closed_port():
    """A port of this machine on which nobody listens, and nobody else will."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def server_context(authority, *names, **options):
    """TLS of a server with a certificate for these names of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


def new_authority():
    """A certificate authority that nobody trusts."""
    return trustme.CA(organization_name="Site Security Office")


def run_out(generator):
    """The findings of a check, and what it returns."""
    findings = []
    while True:
        try:
            findings.append(next(generator))
        except StopIteration as e:
            return findings, e.value
