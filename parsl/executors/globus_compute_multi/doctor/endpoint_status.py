"""What the service knows of each endpoint."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Generator, Optional

import globus_sdk

from parsl.executors.globus_compute_multi.doctor.asking import (
    FAILURES,
    Asker,
    explained,
    status_of,
)
from parsl.executors.globus_compute_multi.doctor.findings import (
    Finding,
    ok,
    printable,
    problem,
)

#: Of what an endpoint says of itself: by its name there, and as it is told here.
_TOLD = {"total_workers": "workers", "idle_workers": "idle workers", "managers": "managers", "pending_tasks": "tasks waiting",
         "outstanding_tasks": "tasks unfinished"}


@dataclass(frozen=True)
class EndpointSeen:
    """An endpoint as the service knows it.

    Parameters
    ----------
    id, name : str
        Its name there, or the first eight characters of its ID.
    online : bool
    """

    id: str
    name: str
    online: bool


def check_endpoint(asker: Asker, endpoint_id: str) -> Generator[Finding, None, Optional[EndpointSeen]]:
    """Check that the service knows an endpoint, that this user may use it, and that it is online; None if not even its status is known."""
    check = f"endpoint {endpoint_id}"
    try:
        status = asker.ask(asker.service.endpoint_status, endpoint_id)
    except FAILURES as e:
        yield _no_status(check, e, asker.client.web_service_address)
        return None
    described: Dict[str, Any] = {}
    doubt = ""
    try:
        described = asker.ask(asker.service.endpoint, endpoint_id)
    except globus_sdk.GlobusAPIError as e:  # who may use an endpoint need not be allowed to read this
        doubt = f"its description is not to be had (HTTP {status_of(e)})"
    except FAILURES as e:
        doubt = f"its description is not to be had ({type(e).__name__})"
    name = name_of(described) or endpoint_id[:8]
    online = status["status"] == "online"
    facts = ["online" if online else "offline", *_facts(described), *_load(status["details"]), *([doubt] if doubt else [])]
    text = f"{name!r} is {', '.join(facts)}"
    if online:
        yield ok(check, text)
    else:
        yield problem(check, text, "on its machine, run 'globus-compute-endpoint start <its name there>' ('... list' shows the name); "
                      "if it runs there, its endpoint.log says why the service does not hear of it")
    return EndpointSeen(endpoint_id, name, online)


def name_of(described: Dict[str, Any]) -> str:
    """What an endpoint is called; empty if it is not told."""
    name = described.get("display_name") or described.get("name")
    return printable(name)[:60] if isinstance(name, str) else ""


def _no_status(check: str, error: Exception, address: str) -> Finding:
    status = status_of(error)
    if status == 404:
        return problem(check, "Globus Compute does not know it", "check the ID: 'globus-compute-endpoint list' on its machine shows it, and "
                       "'python -m parsl.executors.globus_compute_multi endpoints' those of yours")
    if status == 403:
        return problem(check, "it exists, and you may not use it", "ask its owner or administrator to let you, or log in as the one who may")
    return explained(check, "ask for its status", error, address, unexamined="it")


def _facts(described: Dict[str, Any]) -> Generator[str, None, None]:
    shared = described.get("multi_user")
    if isinstance(shared, bool):
        yield "for several users" if shared else "for one user"
    metadata = described.get("metadata")
    version = metadata.get("endpoint_version") if isinstance(metadata, dict) else None
    if isinstance(version, str):
        yield f"agent {printable(version)[:20]}"


def _load(details: Dict[str, Any]) -> Generator[str, None, None]:
    period = details.get("heartbeat_period")
    if type(period) in (int, float):
        yield f"heartbeat every {period:g} s" if period else "heartbeats ended"
    for key, name in _TOLD.items():
        if type(details.get(key)) is int:
            yield f"{details[key]} {name}"
    if details.get("error"):
        yield f"which says: {details['error']}"
