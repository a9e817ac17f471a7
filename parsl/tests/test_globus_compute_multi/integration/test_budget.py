"""The request budget, counted at the service, with the hosted service's limits on and real endpoint agents."""
from __future__ import annotations

import threading
import time

import pytest
import requests

from local_globus_compute import Limits
from local_globus_compute.service.admin import busiest_window
from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    check_log,
    portable,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]

LIMIT = (20, 10.0)


@portable
def doze(x):
    import time
    time.sleep(0.05)
    return x


@pytest.fixture
def limited(faults):
    """The service's limits are on; gives what the user's programs have asked since, all requests told apart by kind."""
    faults.set_limits(Limits())
    since = max((request.number for request in faults.requests()), default=0)
    return lambda: [request for request in faults.requests(since) if request.counted]


def run(dfk, executors, seconds):
    """Keep submitting, now a burst and now one task after another, and wait for all."""
    apps = [python_app(doze, data_flow_kernel=dfk, executors=[executor.label]) for executor in executors]
    end, futures, number = time.monotonic() + seconds, [], 0
    while time.monotonic() < end:
        for app in apps:
            futures += [app(number + i) for i in range(10)]
        number += 10
        app(number).result(120)
    assert all(isinstance(future.result(120), int) for future in futures)


def test_three_executors_that_are_busy_and_ask_for_statuses_keep_to_the_budget(make_executor, limited, tmp_path):
    executors = [make_executor(label=f"multi_{number}", request_limit=LIMIT, status_interval=0.1) for number in range(3)]
    with DataFlowKernel(Config(executors=executors, run_dir=str(tmp_path / "runinfo"))) as dfk:
        at_start = limited()
        run(dfk, executors, 15)  # a window of the limit, and some
    asked = limited()
    assert busiest_window(asked, LIMIT[1]) <= LIMIT[0]
    assert not [request for request in asked if request.status == 429]
    routes = [request.route for request in asked]
    assert {"register_function", "endpoint_status", "submit", "result_queue"} <= set(routes)
    statuses = [request for request in asked[len(at_start):] if request.route == "endpoint_status"]
    assert statuses and busiest_window(statuses, LIMIT[1]) <= 4, "a fifth of the budget"
    for executor in executors:
        assert check_log(executor).count("failed") == 0


def test_while_work_is_pending_a_status_is_asked_in_every_ten_seconds(workflow, limited):
    with workflow(request_limit=LIMIT, status_interval=0.1) as (dfk, executor):
        run(dfk, [executor], 22)
        end = time.monotonic()
    times = [request.arrived for request in limited() if request.route == "endpoint_status"]
    gaps = [later - earlier for earlier, later in zip(times, [*times[1:], end])]
    assert max(gaps) < 12.0  # as seen by the service: the way there takes its time, too
    assert busiest_window(limited(), LIMIT[1]) <= LIMIT[0]


def test_beside_another_program_that_spends_half_of_the_budget_refusals_are_rare_and_all_tasks_are_done(workflow, limited, compute):
    stop = threading.Event()

    def another_program():
        with requests.Session() as session:
            session.trust_env = False
            session.headers.update({"Authorization": f"Bearer {compute.token}", "Connection": "close"})  # tests look for open ones
            while not stop.wait(1.0):
                session.get(f"{compute.address}/v2/version", timeout=30)

    thread = threading.Thread(target=another_program)
    thread.start()
    try:
        with workflow(request_limit=LIMIT) as (dfk, executor):
            run(dfk, [executor], 25)
    finally:
        stop.set()
        thread.join()
    ours = [request for request in limited() if request.route != "version"]
    refused = [request for request in ours if request.status == 429]
    assert len(refused) <= 8, f"{len(refused)} of {len(ours)} requests"
    assert check_log(executor).count("failed") == 0
