"""Asks the service for results, where they may not come by the result stream."""
from __future__ import annotations

import logging
import threading
from typing import Callable, Dict, Iterable, List, Optional, Tuple

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
    retry_after,
)

logger = logging.getLogger(__name__)

#: Most tasks that one request asks for.
MOST_AT_ONCE = 200


class ResultFetcher:
    """One thread that asks the service for results over HTTPS, with permits of the governor, until it has answered.

    What is asked for while a request is under way is asked for together in the next one. A request that fails is tried again with half of
    its tasks, the others going first, so that one task whose result the service cannot give holds up no other.

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
        self._at_once = MOST_AT_ONCE
        self._backoff = Backoff()
        self._failing = False
        self._thread = threading.Thread(target=self._run, args=(Service(client),), name="globus-compute-multi-fetcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def fetch(self, tasks: Iterable[Tuple[str, str]]) -> None:
        """Ask for the results of these attempts, given with the service's task UUIDs."""
        with self._changed:
            self._wanted.update(tasks)
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
            self._changed.wait_for(lambda: self._wanted or self._stopping.is_set())
            if self._stopping.is_set():
                return None
            tasks = list(self._wanted.items())[:self._at_once]
            for attempt_id, _ in tasks:
                del self._wanted[attempt_id]
            return tasks

    def _fetch(self, service: Service, tasks: List[Tuple[str, str]]) -> None:
        answers = call(self._governor, service, self._stopping, Kind.OTHER, service.task_results, [task_uuid for _, task_uuid in tasks])
        self._backoff.reset()
        self._failing = False
        self._at_once = min(2 * self._at_once, MOST_AT_ONCE)
        for _, task_uuid in tasks:
            message = decode_answer(task_uuid, answers.get(task_uuid))
            if message is not None:
                self._post(ResultArrived(message))
        self._post(ResultsFetched(tuple(attempt_id for attempt_id, _ in tasks)))

    def _try_again(self, tasks: List[Tuple[str, str]], error: Exception) -> None:
        self.fetch(tasks)
        refused = error if isinstance(error, globus_sdk.GlobusAPIError) else None
        if refused is not None and http_status(refused) == 429:
            return  # the governor makes us wait
        self._at_once = max(1, len(tasks) // 2)
        wait = self._backoff.next(retry_after(refused) if refused is not None else None)
        logger.log(logging.INFO if self._failing else logging.WARNING, "The service did not give the results of %d tasks that were asked for "
                   "(%s); trying again in %.1f s", len(tasks), explain(error), wait)
        self._failing = True
        self._stopping.wait(wait)
