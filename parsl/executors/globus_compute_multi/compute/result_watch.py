"""Decides when the service is asked for results, beside the result stream."""
from __future__ import annotations

import logging
from typing import Callable, Iterable, List, Mapping, Optional, Set, Tuple

from parsl.executors.globus_compute_multi.compute.matching import Matcher
from parsl.executors.globus_compute_multi.compute.result_fetcher import MOST_AT_ONCE

logger = logging.getLogger(__name__)

#: Seconds without the result stream after which results are asked for over HTTPS, and least seconds from one time to the next.
PATIENCE = 10.0
POLL_SECONDS = 5.0

#: Seconds from when the result stream is back until what it may have missed is asked for: what it has not missed comes first.
_SETTLE_SECONDS = 5.0


class ResultWatch:
    """Knows how the result stream is, and asks for what it does not bring.

    That is: what the scheduler misses; what may have been lost while the stream was interrupted; and everything, again and again, while there
    is no stream. It has no thread and no clock: the owner of the scheduler tells it what happens.

    Parameters
    ----------
    matcher : Matcher
        Knows the service's task UUIDs. An attempt whose UUID is not known is asked for when its submission has been answered.
    fetch : callable
        Takes pairs of attempt ID and task UUID.
    spacing : float
        Seconds from one request to the next that keep to the share of the request budget that may be used for this.
    """

    def __init__(self, matcher: Matcher, fetch: Callable[[Iterable[Tuple[str, str]]], None], spacing: float) -> None:
        self._matcher = matcher
        self._fetch = fetch
        self._spacing = spacing
        self._missed: Set[str] = set()
        self._connected: Optional[bool] = None
        self._lost_at: Optional[float] = None
        self._polling = False
        self._next_poll = 0.0
        self._before_loss: Tuple[str, ...] = ()
        self._settled_at = float("inf")

    def submitted(self, now: float, attempts: Iterable[str]) -> None:
        """The service has taken these attempts, so there are results to come, and their task UUIDs are known."""
        if self._connected is None and self._lost_at is None:
            self._lost_at = now
        self._ask(self._missed.intersection(attempts))

    def changed(self, now: float, connected: bool, attempts: Iterable[str]) -> None:
        """The result stream is connected, or is not any more, while these attempts are under way."""
        if not connected:
            if self._lost_at is None:
                self._lost_at = now
        else:
            if self._polling:
                logger.warning("Results come over AMQP again.")
            if self._connected is not None:
                self._before_loss, self._settled_at = tuple(attempts), now + _SETTLE_SECONDS
            self._lost_at, self._polling = None, False
        self._connected = connected

    def miss(self, attempts: Iterable[str]) -> None:
        """The scheduler wants to know what the service has of these attempts."""
        self._missed.update(attempts)
        self._ask(attempts)

    def fetched(self, attempts: Iterable[str]) -> List[str]:
        """The service was asked for these attempts; returns those of them that the scheduler wants to know of."""
        missed = [attempt_id for attempt_id in attempts if attempt_id in self._missed]
        self._missed.difference_update(missed)
        return missed

    def tick(self, now: float, attempts: Mapping[str, object]) -> None:
        """Time has passed, and these attempts are under way."""
        self._missed = {attempt_id for attempt_id in self._missed if attempt_id in attempts}
        if now >= self._settled_at:
            self._settled_at = float("inf")
            self._ask(attempt_id for attempt_id in self._before_loss if attempt_id in attempts)
            self._before_loss = ()
        if not attempts or self._lost_at is None or now < max(self._lost_at + PATIENCE, self._next_poll):
            return
        if not self._polling:
            self._polling = True
            logger.warning(
                "The broker of Globus Compute has not been reachable over AMQP for %.0f s. Results are asked for over HTTPS meanwhile, which "
                "takes some seconds more and a part of the request budget; AMQP is tried again now and then. If this network does not let the "
                "broker's port through, amqp_port=443 may help.", now - self._lost_at)
        requests = -(-len(attempts) // MOST_AT_ONCE)
        self._next_poll = now + max(POLL_SECONDS, requests * self._spacing)
        self._ask(attempts)

    def _ask(self, attempts: Iterable[str]) -> None:
        known = [(attempt_id, self._matcher.uuid_of(attempt_id)) for attempt_id in attempts]
        tasks = [(attempt_id, task_uuid) for attempt_id, task_uuid in known if task_uuid is not None]
        if tasks:
            self._fetch(tasks)
