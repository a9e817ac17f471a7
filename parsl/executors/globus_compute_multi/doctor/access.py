"""Whether the service answers, how fast, and whether it accepts the credentials."""
from __future__ import annotations

import threading
import time
from email.utils import parsedate_to_datetime
from statistics import median
from typing import Generator, List, NamedTuple, Optional

import globus_sdk
import globus_sdk.config
from globus_compute_sdk import Client
from globus_compute_sdk.errors import VersionMismatch
from globus_compute_sdk.version import __version__, compare_versions
from globus_sdk.transport import RequestsTransport, RetryConfig

from parsl.executors.globus_compute_multi.compute.governor import Kind
from parsl.executors.globus_compute_multi.compute.service import HOW_TO_LOG_IN
from parsl.executors.globus_compute_multi.doctor.asking import (
    FAILURES,
    PATIENCE,
    Asker,
    budget,
    explained,
    status_of,
)
from parsl.executors.globus_compute_multi.doctor.findings import (
    TRY_LATER,
    Finding,
    look_in_between,
    ok,
    problem,
    warning,
)
from parsl.executors.globus_compute_multi.doctor.network import (
    STEP_SECONDS,
    BadProxy,
    check_connection,
    proxy_for,
)
from parsl.executors.globus_compute_multi.doctor.tls import check_https

#: How often the round trip is measured.
_ROUND_TRIPS = 3

#: A round trip that is so long makes the executor slow, in seconds; and most that a clock may differ: tokens expire by the clock, and agents
#: ignore commands that are three minutes old.
_SLOW_SECONDS = 2.0
_CLOCK_SECONDS = 60.0


def check_service(address: str) -> Generator[Finding, None, bool]:
    """Check the way to the service, and that it answers; returns whether it does."""
    target = yield from check_connection("service: connection", "the service", address)
    if target is None:
        return False
    try:
        proxy = proxy_for(address)
    except BadProxy:  # it was read a moment ago
        return False
    tls = check_https("service: TLS", target, proxy)
    yield tls
    if tls.verdict.value == "problem":
        return False
    return (yield from _check_answer("service: answer", address))


def _check_answer(check: str, address: str) -> Generator[Finding, None, bool]:
    """Ask without credentials: any answer of the service will do."""
    governor, nobody = budget(address), threading.Event()
    transport = RequestsTransport(http_timeout=STEP_SECONDS)
    client = globus_sdk.ComputeClientV2(base_url=address, transport=transport, retry_config=RetryConfig(max_retries=0))
    seconds: List[float] = []
    try:
        for _ in range(_ROUND_TRIPS):
            with governor.permit(nobody, Kind.OTHER, PATIENCE):
                at, began = time.time(), time.monotonic()
                answer = _answer(client)
                seconds.append(time.monotonic() - began)
    except FAILURES as e:
        yield explained(check, f"get an answer of {address}", e, address, unexamined="the rest")
        return False
    finally:
        transport.close()
    if answer.status >= 500:
        yield problem(check, f"the service answers HTTP {answer.status}", TRY_LATER)
        return False
    if not answer.is_json:
        yield problem(check, f"what answers at {address} is not the service (HTTP {answer.status})",
                      look_in_between(address))
        return False
    typical = median(seconds)
    if typical > _SLOW_SECONDS:
        yield warning(check, f"a request takes {typical:.2f} s", "look for what is slow between here and the service; a proxy, perhaps")
    else:
        yield ok(check, f"a request takes {1000 * typical:.0f} ms (median of {_ROUND_TRIPS}; {1000 * seconds[0]:.0f} ms with a new connection)")
    yield _clock(_skew(answer.date, at + seconds[-1] / 2))
    return True


class _Answer(NamedTuple):
    status: int
    is_json: bool
    date: Optional[str]


def _answer(client: globus_sdk.ComputeClientV2) -> _Answer:
    try:
        answer = client.get_version()
        return _Answer(answer.http_status, answer.data is not None, answer.headers.get("Date"))
    except globus_sdk.GlobusAPIError as e:
        return _Answer(e.http_status, e.raw_json is not None, e.headers.get("Date"))


def _skew(date: Optional[str], at: float) -> Optional[float]:
    """By how many seconds our clock is ahead of the service's; a date has whole seconds, so half a second more or less."""
    try:
        return None if date is None else at - parsedate_to_datetime(date).timestamp() - 0.5
    except (ValueError, OverflowError):
        return None


def _clock(skew: Optional[float]) -> Finding:
    check = "clock"
    if skew is None:
        return ok(check, "the service does not tell the time")
    if abs(skew) > _CLOCK_SECONDS:
        return warning(check, f"the clock of this machine is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the service's",
                       "set it, and have it kept right (NTP): logins and certificates are judged by it, and so are times in the run log")
    return ok(check, f"within {max(1.0, abs(skew)):.0f} s of the service's")


class Access(NamedTuple):
    """What the service has let us have.

    Parameters
    ----------
    asker : Asker
        To be closed.
    broker : str
        Address of the broker that results come from (never to be printed).
    """

    asker: Asker
    broker: str


def check_access(client: Client) -> Generator[Finding, None, Optional[Access]]:
    """Check that there is a login, and that the service accepts it and our SDK; what it gives for it, or None."""
    check, address = "credentials: accepted", client.web_service_address
    if client.app is not None:
        auth = globus_sdk.config.get_service_url("auth")
        if (yield from check_connection("Globus Auth: connection", "Globus Auth, which gives and renews tokens,", auth)) is None:
            return None
    try:
        if isinstance(client.app, globus_sdk.UserApp) and client.app.login_required():
            yield problem(check, "there is no login for Globus Compute", HOW_TO_LOG_IN)
            return None
        asker = Asker(client)
    except FAILURES as e:
        yield explained(check, "get a token", e, address, unexamined="the rest")
        return None
    try:
        broker, _ = asker.ask(asker.service.result_queue)
    except FAILURES as e:
        asker.close()
        refused = status_of(e) in (401, 403)
        yield explained(check if refused else "service: requests", "ask for the address of the result queue", e, address, unexamined="the rest")
        return None
    yield ok(check, "the service accepts them")
    yield from _check_sdk(asker)
    return Access(asker, broker)


def _check_sdk(asker: Asker) -> Generator[Finding, None, None]:
    check = "service: versions"
    try:
        least = str(asker.ask(asker.service.version).get("min_sdk_version"))
        compare_versions(__version__, least)
    except VersionMismatch:
        yield problem(check, f"the service wants globus-compute-sdk {least} or newer, and here is {__version__}",
                      "pip install -U globus-compute-sdk")
    except FAILURES as e:
        yield explained(check, "ask the service for the versions that it accepts", e, asker.client.web_service_address)
    else:
        yield ok(check, f"the service accepts globus-compute-sdk {__version__} (from {least} on)")
