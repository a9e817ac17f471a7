"""The user's endpoints, as the service lists them."""
from __future__ import annotations

import uuid
from typing import Any, Dict, Generator, List, Optional, TypeVar

from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.doctor.access import check_access
from parsl.executors.globus_compute_multi.doctor.asking import (
    FAILURES,
    Asker,
    explained,
)
from parsl.executors.globus_compute_multi.doctor.endpoint_status import name_of
from parsl.executors.globus_compute_multi.doctor.findings import (
    Finding,
    Verdict,
    printable,
)
from parsl.executors.globus_compute_multi.doctor.here import find_client
from parsl.executors.globus_compute_multi.doctor.network import check_connection

Value = TypeVar("Value")


class CannotList(Exception):
    """The service cannot be asked; ``finding`` says why, and what to do."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


def list_endpoints(role: str, statuses: bool = True, client: Optional[Client] = None) -> List[Dict[str, Any]]:
    """The endpoints of this user.

    Parameters
    ----------
    role : str
        ``"owner"`` or ``"any"``.
    statuses : bool
        Whether to ask for the status of each, unless the list has it.
    client : globus_compute_sdk.Client, optional
        Default: with the stored login or the client credentials in the environment.

    Returns
    -------
    list of dict
        ``name``; ``id``; ``status``, "online", "offline", or None if not known; ``multi_user``, None if not told; ``owner``, the user's role
        if it is told, else the owner's identity, or None.

    Raises
    ------
    CannotList
    """
    found = client if client is not None else _result(find_client())
    _result(check_connection("service: connection", "the service", found.web_service_address))
    asker = _result(check_access(found)).asker
    try:
        return [_row(asker, item, statuses) for item in asker.ask(asker.service.endpoints, role)]
    except FAILURES as e:
        raise CannotList(explained("endpoints", "list your endpoints", e, found.web_service_address, unexamined="the list")) from None
    finally:
        asker.close()


def _result(check: Generator[Finding, None, Optional[Value]]) -> Value:
    """What a check returns; if it returns nothing, it has found a problem."""
    trouble: Optional[Finding] = None
    while True:
        try:
            finding = next(check)
        except StopIteration as e:
            if e.value is None:
                assert trouble is not None
                raise CannotList(trouble) from None
            return e.value
        if finding.verdict in (Verdict.PROBLEM, Verdict.WARNING):
            trouble = finding


def _row(asker: Asker, item: Dict[str, Any], statuses: bool) -> Dict[str, Any]:
    endpoint_id = printable(str(item.get("uuid") or item.get("id")))
    status = item.get("status") if item.get("status") in ("online", "offline") else None
    if status is None and statuses:
        try:
            status = asker.ask(asker.service.endpoint_status, str(uuid.UUID(endpoint_id)))["status"]
        except FAILURES:
            status = None  # the rest of the list is of use all the same
    owner = item.get("role") or item.get("owner_id")
    shared = item.get("multi_user")
    return {"name": name_of(item) or endpoint_id[:8], "id": endpoint_id, "status": None if status is None else printable(status),
            "multi_user": shared if isinstance(shared, bool) else None, "owner": printable(owner) if isinstance(owner, str) else None}
