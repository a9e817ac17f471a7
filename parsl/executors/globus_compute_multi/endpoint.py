"""What a user says about an endpoint."""
from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Union

from parsl.executors.globus_compute_multi.errors import EndpointConfigurationError


@dataclass(frozen=True)
class Endpoint:
    """A registered Globus Compute endpoint.

    Parameters
    ----------
    id : str
        Endpoint ID, as ``globus-compute-endpoint start`` prints it.
    name : str, optional
        Name in logs and messages, unique in an executor. Default: the first eight characters of the ID.
    threads : int, optional
        How many tasks run on it at once: its workers. Default: the executor's ``threads_per_endpoint``.
    cores_per_thread : int, optional
        Cores of each thread. Default: the executor's ``cores_per_thread``.

    Raises
    ------
    EndpointConfigurationError
        If one of them cannot be used.
    """

    id: str
    name: Optional[str] = None
    threads: Optional[int] = None
    cores_per_thread: Optional[int] = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "id", str(uuid.UUID(str(self.id))))
        except ValueError:
            raise EndpointConfigurationError(f"endpoint {self.id!r} is not a UUID; 'globus-compute-endpoint start' prints it") from None
        if self.name is None:
            object.__setattr__(self, "name", self.id[:8])
        elif not isinstance(self.name, str) or not self.name:
            raise EndpointConfigurationError(f"endpoint {self.id}: name must be a string that is not empty, not {self.name!r}")
        for argument in ("threads", "cores_per_thread"):
            value = getattr(self, argument)
            if value is not None:
                check_count(f"endpoint {self.name}: {argument}", value)


def check_count(what: str, value: Any) -> int:
    """Check that ``value`` is a positive whole number (``True`` is none).

    Raises
    ------
    EndpointConfigurationError
        Naming ``what``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise EndpointConfigurationError(f"{what} must be a whole number of at least 1, not {value!r}")
    return value


def check_endpoints(endpoints: Sequence[Union[Endpoint, str, uuid.UUID]]) -> List[Endpoint]:
    """Make :class:`Endpoint` of each item, and check that they make a pool.

    Raises
    ------
    EndpointConfigurationError
        If there is none, one is of another type, or two have the same ID or name.
    """
    if isinstance(endpoints, str):
        raise EndpointConfigurationError(f"endpoints must be a list of endpoints, not the string {endpoints!r}")
    if not endpoints:
        raise EndpointConfigurationError("endpoints is empty; give at least one endpoint")
    checked: List[Endpoint] = []
    for position, item in enumerate(endpoints):
        if not isinstance(item, (Endpoint, str, uuid.UUID)):
            raise EndpointConfigurationError(f"endpoints[{position}] must be an Endpoint or an endpoint ID, not {item!r}")
        endpoint = item if isinstance(item, Endpoint) else Endpoint(str(item))
        for other in checked:
            if other.id == endpoint.id:
                raise EndpointConfigurationError(f"endpoint {endpoint.id} is given twice")
            if other.name == endpoint.name:
                raise EndpointConfigurationError(f"endpoints {other.id} and {endpoint.id} have the same name {endpoint.name!r}; "
                                                 "give one of them another")
        checked.append(endpoint)
    return checked
