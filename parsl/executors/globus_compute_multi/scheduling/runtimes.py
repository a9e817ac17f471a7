"""Run times of apps and speeds of endpoints, learned while the workflow runs.

The run time of a task is taken to be the mean of its app times the factor of its endpoint, times chance. What is seen of one app on one
endpoint is kept in a *cell*: so all factors can be fitted to all cells, again and again, in little time. An app that has run on one endpoint
only says nothing about its factor, and one that ran there often and elsewhere once says little: that follows from the fit.
"""
from __future__ import annotations

import math
from types import MappingProxyType
from typing import Dict, List, Mapping, Optional, Tuple

#: Runs of a cell that count; older ones fade.
MEMORY = 50

#: The first runs of an app are judged together, by their median. A later one is judged by what was expected.
FIRST_RUNS = 5

#: A run that took more than so many times what was expected, or so many times less, counts as that many times: it may be an accident.
OUTLIER = 8.0

#: Such runs double that bound (they may be no accidents) and others shrink it again, by this factor: what happens once in ten runs is learned.
CALM = 0.95

#: Longer run times are refused: whoever measured them has a broken clock. Seconds.
LONGEST = 1e10

#: Run times below are those of the call, not of its work; they say nothing about speed. Seconds.
SHORTEST_TELLING = 1e-3

#: The same for ratios of run times to estimates.
SMALLEST_RATIO = 1e-9

#: What is expected of the logarithm of a run time before anything is seen, and what number of runs that weighs: its spread by chance.
EXPECTED_SPREAD = 0.6
EXPECTED_SPREAD_RUNS = 5

#: Spread of the logarithms of endpoints' factors that is expected.
EXPECTED_FACTOR_SPREAD = 0.7

#: Ratio of factors from which on it is worth while to wait for the faster endpoint.
CLEAR_RATIO = 1.3
_CLEAR_LOG = math.log(CLEAR_RATIO)

#: Two of n endpoints differ not by chance if their factors' logarithms are sqrt(CERTAIN + 4 log n) standard errors apart: each pair may look
#: different by chance, so the chance of one must fall with the square of n. This is 2.6 for two endpoints, 3.1 for four, 4 for twenty.
CERTAIN = 4.0

#: Fits are this many runs apart in the end; first they are as many as an eighth of the runs seen.
RUNS_BETWEEN_FITS = 10

#: With many cells fits are as many runs apart as there are cells, when each has so many; before, a part of the runs seen.
KNOWN_RUNS = 64


class _Cell:
    """Runs of one app on one endpoint: mean, and of the logarithm mean and sum of squares around it."""

    __slots__ = ("runs", "mean", "log", "squares")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.runs = 0
        self.mean = self.log = self.squares = 0.0

    def add(self, value: float, shortest: float) -> None:
        """Add a run; below ``shortest``, its logarithm is that of ``shortest``."""
        if self.runs == MEMORY:
            self.squares *= 1 - 1 / MEMORY
        else:
            self.runs += 1
        self.mean += (value - self.mean) / self.runs
        log = math.log(max(value, shortest))
        off = log - self.log
        self.log += off / self.runs
        self.squares += off * (log - self.log)


class _Series:
    """Runs of one app, on any endpoint; in seconds, or in units of what each was estimated to take."""

    def __init__(self, shortest: float) -> None:
        self.samples = 0
        self.unit = 1.0  # seconds
        self.cells: Dict[str, _Cell] = {}
        self.runs = 0  # of all cells
        self.total = 0.0  # of all cells, as on an endpoint of factor 1
        self.logs = 0.0  # likewise, of the logarithms; up to date in a fit only
        self._shortest = shortest
        self._bound = OUTLIER
        self._first: List[Tuple[str, float]] = []

    @property
    def mean(self) -> float:
        """On an endpoint of factor 1, in units."""
        return self.total / self.runs

    def observe(self, endpoint: str, value: float, factors: Mapping[str, float]) -> None:
        """Learn from a run of ``value`` units."""
        self.samples += 1
        if endpoint not in self.cells:
            self.cells[endpoint] = _Cell()
        if self.samples <= FIRST_RUNS:
            self._first.append((endpoint, value))
            self._judge_first(factors)
            return
        self._first.clear()
        cell, factor = self.cells[endpoint], factors[endpoint]
        judged = self._within(value, self.mean * factor, self._bound)
        self._bound = max(OUTLIER, self._bound * (CALM if judged == value else 2))
        self.runs -= cell.runs
        self.total -= cell.runs * cell.mean / factor
        cell.add(judged, self._shortest)
        self.runs += cell.runs
        self.total += cell.runs * cell.mean / factor

    def _judge_first(self, factors: Mapping[str, float]) -> None:
        """Fill the cells afresh from the first runs: that one of them is an outlier shows only when there are others."""
        at_1 = sorted(value / factors[endpoint] for endpoint, value in self._first)
        median = at_1[(len(at_1) - 1) // 2]
        for cell in self.cells.values():
            cell.clear()
        for endpoint, value in self._first:
            self.cells[endpoint].add(self._within(value, median * factors[endpoint], OUTLIER), self._shortest)
        self.sum_up(factors)

    def _within(self, value: float, expected: float, bound: float) -> float:
        # runs of no length are never outliers, and say nothing of what is one
        return min(max(value, expected / bound), max(expected, self._shortest) * bound)

    def sum_up(self, factors: Mapping[str, float]) -> None:
        """Compute the sums afresh, with other factors."""
        self.runs = sum(cell.runs for cell in self.cells.values())
        self.total = sum(cell.runs * cell.mean / factors[endpoint] for endpoint, cell in self.cells.items())


class RunTimes:
    """Run times of apps and factors of endpoints, learned on line.

    Parameters
    ----------
    speeds : mapping of str to float
        Relative speeds of endpoints that are known beforehand (2.0 is twice as fast as 1.0): these are not learned, and the factors of others
        are relative to them.

    Attributes
    ----------
    fits : int
        How often the factors have changed.
    least : float
        No factor is smaller.

    Raises
    ------
    ValueError
        If a speed is not a positive finite number.
    """

    def __init__(self, speeds: Mapping[str, float] = MappingProxyType({})) -> None:
        for endpoint, speed in speeds.items():
            if not 0 < speed < math.inf:
                raise ValueError(f"the speed of endpoint {endpoint} is {speed!r}: it must be a positive finite number")
        self._given = frozenset(speeds)
        self._logs = {endpoint: -math.log(speed) for endpoint, speed in speeds.items()}  # of the factors, as fitted
        self._factors = {endpoint: 1 / speed for endpoint, speed in speeds.items()}
        self._variances = dict.fromkeys(speeds, 0.0)  # of the logarithms of factors
        self._spread = EXPECTED_SPREAD ** 2  # variance of the logarithm of a run time by chance
        self._series: Dict[Tuple[str, bool], _Series] = {}
        self._cells: Dict[str, List[Tuple[_Series, _Cell]]] = {}  # by endpoint
        self._cell_count = 0
        self._samples: Dict[str, int] = {}  # of each app
        self._observed = 0
        self._fit_at = 1
        self.fits = 0
        self.least = min((1.0, *self._factors.values()))
        self._fastest = 0.0  # at most so much is the logarithm of the factor of one that could be clearly faster, and what is not known of it
        self._fastest_of = -1  # of this fit
        self._typical = 1.0

    def observe(self, app: str, endpoint: str, seconds: float, given: Optional[float] = None) -> None:
        """Learn from one finished run.

        Parameters
        ----------
        app, endpoint : str
        seconds : float
            How long it ran there.
        given : float, optional
            How long the user expected this very task to run, in seconds. Then only the ratio counts: the app's tasks may differ at will.

        Raises
        ------
        ValueError
            If a time is negative, not a number, or longer than centuries. Nothing is learned.
        """
        for name, value in (("run time", seconds), ("estimated run time", given)):
            if value is not None and not 0 <= value <= LONGEST:
                raise ValueError(f"the {name} of a task of {app} on endpoint {endpoint} is {value!r}: "
                                 f"it must be between 0 and {LONGEST:g} seconds")
        if endpoint not in self._cells:
            self._cells[endpoint] = []
            self._factors.setdefault(endpoint, 1.0)
            self._logs.setdefault(endpoint, 0.0)
        key = (app, given is not None)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(SHORTEST_TELLING if given is None else SMALLEST_RATIO)
        is_new = endpoint not in series.cells
        if given is None:
            series.observe(endpoint, seconds, self._factors)
        else:
            series.unit = given if not series.samples else series.unit + (given - series.unit) / min(series.samples + 1, MEMORY)
            series.observe(endpoint, max(seconds, SHORTEST_TELLING) / max(given, SHORTEST_TELLING), self._factors)
        if is_new:
            self._cells[endpoint].append((series, series.cells[endpoint]))
            self._cell_count += 1
        self._samples[app] = self._samples.get(app, 0) + 1
        self._observed += 1
        if self._observed >= self._fit_at:
            self._fit()
            # with many cells less often, so that the fits cost the same for each run; and seldom when much is known, to which a run adds little
            well_known = min(self._observed // KNOWN_RUNS, self._cell_count)
            self._fit_at = self._observed + max(1, min(self._observed // 8, RUNS_BETWEEN_FITS), self._cell_count // 4, well_known)

    def mean(self, app: str) -> Optional[float]:
        """Expected seconds of a run of ``app`` on an endpoint of factor 1; None if it has not been seen."""
        series = self._series.get((app, False)) or self._series.get((app, True))
        return None if series is None else series.unit * series.mean

    def samples(self, app: str) -> int:
        """How many runs of ``app`` have been seen."""
        return self._samples.get(app, 0)

    def typical(self) -> float:
        """What to expect of an app that was never seen, in seconds: the mean over those seen, or 1."""
        return self._typical

    def factor(self, endpoint: str) -> float:
        """How many times longer tasks run on ``endpoint`` than on one of factor 1; 1 as long as nothing else is known.

        Without given speeds, the geometric mean over the endpoints is about 1.
        """
        return self._factors.get(endpoint, 1.0)

    def clearly_faster(self, fast: str, slow: str) -> bool:
        """Whether tasks run so much shorter on ``fast`` than on ``slow`` that it matters, and that is not chance."""
        difference = self._logs.get(slow, 0.0) - self._logs.get(fast, 0.0)
        if difference < _CLEAR_LOG:
            return False
        unknown = EXPECTED_FACTOR_SPREAD ** 2
        variance = self._variances.get(fast, unknown) + self._variances.get(slow, unknown)
        certain = CERTAIN + 4 * math.log(max(len(self._cells), 1))
        return difference >= math.sqrt(certain * variance)

    def may_be_slower(self, slow: str) -> bool:
        """Whether there may be an endpoint that is :meth:`clearly_faster`; it takes a look at each once after each fit only."""
        if self._fastest_of != self.fits:
            self._fastest_of = self.fits
            self._fastest = min(self._logs.get(fast, 0.0) + self._doubt(fast) for fast in (*self._logs, ""))  # "": one never seen
        return self._logs.get(slow, 0.0) - self._doubt(slow) >= self._fastest

    def _doubt(self, endpoint: str) -> float:
        # the root of a sum is at least the sum of the roots over the root of 2; what may be lost by rounding is left out of it
        unknown = EXPECTED_FACTOR_SPREAD ** 2
        return math.sqrt((CERTAIN + 4 * math.log(max(len(self._cells), 1))) * self._variances.get(endpoint, unknown) / 2) * (1 - 1e-9)

    def _fit(self) -> None:
        """Fit the endpoints' factors to all cells: weighted least squares over the logarithms, with a weak pull towards 1.

        One endpoint after the other is moved to where its cells fit best to what the same apps took elsewhere; the next fit goes on from there.
        The weight of a cell is the precision of that comparison, so an app that ran nowhere else has none.
        """
        self.fits += 1
        logs, several = self._logs, [series for series in self._series.values() if len(series.cells) > 1]
        if several:
            pull = self._spread / EXPECTED_FACTOR_SPREAD ** 2
            for series in several:
                series.logs = sum(cell.runs * (cell.log - logs[endpoint]) for endpoint, cell in series.cells.items())
            for endpoint, cells in self._cells.items():
                if endpoint not in self._given:
                    self._move(endpoint, cells, pull)
            self._learn_spread(several)
            fitted = [endpoint for endpoint in self._variances if endpoint not in self._given]
            # only ratios can be seen; with given speeds, these say what 1 is
            centre = 0.0 if self._given else sum(logs[endpoint] for endpoint in fitted) / len(fitted)
            for endpoint in fitted:
                logs[endpoint] -= centre
                self._factors[endpoint] = self._shrunk(endpoint)
        self.least = min((1.0, *self._factors.values()))
        for series in self._series.values():
            series.sum_up(self._factors)
        self._typical = sum(series.unit * series.mean for series in self._series.values()) / len(self._series)

    def _move(self, endpoint: str, cells: List[Tuple[_Series, _Cell]], pull: float) -> None:
        log, weights, sum_of_logs = self._logs[endpoint], 0.0, 0.0
        for series, cell in cells:
            elsewhere = series.runs - cell.runs
            if elsewhere:
                weight = cell.runs * elsewhere / series.runs
                weights += weight
                sum_of_logs += weight * (cell.log - (series.logs - cell.runs * (cell.log - log)) / elsewhere)
        if not weights:
            return
        moved = sum_of_logs / (weights + pull)
        for series, cell in cells:
            series.logs -= cell.runs * (moved - log)
        self._logs[endpoint] = moved
        # the others are not known exactly either: exact if all endpoints have the same share of the same apps
        endpoints = len(self._cells)
        self._variances[endpoint] = self._spread / (weights * endpoints / (endpoints - 1) + pull)

    def _learn_spread(self, several: List[_Series]) -> None:
        squares, freedom = EXPECTED_SPREAD_RUNS * EXPECTED_SPREAD ** 2, EXPECTED_SPREAD_RUNS + 1 - len(self._cells)
        for series in several:
            squares -= series.logs ** 2 / series.runs
            freedom += series.runs - 1
            for endpoint, cell in series.cells.items():
                squares += cell.squares + cell.runs * (cell.log - self._logs[endpoint]) ** 2
        self._spread = max(squares, 0.0) / max(freedom, EXPECTED_SPREAD_RUNS)

    def _shrunk(self, endpoint: str) -> float:
        """The factor, brought nearer to 1 by what may be chance (Breiman's garrote: much for one near 1, little for others)."""
        log = self._logs[endpoint]
        variance = self._variances[endpoint]
        return 1.0 if log * log <= variance else math.exp(log - variance / log)
