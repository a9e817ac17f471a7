"""What ``bench.py`` has done: the systems, and the workloads, with the seconds that no schedule can beat."""
from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, Sequence, Tuple

from simulation.workflows import Task, read_workflow

#: This executor; three GlobusComputeExecutors at their defaults; the same, tuned; the SDK's own Executor; Parsl's for one cluster.
SYSTEMS = ("multi", "gce-default", "gce-tuned", "sdk", "htex")

#: Endpoints with their threads.
THREE = {"alpha": 1, "beta": 2, "gamma": 8}
SIXTEEN = {f"e{number:02}": 1 for number in range(1, 17)}

#: Seconds between two times at which an endpoint's child sends its results.
PERIOD = 0.5

#: Seconds that Montage's work takes if all threads are always busy; its own run times are hours.
MONTAGE_SECONDS = 8.0
MONTAGE = Path(__file__).with_name("workflows") / "montage-1.json"


@dataclass(frozen=True)
class Workload:
    """The same for all systems.

    Parameters
    ----------
    name : str
    threads : dict of str to int
        Endpoints, and how many threads each has.
    alone : bool
        Whether it is bound by the processor, so that nothing else may run at the same time.
    make : callable
        Returns the tasks of a repeat, each after its parents.
    """

    name: str
    threads: Dict[str, int]
    alone: bool
    make: Callable[[int], Sequence[Task]]

    def lower_bound(self, tasks: Sequence[Task]) -> float:
        """Seconds that no schedule can beat: the work divided by the threads, or the longest path if that is more.

        A task on a path counts at least :data:`PERIOD`, since the agent sends the result of a task only at the next period, and the task that
        waits for it is late for that one. (On several endpoints, whose periods interleave, luck may save a part of it. HTEX has no such period.)
        """
        ends: list[float] = []
        for task in tasks:
            ends.append(max((ends[parent] for parent in task.parents), default=0.0) + max(task.seconds, PERIOD))
        return max(max(ends), sum(task.seconds for task in tasks) / sum(self.threads.values()))

    def greedy(self, tasks: Sequence[Task]) -> float:
        """Seconds that independent tasks take if each thread takes the next one whenever it is free: without knowledge, and without any delay.

        Raises
        ------
        ValueError
            If a task waits for another.
        """
        free = [0.0] * sum(self.threads.values())
        for task in tasks:
            if task.parents:
                raise ValueError(f"{self.name}: its tasks are not independent")
            heapq.heapreplace(free, free[0] + task.seconds)
        return max(free)


def _bag(count: int, seconds: float) -> Tuple[Task, ...]:
    return (Task("nap", seconds),) * count


def _chain(count: int) -> Tuple[Task, ...]:
    return tuple(Task("nap", 0.0, (number - 1,) if number else ()) for number in range(count))


def _sleeps(seed: int) -> Tuple[Task, ...]:
    """600 run times, log-normal with mean 0.3 s and sigma 0.8."""
    rng = random.Random(seed)
    return tuple(Task("nap", rng.lognormvariate(-1.524, 0.8)) for _ in range(600))


def _montage() -> Tuple[Task, ...]:
    tasks = read_workflow(MONTAGE).tasks
    scale = MONTAGE_SECONDS * sum(THREE.values()) / sum(task.seconds for task in tasks)
    return tuple(replace(task, seconds=task.seconds * scale) for task in tasks)


#: The longest first, since lanes take them in this order.
WORKLOADS = {workload.name: workload for workload in (
    Workload("bag-2000", THREE, True, lambda repeat: _bag(2000, 0.0)),
    Workload("chain-50", THREE, False, lambda repeat: _chain(50)),
    Workload("sleep-600", THREE, False, _sleeps),
    Workload("montage", THREE, False, lambda repeat: _montage()),
    Workload("sixteen", SIXTEEN, False, lambda repeat: _bag(96, 2.0)),
)}

#: Parsl's own benchmark, without the service's limits, and how many tasks its measured part has.
PARSL_PERF = "parsl-perf"
PERF_TASKS = 2000
PERF_SYSTEMS = SYSTEMS[:3]
