"""The workflow: a seeded graph of tasks, and the value that each must have."""
from __future__ import annotations

import builtins
import hashlib
import random
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SHORTEST_SECONDS = 0.05
LONGEST_SECONDS = 2.0
CHAINS = 8

#: Bytes of the argument that one in fifty tasks has: so that size and bandwidth matter.
LARGE_BYTES = 200_000


@dataclass(frozen=True)
class PlannedTask:
    """One task.

    Attributes
    ----------
    label : str
        Goes into its value.
    seconds : float
        How long it sleeps.
    inputs : tuple of int
        Numbers of the tasks, all before it, whose values it takes.
    cores : int
        Its core requirement.
    raises : bool
        Whether it raises ``ValueError(label)`` instead; no task has such a one as input.
    filler : int
        Bytes of a further argument.
    """

    label: str
    seconds: float
    inputs: tuple[int, ...] = ()
    cores: int = 1
    raises: bool = False
    filler: int = 0


def plan_workflow(seed: int, tasks: int) -> list[PlannedTask]:
    """Chains, a bag of independent tasks, and reductions of what came before, ending in one that needs the ends of all chains.

    Parameters
    ----------
    seed : int
        The same seed, the same workflow.
    tasks : int
        How many, at least 1.
    """
    rng = random.Random(f"workflow {seed}")
    planned: list[PlannedTask] = []
    ends: dict[int, int] = {}
    usable: list[int] = []
    for number in range(tasks - 1):
        # log-uniform: many short tasks, few long ones
        seconds = SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** rng.random()
        kind, raises = rng.random(), False
        inputs: tuple[int, ...] = ()
        if kind < 0.35:
            chain = rng.randrange(CHAINS)
            inputs = (ends[chain],) if chain in ends else ()
            ends[chain] = number
        elif kind < 0.5 and usable:
            inputs = tuple(sorted(rng.sample(usable, min(len(usable), rng.randint(2, 6)))))
        else:
            raises = rng.random() < 0.06
        if not raises:
            usable.append(number)
        planned.append(PlannedTask(f"{seed}-{number}", seconds, inputs, 2 if rng.random() < 0.15 else 1, raises,
                                   LARGE_BYTES if rng.random() < 0.02 else 0))
    planned.append(PlannedTask(f"{seed}-{tasks - 1}", SHORTEST_SECONDS, tuple(sorted(ends.values()))))
    return planned


def expected_values(planned: Sequence[PlannedTask]) -> list[str]:
    """What each task must return, computed here; for one that raises, the text of its exception."""
    values: list[str] = []
    for task in planned:
        text = "".join([task.label, str(task.filler), *(values[number] for number in task.inputs)])
        values.append(task.label if task.raises else hashlib.sha256(text.encode()).hexdigest())
    return values


def work(label: str, seconds: float, raises: bool, filler: bytes, *values: str, parsl_resource_specification: dict[str, Any] = {}) -> str:
    """A task: sleep, then raise or return the digest of what was given; Parsl looks for the name of the last argument."""
    import hashlib
    import time
    time.sleep(seconds)
    if raises:
        raise ValueError(label)
    return hashlib.sha256("".join([label, str(len(filler)), *values]).encode()).hexdigest()


def portable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as if it stood in a user's script, so that it is pickled whole: endpoints do not have this package."""
    assert isinstance(function, types.FunctionType)
    copy = types.FunctionType(function.__code__, {"__builtins__": builtins, "__name__": "__main__"}, function.__name__,
                              function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = {}  # which name types of this module
    copy.__module__ = "__main__"
    return copy
