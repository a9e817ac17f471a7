"""What ``bench.py`` measured: in figures, as JSON, and beside what must be reached."""
from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

from bench_workloads import PARSL_PERF, SYSTEMS, WORKLOADS
from simulation.report import Requirement

OURS = "multi"

#: At most so many times the seconds of another system: workload, system, limit.
MOST_OF_OTHERS = (
    ("chain-50", "gce-default", 0.45), ("chain-50", "gce-tuned", 1.10),
    ("bag-2000", "gce-tuned", 1.00),
    ("sleep-600", "gce-default", 0.40), ("sleep-600", "gce-tuned", 0.40),
    ("montage", "gce-default", 0.60), ("montage", "gce-tuned", 0.80),
    (PARSL_PERF, "gce-default", 1.00), (PARSL_PERF, "gce-tuned", 1.00),
)

#: At most so many seconds a task, and so many times the lower bound.
MOST_A_TASK = ("chain-50", 0.60)
MOST_OF_BOUND = ("sleep-600", 1.08)


@dataclass(frozen=True)
class Measurement:
    """One timed run.

    Parameters
    ----------
    workload, system : str
    repeat : int
        Which one, from 1.
    seconds : float or None
        From the first call of an app to the last result; None: it failed.
    tasks : int
    lower_bound : float
        Seconds that no schedule can beat.
    requests : int
        The most that the service got in any 10 s.
    refused : int
        How many of them it refused as too many.
    error : str
        What failed, if anything; a run may fail when it has been timed.
    """

    workload: str
    system: str
    repeat: int
    seconds: float | None
    tasks: int
    lower_bound: float
    requests: int = 0
    refused: int = 0
    error: str = ""

    def __str__(self) -> str:
        took = "FAILED" if self.seconds is None else f"{self.seconds:6.2f} s"
        error = f": {self.error}" if self.error else ""
        return f"{self.workload:11}{self.repeat:3}  {self.system:12}{took}{error}"


@dataclass(frozen=True)
class Spread:
    """Median and range of some figures."""

    figures: Tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.figures)

    def text(self, digits: int) -> str:
        """``median (least to most)``; empty if there is nothing."""
        if not self.figures:
            return ""
        return f"{self.median:.{digits}f} ({min(self.figures):.{digits}f} to {max(self.figures):.{digits}f})"


class Results:
    """Measurements, by what is asked of them.

    Parameters
    ----------
    measurements : sequence of Measurement
    again : sequence of Measurement
        This executor's with nothing beside them, of some workloads that were run side by side.
    """

    def __init__(self, measurements: Sequence[Measurement], again: Sequence[Measurement] = ()) -> None:
        self.all = list(measurements)
        self.again = list(again)
        self._timed: Dict[Tuple[str, str], Dict[int, Measurement]] = {}
        for found in measurements:
            if found.seconds is not None:
                self._timed.setdefault((found.workload, found.system), {})[found.repeat] = found

    @property
    def workloads(self) -> List[str]:
        """That were run."""
        return [name for name in (*WORKLOADS, PARSL_PERF) if any(found.workload == name for found in self.all)]

    def systems(self, workload: str) -> List[str]:
        """That were run, this executor first."""
        return [system for system in SYSTEMS if any(found.workload == workload and found.system == system for found in self.all)]

    def seconds(self, workload: str, system: str) -> Spread:
        """Of the runs that did not fail."""
        return Spread(tuple(_seconds(found) for found in self._timed.get((workload, system), {}).values()))

    def of_bound(self, workload: str, system: str) -> Spread:
        """Seconds over the lower bound."""
        return Spread(tuple(_seconds(found) / found.lower_bound for found in self._timed.get((workload, system), {}).values()))

    def of_other(self, workload: str, system: str) -> Spread:
        """This executor's seconds over another's, of the same repeat."""
        ours, others = self._timed.get((workload, OURS), {}), self._timed.get((workload, system), {})
        return Spread(tuple(_seconds(ours[repeat]) / _seconds(others[repeat]) for repeat in ours if repeat in others))

    def tables(self) -> Iterator[str]:
        """Medians and ranges, a block for each workload."""
        for workload in self.workloads:
            runs = [found for found in self.all if found.workload == workload]
            bound = statistics.median(found.lower_bound for found in runs)
            yield ""
            yield f"{workload}: {runs[0].tasks} tasks, lower bound {bound:.2f} s{self._greedy(workload)}"
            yield f"  {'':12}{'seconds':26}{'over the lower bound':24}{OURS} over it"
            for system in self.systems(workload):
                ratio = "" if system == OURS else self.of_other(workload, system).text(3)
                yield (f"  {system:12}{self.seconds(workload, system).text(2):26}{self.of_bound(workload, system).text(2):24}{ratio}").rstrip()
            alone = Results(self.again)
            if alone.seconds(workload, OURS).figures:
                yield f"  {OURS + ' alone':12}{alone.seconds(workload, OURS).text(2):26}{alone.of_bound(workload, OURS).text(2)}"

    def _greedy(self, workload: str) -> str:
        """What the workload that is judged by its lower bound would take without knowledge of run times, but without any delay, too."""
        if workload != MOST_OF_BOUND[0]:
            return ""
        what, repeats = WORKLOADS[workload], sorted({found.repeat for found in self.all if found.workload == workload})
        ratios = [what.greedy(tasks) / what.lower_bound(tasks) for tasks in map(what.make, repeats)]
        return f"; threads that take the next task at once: {Spread(tuple(ratios)).text(2)} over it"

    def failures(self) -> Iterator[str]:
        """Runs that failed, each by its name."""
        for found in (*self.all, *self.again):
            if found.error:
                yield f"FAILED: {found.workload}, {found.system}, repeat {found.repeat}: {found.error}"

    def budget(self) -> Iterator[str]:
        """How each system kept to the request limit."""
        for system in SYSTEMS:
            found = [found for found in self.all if found.system == system and found.requests]
            if found:
                yield (f"{system:12}at most {max(run.requests for run in found):3} requests in any 10 s, "
                       f"{sum(run.refused for run in found)} refused in {sum(run.refused > 0 for run in found)} of {len(found)} runs")

    def requirements(self) -> List[Requirement]:
        """What must be reached; the figure is the median of the repeats."""
        workload, most = MOST_A_TASK
        tasks = next((found.tasks for found in self.all if found.workload == workload), 1)
        found = [_requirement(f"{workload}: {OURS} over {system}", self.of_other(workload, system), limit)
                 for workload, system, limit in MOST_OF_OTHERS]
        found.append(_requirement(f"{workload}: {OURS}, seconds a task",
                                  Spread(tuple(s / tasks for s in self.seconds(workload, OURS).figures)), most))
        workload, most = MOST_OF_BOUND
        alone = Results(self.again).of_bound(workload, OURS)
        found.append(_requirement(f"{workload}: {OURS}{' alone' if alone.figures else ''} over the lower bound",
                                  alone if alone.figures else self.of_bound(workload, OURS), most))
        return sorted(found, key=lambda requirement: requirement.text.split(":")[0])

    def write_json(self, file: Path) -> None:
        """Write a list of objects, one for each run; a failed one has ``null`` seconds."""
        keys = ("workload", "system", "repeat", "seconds", "tasks", "lower_bound")
        rows = [json.dumps({key: getattr(found, key) for key in keys}) for found in self.all]
        file.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def _seconds(found: Measurement) -> float:
    assert found.seconds is not None
    return found.seconds


def _requirement(text: str, spread: Spread, limit: float) -> Requirement:
    if not spread.figures:
        return Requirement(text, None, limit)
    return Requirement(text, spread.median, limit, f"{min(spread.figures):.3f} to {max(spread.figures):.3f}")
