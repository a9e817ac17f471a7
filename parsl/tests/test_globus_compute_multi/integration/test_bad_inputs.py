"""Bad tasks and bad messages on real endpoints: each ends with an error that names the culprit, and the tasks beside it run."""
from __future__ import annotations

import base64
import re
from contextlib import contextmanager
from functools import partial

import pika
import pytest

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi.compute.service import Service
from parsl.executors.globus_compute_multi.errors import (
    EndpointsFailed,
    ResultNotReadable,
    ResultTooLarge,
    TaskNotPickled,
)
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.serialize import deserialize, serialize
from parsl.tests.test_globus_compute_multi.integration.common import increment
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    THREADS,
    check_log,
    our_threads,
    portable,
)
from parsl.tests.test_globus_compute_multi.unit.test_bad_inputs import (
    VALUES_NOT_PICKLED,
)
from parsl.tests.test_globus_compute_multi.unit.test_bad_results import (
    ENVELOPE,
    FOREIGN,
    UNREADABLE,
    body,
    text,
)
from parsl.tests.test_globus_compute_multi.unit.test_bad_specifications import (
    SPECIFICATIONS,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]

PATIENCE = 120


@portable
def take(value):
    return 1


@portable
def give(value):
    return value


@portable
def raise_it(make, *args):
    raise make(*args)


@portable
def raise_one_that_does_not_pickle():
    error = ValueError("on purpose")
    error.generator = (x for x in "ab")
    raise error


@portable
def raise_one_that_does_not_unpickle():
    class NeedsTwo(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} {two}")
    raise NeedsTwo("on", "purpose")


@portable
def raise_one_without_text():
    class NoText(Exception):
        def __str__(self):
            raise RuntimeError("no text for you")
        __repr__ = __str__
    raise NoText()


@portable
def raise_no_exception():
    class NotAnException(BaseException):
        pass
    raise NotAnException("on purpose")


@portable
def raise_from_one_that_does_not_pickle():
    error = KeyError("cause")
    error.generator = (x for x in "ab")
    raise ValueError("on purpose") from error


@portable
def cancel():
    import asyncio
    raise asyncio.CancelledError("on purpose")


@portable
def interrupt():
    raise KeyboardInterrupt("on purpose")


@portable
def leave(status):
    import sys
    sys.exit(status)


@portable
def recurse():
    def again():
        return again()
    again()


@portable
def give_a_generator():
    return (x for x in "ab")


@portable
def give_a_frame():
    import sys
    return [sys._getframe()]


@portable
def give_one_that(error):
    """Gives a value that raises when it is pickled."""
    class Value:
        def __reduce__(self):
            raise error("on purpose")
    return Value()


@portable
def give_one_that_unpickles_to(code):
    """Gives a value that runs ``code`` when it is unpickled."""
    class Value:
        def __reduce__(self):
            return exec, (code,)
    return Value()


@portable
def raise_one_that_unpickles_to(code):
    class Error(Exception):
        def __reduce__(self):
            return exec, (code,)
    raise Error("on purpose")


@portable
def give_bytes(count):
    return bytes(count)


class Unpickles:
    """Runs code when it is unpickled, and not where it is pickled."""

    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return exec, (self.code,)


NO_TEXT = "class NoText(Exception):\n    def __str__(self): raise RuntimeError('no text for you')\nraise NoText()"

BAD = "'on purpose'"

#: What the app does, with its arguments; type of the error, and what its text names.
APPS = [
    (raise_one_that_does_not_pickle, (), TypeError, "ValueError: on purpose.* does not pickle: .*generator"),
    (raise_from_one_that_does_not_pickle, (), TypeError, "ValueError: on purpose.* does not pickle: .*generator"),
    (raise_one_that_does_not_unpickle, (), ResultNotReadable, "NeedsTwo: on purpose"),
    (raise_one_without_text, (), ResultNotReadable, "NoText"),
    (raise_it, (int,), TypeError, "exceptions must derive"),
    (raise_no_exception, (), RuntimeError, "NotAnException: on purpose"),
    (cancel, (), RuntimeError, "CancelledError: on purpose"),
    (interrupt, (), RuntimeError, "KeyboardInterrupt: on purpose"),
    *((leave, (status,), RuntimeError, f"sys.exit.{status!r}") for status in (3, "bye", None)),
    (recurse, (), (RecursionError, TypeError), "recursion"),
    (give_a_generator, (), TypeError, "value of the app does not pickle.*generator"),
    (give_a_frame, (), TypeError, "value of the app does not pickle.*frame"),
    *((give_one_that, (error,), TypeError, f"value of the app does not pickle: {error.__name__}: on purpose")
      for error in (ValueError, SystemExit, KeyboardInterrupt, GeneratorExit)),
    *((give_one_that_unpickles_to, (f"raise {error}({BAD})",), ResultNotReadable, f"give_one_that_unpickles_to.*{error}: on purpose")
      for error in ("ValueError", "SystemExit", "KeyboardInterrupt")),
    (give_one_that_unpickles_to, (NO_TEXT,), ResultNotReadable, "give_one_that_unpickles_to.*NoText"),
    *((raise_one_that_unpickles_to, (f"raise {error}({BAD})",), ResultNotReadable, f"{error}: on purpose.*it was Error: on purpose")
      for error in ("ValueError", "SystemExit")),
    (raise_one_that_unpickles_to, ("pass",), ResultNotReadable, "it was Error: on purpose"),
    *((give_bytes, (count,), ResultTooLarge, f"give_bytes.*takes {count // 3 * 4 // 10 ** 6}\\d{{6}} bytes.* 9900000.*ProxyStore")
      for count in (8_000_000, 9_000_000)),
    *((take, (Unpickles(f"raise {error}({BAD})"),), EndpointsFailed, f"take.*not_unpacked: {error}: on purpose")
      for error in ("ValueError", "SystemExit", "KeyboardInterrupt")),
    (take, (Unpickles(NO_TEXT),), EndpointsFailed, "take.*not_unpacked: NoText"),
    (take, (), TypeError, "take.*missing 1 required positional argument: 'value'"),
    (take, (1, 2), TypeError, "take.*takes 1 positional argument but 2 were given"),
]


@pytest.fixture(scope="module")
def running(compute, tmp_path_factory):
    """A DataFlowKernel and its executor, for all of these tests: what one of them did to it, the next ones would see."""
    folder = tmp_path_factory.mktemp("bad")
    executor = GlobusComputeMultiExecutor(
        [Endpoint(compute.endpoint_ids[name], name=name, threads=threads) for name, threads in THREADS.items()], client=compute.client(),
        request_limit=None, failover_attempts=1, log_file=str(folder / "multi.jsonl"))
    with DataFlowKernel(Config(executors=[executor], run_dir=str(folder / "runinfo"))) as dfk:
        assert executor.submit(increment, {}, 1).result(PATIENCE) == 2
        yield dfk, executor
    assert not our_threads()
    check_log(executor)


@contextmanager
def neighbours(executor):
    """Tasks before and after what is bad, which must run."""
    futures = [executor.submit(increment, {}, n) for n in range(4)]
    yield
    futures += [executor.submit(increment, {}, n) for n in range(4, 8)]
    assert [future.result(PATIENCE) for future in futures] == list(range(1, 9))


@pytest.fixture(scope="module")
def submitted(running):
    """Futures of all bad tasks, as apps and as bare functions, each with that of a good task: all of them at once."""
    dfk, executor = running
    ways = {True: lambda function: python_app(function, data_flow_kernel=dfk), False: lambda function: partial(executor.submit, function, {})}
    return {(n, as_app): (way(function)(*args), executor.submit(increment, {}, n))
            for n, (function, args, _, _) in enumerate(APPS) for as_app, way in ways.items()}


@pytest.mark.parametrize("as_app", [True, False], ids=["app", "function"])
@pytest.mark.parametrize("n", range(len(APPS)), ids=[f"{n} {case[0].__name__}" for n, case in enumerate(APPS)])
def test_a_bad_task_fails_with_an_error_that_names_the_culprit_and_its_neighbour_runs(submitted, n, as_app):
    _, _, error, culprit = APPS[n]
    bad, good = submitted[n, as_app]
    failure = bad.exception(PATIENCE)
    assert isinstance(failure, error)
    assert re.search(culprit, str(failure))
    assert good.result(PATIENCE) == n + 1


def test_tasks_whose_arguments_do_not_pickle_fail_alone(running):
    dfk, executor = running
    app = python_app(increment, data_flow_kernel=dfk)
    with neighbours(executor):
        failures = [future.exception(PATIENCE) for future in [app(value) for value in VALUES_NOT_PICKLED.values()]]
    for failure in failures:
        assert isinstance(failure, TaskNotPickled) and "argument 0 of increment" in str(failure)


def test_tasks_with_bad_specifications_fail_alone(running):
    dfk, executor = running
    app = python_app(increment, data_flow_kernel=dfk)
    with neighbours(executor):
        futures = [(app(1, parsl_resource_specification=specification), key) for specification, key in SPECIFICATIONS
                   if isinstance(specification, dict)]
        failures = [(future.exception(PATIENCE), key) for future, key in futures]
    assert len(failures) > 100
    for failure, key in failures:
        assert isinstance(failure, InvalidResourceSpecification) and key in str(failure)


@pytest.fixture
def publish(running):
    """Publishes bodies into the executor's own result queue, as the service does."""
    _, executor = running
    service = Service(executor.client)
    url, prefix = service.result_queue()
    service.close()
    connection = pika.BlockingConnection(pika.URLParameters(url))

    def send(*bodies):
        for content in bodies:
            connection.channel().basic_publish("", f"{prefix}{executor._parts.dispatcher._task_group_id}", content)
    yield send
    connection.close()


def test_bad_messages_in_the_result_queue_are_dropped_and_results_go_on(running, publish):
    _, executor = running
    for content in [*FOREIGN, *map(body, UNREADABLE)]:
        publish(content)
    with neighbours(executor):
        pass


def test_nothing_is_unpickled_but_results_of_tasks_that_wait_for_theirs(running, publish, tmp_path):
    _, executor = running
    canary = tmp_path / "canary"
    payload = serialize(Unpickles(f"open({str(canary)!r}, 'w').close()"))
    deserialize(payload)
    assert canary.exists(), "the payload does nothing, so that this test shows nothing"
    canary.unlink()

    session = executor._parts.dispatcher._session
    finished = executor.submit(increment, {}, 1)
    assert finished.result(PATIENCE) == 2
    attempts = [line for line in read_log(executor.log_file) if line["kind"] == "attempt" and line["state"] == "finished"]
    mine = [line for line in attempts if line["task"] == finished.parsl_executor_task_id] if "task" in attempts[-1] else attempts[-1:]
    packed = base64.b64encode(payload).decode()
    known = mine[-1]["attempt"]
    for outcome in ("ok", "app_failed", "raised"):
        for attempt in ("foreign/1.1", f"{'0' * 32}/{known}", f"{session}/999999.1", f"{session}/{known}"):
            malicious = {**ENVELOPE, "attempt": attempt, "outcome": outcome, "value": packed, "monitoring": packed}
            publish(body(text(malicious)), body(text(malicious), task_id=mine[-1]["task_uuid"]))
        publish(body(f"01\n{packed}"), body(packed), body(payload.decode("latin-1")), payload)
    with neighbours(executor):
        pass
    with neighbours(executor):
        assert not canary.exists()
