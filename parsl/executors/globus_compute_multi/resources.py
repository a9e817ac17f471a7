"""What a task says in ``parsl_resource_specification``."""
from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, Dict, Set

from parsl.executors.errors import InvalidResourceSpecification

logger = logging.getLogger(__name__)

#: Keys that other Parsl executors use. A workflow that names them for another executor runs here too.
IGNORED_KEYS = frozenset({"cpus", "memory", "disk", "gpus", "running_time_min"})

KNOWN_KEYS = frozenset({"cores", "priority"})


@dataclass(frozen=True)
class Requirement:
    """What a task needs.

    Parameters
    ----------
    cores : int
        Cores of the thread that runs it, at least.
    priority : float
        Lower runs first.
    """

    cores: int = 1
    priority: float = 0.0


class SpecificationReader:
    """Reads resource specifications, and says once for each key that it is ignored."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._told: Set[str] = set()

    def read(self, specification: Dict[str, Any]) -> Requirement:
        """Check ``specification`` and read it.

        Raises
        ------
        InvalidResourceSpecification
            If a key is unknown or a value impossible, naming it and what is allowed.
        """
        unknown = specification.keys() - KNOWN_KEYS - IGNORED_KEYS
        if unknown:
            raise InvalidResourceSpecification(
                set(map(str, unknown)), f"Executor {self._label} knows {sorted(KNOWN_KEYS)}, and ignores {sorted(IGNORED_KEYS)}.")
        for key in (specification.keys() & IGNORED_KEYS) - self._told:
            self._told.add(key)
            logger.warning("Executor %s ignores the key %r of resource specifications", self._label, key)
        cores = specification.get("cores", 1)
        if isinstance(cores, bool) or not isinstance(cores, int) or cores < 1:
            raise InvalidResourceSpecification({"cores"}, f"cores must be a whole number of at least 1, not {cores!r}.")
        priority = specification.get("priority", 0.0)
        if isinstance(priority, bool) or not isinstance(priority, (int, float)) or not math.isfinite(priority):
            raise InvalidResourceSpecification({"priority"}, f"priority must be a number (lower runs first), not {priority!r}.")
        return Requirement(cores, float(priority))
