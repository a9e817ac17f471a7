"""How a host is reached from here: name, connection, proxy."""
from __future__ import annotations

import base64
import http.client
import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from typing import Dict, Generator, Optional
from urllib.parse import unquote, urlsplit

import requests.utils

from parsl.executors.globus_compute_multi.doctor.findings import Finding, ok, problem

#: Seconds for each step: a connection, a handshake, a first answer.
STEP_SECONDS = 5.0

#: How a variable names a proxy. Not as an address with a login in it, which would be printed without.
_PROXY_FORM = ("http://host:port, with user:password@ before the host if the proxy wants a login; characters such as / and @ in a password "
               "as %2F, %40")

_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")

_PORTS = {"http": 80, "https": 443, "amqp": 5672, "amqps": 5671}


@dataclass(frozen=True)
class Target:
    """Where a service listens.

    Parameters
    ----------
    host : str
    port : int
    tls : bool
        Whether it is spoken to through TLS.
    """

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def target_of(url: str) -> Target:
    """Where the service of an address listens.

    Raises
    ------
    ValueError
        If it is no address of a kind that is known. The text does not quote it, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, port, scheme = parts.hostname, parts.port, parts.scheme
    except ValueError:
        raise ValueError("the address cannot be read") from None
    if not host or scheme not in _PORTS:
        raise ValueError("the address has no host, or is not one of " + ", ".join(_PORTS))
    return Target(host, port or _PORTS[scheme], scheme in ("https", "amqps"))


@dataclass(frozen=True)
class Proxy:
    """A proxy that the environment names for an address.

    Parameters
    ----------
    variable : str
        Name of the environment variable.
    scheme, host, port
        Of the proxy.
    headers : dict
        What it wants to be sent (never to be printed).
    """

    variable: str
    scheme: str
    host: str
    port: int
    headers: Dict[str, str]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port} ({self.variable})"

    @property
    def can_tunnel(self) -> bool:
        """Whether :func:`connect` can go through it; ``requests`` can go through other kinds, too."""
        return self.scheme == "http"


class ProxyFault(OSError):
    """A proxy does not lead to a host. The text says why, and ``remedy`` what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


class BadProxy(ValueError):
    """An environment variable names a proxy whose address cannot be read."""


def proxy_for(url: str) -> Optional[Proxy]:
    """The proxy through which ``requests``, and so the SDK, asks for this address; None: it connects directly.

    Raises
    ------
    BadProxy
        Naming the variable.
    """
    address = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url, no_proxy=None))
    if not address:
        return None
    scheme = urlsplit(url).scheme
    names = [name for kind in (scheme, "all") for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY")]
    variable = next((name for name in names if os.environ.get(name) == address), names[0])
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    # an @ after the host is that of a password with a / in it; what seems to be the host is then the user
    if not host or "@" in f"{parts.path}{parts.query}{parts.fragment}" or any(c.isspace() for c in host) or not parts.scheme:
        raise BadProxy(f"the environment variable {variable} does not hold the address of a proxy")
    headers = {}
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    usual = 1080 if parts.scheme.startswith("socks") else 443 if parts.scheme == "https" else 80
    return Proxy(variable, parts.scheme, host, port or usual, headers)


def connect(target: Target, proxy: Optional[Proxy] = None) -> socket.socket:
    """Connect to a host, through a proxy if there is one; TLS is left to the caller.

    Raises
    ------
    OSError
        ``ProxyFault`` if it is the proxy's.
    """
    if proxy is None:
        return socket.create_connection((target.host, target.port), STEP_SECONDS)
    tunnel = http.client.HTTPConnection(proxy.host, proxy.port, timeout=STEP_SECONDS)
    tunnel.set_tunnel(target.host, target.port, proxy.headers)
    try:
        tunnel.connect()
    except (OSError, http.client.HTTPException) as e:
        tunnel.close()
        raise _proxy_fault(proxy, target, e) from e
    assert isinstance(tunnel.sock, socket.socket)
    return tunnel.sock


def _proxy_fault(proxy: Proxy, target: Target, error: Exception) -> ProxyFault:
    if isinstance(error, http.client.HTTPException):
        return ProxyFault(f"{proxy} does not answer as a proxy ({type(error).__name__})", f"correct or unset {proxy.variable}")
    refused = _REFUSED.match(str(error))
    if refused is None:
        return ProxyFault(f"the proxy {proxy} does not answer: {reason(error)}", _connection_remedy(target, proxy))
    text = f"the proxy {proxy} does not lead to {target}: {error}"
    if refused.group(1) == "407":
        return ProxyFault(text, f"put user:password of the proxy, percent-encoded, into {proxy.variable}: {_PROXY_FORM}")
    if refused.group(1) == "403":
        return ProxyFault(text, f"the proxy does not allow this host: ask your site's administrators to let {target} through")
    return ProxyFault(text, f"ask your site's administrators why its proxy does not reach {target}")


def check_connection(check: str, what: str, url: str) -> Generator[Finding, None, Optional[Target]]:
    """Check that the host of an address, or the proxy that leads to it, has an address and takes connections.

    Parameters
    ----------
    check : str
        Name of the check.
    what : str
        What listens there, for people.
    url : str

    Returns
    -------
    Target or None
        Where it listens; None if it cannot be reached.
    """
    try:
        target, proxy = target_of(url), proxy_for(url)
    except BadProxy as e:
        yield problem(check, str(e), f"correct it ({_PROXY_FORM}), or unset it if {what} can be reached without a proxy")
        return None
    except ValueError as e:
        yield problem(check, f"{what}: {e}", "correct the address; the variables that set it begin with GLOBUS_SDK_")
        return None
    first = target if proxy is None else Target(proxy.host, proxy.port, False)
    way = f"{what} at {target}" if proxy is None else f"the proxy {proxy} on the way to {what} at {target}"
    try:
        addresses = sorted({str(info[4][0]) for info in socket.getaddrinfo(first.host, first.port, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError) as e:  # UnicodeError: of a name that cannot be one
        yield problem(check, f"{way}: the name {first.host!r} has no address ({reason(e)})", _name_remedy(proxy))
        return None
    try:
        connect(first).close()
    except OSError as e:
        yield problem(check, f"{way} [{', '.join(addresses)}]: {reason(e)}", _connection_remedy(first, proxy))
        return None
    yield ok(check, f"{way} [{', '.join(addresses)}] takes connections")
    return target


def reason(error: Exception) -> str:
    """Why there is no connection, for people."""
    if isinstance(error, (TimeoutError, socket.timeout)):
        return f"no answer within {STEP_SECONDS:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connections are refused"
    if isinstance(error, (ConnectionResetError, ConnectionAbortedError)):
        return "the connection is cut"
    if isinstance(error, ProxyFault):
        return str(error)
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"


def _name_remedy(proxy: Optional[Proxy]) -> str:
    if proxy is not None:
        return f"correct or unset the environment variable {proxy.variable}"
    return "check that this machine is on the network and can look up names (DNS); compute nodes of clusters often can not: use a login node, " \
           "or set https_proxy if your site has a proxy"


def _connection_remedy(first: Target, proxy: Optional[Proxy]) -> str:
    if proxy is not None:
        return f"correct or unset the environment variable {proxy.variable}, or ask your site why its proxy does not answer"
    if first.is_loopback:
        return f"start what is to listen on port {first.port} of this machine"
    return f"ask your site's administrators to let connections out to {first} (TCP), or set https_proxy if your site has a proxy"
