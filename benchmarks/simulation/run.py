"""Runs every workflow on every set-up with every scheduler, on several processes, and gives one record for each."""
from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from simulation.bounds import lower_bound
from simulation.core import ESTIMATES, POLICIES, Simulation, SimulationError
from simulation.rivals import RIVALS
from simulation.schedule import check, makespan
from simulation.setups import Case, Setup, make_case, misfit
from simulation.workflows import Workflow

#: Set-ups on which all policies are compared; on the others only the default one, unless the user chooses.
MAIN_SETUPS = ("equal", "heterogeneous", "cores")

#: Fewest draws of random executor choice with which the core is compared on :data:`MAIN_SETUPS`: a mean of few is luck.
LEAST_DRAWS = 20

#: Schedulers whose schedule depends on the seed even where case and estimates do not.
_DRAW_LOTS = ("random", "random-executor", "early-least-loaded")


@dataclass(frozen=True)
class Record:
    """One run; the fields are the keys of the JSON output.

    Parameters
    ----------
    workflow, setup : str
    policy : str
        Of the core, or a rival.
    estimates : str
        What the core is told beforehand. Rivals do not depend on it: HEFT always knows everything, the others never know anything.
    seed : int
        Of everything that is drawn. From :attr:`Plan.seeds` on, it is a further draw of random executor choice on a case of the seeds before.
    makespan, lower_bound : float
        Seconds.
    """

    workflow: str
    setup: str
    policy: str
    estimates: str
    seed: int
    makespan: float
    lower_bound: float

    @property
    def ratio(self) -> float:
        """Makespan over lower bound."""
        return self.makespan / self.lower_bound


@dataclass(frozen=True)
class Plan:
    """What to run on every workflow and set-up.

    Parameters
    ----------
    policies : tuple of str or None
        Of the core and rivals; None for all of them on :data:`MAIN_SETUPS`, and the default one and all rivals on the others.
    estimates : tuple of str
    seeds : int
        Number of seeds, from 0.
    """

    policies: Optional[Tuple[str, ...]] = None
    estimates: Tuple[str, ...] = ESTIMATES
    seeds: int = 3

    def draws(self, setup: Setup, scheduler: str) -> int:
        """How often a scheduler is run on each case, with seeds that are :attr:`seeds` apart."""
        return math.ceil(LEAST_DRAWS / self.seeds) if scheduler == "random-executor" and setup.name in MAIN_SETUPS else 1

    def schedulers(self, setup: Setup) -> Tuple[str, ...]:
        """The policies and rivals to run on a set-up."""
        if self.policies is not None:
            return self.policies
        return (*(POLICIES if setup.name in MAIN_SETUPS else ("default",)), *RIVALS)


def run_all(workflows: Sequence[Workflow], setups: Sequence[Setup], plan: Plan, processes: int) -> Iterator[Record]:
    """Run everything.

    Returns
    -------
    iterator of Record
        Set-up by set-up, in the order of the workflows. A run that never ends gives none, and neither does a workflow on a set-up that it
        does not fit (:func:`~simulation.setups.misfit`).
    """
    pairs = [(workflow, setup) for setup in setups for workflow in workflows if misfit(workflow, setup) is None]
    with ProcessPoolExecutor(processes) as pool:
        for records in pool.map(partial(_run_pair, plan), pairs):
            yield from records


def _run_pair(plan: Plan, pair: Tuple[Workflow, Setup]) -> List[Record]:
    workflow, setup = pair
    records: List[Record] = []
    known: Dict[Tuple[object, ...], float] = {}
    for seed in range(plan.seeds):
        case = make_case(workflow, setup, seed)
        bound = lower_bound(case)
        for scheduler in plan.schedulers(setup):
            for estimates, draw in product(plan.estimates, range(plan.draws(setup, scheduler))):
                lot = seed + draw * plan.seeds
                # what cannot come out otherwise is run once
                told = None if scheduler in RIVALS else estimates
                lots = lot if scheduler in _DRAW_LOTS or told == "noisy" else None
                key = ("default" if scheduler == "earliest-finish" else scheduler, told, lots, case.workflow)
                if key not in known:
                    if scheduler in RIVALS:
                        runs = RIVALS[scheduler](case, lot)
                        check(case, runs)
                        known[key] = makespan(runs)
                    else:
                        known[key] = _simulate(case, scheduler, estimates, lot)
                if math.isfinite(known[key]):
                    records.append(Record(workflow.name, setup.name, scheduler, estimates, lot, known[key], bound))
    return records


def _simulate(case: Case, policy: str, estimates: str, seed: int) -> float:
    try:
        return Simulation(case, policy, estimates, seed).run()
    except SimulationError as e:
        raise SimulationError(f"{case.workflow.name} on {case.setup.name}, policy {policy}, estimates {estimates}, seed {seed}: {e}") from e
