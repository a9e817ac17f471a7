"""What a user says about an endpoint."""
from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from parsl.executors.globus_compute_multi.arguments import (
    MOST,
    check_count,
    check_number,
    check_positive,
    shown,
)
from parsl.executors.globus_compute_multi.errors import EndpointConfigurationError
from parsl.executors.globus_compute_multi.scheduling.pool import EndpointSpec
from parsl.executors.globus_compute_multi.scheduling.threads import ClassSpec


@dataclass(frozen=True)
class ThreadClass:
    """Threads of an endpoint that are alike. Two are equal if they say the same.

    Parameters
    ----------
    cores : int
        Cores of each thread.
    count : int
        How many of them there are.
    user_endpoint_config : dict, optional
        Values for the variables of the endpoint's configuration template, as JSON has them (so no tuples, and keys are strings). The endpoint
        starts a child process of its own for each different one. A copy is kept. An empty one is as good as none.

    Raises
    ------
    EndpointConfigurationError
        If one of them cannot be used.
    """

    cores: int
    count: int
    user_endpoint_config: Optional[Dict[str, Any]] = field(default=None, compare=False)
    #: The configuration as JSON text, the same for equal ones; None if there is none.
    config_text: Optional[str] = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cores", check_count("ThreadClass: cores", self.cores))
        object.__setattr__(self, "count", check_count("ThreadClass: count", self.count))
        if self.user_endpoint_config is None:
            return
        try:
            text = canonical_config(self.user_endpoint_config)
        except ValueError as e:
            raise EndpointConfigurationError(f"ThreadClass: user_endpoint_config {e}") from None
        object.__setattr__(self, "user_endpoint_config", {} if text is None else json.loads(text))
        object.__setattr__(self, "config_text", text)

    def __str__(self) -> str:
        config = "" if self.config_text is None else f" with {self.config_text}"
        return f"{self.count} x {self.cores} core{'' if self.cores == 1 else 's'}{config}"


@dataclass(frozen=True)
class Endpoint:
    """A registered Globus Compute endpoint.

    Parameters
    ----------
    id : str
        Endpoint ID, as ``globus-compute-endpoint start`` prints it.
    name : str, optional
        Name in logs and messages, unique in an executor. Default: the first eight characters of the ID.
    threads : int, dict of int to int, or list of ThreadClass, optional
        How many tasks run on it at once: its workers. A number of threads with ``cores_per_thread`` cores each; or how many threads there are
        by their cores, ``{1: 48, 16: 4}``; or thread classes. Default: what the endpoint itself says once it has run a task, and until then
        the executor's ``threads_per_endpoint``.
    cores_per_thread : int, optional
        Cores of each thread, if ``threads`` does not say. Default: the executor's ``cores_per_thread``.
    filesystem : str, optional
        Name of its file system; endpoints that give the same name share files. Default: one of its own.
    startup_seconds : float, optional
        Seconds from its first task until that runs, for example in a batch system's queue. Default: learned.
    cost_per_core_hour : float
        What an hour of a core costs there, in any currency, for policies that look at it.
    speed : float, optional
        How fast it runs tasks, relative to the others: 2.0 takes half the time of 1.0. Default: learned.

    Raises
    ------
    EndpointConfigurationError
        If one of them cannot be used.
    """

    id: str
    name: Optional[str] = None
    threads: Union[None, int, Mapping[int, int], Sequence[ThreadClass]] = None
    cores_per_thread: Optional[int] = None
    filesystem: Optional[str] = None
    startup_seconds: Optional[float] = None
    cost_per_core_hour: float = 0.0
    speed: Optional[float] = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "id", str(uuid.UUID(str(self.id))))
        except Exception:
            raise EndpointConfigurationError(f"endpoint {shown(self.id)} is not a UUID; 'globus-compute-endpoint start' prints it") from None
        if self.name is None:
            object.__setattr__(self, "name", self.id[:8])
        elif not isinstance(self.name, str) or not self.name:
            raise EndpointConfigurationError(f"endpoint {self.id}: name must be a string that is not empty, not {shown(self.name)}")
        where = f"endpoint {self.name}: "
        if self.cores_per_thread is not None:
            object.__setattr__(self, "cores_per_thread", check_count(where + "cores_per_thread", self.cores_per_thread))
        if self.threads is not None:
            object.__setattr__(self, "threads", _checked_threads(where + "threads", self.threads))
            if self.cores_per_thread is not None and not isinstance(self.threads, int):
                raise EndpointConfigurationError(f"{where}cores_per_thread is given, but threads says already how many cores each has; "
                                                 "leave cores_per_thread out")
        if self.filesystem is not None and (not isinstance(self.filesystem, str) or not self.filesystem):
            raise EndpointConfigurationError(f"{where}filesystem must be a string that is not empty, not {shown(self.filesystem)}")
        if self.startup_seconds is not None:
            object.__setattr__(self, "startup_seconds", check_number(where + "startup_seconds", self.startup_seconds))
        object.__setattr__(self, "cost_per_core_hour", check_number(where + "cost_per_core_hour", self.cost_per_core_hour))
        if self.speed is not None:
            object.__setattr__(self, "speed", check_positive(where + "speed", self.speed))
            if self.speed < 1 / MOST:
                raise EndpointConfigurationError(f"{where}speed must be at least {1 / MOST:g}, not {self.speed}; leave out an endpoint that "
                                                 "runs no tasks")

    def __hash__(self) -> int:
        return hash(self.id)  # a mapping of threads has none

    @property
    def threads_given(self) -> bool:
        """Whether the user said how many threads it has."""
        return self.threads is not None

    def thread_classes(self, default_threads: int, default_cores: int) -> Tuple[ThreadClass, ...]:
        """Its thread classes, at least one, in the user's order.

        Parameters
        ----------
        default_threads : int
            How many threads it has if the user did not say.
        default_cores : int
            Cores of each if the user did not say.
        """
        threads = default_threads if self.threads is None else self.threads
        if isinstance(threads, int):
            return (ThreadClass(self.cores_per_thread or default_cores, threads),)
        if isinstance(threads, Mapping):
            return tuple(ThreadClass(cores, count) for cores, count in threads.items())
        return tuple(threads)

    def spec(self, default_threads: int, default_cores: int, filesystem: str) -> EndpointSpec:
        """What the scheduler has to know of it.

        Parameters
        ----------
        default_threads, default_cores : int
            Number of threads and cores of each, if it does not say.
        filesystem : str
            Its file-system group.
        """
        classes = tuple(ClassSpec(c.cores, c.count, c.config_text) for c in self.thread_classes(default_threads, default_cores))
        return EndpointSpec(str(self.name), classes, count_is_given=self.threads_given, speed=self.speed, filesystem=filesystem,
                            startup_seconds=self.startup_seconds, cost_per_core_hour=self.cost_per_core_hour)


def _checked_threads(what: str, threads: Any) -> Union[int, Dict[int, int], Tuple[ThreadClass, ...]]:
    """Check ``threads``, and copy it, so that a later change by the user does nothing."""
    if isinstance(threads, Mapping):
        _check_not_empty(what, threads)
        return {check_count(f"{what}: each key, a number of cores,", cores): check_count(f"{what}[{shown(cores)}]", count)
                for cores, count in threads.items()}
    if isinstance(threads, Sequence) and not isinstance(threads, (str, bytes)):
        _check_not_empty(what, threads)
        seen: Dict[Tuple[int, Optional[str]], int] = {}
        for position, item in enumerate(threads):
            if not isinstance(item, ThreadClass):
                raise EndpointConfigurationError(f"{what}[{position}] must be a ThreadClass, not {shown(item)}")
            first = seen.setdefault((item.cores, item.config_text), position)
            if first != position:
                raise EndpointConfigurationError(f"{what}[{first}] and {what}[{position}] have the same cores and user_endpoint_config; "
                                                 "make one ThreadClass of them, with the sum of their counts")
        return tuple(threads)
    if not isinstance(threads, Integral):
        raise EndpointConfigurationError(f"{what} must be a whole number, a dict such as {{1: 48, 16: 4}} (cores: count), or a list of "
                                         f"ThreadClass, not {shown(threads)}")
    return check_count(what, threads)


def _check_not_empty(what: str, threads: Any) -> None:
    if not threads:
        raise EndpointConfigurationError(f"{what} is empty, {shown(threads)}; give at least one thread, or leave it out")


def canonical_config(config: Any) -> Optional[str]:
    """JSON text of a ``user_endpoint_config``, the same for equal ones; None for an empty one, which the SDK does not send.

    Raises
    ------
    ValueError
        If it is no dict, or would not be the same after being sent as JSON. The message begins with "must".
    """
    rule = "must be a dict as JSON has it (strings as keys; dicts, lists, strings, finite numbers, True, False and None as values)"
    if not isinstance(config, dict):
        raise ValueError(f"{rule}, not {shown(config)}")
    try:
        text = json.dumps(config, sort_keys=True, allow_nan=False)
        same = json.loads(text) == config
    except (TypeError, ValueError, RecursionError) as e:
        raise ValueError(f"{rule}: {e}") from None
    if not same:
        raise ValueError(f"{rule}, and {shown(config)} is not the same after it was sent as JSON")
    return text if config else None


def check_endpoints(endpoints: Sequence[Union[Endpoint, str, uuid.UUID]]) -> List[Endpoint]:
    """Make :class:`Endpoint` of each item, and check that they make a pool.

    Raises
    ------
    EndpointConfigurationError
        If there is none, one is of another type, or two have the same ID or name.
    """
    if isinstance(endpoints, str):
        raise EndpointConfigurationError(f"endpoints must be a list of endpoints, not the string {shown(endpoints)}")
    if not endpoints:
        raise EndpointConfigurationError("endpoints is empty; give at least one endpoint")
    checked: List[Endpoint] = []
    for position, item in enumerate(endpoints):
        if not isinstance(item, (Endpoint, str, uuid.UUID)):
            raise EndpointConfigurationError(f"endpoints[{position}] must be an Endpoint or an endpoint ID, not {shown(item)}")
        endpoint = item if isinstance(item, Endpoint) else Endpoint(str(item))
        for other in checked:
            if other.id == endpoint.id:
                raise EndpointConfigurationError(f"endpoint {endpoint.id} is given twice")
            if other.name == endpoint.name:
                raise EndpointConfigurationError(f"endpoints {other.id} and {endpoint.id} have the same name {endpoint.name!r}; "
                                                 "give one of them another")
        checked.append(endpoint)
    return checked
