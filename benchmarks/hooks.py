"""What the calls of executors from Parsl's DataFlowKernel (patches/0003) cost a workflow whose executors do not want them.

``make bench-hooks`` (or ``.venv/bin/python benchmarks/hooks.py``) runs parsl-perf with Parsl's local_threads configuration in turns on the
pinned release as it is and on the fork, each time in a new process, all on one processor, which of the two first changing from pair to
pair. It prints the tasks per second and the ratio of each pair, and, to show what is chance, the ratio of each run of the release to the
one before it. Status 1 if the ratios of the pairs are such as hardly come from two that are equally fast.
"""
from __future__ import annotations

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

FORK = Path(__file__).resolve().parents[1] / ".fork" / "parsl"

RELEASE = "release"
WITH_HOOKS = "with hooks"

#: Seconds for a run beyond those that its last iteration is to take.
PATIENCE = 120.0

#: Prints whether the Parsl that is imported has the hooks.
_HAS_HOOKS = "from parsl.executors.base import ParslExecutor; print(hasattr(ParslExecutor, 'task_submitting'))"


class BenchmarkError(Exception):
    """It cannot be measured. The message says why, and what to do."""


@dataclass(frozen=True)
class Spread:
    """Some ratios in short.

    Parameters
    ----------
    ratios : sequence of float
        At least one.
    """

    ratios: Sequence[float]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> "tuple[float, float, float]":
        """Between which ratios the median of very many would be, and how sure that is, from 0 to 1.

        The k-th smallest and the k-th largest ratio, for the largest k of which one is 95 % sure or more (the chance that fewer than k of n
        tossed coins show heads, or fewer than k tails, is the chance to be wrong), whatever the distribution; all the range if there is none.
        """
        ordered, n = sorted(self.ratios), len(self.ratios)
        wrong = [2 * sum(math.comb(n, heads) for heads in range(k + 1)) / 2 ** n for k in range((n + 1) // 2)]
        k = max((k for k, chance in enumerate(wrong) if chance <= 0.05), default=0)
        return ordered[k], ordered[-1 - k], max(0.0, 1 - wrong[k])

    def __str__(self) -> str:
        low, high, sure = self.interval
        return f"median {self.median:.3f} ({low:.3f} to {high:.3f}, {sure:.0%} sure), all from {min(self.ratios):.3f} to {max(self.ratios):.3f}"


def unpack_release(target: Path) -> None:
    """Put the release that the fork was made from into a folder, without the fork's patches.

    Raises
    ------
    BenchmarkError
        If there is no fork.
    """
    if not FORK.exists():
        raise BenchmarkError(f"there is no {FORK}: run \"make fork\"")
    first = _output("git", "-C", str(FORK), "rev-list", "--max-parents=0", "HEAD").strip()
    archive = target / "release.tar"
    _output("git", "-C", str(FORK), "archive", f"--output={archive}", first)
    _output("tar", "-C", str(target), "-xf", str(archive))


def check_side(tree: Path, hooks: bool) -> None:
    """See that Python finds the Parsl of ``tree``, by whether that has hooks.

    Raises
    ------
    BenchmarkError
        If it is another one.
    """
    found = _output(sys.executable, "-c", _HAS_HOOKS, tree=tree).strip()
    if found != str(hooks):
        raise BenchmarkError(f"the Parsl in {tree} should have {'the' if hooks else 'no'} hooks; is {FORK} out of date? Run \"make fork\".")


def tasks_per_second(tree: Path, seconds: float) -> float:
    """Run parsl-perf on the Parsl in ``tree``, with a last iteration of about so many seconds."""
    told = _output(sys.executable, "-m", "parsl.benchmark.perf", "--config", str(tree / "parsl/tests/configs/local_threads.py"),
                   "--time", str(seconds), tree=tree, patience=PATIENCE + 10 * seconds)
    return last_rate(told)


def last_rate(told: str) -> float:
    """Tasks per second of the last iteration, the longest, in what parsl-perf prints.

    Raises
    ------
    BenchmarkError
        If it did not come to its end.
    """
    rates = re.findall(r"^Tasks per second: ([0-9.]+)$", told, re.MULTILINE)
    if not rates or "Tests complete" not in told:
        raise BenchmarkError(f"parsl-perf did not finish its iterations; it printed:\n{told}")
    return float(rates[-1])


def _output(*command: str, tree: Optional[Path] = None, patience: float = PATIENCE) -> str:
    env = dict(os.environ) if tree is None else {**os.environ, "PYTHONPATH": str(tree)}
    with tempfile.TemporaryDirectory() as folder:  # Parsl leaves its logs in the current one
        try:
            done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=patience)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{' '.join(command)} took more than {patience:.0f} s") from None
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)} ended with exit code {done.returncode}:\n{done.stdout}")
    return done.stdout


def order(pair: int) -> List[str]:
    """What is run first, and what second: changing, so that a machine that slows down or recovers does not favour one of them."""
    return [RELEASE, WITH_HOOKS] if pair % 2 == 0 else [WITH_HOOKS, RELEASE]


def summary(rates: Dict[str, List[float]]) -> List[str]:
    """What the rates say, in lines; the last one is the verdict.

    Parameters
    ----------
    rates : dict of str to list of float
        Tasks per second of each run, by side, in the order of the pairs; at least two pairs.
    """
    pairs, before = compare(rates)
    verdict = f"{1 - pairs.median:.1%} slower" if pairs.median < 1 else f"{pairs.median - 1:.1%} faster"
    return [
        f"median: {RELEASE} {statistics.median(rates[RELEASE]):.0f} tasks/s, {WITH_HOOKS} {statistics.median(rates[WITH_HOOKS]):.0f} tasks/s",
        f"{WITH_HOOKS} / {RELEASE} of the same pair: {pairs}",
        f"{RELEASE} / {RELEASE} of the pair before:  {before}",
        f"{WITH_HOOKS} {verdict}: {'within noise' if is_noise(pairs) else 'MORE THAN NOISE'}",
    ]


def compare(rates: Dict[str, List[float]]) -> "tuple[Spread, Spread]":
    """The ratio of each pair, and of each run of the release to the one before."""
    released = rates[RELEASE]
    return (Spread([hooks / plain for hooks, plain in zip(rates[WITH_HOOKS], released)]),
            Spread([after / before for before, after in zip(released, released[1:])]))


def is_noise(pairs: Spread) -> bool:
    """Whether the ratios may come from two sides that are equally fast."""
    low, high, _ = pairs.interval
    return low <= 1 <= high


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Times parsl-perf on local threads with and without the hooks in the DataFlowKernel.")
    parser.add_argument("--runs", type=int, default=10, help="pairs of runs (10)")
    parser.add_argument("--time", type=float, default=4.0, help="seconds that the measured part of each run is to take (4)")
    options = parser.parse_args(arguments)
    if options.runs < 2:
        parser.error(f"--runs must be at least 2, not {options.runs}")
    if not options.time > 0:
        parser.error(f"--time must be more than 0, not {options.time}")
    rates: Dict[str, List[float]] = {RELEASE: [], WITH_HOOKS: []}
    with tempfile.TemporaryDirectory() as folder:
        trees = {RELEASE: Path(folder), WITH_HOOKS: FORK}
        unpack_release(trees[RELEASE])
        for side, tree in trees.items():
            check_side(tree, hooks=side == WITH_HOOKS)
        for pair in range(options.runs):
            for side in order(pair):
                rates[side].append(tasks_per_second(trees[side], options.time))
            print(f"pair {pair + 1:2}: {RELEASE} {rates[RELEASE][-1]:6.0f} tasks/s, {WITH_HOOKS} {rates[WITH_HOOKS][-1]:6.0f} tasks/s, "
                  f"ratio {rates[WITH_HOOKS][-1] / rates[RELEASE][-1]:.3f}", flush=True)
    print("\n".join(summary(rates)))
    return 0 if is_noise(compare(rates)[0]) else 1


if __name__ == "__main__":
    # Python's threads take turns anyway; on several processors how they do that varies, and by far more than what is to be seen here.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        sys.exit(main())
    except BenchmarkError as e:
        sys.exit(f"bench-hooks: {e}")
