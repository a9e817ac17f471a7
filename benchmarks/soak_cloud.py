"""A Globus Compute that runs nothing, in this process: for measuring the executor itself over very many tasks.

It stands where the executor's connections do, for REST (``compute.service.Service``) and for AMQP (``compute.consumer.Consumer``). All that is
above them is real: the threads, the scheduler, the messages as they go over the wire.
"""
from __future__ import annotations

import contextlib
import itertools
import json
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Result
from globus_compute_sdk.serialize import JSONData

from parsl.executors.globus_compute_multi import executor as executor_module
from parsl.executors.globus_compute_multi.compute import (
    dispatcher,
    result_fetcher,
    result_stream,
    status_poller,
)
from parsl.executors.globus_compute_multi.compute.envelope import encode_arguments
from parsl.executors.globus_compute_multi.compute.runner import (
    globus_compute_multi_runner,
)
from parsl.serialize import pack_apply_message

#: Seconds in which an endpoint runs one task on each of its threads.
STEP = 0.02

#: Seconds for which an endpoint that dies is away, every other time. Else it is back at once, and only its tasks are gone.
DOWN_SECONDS = 15.0

#: Seconds that are waited for an endpoint to hold something.
PATIENCE_SECONDS = 1.0

_NOBODY = uuid.UUID(int=0)
_NO_ATTEMPT = encode_arguments("nobody", "0.0", b"")[0]


def _nothing(*_: Any, **__: Any) -> None:
    pass


class FakeEndpoint:
    """An endpoint with one child.

    Parameters
    ----------
    threads : int
    """

    def __init__(self, threads: int) -> None:
        self.id = str(uuid.uuid4())
        self.child_id = str(uuid.uuid4())
        self.threads = threads
        self.held: deque[tuple[str, str]] = deque()
        self.back_at: float | None = None
        self.template = self._result()

    def _result(self) -> bytes:
        """What its child sends for each task, but for the IDs: what the real runner returns."""
        envelope = globus_compute_multi_runner(_NO_ATTEMPT, encode_arguments("", "", pack_apply_message(_nothing, (), {}))[1], 10_000)
        envelope["process"] = uuid.uuid4().hex
        data = f"{JSONData.identifier}{json.dumps(envelope)}"
        details = {"endpoint_id": self.child_id, "python_version": envelope["python"], "dill_version": envelope["dill"]}
        return messagepack.pack(Result(task_id=_NOBODY, data=data, details=details))

    def die(self, seconds: float) -> None:
        """Lose all tasks, and be away for so many seconds."""
        self.held.clear()
        self.back_at = time.monotonic() + seconds

    def up(self) -> bool:
        """Whether it runs; its child is started anew if it is time."""
        if self.back_at is not None and time.monotonic() >= self.back_at:
            self.back_at, self.template = None, self._result()
        return self.back_at is None


class Cloud:
    """The service, its broker and its endpoints.

    Parameters
    ----------
    endpoints : int
        How many.
    threads : int
        Of each of them.
    """

    def __init__(self, endpoints: int, threads: int) -> None:
        self.endpoints = [FakeEndpoint(threads) for _ in range(endpoints)]
        self.lost = 0
        self._results: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._group = str(uuid.uuid4())
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._turns = itertools.cycle(self.endpoints)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run, and stand where executors look for the service."""
        thread = threading.Thread(target=self._run, name="soak-cloud")
        thread.start()
        with contextlib.ExitStack() as stack:
            for module in (executor_module, dispatcher, result_fetcher, result_stream, status_poller):
                stack.enter_context(mock.patch.object(module, "Service", lambda client: FakeService(self)))
            stack.enter_context(mock.patch.object(result_stream, "Consumer", lambda *args: FakeConsumer(self._results, *args)))
            yield
        self._stopping.set()
        thread.join()

    def lose(self) -> bool:
        """Let an endpoint die with all that it holds, as soon as one holds something; the others have their turns before it again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with self._lock:
                for endpoint in itertools.islice(self._turns, len(self.endpoints)):
                    if endpoint.up() and endpoint.held:
                        endpoint.die(DOWN_SECONDS * (self.lost % 2))
                        self.lost += 1
                        return True
            time.sleep(0.001)
        return False

    def submit(self, endpoint_id: str, tasks: Sequence[tuple[str, str, int]]) -> list[str]:
        """Take tasks; their IDs."""
        task_ids = [str(uuid.uuid4()) for _ in tasks]
        with self._lock:
            self._by_id(endpoint_id).held.extend(zip(task_ids, (attempt for attempt, _, _ in tasks)))
        return task_ids

    def status(self, asked_id: str) -> dict[str, Any]:
        """Status of an endpoint or a child."""
        with self._lock:
            endpoint = self._by_id(asked_id)
            if asked_id == endpoint.id:
                return {"status": "online", "details": {"heartbeat_period": 5}}
            if not endpoint.up():
                return {"status": "offline", "details": {}}
            return {"status": "online", "details": {"heartbeat_period": 5, "total_workers": endpoint.threads}}

    def _by_id(self, asked_id: str) -> FakeEndpoint:
        return next(endpoint for endpoint in self.endpoints if asked_id in (endpoint.id, endpoint.child_id))

    def _run(self) -> None:
        while not self._stopping.wait(STEP):
            with self._lock:
                for endpoint in self.endpoints:
                    for _ in range(min(endpoint.threads, len(endpoint.held)) if endpoint.up() else 0):
                        task_id, attempt = endpoint.held.popleft()
                        body = endpoint.template.replace(str(_NOBODY).encode(), task_id.encode())
                        self._results.put(body.replace(_NO_ATTEMPT.encode(), attempt.encode()))


class FakeService:
    """The REST API of a :class:`Cloud`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def close(self) -> None:
        pass

    def renew_token(self) -> bool:
        return False

    def register_runner(self) -> str:
        return str(uuid.uuid4())

    def result_queue(self) -> tuple[str, str]:
        return "amqp://nobody:nothing@nowhere/", "results_"

    def endpoint_status(self, endpoint_id: str) -> dict[str, Any]:
        return self._cloud.status(endpoint_id)

    def task_results(self, task_uuids: Sequence[str]) -> dict[str, Any]:
        return {task_uuid: {"status": "waiting-for-nodes", "completion_t": None} for task_uuid in task_uuids}

    def submit(self, endpoint_id: str, runner_id: str, task_group_id: str | None, arguments: Sequence[tuple[str, str, int]],
               *_: Any) -> tuple[str, list[str]]:
        return task_group_id or self._cloud._group, self._cloud.submit(endpoint_id, arguments)


class FakeConsumer:
    """The connection to the broker of a :class:`Cloud`."""

    def __init__(self, results: queue.SimpleQueue[bytes | None], parameters: Any, queue_name: str, on_consuming: Callable[[], None],
                 on_message: Callable[[bytes], None]) -> None:
        self._results = results
        self._on_consuming = on_consuming
        self._on_message = on_message

    def run(self) -> None:
        self._on_consuming()
        while (body := self._results.get()) is not None:
            self._on_message(body)

    def stop(self) -> None:
        self._results.put(None)

    def close(self) -> None:
        pass
