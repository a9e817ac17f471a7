"""What results and statuses tell of endpoints and their children: whether they are there, run, and with how many workers."""
from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from parsl.executors.globus_compute_multi.scheduling.events import (
    ResultReceived,
    StatusReceived,
)
from parsl.executors.globus_compute_multi.scheduling.placement import Placement
from parsl.executors.globus_compute_multi.scheduling.pool import Pool, PooledEndpoint
from parsl.executors.globus_compute_multi.scheduling.restarts import Restarts
from parsl.executors.globus_compute_multi.scheduling.runtimes import LONGEST
from parsl.executors.globus_compute_multi.scheduling.statuses import StatusPlan, Target
from parsl.executors.globus_compute_multi.scheduling.threads import Child


class Health:
    """Keeps the pool's account of what is alive, and decides whose status is asked for next.

    Parameters
    ----------
    pool : Pool
    placement : Placement
    restarts : Restarts
    statuses : StatusPlan
    log : callable
        ``log(**fields)``: write a line to the run log.
    """

    def __init__(self, pool: Pool, placement: Placement, restarts: Restarts, statuses: StatusPlan, log: Callable[..., None]) -> None:
        self._pool = pool
        self._placement = placement
        self._restarts = restarts
        self._statuses = statuses
        self._log = log
        self._watching = False

    def due(self, now: float) -> Optional[Target]:
        """Whose status is to be asked for at ``now``; None if nobody's."""
        if not self._watching:
            self._watching = True
            for endpoint in self._pool:
                self._statuses.watch((endpoint.name, None), now)
        return self._statuses.due(now)

    def status(self, event: StatusReceived) -> None:
        """Take in a status."""
        endpoint = self._pool[event.endpoint]
        self._statuses.heard((event.endpoint, event.child_id), event.time)
        fields: Dict[str, Any] = {"child": event.child_id, "online": event.online, "workers": event.workers, "pending": event.pending}
        self._log(kind="endpoint", endpoint=endpoint.name, state="status", **{k: v for k, v in fields.items() if v is not None})
        if event.child_id is not None:
            child = next((c for c in endpoint.children if c.ids and c.ids[-1] == event.child_id), None)
            if child is not None and event.workers is not None:
                self._set_workers(child, event.workers, event.time)
        elif event.online is not None and (event.online or endpoint.may_be_offline(event.time)):
            self._set_online(endpoint, event.online, event.time)

    def result(self, child: Child, event: ResultReceived) -> None:
        """Take in that a result came from ``child``."""
        endpoint = child.endpoint
        if endpoint.paused_until is not None:
            self._log(kind="endpoint", endpoint=endpoint.name, state="resumed")
        away = not endpoint.available
        endpoint.heard_result(event.time)
        if away:
            self._set_online(endpoint, True, event.time)
        self._statuses.heard((endpoint.name, None), event.time)
        if not child.warm:
            self._warm(child, event.run_seconds or 0.0, event.time)
        if event.child_id is None:
            return
        target = endpoint.name, event.child_id
        if event.child_id not in child.ids:
            child.ids.append(event.child_id)
            self._log(kind="endpoint", endpoint=endpoint.name, state="child", child=event.child_id)
            # a result is as good as a status, but only a status tells how many workers there are
            self._statuses.watch(target, event.time if endpoint.count_is_given else float("-inf"))
        elif endpoint.count_is_given:
            self._statuses.heard(target, event.time)

    def _warm(self, child: Child, run_seconds: float, now: float) -> None:
        # an endpoint's clock may have been set back or forth while the task ran
        asked = now if child.asked is None else child.asked
        began = max(asked, now - run_seconds) if 0 <= run_seconds <= LONGEST else now
        if child.asked is not None:
            child.endpoint.startup_seconds = began - asked
        child.warm = True
        for threads in child.classes:
            threads.began(began)
        self._restarts.warm(child)
        self._placement.compare_again()
        self._log(kind="endpoint", endpoint=child.endpoint.name, state="warm")

    def _set_workers(self, child: Child, workers: int, now: float) -> None:
        if workers == 0:
            # its batch job has ended, say, and the next waits in the queue; unless that is an old story
            if child.warm and child.endpoint.may_be_offline(now):
                child.warm, child.asked = False, None
                if any(threads.running for threads in child.classes):
                    self._restarts.asked(child, now)
                self._placement.compare_again()
                self._log(kind="endpoint", endpoint=child.endpoint.name, state="cold")
            return
        if not child.warm:
            self._warm(child, 0.0, now)
        threads = child.classes[0]
        if child.endpoint.count_is_given or len(child.classes) > 1 or threads.count == workers:
            return
        self._log(kind="endpoint", endpoint=child.endpoint.name, state="threads", thread_class=threads.index, count=workers)
        for attempt in threads.resize(workers):
            self._log(kind="attempt", attempt=attempt.id, state="queued_ahead")
        while True:
            successor = threads.promote(now)
            if successor is None:
                break
            self._log(kind="attempt", attempt=successor.id, state="running")
        self._pool.note(threads)

    def _set_online(self, endpoint: PooledEndpoint, online: bool, now: float) -> None:
        if endpoint.online != online:
            endpoint.online = online
            self._log(kind="endpoint", endpoint=endpoint.name, state="online" if online else "offline")
        self._pool.note_endpoint(endpoint, now)
