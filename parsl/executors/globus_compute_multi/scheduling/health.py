"""What results and statuses tell of endpoints and their children: whether they are there, run, and with how many workers."""
from __future__ import annotations

import math
from typing import Any, Dict, Optional

from parsl.executors.globus_compute_multi.scheduling import lines
from parsl.executors.globus_compute_multi.scheduling.events import (
    Outcome,
    ResultReceived,
    StatusReceived,
)
from parsl.executors.globus_compute_multi.scheduling.failover import Failover
from parsl.executors.globus_compute_multi.scheduling.ledger import Ledger
from parsl.executors.globus_compute_multi.scheduling.placement import Placement
from parsl.executors.globus_compute_multi.scheduling.pool import Pool, PooledEndpoint
from parsl.executors.globus_compute_multi.scheduling.restarts import Restarts
from parsl.executors.globus_compute_multi.scheduling.runtimes import LONGEST
from parsl.executors.globus_compute_multi.scheduling.statuses import (
    StatusPlan,
    Target,
    Urgency,
)
from parsl.executors.globus_compute_multi.scheduling.threads import Attempt, Child

#: A status of "offline" of a child is not believed while results came from it within this time, in seconds.
DOUBT_CHILD_SECONDS = 10.0

#: A child that holds tasks is asked about twice in a heartbeat, but not more often than this, in seconds; if its tasks are late, as often as
#: the share of statuses in the request budget allows.
SHORTEST_INTERVAL = 5.0

#: A child whose first tasks have taken so many times what was expected, and two seconds, is asked about before others.
_LATE = 1.5
_LATENCY_SECONDS = 2.0


class Health:
    """Keeps the pool's account of what is alive, and decides whose status is asked for next.

    Parameters
    ----------
    pool : Pool
    placement : Placement
    restarts : Restarts
    statuses : StatusPlan
    failover : Failover
    ledger : Ledger
    """

    def __init__(self, *, pool: Pool, placement: Placement, restarts: Restarts, statuses: StatusPlan, failover: Failover,
                 ledger: Ledger) -> None:
        self._pool = pool
        self._placement = placement
        self._restarts = restarts
        self._statuses = statuses
        self._failover = failover
        self._ledger = ledger
        self._children: Dict[str, Child] = {}
        self._watching = False

    def due(self, now: float, scarce: bool) -> Optional[Target]:
        """Whose status is to be asked for at ``now``; None if nobody's. ``scarce``: tasks wait for a request."""
        if not self._watching:
            self._watching = True
            for endpoint in self._pool:
                self._statuses.watch((endpoint.name, None), now)
        return self._statuses.due(now, lambda target: self._urgency(target, now, scarce))

    def _urgency(self, target: Target, now: float, scarce: bool) -> Optional[Urgency]:
        endpoint, child = self._pool[target[0]], None if target[1] is None else self._children.get(target[1])
        if scarce and endpoint.available and (child is None or endpoint.count_is_given) and all(c.is_idle for c in endpoint.children):
            return Urgency(False, math.inf, can_wait=True)  # no task is lost if it is not as well as it was
        first = None if child is None else next((a for threads in child.classes for a in threads.running.values()), None)
        if child is None or first is None or not child.warm:
            return None
        if now - first.began > _LATE * self._placement.run_seconds(first.task, first.threads) + _LATENCY_SECONDS:
            return Urgency(True, 0.0)
        # a child that was idle is asked about if its first tasks do not show soon that it lives; how many workers it has only a status tells
        return Urgency(False, max(SHORTEST_INTERVAL, child.heartbeat / 2), since=first.began if endpoint.count_is_given else -math.inf)

    def status(self, event: StatusReceived) -> None:
        """Take in a status."""
        endpoint = self._pool[event.endpoint]
        target = event.endpoint, event.child_id
        fields: Dict[str, Any] = {"child": event.child_id, "online": event.online, "workers": event.workers, "pending": event.pending}
        self._ledger.log((lines.endpoint, endpoint.name, "status", {k: v for k, v in fields.items() if v is not None}))
        self._statuses.heard(target, event.time)
        if event.child_id is None:
            if event.online is not None and (event.online or endpoint.may_be_offline(event.time)):
                self._set_online(endpoint, event.online, event.time)
            return
        child = self._children.get(event.child_id)
        if child is None:
            self._statuses.forget(target)  # another process has taken its place
        elif event.online is False:
            if not child.warm:
                self._failover.not_started(child)
            elif child.last_result is None or event.time - child.last_result > DOUBT_CHILD_SECONDS:
                self._ledger.log((lines.endpoint, endpoint.name, "child_offline", {"child": event.child_id}))
                self._failover.child_gone(child, "its child process is offline")
        else:
            if event.heartbeat is not None:
                child.heartbeat = event.heartbeat
            if event.workers is not None:
                self._set_workers(child, event.workers, event.time)
            self._compare_counts(child, event)

    def _compare_counts(self, child: Child, event: StatusReceived) -> None:
        """See whether the child's own account of tasks has room for all that it is taken to hold."""
        if event.outstanding:
            child.busy_at = event.time
        if event.taken is not None:
            before, child.taken = child.taken, event.taken
            if before is not None and event.taken < before:
                self._failover.suspect(child)
        if event.outstanding == 0 and event.heartbeat is not None:
            # an old heartbeat may be told, and what came in after it
            old = event.time - 2 * event.heartbeat - DOUBT_CHILD_SECONDS
            held = [attempt for attempt in child.held() if attempt.accepted is not None and attempt.accepted < old]
            self._failover.ask_for(held, "its child process says that it has no task left")

    def result(self, attempt: Attempt, event: ResultReceived) -> None:
        """Take in that ``attempt`` has brought a result."""
        child, endpoint = attempt.threads.child, attempt.threads.endpoint
        if event.by_service:
            return  # no sign of life
        self._heard(endpoint, event.time)
        before, child.last_result = child.last_result, event.time
        if not child.warm:
            self._warm(child, event.run_seconds or 0.0, event.time)
        if event.process is not None and event.process not in child.processes:
            if child.processes and before is not None:
                self._failover.restarted(child, before, attempt)
            child.processes.add(event.process)
        if event.child_id is None:
            return
        target = endpoint.name, event.child_id
        if child.id != event.child_id:
            if child.id is not None:
                self._statuses.forget((endpoint.name, child.id))
                self._children.pop(child.id, None)
            child.id = event.child_id
            self._children[event.child_id] = child
            self._ledger.log((lines.endpoint, endpoint.name, "child", {"child": event.child_id}))
            # a result is as good as a status, but only a status tells how many workers there are
            self._statuses.watch(target, event.time if endpoint.count_is_given else float("-inf"))
        elif endpoint.count_is_given:
            self._statuses.heard(target, event.time)

    def stray(self, event: ResultReceived) -> None:
        """Take in that a result came of an attempt that was given up."""
        attempt = self._ledger.attempt_of(event.attempt_id)
        if event.child_id is None or attempt is None:
            return  # it may have been on its way for long
        endpoint, child = attempt.threads.endpoint, self._children.get(event.child_id)
        if child is not None:
            child.last_result = event.time
        self._heard(endpoint, event.time)
        if event.outcome is Outcome.OK:
            self._failover.recovered(attempt.threads.child)

    def _heard(self, endpoint: PooledEndpoint, now: float) -> None:
        endpoint.last_result = now
        if not endpoint.online:
            self._set_online(endpoint, True, now)
        self._statuses.heard((endpoint.name, None), now)

    def _warm(self, child: Child, run_seconds: float, now: float) -> None:
        # an endpoint's clock may have been set back or forth while the task ran
        asked = now if child.asked is None else child.asked
        began = max(asked, now - run_seconds) if 0 <= run_seconds <= LONGEST else now
        if child.asked is not None:
            child.endpoint.startup_seconds = began - asked
        child.warm = True
        for threads in child.classes:
            threads.began(began)
        for threads in child.endpoint.classes:  # it is known how long it takes to start
            self._pool.note(threads)
        self._restarts.forget(child)
        self._placement.compare_again()
        self._ledger.log((lines.endpoint, child.endpoint.name, "warm"))

    def _set_workers(self, child: Child, workers: int, now: float) -> None:
        if workers == 0:
            # its batch job has ended, say, and the next waits in the queue; unless that is an old story
            if child.warm and child.endpoint.may_be_offline(now):
                child.cool()
                for threads in child.classes:
                    self._pool.note(threads)
                if any(threads.running for threads in child.classes):
                    self._restarts.asked(child, now)
                self._placement.compare_again()
                self._ledger.log((lines.endpoint, child.endpoint.name, "cold"))
            return
        if not child.warm:
            self._warm(child, 0.0, now)
        threads = child.classes[0]
        if child.endpoint.count_is_given or len(child.classes) > 1 or threads.count == workers:
            return
        self._ledger.log((lines.endpoint, child.endpoint.name, "threads", {"thread_class": threads.index, "count": workers}))
        for attempt in threads.resize(workers):
            self._ledger.log((lines.attempt, attempt.id, "queued_ahead"))
        while True:
            successor = threads.promote(now)
            if successor is None:
                break
            self._ledger.log((lines.attempt, successor.id, "running"))
        self._pool.note(threads)

    def _set_online(self, endpoint: PooledEndpoint, online: bool, now: float) -> None:
        if endpoint.online != online:
            endpoint.online = online
            self._ledger.log((lines.endpoint, endpoint.name, "online" if online else "offline"))
            if not online:
                self._failover.endpoint_gone(endpoint, "the endpoint is offline")
        self._pool.note_endpoint(endpoint, now)
