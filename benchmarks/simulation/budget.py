"""The request budget of a set-up in virtual time: the executor's own governor."""
from __future__ import annotations

from typing import Callable

from parsl.executors.globus_compute_multi.compute.governor import Governor
from simulation.setups import Setup

#: The governor's next moment is a sum of floats; this much later it has come for certain.
_ROUNDING = 1e-6


class Budget:
    """Says when a request may be sent.

    Parameters
    ----------
    setup : Setup
    clock : callable
        Virtual seconds.
    """

    def __init__(self, setup: Setup, clock: Callable[[], float]) -> None:
        self._governor = None if setup.requests is None else Governor(*setup.requests, clock)
        self._clock = clock

    def take(self) -> bool:
        """Take a request from the budget, if there is one now."""
        if self._governor is None:
            return True
        taken = self._governor.try_submission()
        if taken:
            self._governor.ended()  # it has no duration here
        return taken

    def next_at(self) -> float:
        """When to try again after a refusal."""
        wait = 0.0 if self._governor is None else self._governor.submission_wait()
        return self._clock() + max(0.0, wait) + _ROUNDING
