"""Tables of what came out, and whether it is what must be reached."""
from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from simulation.rivals import RIVALS
from simulation.run import LEAST_DRAWS, MAIN_SETUPS, Record
from simulation.workflows import ADVERSARIAL


@dataclass(frozen=True)
class Requirement:
    """A bound that must hold.

    Parameters
    ----------
    text : str
    figure : float or None
        None: it was not measured in this run.
    limit : float
    detail : str
        Where the figure comes from, if that is one of many.
    """

    text: str
    figure: Optional[float]
    limit: float
    detail: str = ""

    @property
    def missed(self) -> bool:
        """Whether it was measured and does not hold."""
        return self.figure is not None and self.figure > self.limit

    def __str__(self) -> str:
        if self.figure is None:
            return f"  {'not run':8}         at most {self.limit:6.3f}  {self.text}"
        detail = f" ({self.detail})" if self.detail else ""
        return f"  {'MISSED' if self.missed else 'ok':8} {self.figure:6.3f}  at most {self.limit:6.3f}  {self.text}{detail}"


class Results:
    """Records, by what is asked of them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._by_run: Dict[Tuple[str, str, str], List[Record]] = {}
        for record in records:
            self._by_run.setdefault((record.setup, record.estimates, record.policy), []).append(record)
        self.tables = list(dict.fromkeys((r.setup, r.estimates) for r in records))

    def policies(self, setup: str, estimates: str) -> List[str]:
        """Those that were run, in order, rivals last."""
        return [policy for s, e, policy in self._by_run if (s, e) == (setup, estimates)]

    def records(self, setup: str, estimates: str, policy: str, adversarial: bool) -> List[Record]:
        """On inputs that are adversarial, or on those that are not."""
        records = self._by_run.get((setup, estimates, policy), [])
        return [record for record in records if record.workflow.startswith(ADVERSARIAL) == adversarial]

    def mean(self, setup: str, estimates: str, policy: str, adversarial: bool = False) -> Optional[float]:
        """Geometric mean of makespan over lower bound."""
        ratios = [record.ratio for record in self.records(setup, estimates, policy, adversarial)]
        return statistics.geometric_mean(ratios) if ratios else None

    def worst(self, setup: str, estimates: str, policy: str, adversarial: bool) -> Optional[Tuple[float, str]]:
        """The makespan on one input over that of the best rival on it, where that is most, and the name of the input."""
        best: Dict[Tuple[str, int], float] = {}
        for rival in RIVALS:
            for record in self.records(setup, estimates, rival, adversarial):
                key = record.workflow, record.seed
                best[key] = min(best.get(key, record.makespan), record.makespan)
        records = self.records(setup, estimates, policy, adversarial)
        return max(((r.makespan / best[r.workflow, r.seed], r.workflow) for r in records if (r.workflow, r.seed) in best), default=None)


def tables(results: Results) -> Iterator[str]:
    """Lines of one table for each set-up and kind of estimates."""
    for setup, estimates in results.tables:
        yield ""
        yield f"{setup}, estimates {estimates}"
        yield f"  {'':20} {'mean':>7} {'worst':>7}   {'adversarial':>11} {'worst':>7}"
        for policy in results.policies(setup, estimates):
            cells = []
            for adversarial in (False, True):
                mean, worst = results.mean(setup, estimates, policy, adversarial), results.worst(setup, estimates, policy, adversarial)
                cells += [_cell(mean), _cell(worst and worst[0])]
            rival = "(rival)" if policy in RIVALS else ""
            yield f"  {policy:20} {cells[0]:>7} {cells[1]:>7}   {cells[2]:>11} {cells[3]:>7}  {rival}"
    yield ""
    yield f"mean: geometric mean of makespan over lower bound (random-executor on {', '.join(MAIN_SETUPS)}: over {LEAST_DRAWS} draws or more)."
    yield "worst: makespan over that of the best rival, on the one input where that is most."


def _cell(value: Optional[float]) -> str:
    return "" if value is None else f"{value:.3f}"


def requirements(results: Results) -> List[Requirement]:
    """What must be reached, as far as it was measured."""
    found: List[Requirement] = []
    for setup, limit in (("equal", 1.10), ("heterogeneous", 1.20)):
        found.append(Requirement(f"{setup}, exact: makespan over lower bound", results.mean(setup, "exact", "default"), limit))
    for setup, limit in zip(MAIN_SETUPS, (1.03, 1.03, 1.04)):
        found.append(Requirement(f"{setup}, exact: makespan over that of off-line HEFT", _over(results, setup, "exact", "heft-offline"), limit))
    # the pool never ends where an endpoint never starts
    for setup in dict.fromkeys((*MAIN_SETUPS, *(s for s, e in results.tables if results.mean(s, "learned", "fifo") is not None))):
        found.append(Requirement(f"{setup}, learned: makespan over that of the FIFO pool", _over(results, setup, "learned", "fifo"), 1.02))
    for setup, limit in zip(MAIN_SETUPS, (0.94, 0.70, 0.85)):
        found.append(Requirement(f"{setup}, learned: makespan over that of random executor choice",
                                 _over(results, setup, "learned", "random-executor"), limit, _draws(results, setup)))
    for estimates in ("exact", "learned"):
        never, without = results.mean("cold-never", estimates, "default"), results.mean("cold-without", estimates, "default")
        found.append(Requirement(f"cold-never, {estimates}: makespan over that without the endpoint",
                                 never / without if never is not None and without is not None else None, 1.10))
    for setup in MAIN_SETUPS:
        for adversarial, limit in ((False, 1.25), (True, 1.50)):
            worst = results.worst(setup, "exact", "default", adversarial)
            kind = "adversarial input" if adversarial else "input"
            found.append(Requirement(f"{setup}, exact: makespan over that of the best rival, on the worst {kind}",
                                     worst and worst[0], limit, worst[1] if worst else ""))
    return found


def _draws(results: Results, setup: str) -> str:
    seeds = {record.seed for record in results.records(setup, "learned", "random-executor", adversarial=False)}
    return f"mean of {len(seeds)} draws" if seeds else ""


def _over(results: Results, setup: str, estimates: str, rival: str) -> Optional[float]:
    ours, theirs = results.mean(setup, estimates, "default"), results.mean(setup, estimates, rival)
    return ours / theirs if ours is not None and theirs is not None else None
