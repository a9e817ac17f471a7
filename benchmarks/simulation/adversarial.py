"""Workflows built to be hard: on each, some sensible way to schedule loses much.

On every one of them some order or placement is right and the obvious one is not (PISA, arXiv 2403.07120: every list schedule has instances
on which another is at least twice as good).
"""
from __future__ import annotations

import random
from typing import Dict, List

from simulation.workflows import ADVERSARIAL, Task, Workflow


def _named(name: str, tasks: List[Task]) -> Workflow:
    return Workflow(ADVERSARIAL + name, tuple(tasks))


def chain_beside_bag() -> Workflow:
    """A thin chain of 40 tasks, called after a bag of 260: first come first served starts the chain last."""
    rng = random.Random(1)
    tasks = [Task("bag", round(rng.uniform(20, 60), 3)) for _ in range(260)]
    for link in range(40):
        tasks.append(Task("link", round(rng.uniform(5, 15), 3), (len(tasks) - 1,) if link else ()))
    return _named("chain-beside-bag", tasks)


def bag_with_hidden_chain() -> Workflow:
    """As :func:`chain_beside_bag`, of one app with all run times alike: only the graph tells which tasks are urgent."""
    tasks = [Task("work", 10.0) for _ in range(270)]
    for link in range(30):
        tasks.append(Task("work", 10.0, (len(tasks) - 1,) if link else ()))
    return _named("hidden-chain", tasks)


def fork_joins() -> Workflow:
    """Ten fork-joins in a row, each as wide as 29 with one branch of four times the length: each join waits for the slowest."""
    rng = random.Random(2)
    tasks: List[Task] = []
    for stage in range(10):
        fork = len(tasks)
        tasks.append(Task("fork", 2.0, (fork - 1,) if stage else ()))
        slow = rng.randrange(28)
        tasks.extend(Task("branch", round((80 if branch == slow else 20) * rng.uniform(0.9, 1.1), 3), (fork,)) for branch in range(28))
        tasks.append(Task("join", 2.0, tuple(range(fork + 1, len(tasks)))))
    return _named("fork-joins", tasks)


def parallel_fork_joins() -> Workflow:
    """Five independent rows of narrow fork-joins of unequal length: the long row must never wait for the short ones."""
    rng = random.Random(3)
    tasks: List[Task] = []
    for row, stages in enumerate((24, 10, 8, 6, 2)):
        last = -1
        for _ in range(stages):
            fork = len(tasks)
            tasks.append(Task(f"fork{row}", 3.0, (last,) if last >= 0 else ()))
            tasks.extend(Task(f"branch{row}", round(rng.uniform(10, 30), 3), (fork,)) for _ in range(4))
            tasks.append(Task(f"join{row}", 3.0, tuple(range(fork + 1, len(tasks)))))
            last = len(tasks) - 1
    return _named("parallel-fork-joins", tasks)


def giant_task() -> Workflow:
    """A bag of 299 tasks, and one nine times as long, called last: it must start first, and on a fast thread."""
    rng = random.Random(4)
    tasks = [Task("small", round(rng.uniform(5, 15), 3)) for _ in range(299)]
    tasks.append(Task("giant", 90.0))
    return _named("giant-task", tasks)


def giant_in_the_app() -> Workflow:
    """As :func:`giant_task`, but the giant is of the same app as the others, so that nothing but an exact estimate tells it from them."""
    rng = random.Random(5)
    tasks = [Task("work", round(rng.uniform(5, 15), 3)) for _ in range(300)]
    tasks[150] = Task("work", 90.0)
    return _named("giant-in-the-app", tasks)


def one_core_class() -> Workflow:
    """Two layers of tasks that all need eight cores: on a pool with several thread classes, only the largest may be used."""
    rng = random.Random(6)
    tasks = [Task("prepare", round(rng.uniform(5, 30), 3), (), 8) for _ in range(150)]
    tasks.extend(Task("solve", round(rng.uniform(5, 30), 3), (parent,), 8) for parent in range(150))
    return _named("one-core-class", tasks)


def small_tasks_before_large() -> Workflow:
    """A bag of one-core tasks, called before 60 of eight cores: who puts small tasks on large threads starves the large ones."""
    rng = random.Random(7)
    tasks = [Task("small", round(rng.uniform(10, 30), 3)) for _ in range(240)]
    tasks.extend(Task("large", round(rng.uniform(10, 30), 3), (), 8) for _ in range(60))
    return _named("small-before-large", tasks)


def bag(tasks: int) -> Workflow:
    """A plain bag of one app, not much larger than a pool: what comes last, and where, decides."""
    rng = random.Random(tasks)
    return _named(f"bag-{tasks}", [Task("work", round(rng.uniform(5, 15), 3)) for _ in range(tasks)])


def build() -> Dict[str, Workflow]:
    """All of them, by what each is for: the docstring of its function."""
    functions = (chain_beside_bag, bag_with_hidden_chain, fork_joins, parallel_fork_joins, giant_task, giant_in_the_app, one_core_class,
                 small_tasks_before_large)
    built = {str(function.__doc__): function() for function in functions}
    return {**built, **{f"{bag.__doc__} {tasks} tasks.": bag(tasks) for tasks in (40, 64)}}
