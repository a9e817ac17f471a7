"""Asks the service for results, where they may not come by the result stream."""
from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Counter, Dict, Iterable, List, Optional, Set, Tuple

import globus_sdk
from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.compute.backoff import Backoff
from parsl.executors.globus_compute_multi.compute.calls import call
from parsl.executors.globus_compute_multi.compute.envelope import decode_answer
from parsl.executors.globus_compute_multi.compute.governor import (
    Governor,
    Kind,
    Stopped,
)
from parsl.executors.globus_compute_multi.compute.messages import (
    Message,
    ResultArrived,
    ResultsFetched,
)
from parsl.executors.globus_compute_multi.compute.service import (
    Service,
    explain,
    http_status,
    not_accepted,
    retry_after,
)

logger = logging.getLogger(__name__)

#: Most tasks that one request asks for.
MOST_AT_ONCE = 200

#: How often the service may refuse to speak of a task before that is taken for its answer.
TRIES = 3


class ResultFetcher:
    """One thread that asks the service for results over HTTPS, with permits of the governor, until it has answered.

    What is asked for while a request is under way is asked for together in the next one. A request that fails is tried again later, with half
    of its tasks, and what is asked for meanwhile goes first: so one task whose result the service cannot give holds up no other. Of a task
    that the service refuses to speak of again and again, it has no result.

    Parameters
    ----------
    client : globus_compute_sdk.Client
    governor : Governor
    post : callable
        Takes a :class:`~.messages.ResultArrived` for each result that is there, then a :class:`~.messages.ResultsFetched`.
    stopping : threading.Event
        Set when the executor shuts down.
    """

    def __init__(self, *, client: Client, governor: Governor, post: Callable[[Message], None], stopping: threading.Event) -> None:
        self._governor = governor
        self._post = post
        self._stopping = stopping
        self._changed = threading.Condition()
        self._wanted: Dict[str, str] = {}
        self._failed: Dict[str, str] = {}  # asked for in vain, and again from that time on, so many at once
        self._again_at = 0.0
        self._at_once = MOST_AT_ONCE
        self._refusals: Counter[str] = Counter()
        self._backoff = Backoff()
        self._said: Set[str] = set()
        self._thread = threading.Thread(target=self._run, args=(Service(client),), name="globus-compute-multi-fetcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def fetch(self, tasks: Iterable[Tuple[str, str]]) -> None:
        """Ask for the results of these attempts, given with the service's task UUIDs."""
        with self._changed:
            self._wanted.update(task for task in tasks if task[0] not in self._failed)
            self._changed.notify()

    def stop(self) -> None:
        """Tell the thread to end, after ``stopping`` is set."""
        with self._changed:
            self._changed.notify()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self, service: Service) -> None:
        try:
            while True:
                tasks = self._next()
                if tasks is None:
                    return
                try:
                    self._fetch(service, tasks)
                except Stopped:
                    return
                except Exception as e:  # results must come, whatever went wrong
                    self._try_again(tasks, e)
        finally:
            service.close()

    def _next(self) -> Optional[List[Tuple[str, str]]]:
        with self._changed:
            while not self._stopping.is_set():
                wait = self._again_at - time.monotonic()
                if self._wanted or (self._failed and wait <= 0):
                    group, most = (self._wanted, MOST_AT_ONCE) if self._wanted else (self._failed, self._at_once)
                    tasks = list(group.items())[:most]
                    for attempt_id, _ in tasks:
                        del group[attempt_id]
                    return tasks
                self._changed.wait(wait if self._failed else None)
            return None

    def _fetch(self, service: Service, tasks: List[Tuple[str, str]]) -> None:
        answers = call(self._governor, service, self._stopping, Kind.OTHER, service.task_results, [task_uuid for _, task_uuid in tasks])
        self._at_once = min(2 * self._at_once, MOST_AT_ONCE)
        if not self._failed:
            self._backoff.reset()
            self._said.clear()
        for _, task_uuid in tasks:
            message = decode_answer(task_uuid, answers.get(task_uuid))
            if message is not None:
                self._post(ResultArrived(message))
        self._done(tasks)

    def _done(self, tasks: List[Tuple[str, str]]) -> None:
        for attempt_id, _ in tasks:
            self._refusals.pop(attempt_id, None)
        self._post(ResultsFetched(tuple(attempt_id for attempt_id, _ in tasks)))

    def _try_again(self, tasks: List[Tuple[str, str]], error: Exception) -> None:
        refused = error if isinstance(error, globus_sdk.GlobusAPIError) else None
        status = None if refused is None else http_status(refused)
        if status == 429:
            self.fetch(tasks)
            return  # the governor makes us wait
        if status is not None and 400 <= status < 500 and status not in (401, 408) and len(tasks) == 1:
            self._refusals[tasks[0][0]] += 1
            if self._refusals[tasks[0][0]] == TRIES:
                logger.warning("The service does not tell of task %s (%s), and is taken to have no result of it", tasks[0][1], explain(error))
                self._done(tasks)
                return
        self._at_once = max(1, len(tasks) // 2)
        with self._changed:
            for attempt_id, task_uuid in tasks:
                self._failed[attempt_id] = task_uuid
                self._wanted.pop(attempt_id, None)
            if time.monotonic() >= self._again_at:  # else they go along with others
                self._again_at = time.monotonic() + self._backoff.next(None if refused is None else retry_after(refused))
        advice = f" The service is asked until they are: {not_accepted()}" if status == 401 else ""
        logger.log(logging.INFO if advice in self._said else logging.WARNING, "The service did not give the results of %d tasks that were "
                   "asked for (%s); trying again in %.1f s.%s", len(tasks), explain(error), self._again_at - time.monotonic(), advice)
        self._said.add(advice)
