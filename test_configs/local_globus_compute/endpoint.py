"""What a user says about one endpoint on localhost."""
from __future__ import annotations

import json
import keyword
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

ENGINES = ("ThreadPoolEngine", "ProcessPoolEngine", "GlobusComputeEngine")
MINIMUM_HEARTBEAT_SECONDS = 5.0
_TAKEN = ("workers", "working_dir", "type", "provider")

Scalar = Union[str, int, float, bool]


@dataclass(frozen=True)
class LocalEndpoint:
    """One Globus Compute endpoint on this machine: an unmodified agent, and the engine that its child processes run.

    Parameters
    ----------
    name : str
        Letters, digits, ``-`` and ``_``; its own within one local Globus Compute.
    workers : int
        Tasks that run at once in one child.
    engine : str
        ``"ThreadPoolEngine"`` (fastest to start), ``"ProcessPoolEngine"``, or ``"GlobusComputeEngine"`` (what real sites run;
        its status carries the load).
    heartbeat_seconds : float
        Time between two reports of the endpoint, and of each child, to the service; the agent allows no less than 5.
    variables : mapping of str to str, int, float or bool
        Further options of the engine, for example ``{"cores_per_worker": 0.5}`` for a GlobusComputeEngine. Like ``workers``, each is
        a variable of the endpoint's configuration template: a task's ``user_endpoint_config`` may give it another value, which starts
        another child.
    working_dir : str or path, optional
        Absolute folder in which tasks run; default: one of the child's own. It is a variable of the template, too.

    Raises
    ------
    ValueError
        Naming the endpoint, and which of the above is wrong with it.
    """

    name: str
    workers: int = 1
    engine: str = "ThreadPoolEngine"
    heartbeat_seconds: float = MINIMUM_HEARTBEAT_SECONDS
    variables: Mapping[str, Scalar] = field(default_factory=dict)
    working_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", self.name):
            raise ValueError(f"endpoint name {self.name!r}: use 1 to 63 letters, digits, '-' and '_', beginning with a letter or digit")
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise self._wrong("workers", self.workers, "a whole number, 1 or more")
        if self.engine not in ENGINES:
            raise self._wrong("engine", self.engine, f"one of {', '.join(ENGINES)}")
        period = self.heartbeat_seconds
        if isinstance(period, bool) or not isinstance(period, (int, float)) or not MINIMUM_HEARTBEAT_SECONDS <= period < float("inf"):
            raise self._wrong("heartbeat_seconds", period, f"a number, {MINIMUM_HEARTBEAT_SECONDS:g} or more, as the agent allows no less")
        for key, value in self.variables.items():
            if not isinstance(key, str) or not key.isidentifier() or keyword.iskeyword(key) or key in _TAKEN:
                raise self._wrong("variables", key, f"names of engine options other than {', '.join(map(repr, _TAKEN))}")
            if not isinstance(value, (str, int, float)):
                raise self._wrong(f"variables[{key!r}]", value, "a str, int, float or bool")
        if self.working_dir is not None and not os.path.isabs(self.working_dir):
            raise self._wrong("working_dir", self.working_dir, "an absolute path")

    def _wrong(self, what: str, value: object, allowed: str) -> ValueError:
        return ValueError(f"endpoint {self.name!r}: {what} is {value!r}, but must be {allowed}")

    def to_json(self) -> str:
        """Return the endpoint as a JSON object, which :meth:`from_json` reads."""
        values = {**self.__dict__, "variables": dict(self.variables), "working_dir": self.working_dir and os.fspath(self.working_dir)}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> LocalEndpoint:
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))


def check_names(names: list[str]) -> None:
    """Refuse a name that occurs twice; raises ValueError naming it."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"endpoint names must differ, but {', '.join(map(repr, twice))} is given more than once")
