"""All checks, in order; each finding as it is made."""
from __future__ import annotations

import time
from typing import Any, Generator, Iterator, List, Optional, Sequence

from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.doctor.access import (
    Access,
    check_access,
    check_service,
)
from parsl.executors.globus_compute_multi.doctor.broker import check_broker
from parsl.executors.globus_compute_multi.doctor.endpoint_status import (
    EndpointSeen,
    check_endpoint,
)
from parsl.executors.globus_compute_multi.doctor.findings import (
    TRY_LATER,
    Finding,
    Verdict,
    ok,
    problem,
    warning,
)
from parsl.executors.globus_compute_multi.doctor.here import (
    check_versions,
    find_client,
    skip_rest,
)
from parsl.executors.globus_compute_multi.doctor.probe import Probing
from parsl.executors.globus_compute_multi.doctor.probe_findings import findings_of
from parsl.executors.globus_compute_multi.errors import (
    CredentialsMissing,
    GlobusComputeMultiError,
)

#: Seconds that a probe is waited for.
PROBE_SECONDS = 60.0

#: Seconds for the statuses of all endpoints, beyond two for each.
_SLOWEST_SECONDS = 30.0


def diagnose(endpoint_ids: Sequence[str], client: Optional[Client] = None, **options: Any) -> List[Finding]:
    """All that :func:`examine` finds."""
    return list(examine(endpoint_ids, client, **options))


def examine(endpoint_ids: Sequence[str], client: Optional[Client] = None, *, timeout: float = PROBE_SECONDS, amqp_port: Optional[int] = None,
            runner_id: Optional[str] = None, probe: bool = True) -> Iterator[Finding]:
    """Check everything between here and the workers of these endpoints.

    It sends no more requests than the service allows, ends whatever fails, and leaves nothing running.

    Parameters
    ----------
    endpoint_ids : sequence of str
        UUIDs; may be empty.
    client : globus_compute_sdk.Client, optional
        Default: as the executor makes it, with the stored login or the client credentials in the environment.
    timeout : float
        Seconds that the probe tasks are waited for.
    amqp_port : int, optional
        As the executor's.
    runner_id : str, optional
        As the executor's.
    probe : bool
        Whether to run a task on each endpoint.

    Yields
    ------
    Finding
    """
    endpoints = [f"endpoint {endpoint_id}" for endpoint_id in endpoint_ids]
    if not (yield from check_versions()):
        yield from skip_rest("what is missing here is needed for it", "credentials", "service", "AMQP", *endpoints)
        return
    if client is None:
        client = yield from find_client()
        if client is None:
            yield from skip_rest("there are no credentials to ask with", "service", "AMQP", *endpoints)
            return
    else:
        yield ok("credentials", "those of the client that was given")
    if not (yield from check_service(client.web_service_address)):
        yield from skip_rest("the service cannot be asked", "credentials: accepted", "AMQP", *endpoints)
        return
    access = yield from check_access(client)
    if access is None:
        yield from _broker_of_hosted_service(client, amqp_port)
        yield from skip_rest("the service does not let us ask", *endpoints)
        return
    try:
        amqp = yield from check_broker(access.broker, amqp_port)
        seen = yield from _check_endpoints(access, endpoint_ids, probe)
        if probe:
            online = [endpoint for endpoint in seen if endpoint.online]
            yield from skip_rest("the endpoint is offline: a task would wait for it", *(f"probe {e.name}" for e in seen if not e.online))
            if online:
                yield from _check_by_probes(Probing(asker=access.asker, timeout=timeout, amqp=amqp, amqp_port=amqp_port, runner_id=runner_id),
                                            online, timeout, client.web_service_address)
    finally:
        access.asker.close()


def _broker_of_hosted_service(client: Client, amqp_port: Optional[int]) -> Iterator[Finding]:
    """Without credentials the service does not say where results come from; of the hosted one it is known."""
    # what globus-compute-diagnostic goes by
    from globus_compute_sdk.sdk._environments import (
        get_amqp_service_host,
        get_web_service_url,
    )
    if client.web_service_address != get_web_service_url() or get_amqp_service_host() == "localhost":
        yield from skip_rest("the service does not say where results come from", "AMQP")
    else:
        yield from check_broker(f"amqps://{get_amqp_service_host()}:5671", amqp_port)


def _check_endpoints(access: Access, endpoint_ids: Sequence[str], probe: bool) -> Generator[Finding, None, List[EndpointSeen]]:
    seen: List[EndpointSeen] = []
    deadline = time.monotonic() + _SLOWEST_SECONDS + 2 * len(endpoint_ids)
    for endpoint_id in endpoint_ids:
        if time.monotonic() > deadline:
            yield problem(f"endpoint {endpoint_id}", "it was not examined: the service answers too slowly to go on",
                          "try again later, or with fewer endpoints at a time")
            endpoint = None
        else:
            endpoint = yield from check_endpoint(access.asker, endpoint_id)
        if endpoint is None:
            yield from skip_rest("its endpoint's status is not known", *([f"probe {endpoint_id}"] if probe else []))
        else:
            names = {other.name for other in seen}
            seen.append(EndpointSeen(endpoint.id, endpoint.name if endpoint.name not in names else endpoint.id, endpoint.online))
    return seen


def _check_by_probes(probing: Probing, endpoints: Sequence[EndpointSeen], timeout: float, address: str) -> Iterator[Finding]:
    try:
        for probe in probing.run(endpoints):
            yield from findings_of(probe, timeout, address)
    except GlobusComputeMultiError as e:
        remedy = "log in as somebody who may register functions" if isinstance(e, CredentialsMissing) else TRY_LATER
        yield problem("probe", str(e), remedy)
        return
    if probing.amqp_failed:
        yield warning("AMQP: results", "a result came over HTTPS and not over AMQP, though the broker takes connections",
                      "if it happens again, something in between holds AMQP up: ask your site's administrators, or try another amqp_port")


def exit_code(findings: Sequence[Finding]) -> int:
    """0 if there is no problem, else 1."""
    return int(any(finding.verdict is Verdict.PROBLEM for finding in findings))
