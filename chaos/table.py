"""What is printed of runs."""
from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from chaos.run import Result

SIDES = {"ours": "this executor", "rival": "three GlobusComputeExecutors"}

_HEADER = ("seed", "faults", "executor", "settings", "tasks", "lost", "hung", "twice", "wrong", "seconds", "failovers", "duplicates")

_COMPARED = ("Seed", "Faults that struck", "This executor", "s", "Three executors", "s")


def line(result: Result) -> str:
    """One line for one run, followed by a line for each violation and remark."""
    text = (f"seed {result.seed:3d}  {SIDES[result.side]:29s} {result.tasks} tasks, {len(result.faults)} faults: lost {result.lost} "
            f"(hung {result.hung}), twice {result.twice}, wrong {result.wrong}, {result.seconds:.1f} s, busiest 10 s {result.busiest} requests")
    if result.failovers is not None:
        text += f", failovers {result.failovers}, duplicates {result.duplicates}"
    if result.shutdown_seconds is not None:
        text += f", shutdown {result.shutdown_seconds:.1f} s"
    details = [f"    violation: {what}" for what in result.violations] + [f"    remark: {what}" for what in result.remarks]
    return "\n".join([text, f"    {', '.join(result.faults)}; {result.settings}", *details])


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A row for each run, and one with the sums of each side."""
    table = [_row(str(result.seed), ", ".join(result.faults), [result]) for result in results]
    for side in SIDES:
        of_side = [result for result in results if result.side == side]
        if of_side:
            table.append(_row("all", f"{sum(len(result.faults) for result in of_side)} faults", of_side))
    return table


def _row(seed: str, faults: str, results: Sequence[Result]) -> tuple[str, ...]:
    logged = results[0].failovers is not None
    return (seed, faults, SIDES[results[0].side], results[0].settings, *(str(sum(getattr(result, name) for result in results))
                                                                         for name in ("tasks", "lost", "hung", "twice", "wrong")),
            f"{sum(result.seconds for result in results):.0f}",
            *(str(sum(getattr(result, name) or 0 for result in results)) if logged else "" for name in ("failovers", "duplicates")))


def text(results: Sequence[Result]) -> str:
    """The table for a terminal; the faults come last, since they are long."""
    order = [0, *range(2, len(_HEADER)), 1]
    cells = [[row[i] for i in order] for row in [_HEADER, *rows(results)]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(order) - 1)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]) for row in cells)


def side_by_side(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A row for each seed, with what each side lost and how long it took, and one with the sums; empty where a side was not run."""
    seeds = sorted({result.seed for result in results})
    by_seed = {(result.seed, result.side): result for result in results}
    table = []
    for seed in seeds:
        of_seed = [by_seed.get((seed, side)) for side in SIDES]
        faults = next(", ".join(result.faults) for result in of_seed if result is not None)
        table.append((str(seed), faults, *(cell for result in of_seed for cell in _lost([] if result is None else [result]))))
    return [*table, ("all", "", *(cell for side in SIDES for cell in _lost([r for r in results if r.side == side])))]


def _lost(results: Sequence[Result]) -> tuple[str, str]:
    if not results:
        return "", ""
    hung = sum(result.hung for result in results)
    runs = f" in {len(results)} runs" if len(results) > 1 else ""
    return f"{sum(result.lost for result in results)}{f' ({hung} hung)' if hung else ''}{runs}", f"{sum(r.seconds for r in results):.0f}"


def write_csv(results: Sequence[Result], path: Path) -> None:
    """The sides beside each other, as a file that a page of the documentation includes."""
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([_COMPARED, *side_by_side(results)])
