"""Workflows over three real endpoints."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from local_globus_compute import Limits
from local_globus_compute.service.admin import busiest_window
from parsl.app.app import bash_app, join_app, python_app
from parsl.app.errors import BashExitFailure
from parsl.config import Config
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.globus_compute_multi import Endpoint
from parsl.executors.globus_compute_multi.errors import (
    EndpointsFailed,
    NoSuchThread,
    ResultNotReadable,
    ResultTooLarge,
)
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.executors.globus_compute_multi.observe.replay import replay
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    NO_REQUEST_LIMIT,
    THREADS,
    check_log,
    portable,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def increment(x):
    return x + 1


@portable
def nap(seconds):
    import time
    time.sleep(seconds)
    return seconds


@portable
def total(*numbers):
    return sum(numbers)


@portable
def fail(message):
    raise KeyError(message)


def test_tasks_with_dependencies_run_and_each_endpoint_gets_its_share(workflow):
    with workflow() as (dfk, executor):
        sleepers = [python_app(nap, data_flow_kernel=dfk)(0.05) for _ in range(60)]
        assert python_app(total, data_flow_kernel=dfk)(*sleepers).result() == pytest.approx(3.0)
    state = check_log(executor)
    done = {name: endpoint.done for name, endpoint in state.endpoints.items()}
    assert sum(done.values()) == 61 and all(done.values()), done
    assert state.count("done") == 61


def test_running_attempts_never_exceed_an_endpoints_threads_on_the_endpoint_itself(workflow, compute):
    threads = {"medium": 1, "large": 2}  # fewer than it has workers, so that too many would show
    endpoints = [Endpoint(compute.endpoint_ids[name], name=name, threads=count) for name, count in threads.items()]
    with workflow(endpoints=endpoints, prefetch=0) as (dfk, executor):
        [future.result() for future in [python_app(nap, data_flow_kernel=dfk)(0.05) for _ in range(30)]]
    spans = {name: [] for name in threads}
    endpoint_of = {}
    for line in read_log(executor.log_file):
        if line["kind"] == "attempt" and "endpoint" in line:
            endpoint_of[line["attempt"]] = line["endpoint"]
        if line["kind"] == "attempt" and line["state"] == "finished":
            spans[endpoint_of[line["attempt"]]] += [(line["started"], 1), (line["finished"], -1)]
    for name, changes in spans.items():
        running = most = 0
        for _, change in sorted(changes, key=lambda c: (c[0], c[1])):
            running += change
            most = max(most, running)
        assert most == threads[name]


def test_an_exception_of_an_app_keeps_its_type_and_hurts_no_other_task(workflow):
    with workflow() as (dfk, _):
        bad = python_app(fail, data_flow_kernel=dfk)("mine")
        good = python_app(increment, data_flow_kernel=dfk)(1)
        with pytest.raises(KeyError, match="mine"):
            bad.result()
        assert good.result() == 2


def test_parsls_retries_run_a_failing_app_again(workflow):
    with workflow(retries=2) as (dfk, executor):
        with pytest.raises(KeyError):
            python_app(fail, data_flow_kernel=dfk)("again").result()
    assert check_log(executor).count("failed") == 3


def test_bash_apps_with_files_in_and_out(workflow, tmp_path):
    def copy(inputs=(), outputs=(), stdout=None):
        return f"cat {inputs[0].filepath} {inputs[0].filepath} > {outputs[0].filepath}; echo copied"

    def leave():
        return "exit 3"

    source = tmp_path / "source.txt"
    source.write_text("line\n")
    with workflow() as (dfk, _):
        app = bash_app(portable(copy), data_flow_kernel=dfk)
        once = app(inputs=[File(str(source))], outputs=[File(str(tmp_path / "twice.txt"))], stdout=str(tmp_path / "out.txt"))
        again = app(inputs=[once.outputs[0]], outputs=[File(str(tmp_path / "four.txt"))])
        assert again.result() == 0
        assert (tmp_path / "four.txt").read_text() == "line\n" * 4
        assert (tmp_path / "out.txt").read_text() == "copied\n"
        with pytest.raises(BashExitFailure, match="exit code 3"):
            bash_app(portable(leave), data_flow_kernel=dfk)().result()


def test_a_join_app_runs_its_inner_tasks_here(workflow):
    with workflow() as (dfk, executor):
        inner = python_app(increment, data_flow_kernel=dfk, executors=["multi"])

        @join_app(data_flow_kernel=dfk)
        def outer(n):
            return [inner(i) for i in range(n)]

        assert outer(5).result() == [1, 2, 3, 4, 5]
    assert check_log(executor).count("done") == 5


def wait_for_budget(faults):
    """The tests before this one are the same client to the service."""
    while [request for request in faults.requests() if request.counted and request.wall > time.time() - 11]:
        time.sleep(0.5)


def test_a_thousand_small_tasks_with_the_services_limits_on(workflow, faults):
    wait_for_budget(faults)
    last = max((request.number for request in faults.requests()), default=0)
    faults.set_limits(Limits())
    with workflow(request_limit=(20, 10.0)) as (dfk, executor):
        app = python_app(increment, data_flow_kernel=dfk)
        assert [future.result() for future in [app(i) for i in range(1000)]] == list(range(1, 1001))
    requests = faults.requests(since=last)
    assert busiest_window(requests) <= 20
    assert not [request for request in requests if request.status == 429]
    assert check_log(executor).count("done") == 1000


@pytest.mark.parametrize("limits", [NO_REQUEST_LIMIT, Limits()])
def test_two_executors_in_one_config_keep_their_tasks_apart_and_share_the_budget(make_executor, tmp_path, faults, limits):
    wait_for_budget(faults)
    faults.set_limits(limits)
    last = max(request.number for request in faults.requests())
    request_limit = (20, 10.0) if limits.requests else None
    executors = [make_executor(label=label, request_limit=request_limit) for label in ("left", "right")]
    with DataFlowKernel(Config(executors=executors, run_dir=str(tmp_path / "runinfo"))) as dfk:
        futures = {label: [python_app(increment, data_flow_kernel=dfk, executors=[label])(i) for i in range(20)] for label in ("left", "right")}
        for label in futures:
            assert [future.result() for future in futures[label]] == list(range(1, 21))
    assert not [request for request in faults.requests(since=last) if request.status == 429]
    for executor in executors:
        state = check_log(executor)
        assert state.count("done") == 20 and not state.duplicates


def test_a_callback_that_sleeps_delays_no_dispatch(workflow):
    entered, leave = threading.Event(), threading.Event()

    def hang(_):
        entered.set()
        leave.wait(120)

    with workflow() as (dfk, executor):
        first = python_app(increment, data_flow_kernel=dfk)(0)
        first.add_done_callback(hang)
        assert entered.wait(60)
        futures = [python_app(nap, data_flow_kernel=dfk)(0.1) for _ in range(30)]
        try:
            deadline = time.monotonic() + 60
            while True:  # the log sees them all finish, while the callback still holds up the resolver
                outcomes = Counter(line["state"] for line in read_log(executor.log_file) if line["kind"] == "task")
                if outcomes["done"] == 31:
                    break
                assert time.monotonic() < deadline, outcomes
                time.sleep(0.1)
            assert not leave.is_set() and not any(future.done() for future in futures)
        finally:
            leave.set()
        assert all(future.result(30) == 0.1 for future in futures)


def test_core_requirements_are_checked_against_the_pool(workflow):
    with workflow() as (dfk, _):
        @python_app(data_flow_kernel=dfk)
        def wide(parsl_resource_specification={"cores": 64}):
            return 1

        with pytest.raises(NoSuchThread, match="64 cores.*large: 4 x 1 core"):
            wide().result()


def test_what_cannot_be_unpacked_on_the_endpoints_is_tried_elsewhere_and_then_named(workflow, only_here):
    with workflow(failover_attempts=1) as (dfk, executor):
        future = executor.submit(only_here, {})
        with pytest.raises(EndpointsFailed, match=f"2 attempts on .*No module named '{only_here.__module__}'"):
            future.result(60)
    assert len({attempt.endpoint for attempt in replay(read_log(executor.log_file)).attempts.values()}) == 2


# Not upstream: begin (there, endpoints have the Parsl that is tested)
def test_the_executors_package_is_not_importable_on_the_endpoints(workflow):
    def find():
        import importlib.util
        return importlib.util.find_spec("parsl.executors.globus_compute_multi")

    with workflow() as (dfk, _):
        assert python_app(portable(find), data_flow_kernel=dfk)().result() is None
# Not upstream: end


def test_a_value_too_large_for_a_result_is_named_at_once_and_not_tried_again(workflow):
    def large():
        return b"x" * 8_000_000

    with workflow() as (dfk, executor):
        with pytest.raises(ResultTooLarge, match=r"10,?666,?\d+ bytes"):
            python_app(portable(large), data_flow_kernel=dfk)().result()
    assert len(check_log(executor).attempts) == 1


def test_an_exception_without_text_keeps_its_type_and_texts_stay_out_of_the_log(workflow):
    def odd():
        class Odd(Exception):
            def __str__(self):
                return 3
        raise Odd()

    def tell():
        raise ValueError("planted secret")

    with workflow() as (dfk, executor):
        error = python_app(portable(odd), data_flow_kernel=dfk)().exception()
        assert type(error).__name__ == "Odd"
        assert "planted" in str(python_app(portable(tell), data_flow_kernel=dfk)().exception())
    assert "planted" not in Path(executor.log_file).read_text()


def test_a_stored_client_identity_runs_a_workflow(compute, tmp_path):
    """With the SDK's own client, in a process of its own, which finds the local service by its environment."""
    program = tmp_path / "workflow.py"
    program.write_text(f"""
import parsl
from parsl.config import Config
from parsl.executors.globus_compute_multi import GlobusComputeMultiExecutor

@parsl.python_app
def double(x):
    return 2 * x

executor = GlobusComputeMultiExecutor({[compute.endpoint_ids[name] for name in THREADS]!r}, request_limit=None)
with parsl.load(Config(executors=[executor], run_dir={str(tmp_path / "runinfo")!r})):
    print([future.result() for future in [double(i) for i in range(5)]])
""")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120, env={**os.environ, **compute.environment})
    assert done.stdout == "[0, 2, 4, 6, 8]\n", done.stderr


def test_a_result_that_cannot_be_unpickled_here_fails_its_task_alone(workflow):
    def unreadable():
        class Trap:
            def __reduce__(self):
                return eval, ("1/0",)
        return Trap()

    with workflow() as (_, executor):
        with pytest.raises(ResultNotReadable, match="ZeroDivisionError"):
            executor.submit(portable(unreadable), {}).result(60)
        assert executor.submit(increment, {}, 1).result(60) == 2
