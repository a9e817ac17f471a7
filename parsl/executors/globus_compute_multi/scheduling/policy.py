"""Which endpoint is served next."""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Sequence

from parsl.executors.globus_compute_multi.scheduling.pool import PooledEndpoint


class Policy(metaclass=ABCMeta):
    """Chooses the endpoint that the next request goes to."""

    @abstractmethod
    def choose(self, endpoints: Sequence[PooledEndpoint]) -> PooledEndpoint:
        """Choose one of ``endpoints``: available ones that could take at least one pending task, never empty."""


class LeastLoaded(Policy):
    """The endpoint with the largest share of its threads free; among full ones, that with the least work queued ahead for each thread.

    Observations: on equal endpoints it is within a few percent of the best list schedules; where speeds differ clearly it is not, since it
    sends the last tasks to slow threads as gladly as to fast ones.
    """

    def choose(self, endpoints: Sequence[PooledEndpoint]) -> PooledEndpoint:
        """Choose by load; ties go to the endpoint with more free threads, then to the user's order."""
        return min(endpoints, key=lambda e: (-e.free_threads / e.threads, e.ahead_seconds / e.threads, -e.free_threads))
