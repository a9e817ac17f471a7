"""The picture of what ``bench.py`` measured."""
from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench_results import OURS, Results

_COLUMNS = 3


def plot(results: Results, file: Path) -> None:
    """Draw a panel for each workload: the seconds of every run, by system, their medians, and the lower bound.

    Parameters
    ----------
    results : Results
    file : Path
        Named ``.png``, ``.svg`` or ``.pdf``.
    """
    workloads = results.workloads
    rows = -(-len(workloads) // _COLUMNS)
    figure = Figure(figsize=(11, 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for panel in panels[len(workloads):]:
        panel.remove()
    for workload, panel in zip(workloads, panels):
        systems = results.systems(workload)[::-1]
        for place, system in enumerate(systems):
            seconds = results.seconds(workload, system)
            if not seconds.figures:
                panel.text(0, place, " failed", va="center", color="firebrick")
                continue
            panel.barh(place, seconds.median, color="tab:blue" if system == OURS else "lightgrey", height=0.7)
            panel.plot(seconds.figures, [place] * len(seconds.figures), "k|", markersize=9)
            panel.annotate(f"{seconds.median:.1f}", (max(seconds.figures), place), xytext=(4, 0), textcoords="offset points",
                           va="center", fontsize=8)
        bound = next(found.lower_bound for found in results.all if found.workload == workload)
        panel.axvline(bound, color="tab:red", linewidth=1, linestyle="--")
        panel.set_yticks(range(len(systems)), systems)
        panel.set_title(workload, fontsize=10)
        panel.margins(x=0.2)
        panel.set_xlim(left=0)
    figure.supxlabel("seconds: median (bar), each run (stroke), and the lower bound (dashed)", fontsize=9)
    figure.savefig(file, dpi=110)
