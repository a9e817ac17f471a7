"""Sends dispatches to the service."""
from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import globus_sdk
from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.compute.backoff import (
    LONGEST_SECONDS,
    Backoff,
)
from parsl.executors.globus_compute_multi.compute.calls import call
from parsl.executors.globus_compute_multi.compute.envelope import encode_arguments
from parsl.executors.globus_compute_multi.compute.governor import (
    Governor,
    Kind,
    Stopped,
)
from parsl.executors.globus_compute_multi.compute.messages import (
    DispatchAnswered,
    DispatchRefused,
    Message,
)
from parsl.executors.globus_compute_multi.compute.outage import Outage
from parsl.executors.globus_compute_multi.compute.service import (
    MalformedAnswer,
    Service,
    explain,
    http_status,
    not_sent,
    retry_after,
)

logger = logging.getLogger(__name__)

#: Requests under way at once. More gain nothing: the budget is 2 a second.
SENDERS = 4

#: How often a submission is sent when it is not known whether the service took it.
TRIES = 3


@dataclass(frozen=True)
class Submission:
    """A dispatch with its tasks.

    Parameters
    ----------
    dispatch_id : int
    endpoint_id : str
    tasks : tuple of (str, bytes)
        Attempt IDs and packed tasks.
    user_endpoint_config : dict or None
        Of the child that they are for.
    resource_specification : dict or None
        MPI keys and values for all of them.
    once : bool
        Whether its tasks must not run twice: it is not sent again when its fate is not known.
    """

    dispatch_id: int
    endpoint_id: str
    tasks: Tuple[Tuple[str, bytes], ...]
    user_endpoint_config: Optional[Dict[str, Any]] = None
    resource_specification: Optional[Dict[str, Any]] = None
    once: bool = False


class Dispatcher:
    """A few sender threads, each with connections of its own.

    What becomes of a submission that fails:

    * the service cannot be reached, or refuses the request because there were too many (429): it has not taken the tasks, and no other
      endpoint would be better off. The submission is kept, and sent again until there is an answer.
    * its fate is not known (no answer, a server's error): it is sent again a few times. It then may run twice, and the second result is dropped.
      After that it is handed back, for the scheduler to try other endpoints.
    * the answer does not name the tasks: some may have been taken, so it is handed back at once.
    * the service says that the request is wrong, or not allowed (other 4xx): it is handed back at once, a 401 after a try with a fresh token.

    Parameters
    ----------
    client : globus_compute_sdk.Client
    runner_id : str
    session : str
    governor : Governor
    post : callable
        Takes the answers.
    on_task_group : callable
        Told the ID of the task group, once.
    stopping : threading.Event
        Set when the executor shuts down.
    """

    def __init__(self, *, client: Client, runner_id: str, session: str, governor: Governor, post: Callable[[Message], None],
                 on_task_group: Callable[[str], None], stopping: threading.Event) -> None:
        self._runner_id = runner_id
        self._session = session
        self._governor = governor
        self._post = post
        self._on_task_group = on_task_group
        self._task_group_id: Optional[str] = None
        self._jobs: "queue.SimpleQueue[Optional[Submission]]" = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._stopping = stopping
        self._outage = Outage(stopping)
        self._threads = [threading.Thread(target=self._run, args=(Service(client),), name=f"globus-compute-multi-sender-{i}", daemon=True)
                         for i in range(SENDERS)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def capacity(self, under_way: int) -> bool:
        """Whether one more submission can be sent while ``under_way`` are not answered.

        The service makes the task group with the first submission; the others must name it, so they wait for its answer.
        """
        return under_way < (SENDERS if self._task_group_id is not None else 1)

    def send(self, submission: Submission) -> None:
        """Send a submission, for which the caller has taken a permit of the governor; after :meth:`stop` that is given back, and no more."""
        with self._lock:
            if not self._closed:
                self._jobs.put(submission)
                return
        self._governor.unused()

    def stop(self) -> None:
        """Tell the threads to end, after ``stopping`` is set; requests under way are not waited for."""
        with self._lock:  # nothing may be put behind these
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
        self._outage.wake()

    def join(self, timeout: float) -> bool:
        """Wait for the threads, ``timeout`` seconds in all; whether they have ended."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, service: Service) -> None:
        try:
            while True:
                submission = self._jobs.get()
                if submission is None:
                    return
                with ExitStack() as held:
                    held.callback(self._governor.unused)  # the permit, until something is sent; other executors may share the governor
                    if self._stopping.is_set():
                        continue
                    try:
                        self._post(self._deliver(service, submission, held))
                    except Stopped:
                        pass
                    except Exception as e:
                        # whatever it was, the tasks must not wait for an answer that cannot come; not its text, which may hold credentials
                        logger.error("Submission %d ended with an unexpected error, %s:\n%s", submission.dispatch_id, explain(e),
                                     "".join(traceback.format_tb(e.__traceback__)))
                        self._post(DispatchRefused(submission.dispatch_id, explain(e), None))
        finally:
            service.close()

    def _deliver(self, service: Service, submission: Submission, held: ExitStack) -> Message:
        """Send until it is clear what becomes of the tasks; the first try's permit is ``held`` already."""
        arguments = [encode_arguments(self._session, attempt_id, packed) for attempt_id, packed in submission.tasks]
        backoff, failures = Backoff(), 0
        held.pop_all()
        permit = ExitStack()
        permit.callback(self._governor.ended)
        first: Optional[ExitStack] = permit
        while True:
            asked: Optional[float] = None
            try:
                answer = call(self._governor, service, self._stopping, Kind.SUBMISSION, service.submit, submission.endpoint_id, self._runner_id,
                              self._task_group_id, arguments, submission.user_endpoint_config, submission.resource_specification, permit=first)
            except globus_sdk.GlobusAPIError as e:
                self._outage.end()
                reason, status, asked = explain(e), http_status(e), retry_after(e)
                if 400 <= status < 500 and status not in (408, 429):
                    return DispatchRefused(submission.dispatch_id, reason, status)
            except globus_sdk.NetworkError as e:
                reason, status = explain(e), None
                if not_sent(e):
                    first = None
                    self._outage.begin(reason)
                    self._outage.wait(backoff.next())
                    continue
            except MalformedAnswer as e:
                self._outage.end()
                return DispatchRefused(submission.dispatch_id, explain(e), None)
            else:
                self._outage.end()
                return self._accepted(submission, *answer)
            first = None
            if status == 429:
                continue  # the governor makes us wait
            failures += 1
            if submission.once or failures == TRIES or (asked or 0.0) > LONGEST_SECONDS:
                return DispatchRefused(submission.dispatch_id, reason, status)
            wait = backoff.next(asked)
            logger.warning("Submission %d was perhaps not taken (%s); trying again in %.1f s", submission.dispatch_id, reason, wait)
            if self._stopping.wait(wait):
                raise Stopped()

    def _accepted(self, submission: Submission, task_group_id: str, task_ids: List[str]) -> Message:
        if self._task_group_id is None:
            self._task_group_id = task_group_id
            self._on_task_group(task_group_id)
        attempt_ids = (attempt_id for attempt_id, _ in submission.tasks)
        return DispatchAnswered(submission.dispatch_id, tuple(zip(task_ids, attempt_ids)))
