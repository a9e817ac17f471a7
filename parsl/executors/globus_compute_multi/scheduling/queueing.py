"""How much work to queue ahead on an endpoint, so that its threads stay full while results travel and requests wait for their turn.

Two things delay a refill: results are seen up to half a second late (the endpoint publishes twice a second), and the service grants
few requests, so that with many endpoints each one's turn comes seldom. Work queued ahead bridges both; but what is queued
ahead is bound early, so it must be no more than that, and shrink when little work is left.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

#: Shortest horizon, in seconds. Measured with real agents: 0.5 s and 1 s of work starve the threads, 2 to 5 s do not.
SHORTEST_HORIZON = 2.0

#: An endpoint's agent needs about a millisecond for a task, however short the task is (measured: 400 to 1,000 tasks/s).
AGENT_SECONDS_PER_TASK = 0.001


@dataclass(frozen=True)
class AheadRule:
    """How much may be queued ahead.

    Parameters
    ----------
    requests_per_second : float or None
        Rate at which the service grants requests; None if it does not limit them.
    tasks_per_thread : int or None
        Fixed bound set by the user, in tasks for each thread, instead of the adaptive one.
    """

    requests_per_second: Optional[float]
    tasks_per_thread: Optional[int] = None

    def horizon(self, endpoints: int) -> float:
        """Seconds of work that an endpoint's threads need ahead when ``endpoints`` share the requests.

        Twice the time between two turns of one endpoint: one may pass just before its threads run dry.
        """
        if self.requests_per_second is None:
            return SHORTEST_HORIZON
        return max(SHORTEST_HORIZON, 2 * endpoints / self.requests_per_second)

    def thread_seconds(self, run_seconds: float, threads: int) -> float:
        """Share of an endpoint's threads that a task of ``run_seconds`` takes, its agent's own work included."""
        return max(run_seconds, AGENT_SECONDS_PER_TASK * threads)

    def allows(self, *, run_seconds: Optional[float], ahead_seconds: float, ahead_tasks: int, threads: int, horizon: float) -> bool:
        """Whether one more task may be queued ahead.

        Parameters
        ----------
        run_seconds : float or None
            Expected run time of the task. Nothing is queued ahead on a guess: None is refused.
        ahead_seconds : float
            Thread-seconds queued ahead already.
        ahead_tasks : int
            Tasks queued ahead already.
        threads : int
            Threads of the endpoint.
        horizon : float
            Seconds to bridge, shrunk to the fair share of what is left.
        """
        if self.tasks_per_thread is not None:
            return ahead_tasks < self.tasks_per_thread * threads
        if run_seconds is None:
            return False
        # half a task may stick out over the horizon: rounding, not truncation, so that long tasks get few ahead but not always none
        return ahead_seconds + self.thread_seconds(run_seconds, threads) / 2 <= horizon * threads
