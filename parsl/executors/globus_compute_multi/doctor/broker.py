"""Whether results can come over AMQP: what the broker's ports answer."""
from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generator, List, Optional, Sequence
from urllib.parse import urlsplit

import pika
import pika.exceptions

from parsl.executors.globus_compute_multi.compute.consumer import (
    connection_parameters,
)
from parsl.executors.globus_compute_multi.doctor.findings import (
    TRY_LATER,
    Finding,
    Verdict,
    ok,
    problem,
    warning,
)
from parsl.executors.globus_compute_multi.doctor.network import (
    STEP_SECONDS,
    Target,
    connect,
    reason,
    target_of,
)
from parsl.executors.globus_compute_multi.doctor.tls import (
    amqp_trust,
    check_tls,
    shake_hands,
)

#: Ports on which the hosted service's broker listens.
HOSTED_PORTS = (443, 5671, 5672)

#: The first words of AMQP 0-9-1; and what its answer, Connection.Start, has in it: type of frame, channel 0, then size, class and method.
_GREETING = b"AMQP\x00\x00\x09\x01"
_START_BYTES, _START_METHOD = 11, b"\x00\x0a\x00\x0a"

_OPEN = "ask your site's administrators to let connections out to {target} (TCP; AMQP does not go through an HTTP proxy)"


@dataclass(frozen=True)
class PortSeen:
    """What a port of the broker answers.

    Parameters
    ----------
    port : int
    finding : Finding
        ``OK`` if results can come this way.
    """

    port: int
    finding: Finding

    @property
    def works(self) -> bool:
        """Whether results can come this way."""
        return self.finding.verdict is not Verdict.PROBLEM


def ports_to_look_at(named: Target, amqp_port: Optional[int], hosted: Sequence[int] = HOSTED_PORTS) -> List[int]:
    """The port that is used first, then the others on which the broker may be reached.

    A broker on this machine, as in tests, has only the port that it names.
    """
    used = named.port if amqp_port is None else amqp_port
    others = [named.port, *([] if named.is_loopback else hosted)]
    return list(dict.fromkeys([used, *others]))


def check_broker(url: str, amqp_port: Optional[int], hosted: Sequence[int] = HOSTED_PORTS) -> Generator[Finding, None, bool]:
    """Check each port of the broker, and say how results will come.

    Parameters
    ----------
    url : str
        As the service names it. Without a user in it, logging in is left out.
    amqp_port : int or None
        Port that the executor is to use instead.
    hosted : sequence of int
        Ports on which the hosted service's broker listens.

    Returns
    -------
    bool
        Whether results will come over AMQP.
    """
    try:
        named = target_of(url)
    except ValueError as e:
        yield problem("AMQP", f"the address that the service gives for results cannot be used: {e}", TRY_LATER)
        return False
    ports = ports_to_look_at(named, amqp_port, hosted)
    with ThreadPoolExecutor(len(ports), thread_name_prefix="globus-compute-multi-doctor") as pool:
        seen = list(pool.map(lambda port: look_at_port(url, Target(named.host, port, named.tls)), ports))
    used = seen[0]
    working = [port for port in seen if port.works]
    for port in seen:
        if port.works or port is used or not working:
            found = port.finding
            # without AMQP results come nevertheless
            yield warning(found.check, found.text, found.remedy) if found.verdict is Verdict.PROBLEM else found
        else:
            yield ok(port.finding.check, f"{port.finding.text}; it is not needed")
    yield _summary(used, working, named)
    return used.works


def _summary(used: PortSeen, working: List[PortSeen], named: Target) -> Finding:
    check = "AMQP: results"
    if used.works:
        return ok(check, f"come over AMQP, on port {used.port} of {named.host}")
    fallback = "will come only by asking the service over HTTPS again and again: later, and at the cost of requests that tasks could have"
    if working:
        return warning(check, f"port {used.port} of {named.host} does not work, so they {fallback}",
                       f"give the executor amqp_port={working[0].port}, which works from here")
    return warning(check, f"{fallback}; no port of {named.host} works", _OPEN.format(target=f"{named.host}, port {used.port} or 443"))


def look_at_port(url: str, target: Target) -> PortSeen:
    """Connect to one port of the broker, step by step: TCP, TLS, AMQP, login."""
    check = f"AMQP: port {target.port}"
    steps = ["TCP"]
    try:
        connect(target).close()
    except OSError as e:
        return PortSeen(target.port, problem(check, f"{target}: {reason(e)}", _OPEN.format(target=target)))
    context: Optional[ssl.SSLContext] = None
    doubt: Optional[Finding] = None
    if target.tls:
        tls = check_tls(check, target, None, amqp_trust())
        if tls.verdict is Verdict.PROBLEM:
            return PortSeen(target.port, tls)
        context, doubt = amqp_trust().context(), tls if tls.verdict is Verdict.WARNING else None
        steps.append("TLS")
    wrong = _no_amqp(target, context)
    if wrong:
        remedy = f"another program, or something in between that lets only HTTPS through: {_OPEN.format(target=target)}"
        return PortSeen(target.port, problem(check, f"{target}: {wrong}", remedy))
    steps.append("AMQP")
    if urlsplit(url).username:
        wrong = _no_login(url, target)
        if wrong:
            return PortSeen(target.port, problem(check, f"{target}: it speaks AMQP, and {wrong}", TRY_LATER))
        steps.append("login")
    return PortSeen(target.port, doubt or ok(check, f"{target}: {', '.join(steps)} work"))


def _no_amqp(target: Target, context: Optional[ssl.SSLContext]) -> str:
    """What is wrong with what listens there, if it is no AMQP broker."""
    try:
        with connect(target) if context is None else shake_hands(target, None, context) as connection:
            connection.sendall(_GREETING)
            answer = b""
            while len(answer) < _START_BYTES:
                more = connection.recv(_START_BYTES - len(answer))
                if not more:
                    break
                answer += more
                if not b"AMQP".startswith(answer[:4]) and answer[:3] != b"\x01\x00\x00"[:len(answer)]:
                    break
    except OSError as e:
        return f"it takes connections, and does not answer to AMQP ({reason(e)})"
    if answer[:3] == b"\x01\x00\x00" and answer[7:] == _START_METHOD or answer.startswith(b"AMQP"):
        return ""
    return "what listens there does not speak AMQP" if answer else "it takes connections, and closes them when AMQP is spoken"


def _no_login(url: str, target: Target) -> str:
    """What is wrong if one cannot log in with the credentials that the service gives. Only types are told: texts may quote the address."""
    parameters = connection_parameters(url, target.port)
    parameters.socket_timeout = parameters.stack_timeout = STEP_SECONDS
    try:
        connection = pika.BlockingConnection(parameters)
    except (pika.exceptions.ProbableAuthenticationError, pika.exceptions.AuthenticationError, pika.exceptions.ProbableAccessDeniedError) as e:
        return f"refuses the credentials that the service gave ({type(e).__name__})"
    except pika.exceptions.ConnectionClosedByBroker as e:
        return f"closes the connection at login (AMQP {e.reply_code})"
    except Exception as e:  # pika has more kinds than it documents
        return f"the login fails ({type(e).__name__})"
    connection.close()
    return ""
