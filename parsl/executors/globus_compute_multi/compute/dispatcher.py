"""Sends dispatches to the service."""
from __future__ import annotations

import logging
import queue
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Callable, ContextManager, Dict, List, Optional, Tuple

import globus_sdk
from globus_compute_sdk import Client

from parsl.executors.globus_compute_multi.compute.backoff import Backoff
from parsl.executors.globus_compute_multi.compute.envelope import encode_arguments
from parsl.executors.globus_compute_multi.compute.governor import (
    Governor,
    Stopped,
)
from parsl.executors.globus_compute_multi.compute.messages import (
    DispatchAnswered,
    DispatchRefused,
    Message,
)
from parsl.executors.globus_compute_multi.compute.service import (
    MalformedAnswer,
    Service,
    explain,
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
    """

    dispatch_id: int
    endpoint_id: str
    tasks: Tuple[Tuple[str, bytes], ...]
    user_endpoint_config: Optional[Dict[str, Any]] = None
    resource_specification: Optional[Dict[str, Any]] = None


class Dispatcher:
    """A few sender threads, each with connections of its own.

    A submission whose fate is not known (no answer, a server's error) is sent again a few times: it then may run twice, and the second
    result is dropped. After that it is handed back, for the scheduler to try other endpoints. One that came too early (429) is sent again
    until it is taken.

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
        self._stopping = stopping
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
        """Send a submission, for which the caller has taken a permit of the governor."""
        self._jobs.put(submission)

    def stop(self) -> None:
        """Tell the threads to end, after ``stopping`` is set; requests under way are not waited for."""
        for _ in self._threads:
            self._jobs.put(None)

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
                if self._stopping.is_set():
                    self._governor.ended()  # its permit goes back unused; other executors may share the governor
                    continue
                try:
                    self._post(self._deliver(service, submission))
                except Stopped:
                    pass
                except Exception as e:
                    # whatever it was, the tasks must not wait for an answer that cannot come
                    logger.exception("Submission %d ended with an unexpected error", submission.dispatch_id)
                    self._post(DispatchRefused(submission.dispatch_id, explain(e), None))
        finally:
            service.close()

    def _deliver(self, service: Service, submission: Submission) -> Message:
        """Send until the service has answered; the first try's permit is held already."""
        arguments = [encode_arguments(self._session, attempt_id, packed) for attempt_id, packed in submission.tasks]
        backoff, failures = Backoff(), 0
        held = ExitStack()
        held.callback(self._governor.ended)
        permit: ContextManager[Any] = held
        while True:
            try:
                with permit:
                    answer = service.submit(submission.endpoint_id, self._runner_id, self._task_group_id, arguments,
                                            submission.user_endpoint_config, submission.resource_specification)
            except globus_sdk.GlobusAPIError as e:
                reason, status, wait = explain(e), e.http_status, backoff.next(retry_after(e))
                if status != 429:
                    failures += 1
                    if status < 500 or failures == TRIES:
                        return DispatchRefused(submission.dispatch_id, reason, status)
            except globus_sdk.NetworkError as e:
                reason, wait = explain(e), backoff.next()
                failures += 1
                if failures == TRIES:
                    return DispatchRefused(submission.dispatch_id, reason, None)
            except MalformedAnswer as e:
                return DispatchRefused(submission.dispatch_id, explain(e), None)
            else:
                return self._accepted(submission, *answer)
            logger.warning("Submission %d was not taken (%s); trying again in %.1f s", submission.dispatch_id, reason, wait)
            if self._stopping.wait(wait):
                raise Stopped()
            permit = self._governor.permit(self._stopping)

    def _accepted(self, submission: Submission, task_group_id: str, task_ids: List[str]) -> Message:
        if self._task_group_id is None:
            self._task_group_id = task_group_id
            self._on_task_group(task_group_id)
        attempt_ids = (attempt_id for attempt_id, _ in submission.tasks)
        return DispatchAnswered(submission.dispatch_id, tuple(zip(task_ids, attempt_ids)))
