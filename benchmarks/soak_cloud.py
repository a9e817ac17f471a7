"""A Globus Compute that runs nothing, in this process: for measuring the executor itself over very many tasks.

It stands where the executor's connections do: for REST below the session of ``requests``, for AMQP in place of ``compute.consumer.Consumer``.
All that is above them is real: the threads, the scheduler, the requests and messages as they go over the wire.
"""
from __future__ import annotations

import contextlib
import io
import itertools
import json
import queue
import re
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Result
from globus_compute_sdk.serialize import JSONData
from globus_sdk.transport import RequestsTransport
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from parsl.executors.globus_compute_multi.compute import result_stream, service
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

#: The runner's first argument, the attempt, in a task as it goes over the wire.
_FIRST_ARGUMENT = re.compile(r'\["([^"]+)"')

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
        self.group = str(uuid.uuid4())
        self.spent: defaultdict[int, float] = defaultdict(float)  # processor time, by thread
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._turns = itertools.cycle(self.endpoints)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run, and stand where executors look for the service."""
        thread = threading.Thread(target=self._run, name="soak-cloud")
        thread.start()
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(service, "RequestsTransport", self._transport))
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

    def _transport(self, **options: Any) -> RequestsTransport:
        transport = RequestsTransport(**options)
        transport.session.mount("http://", FakeConnection(self))
        return transport

    def took(self, seconds: float) -> None:
        """Note processor time that this thread has spent on the service's side."""
        self.spent[threading.get_ident()] += seconds

    def submit(self, endpoint_id: str, attempts: Sequence[str]) -> list[str]:
        """Take tasks; their IDs."""
        task_ids = [str(uuid.uuid4()) for _ in attempts]
        with self._lock:
            self._by_id(endpoint_id).held.extend(zip(task_ids, attempts))
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


class FakeConnection(BaseAdapter):
    """What the connections of ``requests`` to a :class:`Cloud` go over: everything above it is real."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self._cloud = cloud

    def close(self) -> None:
        pass

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        """Answer a request."""
        started = time.thread_time()
        response = Response()
        response.request, response.url, response.status_code = request, str(request.url), 200
        response.headers["Content-Type"] = "application/json"
        response.raw = io.BytesIO(json.dumps(self._answer(str(request.path_url), json.loads(request.body or "null"))).encode())
        self._cloud.took(time.thread_time() - started)
        return response

    def _answer(self, path: str, asked: Any) -> dict[str, Any]:
        *_, what, last = path.split("/")
        if last == "submit":
            (runner_id, payloads), = asked["tasks"].items()
            attempts = [found.group(1) for found in map(_FIRST_ARGUMENT.search, payloads) if found is not None]
            return {"task_group_id": asked.get("task_group_id", self._cloud.group), "tasks": {runner_id: self._cloud.submit(what, attempts)}}
        if last == "status":
            return self._cloud.status(what)
        if last == "functions":
            return {"function_uuid": str(uuid.uuid4())}
        if last == "batch_status":
            return {"results": {task_uuid: {"status": "waiting-for-nodes", "completion_t": None} for task_uuid in asked["task_ids"]}}
        assert last == "get_amqp_result_connection_url", path
        return {"connection_url": "amqp://nobody:nothing@nowhere/", "queue_prefix": "results_"}


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
