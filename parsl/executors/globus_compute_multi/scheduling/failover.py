"""Finds out what has become of attempts that bring no result, and leaves endpoints alone that fail."""
from __future__ import annotations

from typing import Callable, Dict, List, Optional

from parsl.executors.globus_compute_multi.scheduling import lines
from parsl.executors.globus_compute_multi.scheduling.actions import (
    Action,
    QueryResults,
    Report,
)
from parsl.executors.globus_compute_multi.scheduling.breaker import Breaker
from parsl.executors.globus_compute_multi.scheduling.events import (
    DispatchRejected,
    Outcome,
    ResultReceived,
)
from parsl.executors.globus_compute_multi.scheduling.ledger import Ledger
from parsl.executors.globus_compute_multi.scheduling.pending import (
    PendingTasks,
    Shape,
)
from parsl.executors.globus_compute_multi.scheduling.placement import Placement
from parsl.executors.globus_compute_multi.scheduling.pool import Pool, PooledEndpoint
from parsl.executors.globus_compute_multi.scheduling.restarts import Restarts
from parsl.executors.globus_compute_multi.scheduling.threads import Attempt, Child

#: A task that has taken so many times what was expected, and then as long as an endpoint may be silent, may be lost: the service is asked.
#: One in two thousand takes so long by chance, if run times of its app spread as widely as is usual (log-normal, sigma 0.8).
OVERDUE = 10.0

#: The same for all tasks of a child that has sent nothing for as long as it may be silent: they would hardly be late together.
ALL_OVERDUE = 3.0

#: A start-up may take so many times what it took before, and so may the first task.
PATIENCE = 1.5

#: A task of an app that was never seen may take so many times longer than tasks do on average, before it is treated so.
UNSEEN = 10.0

#: So many failures outside the app, one after the other on an endpoint, and others are tried first.
FAILURES = 3

#: A child that was started anew refuses for a while (its predecessor's lock is believed for three heartbeats, 90 s by default). Only an endpoint
#: that refuses more often than this, at growing distances, costs the tasks it is tried with an attempt if they can go nowhere else.
REFUSALS = 8

#: Statuses with which the service refuses to take anything for an endpoint: it is deleted, or not the user's.
_NO_ENDPOINT = frozenset({403, 404, 410})

#: After so many seconds without an endpoint that could run them, the user is told that tasks wait.
_TELL_AFTER = 60.0

#: So long, beyond several times what it was expected to take, is waited for an attempt that may have gone with an earlier process of its child.
_SUSPECT_SECONDS = 5.0

_CHECK_EVERY = 1.0
_MOST_DOUBLINGS = 10


class Failover:
    """Decides that attempts are lost, so that their tasks are tried elsewhere, and when an endpoint is left alone.

    One that is left alone is given a single task after a while, and the next when that has run; if it fails again, it is left alone for longer.

    Parameters
    ----------
    pool : Pool
    pending : PendingTasks
    placement : Placement
    restarts : Restarts
    ledger : Ledger
    silence : float or None
        Seconds for which an endpoint may be silent beyond what its tasks are expected to take. None: for ever.
    random : callable
        Numbers from 0 to 1, to spread pauses.
    act : callable
        Takes the actions.
    """

    def __init__(self, *, pool: Pool, pending: PendingTasks, placement: Placement, restarts: Restarts, ledger: Ledger, silence: Optional[float],
                 random: Callable[[], float], act: Callable[[Action], None]) -> None:
        self._pool = pool
        self._pending = pending
        self._placement = placement
        self._restarts = restarts
        self._ledger = ledger
        self._silence = silence
        self._random = random
        self._act = act
        self._breaker = Breaker()
        self._next_check = float("-inf")
        self._stranded: Dict[Shape, float] = {}

    # what is certain

    def child_gone(self, child: Child, why: str) -> None:
        """Lose what ``child``, which is dead, holds."""
        self._lose_all(child, why)
        self.set_aside(child.endpoint, why)

    def endpoint_gone(self, endpoint: PooledEndpoint, why: str) -> None:
        """Lose what ``endpoint``, which is offline, holds."""
        for child in endpoint.children:
            self._lose_all(child, why)
        self._be_careful(endpoint)

    def restarted(self, child: Child, seen: float, by: Attempt) -> None:
        """Lose what went with the process before, which was last seen alive at ``seen``: what it had been given by then, it had taken.

        A result of ``by`` has told so.
        """
        lost = [attempt for attempt in child.held() if attempt is not by and attempt.accepted is not None and attempt.accepted <= seen]
        self._ledger.lose(lost, "its child process was started anew", blamed=False)
        self.suspect(child)

    def suspect(self, child: Child) -> None:
        """Have less patience with what ``child`` holds, which may have gone with the process before."""
        child.calm_until = float("-inf")
        for attempt in child.held():
            attempt.suspect = True

    def not_started(self, child: Child) -> None:
        """The service says that a cold child is offline: what it was given long ago has gone with a process that began, and ended unseen."""
        if self._silence is not None:
            latest = self._ledger.now - self._patience_with_start(child)
            held = [attempt for attempt in child.held() if attempt.accepted is not None and attempt.accepted < latest]
            self.ask_for(held, "its child process has not started, or has ended unseen")

    def rejected(self, attempts: List[Attempt], event: DispatchRejected) -> None:
        """The service has not taken a dispatch of these attempts."""
        endpoint, status = attempts[0].threads.endpoint, event.http_status
        if status in _NO_ENDPOINT:
            self.set_aside(endpoint, event.reason)
            for attempt in attempts:
                self._ledger.finish(attempt, Outcome.REJECTED, event.reason, blamed=not self._elsewhere(attempt))
        elif event.blames_tasks:
            # one of them may be the reason: they travel in smaller company until it is alone
            for attempt in attempts:
                attempt.task.company = max(1, len(attempts) // 2)
                self._ledger.finish(attempt, Outcome.REJECTED, event.reason, blamed=len(attempts) == 1)
        else:
            self._pause(endpoint, event.reason)
            # without an answer, or with an error of the server's, it is not known whether the tasks run
            unknown = status is None or status >= 500
            for attempt in attempts:
                outcome = Outcome.LOST if unknown and attempt.task.shape.once else Outcome.REJECTED
                self._ledger.finish(attempt, outcome, event.reason, blamed=False)
        self._restarts.rejected(attempts[0].threads.child)

    def finished(self, attempt: Attempt, event: ResultReceived) -> None:
        """End an attempt that has brought a result, and judge the endpoint by it."""
        endpoint, task, blamed, ran = attempt.threads.endpoint, attempt.task, True, True
        if event.outcome is Outcome.OK:
            self._breaker.ran(task.app, endpoint.name)
            self.recovered(attempt.threads.child)
        elif event.outcome.is_final:
            if self._breaker.failed(task.app, endpoint.name):
                self.set_aside(endpoint, f"tasks of {task.app} fail there, and run elsewhere")  # what an app raised is the user's
            else:
                self.recovered(attempt.threads.child)
        elif event.by_service:
            task.refusals += 1
            child = attempt.threads.child
            blamed = task.refusals > REFUSALS or not (self._elsewhere(attempt) or child.worked and endpoint.strikes <= REFUSALS)
            ran = child.warm
            self._refused(attempt, event.message)
        else:
            endpoint.failures += 1
            others = any(other.available for other in self._pool if other is not endpoint)
            if endpoint.probing or (endpoint.failures >= FAILURES and others):
                self.set_aside(endpoint, f"{endpoint.failures} tasks in a row have failed there, the last one of {task.app}: {event.message}")
        self._ledger.finish(attempt, event.outcome, event.message, event.payload, event.info, blamed, ran)

    def _refused(self, attempt: Attempt, why: str) -> None:
        child = attempt.threads.child
        self._cool(child)
        self.set_aside(child.endpoint, why)
        # the others have gone the same way, or will
        others = [other for other in child.held() if other is not attempt and other.accepted is not None]
        if others:
            self._restarts.asked(child, self._ledger.now)
            self.ask_for(others, why)

    # what can only be guessed

    def check(self, now: float) -> None:
        """Look for attempts whose results are late."""
        if now < self._next_check:
            return
        self._next_check = now + _CHECK_EVERY
        if self._silence is not None and self._ledger.attempts:
            for endpoint in self._pool:
                for child in endpoint.children:
                    if child.warm:
                        why = f"no result for more than {self._silence:.0f} s beyond what it should have taken"
                        self.ask_for(self._overdue(child, now), why)
                    elif child.asked is not None:
                        self._check_start(child, now)
        self._tell_of_stranded(now)

    def ask_for(self, attempts: List[Attempt], why: str) -> None:
        """Ask the service whether it has results of these attempts; those that it has not are lost, for that reason."""
        late = [attempt for attempt in attempts if attempt.asked_about is None]
        if late:
            for attempt in late:
                attempt.asked_about = why
            self._act(QueryResults(tuple(attempt.id for attempt in late)))

    def checked(self, attempts: List[Attempt]) -> None:
        """The service has no results of these attempts. That is not held against the tasks: they may just take long."""
        for child in {attempt.threads.child: None for attempt in attempts}:
            mine = [attempt for attempt in attempts if attempt.threads.child is child]
            running = [attempt for threads in child.classes for attempt in threads.running.values()]
            if self._is_silent(child) and all(attempt.asked_about is not None or attempt.task.shape.once for attempt in running):
                mine = [attempt for attempt in child.held() if not attempt.task.shape.once]
                self._cool(child)
                if len(mine) < len(child.held()):
                    self._restarts.asked(child, self._ledger.now)
                self.set_aside(child.endpoint, "it has fallen silent")
            for attempt in mine:  # what is queued ahead behind them was not asked about
                self._ledger.lose([attempt], attempt.asked_about or "its child process has fallen silent", blamed=False)

    def _is_silent(self, child: Child) -> bool:
        return self._silence is not None and (child.last_result is None or self._ledger.now - child.last_result > self._silence)

    def _overdue(self, child: Child, now: float) -> List[Attempt]:
        """The attempts on a warm child that may be lost: all that it runs, if all are late and it has fallen silent.

        A task that must not run twice is waited for; and so are all while the child says that it has tasks to run.
        """
        assert self._silence is not None
        if now <= child.calm_until or (child.busy_at is not None and now - child.busy_at < self._silence):
            return []
        late, all_late = [], self._is_silent(child)
        running = [a for threads in child.classes for a in threads.running.values() if not a.task.shape.once]
        for attempt in running:
            known = self._placement.is_known(attempt.task)
            if attempt.accepted is None or not (known or self._placement.anything_seen):
                all_late = False
                continue
            # each time that it was lost before, it is the likelier that the task takes long
            expected = self._placement.run_seconds(attempt.task, attempt.threads) * (1.0 if known else UNSEEN)
            age = (now - max(attempt.accepted, attempt.began)) / 2 ** min(attempt.task.tries - 1, _MOST_DOUBLINGS)
            if age > self._silence + OVERDUE * expected or (attempt.suspect and age > _SUSPECT_SECONDS + ALL_OVERDUE * expected):
                late.append(attempt)
            all_late = all_late and age > self._silence + ALL_OVERDUE * expected
        if not any(attempt.suspect for attempt in child.held()):  # others are overdue only after they have run for that long, at least
            child.calm_until = min((attempt.began for attempt in running), default=now) + self._silence
        return running if all_late else late

    def _patience_with_start(self, child: Child) -> float:
        """Seconds after which a cold child should have sent something."""
        assert self._silence is not None
        return self._silence + PATIENCE * ((child.endpoint.startup_seconds or 0.0) + self._restarts.shortest(child))

    def _check_start(self, child: Child, now: float) -> None:
        """Move the tasks of a child that should have begun to others that run."""
        assert child.asked is not None
        accepted = min((attempt.accepted for attempt in child.held() if attempt.accepted is not None), default=None)
        if accepted is None:
            return
        patience = self._patience_with_start(child)
        if now < max(child.asked, accepted) + patience:
            return
        lost = [attempt for attempt in child.held()
                if attempt.task.done or (not attempt.task.shape.once and self._runs_elsewhere(attempt))]
        if lost:
            why = f"no first result within {patience:.0f} s"
            self._ledger.lose(lost, why, blamed=False)
            if not child.held():
                self._cool(child)
            self.set_aside(child.endpoint, why)

    def _tell_of_stranded(self, now: float) -> None:
        """Tell the user once of tasks for which no endpoint is available."""
        if not self._pending or not self._pool.any_away:
            self._stranded.clear()
            return
        stranded = {shape._replace(avoid=frozenset()) for shape in self._pending.shapes()
                    if not any(threads.endpoint.available for threads in self._pool.fitting(shape))}
        self._stranded = {shape: self._stranded.get(shape, now) for shape in stranded}
        for shape, since in self._stranded.items():
            if now - since >= _TELL_AFTER:
                self._stranded[shape] = float("inf")
                names = dict.fromkeys(threads.endpoint.name for threads in self._pool.fitting(shape))
                states = "; ".join(f"{name} {'is offline' if not self._pool[name].online else 'is left alone: ' + self._pool[name].trouble}"
                                   for name in names)
                self._act(Report(f"Tasks wait for endpoints of which none has been available for {now - since:.0f} s: {states}"))

    # endpoints

    def set_aside(self, endpoint: PooledEndpoint, why: str) -> None:
        """Leave ``endpoint`` alone for a while, if it is not already, and then probe it."""
        told = endpoint.probing
        endpoint.trouble = why
        if endpoint.paused_until is None or endpoint.paused_until <= self._ledger.now:
            self._pause(endpoint, why)
        self._be_careful(endpoint)
        if not told:
            self._act(Report(f"Endpoint {endpoint.name} is left alone for a while, and then tried with one task: {why}"))

    def recovered(self, child: Child) -> None:
        """A task has run on ``child``, and so on its endpoint."""
        endpoint = child.endpoint
        child.worked, endpoint.failures = True, 0
        if endpoint.strikes or endpoint.probing or endpoint.paused_until is not None:
            self._ledger.log((lines.endpoint, endpoint.name, "recovered"))
            endpoint.ran_a_task()
            self._pool.note_endpoint(endpoint, self._ledger.now)

    def _pause(self, endpoint: PooledEndpoint, why: str) -> None:
        now = self._ledger.now
        seconds = endpoint.pause(now, self._random(), why)
        self._ledger.log((lines.endpoint, endpoint.name, "paused", {"seconds": seconds, "reason": why}))
        self._pool.note_endpoint(endpoint, now)

    def _be_careful(self, endpoint: PooledEndpoint) -> None:
        if not endpoint.probing:
            endpoint.probing = True
            self._ledger.log((lines.endpoint, endpoint.name, "probing"))
            self._pool.note_endpoint(endpoint, self._ledger.now)

    def _lose_all(self, child: Child, why: str) -> None:
        ran = child.warm
        self._cool(child)
        self._ledger.lose(child.held(), why, blamed=ran)

    def _cool(self, child: Child) -> None:
        child.cool()
        for threads in child.classes:
            self._pool.note(threads)
        self._restarts.forget(child)
        self._placement.compare_again()

    def _elsewhere(self, attempt: Attempt) -> bool:
        """Whether another endpoint could run its task."""
        here = attempt.threads.endpoint
        return any(t.endpoint is not here and t.endpoint.available for t in self._pool.fitting(attempt.task.shape))

    def _runs_elsewhere(self, attempt: Attempt) -> bool:
        """Whether threads that are known to run could take its task."""
        here = attempt.threads.child
        return any(t.child is not here and t.child.warm and t.endpoint.available for t in self._pool.fitting(attempt.task.shape))
