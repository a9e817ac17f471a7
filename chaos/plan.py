"""What strikes when: drawn from a seed, before the run."""
from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from local_globus_compute import LocalEndpoint

#: The endpoints of a run. Every core requirement of the workflow is met by more than one of them.
ENDPOINTS = (
    LocalEndpoint("alpha", workers=4),
    LocalEndpoint("beta", workers=4),
    LocalEndpoint("gamma", workers=3, engine="GlobusComputeEngine"),
)

CORES_PER_THREAD = {"alpha": 1, "beta": 2, "gamma": 2}

#: The endpoint whose death may be for good: what needs two cores can run on each of the others.
MORTAL = "alpha"

LINKS = ("service", "broker")

#: Kinds of fault, by what they strike. Each run has some of each group.
GROUPS = {
    "endpoint": ("kill_child", "kill_parent", "kill_endpoint", "kill_worker", "kill_manager", "kill_interchange", "stop_endpoint",
                 "pause_endpoint"),
    "hosted": ("restart_broker", "restart_service", "error_500", "error_503", "drop_connection", "lose_answer", "duplicate_results",
               "late_results", "lose_results", "reorder_results", "wrong_offline"),
    "network": ("latency", "bandwidth", "stall", "reset", "half_open", "refuse"),
}

KINDS = tuple(kind for kinds in GROUPS.values() for kind in kinds)

#: Those that need processes which only a GlobusComputeEngine has.
ENGINE_KINDS = ("kill_worker", "kill_manager", "kill_interchange")

#: Shares of the workflow done at which the first fault strikes at the earliest, and the last at the latest.
FIRST, LAST = 0.04, 0.85

LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    at : float
        Share of the workflow's tasks that are done when it strikes.
    target : str
        Name of the endpoint, or of the network link; empty if there is no choice. An endpoint that is down then is spared: the next is struck.
    seconds : float or None
        Until it is mended (an endpoint started again, a link as before, …); None: never, or nothing is to be mended.
    amount : float
        How bad: seconds of latency, bytes a second, or how often.
    everything : bool
        Of a killed child: whether what it leaves behind is killed, too, as when its machine ends.
    """

    kind: str
    at: float
    target: str = ""
    seconds: float | None = None
    amount: float = 0.0
    everything: bool = False


def plan_faults(seed: int, least: int = 5, most: int = 8, kinds: Collection[str] = KINDS, longest_pause: float = LONGEST_PAUSE) -> list[Fault]:
    """Draw the faults of a run, in the order in which they strike.

    Parameters
    ----------
    seed : int
        The same seed, the same plan.
    least, most : int
        How many.
    kinds : collection of str
        What may strike.
    longest_pause : float
        Seconds after which a paused endpoint goes on, at the latest.
    """
    rng = random.Random(f"faults {seed}")
    count = rng.randint(least, most)
    pools = [[kind for kind in members if kind in kinds] for members in GROUPS.values()]
    pools = [pool for pool in pools if pool]
    chosen: list[str] = []
    while len(chosen) < count:
        # group by group, and within a group not the same again as long as there are others
        pool = pools[len(chosen) % len(pools)]
        chosen.append(rng.choice([kind for kind in pool if kind not in chosen] or pool))
    rng.shuffle(chosen)
    moments = sorted(rng.uniform(FIRST, LAST) for _ in chosen)
    mortal = True
    faults = []
    for kind, at in zip(chosen, moments):
        fault = _draw(rng, kind, round(at, 3), mortal, longest_pause)
        mortal = mortal and not _for_good(fault)
        faults.append(fault)
    return faults


def _for_good(fault: Fault) -> bool:
    return fault.kind in ("kill_parent", "kill_endpoint") and fault.seconds is None


def _draw(rng: random.Random, kind: str, at: float, mortal: bool, longest_pause: float) -> Fault:
    if kind in ENGINE_KINDS:
        return Fault(kind, at, target=next(e.name for e in ENDPOINTS if e.engine == "GlobusComputeEngine"))
    if kind in GROUPS["endpoint"]:
        target = rng.choice(ENDPOINTS).name
        if kind == "kill_child":
            return Fault(kind, at, target, everything=rng.random() < 0.5)
        if kind == "pause_endpoint":
            return Fault(kind, at, target, seconds=round(rng.uniform(min(8.0, longest_pause), longest_pause), 1))
        if kind != "stop_endpoint" and mortal and target == MORTAL and rng.random() < 0.3:
            return Fault(kind, at, target)
        return Fault(kind, at, target, seconds=round(rng.uniform(2.0, 15.0), 1))
    if kind in GROUPS["network"]:
        link = rng.choice(LINKS)
        amount = {"latency": rng.uniform(0.2, 2.0), "bandwidth": rng.uniform(30e3, 200e3)}.get(kind, 0.0)
        lasting = kind in ("latency", "bandwidth", "stall", "refuse")
        return Fault(kind, at, link, seconds=round(rng.uniform(5.0, 25.0), 1) if lasting else None, amount=round(amount, 2))
    if kind in ("late_results", "wrong_offline"):
        return Fault(kind, at, seconds=round(rng.uniform(3.0, 12.0), 1), amount=float(rng.randint(5, 20)))
    return Fault(kind, at, amount=float(rng.randint(1, 4)))


def describe(faults: Sequence[Fault]) -> str:
    """The kinds and targets of faults, in order, for a table."""
    return ", ".join(f"{fault.kind} {fault.target}".rstrip() for fault in faults)
