"""The unmodified SDK and an unmodified agent, with the service between them."""
import math
import operator

import pytest
from globus_compute_sdk import Executor
from globus_compute_sdk.errors import TaskExecutionFailed

from local_globus_compute import Limits, LocalEndpoint, LocalGlobusCompute

from .service_harness import until

TIMEOUT_SECONDS = 120


@pytest.fixture(scope="module")
def compute():
    with LocalGlobusCompute([LocalEndpoint("alpha", workers=2)], limits=Limits(requests=None)) as running:
        yield running


@pytest.fixture
def executor(compute, monkeypatch):
    # The SDK uses one task group for all executors of a process, and another test's service may have given that out.
    monkeypatch.setattr(Executor, "_default_task_group_id", None)
    # No pause between small batches, so that tests are quick.
    with Executor(compute.endpoint_ids["alpha"], client=compute.client(), api_burst_limit=1) as running:
        yield running
    if running.task_group_id:
        # As Parsl's GlobusComputeExecutor does: else its thread outlives the service, and tries to reach it for a while.
        running._get_result_watcher().shutdown()


@pytest.fixture
def admin(compute):
    yield compute.admin
    compute.admin.clear_faults()


def test_a_thousand_tasks_give_a_thousand_results(executor, admin):
    before = admin.counters().get("results_published", 0)
    futures = [executor.submit(operator.mul, 2, x) for x in range(1000)]
    assert [future.result(TIMEOUT_SECONDS) for future in futures] == [2 * x for x in range(1000)]
    assert admin.counters()["results_published"] == before + 1000


def test_an_exception_comes_back_as_the_sdk_gives_it(executor):
    with pytest.raises(TaskExecutionFailed, match="ValueError"):
        executor.submit(math.factorial, -1).result(TIMEOUT_SECONDS)


def test_a_function_registered_by_its_source_runs(compute):
    client = compute.client()
    function_id = client.register_source_code("def triple(x):\n    return 3 * x\n", "triple")
    task_id = client.run(14, endpoint_id=compute.endpoint_ids["alpha"], function_id=function_id)
    until(lambda: not client.get_task(task_id)["pending"], "the result")
    assert client.get_result(task_id) == 42


def test_a_child_has_an_id_and_a_status_of_its_own(compute, executor, admin):
    future = executor.submit(operator.mul, 2, 1)
    future.result(TIMEOUT_SECONDS)
    client = compute.client()
    details = client._compute_web_client.v2.get_task(future.task_id)["details"]
    child = details["endpoint_id"]
    assert child != compute.endpoint_ids["alpha"]
    until(lambda: client.get_endpoint_status(child)["details"].get("total_workers") == 2, "2 workers in the child's status")
    parent = client.get_endpoint_status(compute.endpoint_ids["alpha"])["details"]
    assert "heartbeat_period" in parent and "total_workers" not in parent


def test_another_configuration_is_another_child(compute, executor):
    executor.user_endpoint_config = {"workers": 1}
    first = executor.submit(operator.mul, 2, 1)
    first.result(TIMEOUT_SECONDS)
    executor.user_endpoint_config = {"workers": 2}
    second = executor.submit(operator.mul, 2, 1)
    second.result(TIMEOUT_SECONDS)
    client = compute.client()
    children = {client._compute_web_client.v2.get_task(future.task_id)["details"]["endpoint_id"] for future in (first, second)}
    assert len(children) == 2


def test_a_configuration_that_the_template_does_not_take_fails_the_task_with_the_agents_reason(executor):
    executor.user_endpoint_config = {"workers": "not a number"}
    with pytest.raises(TaskExecutionFailed, match="(?i)user endpoint|workers|engine"):
        executor.submit(operator.mul, 2, 1).result(TIMEOUT_SECONDS)


def test_the_sdk_copes_with_results_that_come_early_twice_and_out_of_order(executor, admin):
    admin.add_fault("result_before_answer", count=2)
    admin.add_fault("duplicate_result", count=20)
    admin.add_fault("reorder_results", size=4, deadline_seconds=1)
    futures = [executor.submit(operator.mul, 2, x) for x in range(60)]
    assert [future.result(TIMEOUT_SECONDS) for future in futures] == [2 * x for x in range(60)]
    counters = admin.counters()
    assert counters["fault_duplicate_result"] == 20
    assert counters["fault_result_before_answer"] >= 1 and "fault_result_before_answer_gave_up" not in counters


def test_a_result_that_is_too_large_fails_its_task_and_no_other(executor):
    large, small = executor.submit(operator.mul, b"x", 7_600_000), executor.submit(operator.mul, 2, 1)
    with pytest.raises(TaskExecutionFailed, match="limit of the service is 10,000,000"):
        large.result(TIMEOUT_SECONDS)
    assert small.result(TIMEOUT_SECONDS) == 2


def test_work_goes_on_over_a_restart_of_the_service(compute, executor):
    future = executor.submit(operator.mul, 2, 1)
    future.result(TIMEOUT_SECONDS)
    compute.restart_service()
    futures = [executor.submit(operator.mul, 2, x) for x in range(20)]
    assert [future.result(TIMEOUT_SECONDS) for future in futures] == [2 * x for x in range(20)]
