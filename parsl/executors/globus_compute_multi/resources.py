"""What a task says in ``parsl_resource_specification``."""
from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Collection, Dict, FrozenSet, Optional, Set, Tuple, Union

from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.globus_compute_multi.arguments import (
    MOST,
    as_float,
    as_int,
    as_run_time,
    shown,
)
from parsl.executors.globus_compute_multi.endpoint import canonical_config
from parsl.executors.globus_compute_multi.scheduling.runtimes import LONGEST

logger = logging.getLogger(__name__)

#: Keys that other Parsl executors use. A workflow that names them for another executor runs here too.
IGNORED_KEYS = frozenset({"cpus", "memory", "disk", "gpus", "running_time_min"})

#: Keys that go to the endpoint as they are, where a GlobusMPIEngine reads them: those that Parsl's MPIExecutor takes.
MPI_KEYS = frozenset({"num_nodes", "ranks_per_node", "num_ranks", "launcher_options"})

KNOWN_KEYS = frozenset({"cores", "priority", "estimated_seconds", "endpoints", "user_endpoint_config", "redispatch"}) | MPI_KEYS


@dataclass(frozen=True)
class Requirement:
    """What a task needs.

    Parameters
    ----------
    cores : int
        Cores of the thread that runs it, at least.
    priority : float
        Lower runs first.
    estimated_seconds : float, optional
        Run time on an endpoint of speed 1. Default: learned.
    endpoints : frozenset of str, optional
        Names of the endpoints that may run it. Default: any.
    config_text : str, optional
        ``config_text`` of the thread classes that may run it. Default: any.
    mpi : tuple of (str, int or str), optional
        What the endpoint is told of nodes and ranks, sorted by key. The service takes it once for a whole submission, so only tasks that
        have the same can be submitted together.
    redispatch : bool, optional
        Whether it may be started a second time though the first may still run, or may have run. Default: as the executor's argument says.
    """

    cores: int = 1
    priority: float = 0.0
    estimated_seconds: Optional[float] = None
    endpoints: Optional[FrozenSet[str]] = None
    config_text: Optional[str] = None
    mpi: Optional[Tuple[Tuple[str, Union[int, str]], ...]] = None
    redispatch: Optional[bool] = None


_NOTHING_SAID = Requirement()


class SpecificationReader:
    """Reads resource specifications, and says once for each key that it is ignored.

    Parameters
    ----------
    label : str
        The executor's, for messages.
    endpoint_names : collection of str
        Endpoints that a task may name.
    configs : collection of str
        ``config_text`` of the pool's thread classes that have one.
    """

    def __init__(self, label: str, endpoint_names: Collection[str], configs: Collection[str]) -> None:
        self._label = label
        self._endpoint_names = frozenset(endpoint_names)
        self._configs = frozenset(configs)
        self._told: Set[str] = set()

    def read(self, specification: Dict[str, Any]) -> Requirement:
        """Check ``specification`` and read it. It is left as it is.

        Raises
        ------
        InvalidResourceSpecification
            If a key is unknown or a value impossible, naming it and what is allowed.
        """
        if not isinstance(specification, dict):
            raise InvalidResourceSpecification(
                set(), f"parsl_resource_specification must be a dict with keys out of {sorted(KNOWN_KEYS)}, not {shown(specification)}.")
        if not specification:
            return _NOTHING_SAID
        self._check_keys(specification)
        return Requirement(
            cores=_count("cores", specification.get("cores", 1)),
            priority=_priority(specification.get("priority", 0.0)),
            estimated_seconds=_seconds(specification["estimated_seconds"]) if "estimated_seconds" in specification else None,
            endpoints=self._endpoints(specification["endpoints"]) if "endpoints" in specification else None,
            config_text=self._config(specification["user_endpoint_config"]) if "user_endpoint_config" in specification else None,
            mpi=None if MPI_KEYS.isdisjoint(specification) else _mpi(specification),
            redispatch=_flag("redispatch", specification["redispatch"]) if "redispatch" in specification else None,
        )

    def _check_keys(self, specification: Dict[str, Any]) -> None:
        unknown = specification.keys() - KNOWN_KEYS - IGNORED_KEYS
        if unknown:
            raise InvalidResourceSpecification(
                {key if isinstance(key, str) else shown(key) for key in unknown},
                f"Executor {self._label} knows {sorted(KNOWN_KEYS)}, and ignores {sorted(IGNORED_KEYS)}.")
        for key in (specification.keys() & IGNORED_KEYS) - self._told:
            self._told.add(key)
            logger.warning("Executor %s ignores the key %r of resource specifications", self._label, key)

    def _endpoints(self, given: Any) -> FrozenSet[str]:
        names = (given,) if isinstance(given, str) else given
        if not isinstance(names, (list, tuple, set, frozenset)) or not names or not all(isinstance(name, str) for name in names):
            raise InvalidResourceSpecification(
                {"endpoints"}, f"endpoints must be a name, or a list of at least one, out of {sorted(self._endpoint_names)}, "
                               f"not {shown(given)}.")
        chosen = frozenset(names)
        unknown = chosen - self._endpoint_names
        if unknown:
            raise InvalidResourceSpecification(
                {"endpoints"}, f"Executor {self._label} has no endpoints named {sorted(unknown)}; it has {sorted(self._endpoint_names)}.")
        return chosen

    def _config(self, given: Any) -> Optional[str]:
        try:
            text = canonical_config(given)
        except ValueError as e:
            raise InvalidResourceSpecification({"user_endpoint_config"}, f"user_endpoint_config {e}.") from None
        if text is not None and text not in self._configs:
            raise InvalidResourceSpecification(
                {"user_endpoint_config"}, f"No thread class of executor {self._label} has the user_endpoint_config {text}; "
                f"there are {', '.join(sorted(self._configs)) or 'none that have any'}. Give an Endpoint a ThreadClass that has it.")
        return text


def _flag(key: str, given: Any) -> bool:
    if not isinstance(given, bool):
        raise InvalidResourceSpecification({key}, f"{key} must be True or False, not {shown(given)}.")
    return given


def _count(key: str, given: Any) -> int:
    count = as_int(given, 1)
    if count is None:
        raise InvalidResourceSpecification({key}, f"{key} must be a whole number of at least 1 and at most {MOST}, not {shown(given)}.")
    return count


def _priority(given: Any) -> float:
    priority = as_float(given)
    if priority is None:
        raise InvalidResourceSpecification({"priority"}, f"priority must be a finite number (lower runs first), not {shown(given)}.")
    return priority


def _seconds(given: Any) -> float:
    seconds = as_run_time(given)
    if seconds is None:
        raise InvalidResourceSpecification({"estimated_seconds"}, "estimated_seconds must be a number of at least 0 and at most "
                                           f"{LONGEST:g}, not {shown(given)}; leave it out if it is not known.")
    return seconds


def _mpi(specification: Dict[str, Any]) -> Tuple[Tuple[str, Union[int, str]], ...]:
    """Nodes and ranks, the third number worked out from the two that are given (Parsl would make a float of ranks_per_node)."""
    given = {key: specification[key] for key in MPI_KEYS & specification.keys()}
    for key, value in given.items():
        if key == "launcher_options":
            if not isinstance(value, str):
                raise InvalidResourceSpecification({key}, f"{key} must be a string, not {shown(value)}.")
        else:
            given[key] = _count(key, value)
    if "num_nodes" not in given:
        raise InvalidResourceSpecification(set(given), f"{sorted(given)} mean nothing without num_nodes; add it.")
    nodes = given["num_nodes"]
    if "ranks_per_node" in given:
        ranks = given.setdefault("num_ranks", nodes * given["ranks_per_node"])
    elif "num_ranks" in given:
        ranks = given["num_ranks"]
        given["ranks_per_node"] = ranks // nodes
    else:
        return tuple(sorted(given.items()))
    if ranks != nodes * given["ranks_per_node"]:
        culprits = {"num_nodes", "ranks_per_node", "num_ranks"} & specification.keys()
        raise InvalidResourceSpecification(
            culprits, f"{', '.join(f'{key}={specification[key]}' for key in sorted(culprits))} do not fit together: "
            "num_ranks must be num_nodes times a whole number of ranks_per_node.")
    return tuple(sorted(given.items()))
