"""Generates the workflows in ``benchmarks/workflows``: three instances of each WfCommons recipe, of about 300 tasks, and the adversarial ones.

The recipes need WfCommons, which is heavy, so it is no requirement of anything else here:

    python -m venv /tmp/wfcommons && /tmp/wfcommons/bin/pip install -r benchmarks/requirements.txt
    /tmp/wfcommons/bin/python benchmarks/generate_workflows.py

Seeds are fixed: with the same versions the same files come out.
"""
from __future__ import annotations

import argparse
import random
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, List

from simulation.adversarial import build
from simulation.workflows import Task, Workflow, write_workflow

#: Rnaseq is left out, since its graphs have no edges.
RECIPES = ("Blast", "Bwa", "Cycles", "Epigenomics", "Genome", "Montage", "Seismology", "Soykb", "Srasearch")


def generate(recipe: str, tasks: int, seed: int) -> Any:
    """A graph (networkx) of about ``tasks`` tasks, as WfCommons builds it from ``recipe`` with this seed."""
    recipes = import_module("wfcommons.wfchef.recipes")
    random.seed(seed)
    import_module("numpy").random.seed(seed)
    return import_module("wfcommons").WorkflowGenerator(getattr(recipes, f"{recipe}Recipe").from_num_tasks(tasks)).build_workflow()


def convert(graph: Any, name: str) -> Workflow:
    """The tasks of a graph of WfCommons, parents first and otherwise in its order."""
    order = {node: i for i, node in enumerate(graph.tasks)}
    place: Dict[str, int] = {}
    tasks: List[Task] = []
    for node in import_module("networkx").lexicographical_topological_sort(graph, key=order.__getitem__):
        task = graph.tasks[node]
        parents = tuple(sorted(place[parent] for parent in graph.predecessors(node)))
        place[node] = len(tasks)
        tasks.append(Task(task.program, round(task.runtime, 3), parents, int(task.cores or 1)))
    return Workflow(name, tuple(tasks))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Generates the inputs of benchmarks/scheduling.py: WfCommons recipes, and adversarial workflows.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).with_name("workflows"), help="where to write (benchmarks/workflows)")
    parser.add_argument("--tasks", type=int, default=300, help="tasks of each recipe, about (300)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one instance of each recipe for each of them (1 2 3)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for description, workflow in build().items():
        write_workflow(options.folder / f"{workflow.name}.json", workflow, description)
    for recipe in RECIPES:
        for seed in options.seeds:
            workflow = convert(generate(recipe, options.tasks, seed), f"{recipe.lower()}-{seed}")
            description = f"WfCommons 1.6, {recipe}Recipe, {options.tasks} tasks, seed {seed}"
            write_workflow(options.folder / f"{workflow.name}.json", workflow, description)


if __name__ == "__main__":
    main()
