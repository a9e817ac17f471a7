"""Bad input to the constructor, to Endpoint and to submit: each a clear error that names the culprit."""
from __future__ import annotations

import subprocess
import sys
import uuid

import pytest
import typeguard
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer

import parsl.executors.globus_compute_multi.executor as module
from parsl.errors import OptionalModuleMissing
from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi.errors import (
    EndpointConfigurationError,
    ExecutorNotRunning,
    TaskTooLarge,
)
from parsl.executors.globus_compute_multi.resources import SpecificationReader

pytestmark = pytest.mark.local

A, B = "4b116d3c-1703-4f8f-9f6f-39921e5864df", "0c1d2a7e-0f1b-4a51-9df1-5d5e6b3a7c11"


@pytest.mark.parametrize("arguments, culprit", [
    ({"id": "not-a-uuid"}, "not-a-uuid"),
    ({"id": ""}, "UUID"),
    ({"id": None}, "None"),
    ({"id": A, "threads": 0}, "threads"),
    ({"id": A, "threads": -1}, "threads"),
    ({"id": A, "threads": True}, "threads"),
    ({"id": A, "threads": 2.0}, "threads"),
    ({"id": A, "threads": "8"}, "threads"),
    ({"id": A, "cores_per_thread": 0}, "cores_per_thread"),
    ({"id": A, "name": ""}, "name"),
    ({"id": A, "name": 3}, "name"),
])
def test_an_endpoint_refuses_what_cannot_be_used(arguments, culprit):
    with pytest.raises(EndpointConfigurationError, match=culprit):
        Endpoint(**arguments)


def test_endpoint_ids_are_normalised_and_give_a_name():
    endpoint = Endpoint(A.upper())
    assert (endpoint.id, endpoint.name) == (A, A[:8])


@pytest.mark.parametrize("endpoints, culprit", [
    (A, "not the string"),
    ([], "at least one endpoint"),
    (["nonsense"], "nonsense"),
    ([A, A], "given twice"),
    ([A, uuid.UUID(A)], "given twice"),
    ([A, Endpoint(A, name="other")], "given twice"),
    ([Endpoint(A, name="same"), Endpoint(B, name="same")], "same name 'same'"),
    ([A, 17], r"endpoints\[1\]"),  # typeguard looks at the first item only
])
def test_a_list_of_endpoints_that_makes_no_pool_is_refused(endpoints, culprit):
    with pytest.raises(EndpointConfigurationError, match=culprit):
        GlobusComputeMultiExecutor(endpoints=endpoints)


@pytest.mark.parametrize("argument, value", [
    ("threads_per_endpoint", 0), ("threads_per_endpoint", True), ("cores_per_thread", -1), ("failover_attempts", -1), ("prefetch", -1),
    ("request_limit", (0, 10.0)), ("request_limit", (20, 0.0)), ("request_limit", (20, float("nan"))), ("status_interval", 0),
    ("status_interval", float("inf")), ("runner_id", "x"), ("amqp_port", 0), ("amqp_port", 65536), ("client", "me"),
    ("label", ""), ("label", "a/b"), ("storage_access", [3]),
])
def test_an_argument_that_cannot_be_used_is_named(argument, value):
    with pytest.raises(EndpointConfigurationError, match=argument):
        GlobusComputeMultiExecutor([A], **{argument: value})


@pytest.mark.parametrize("argument, value", [
    ("endpoints", None), ("endpoints", 3), ("label", 3), ("threads_per_endpoint", "8"), ("failover_attempts", 1.5), ("request_limit", 20),
    ("storage_access", "file"), ("remote_monitoring_radio", "udp"),
])
def test_an_argument_of_another_type_is_refused(argument, value):
    with pytest.raises(typeguard.TypeCheckError, match=argument):
        GlobusComputeMultiExecutor(**{"endpoints": [A], argument: value})


def test_every_argument_is_an_attribute_and_no_credential_shows():
    client = Client(authorizer=AccessTokenAuthorizer("planted-token"), do_version_check=False, local_compute_services=True)
    executor = GlobusComputeMultiExecutor([A, B], client=client, label="mine", working_dir="/tmp")
    assert "mine" in repr(executor) and A in repr(executor)
    assert "unrecorded" not in repr(executor) and "planted" not in repr(executor)


def test_without_the_sdk_the_package_imports_and_the_constructor_says_what_is_missing(monkeypatch):
    program = ("import sys; sys.modules['globus_compute_sdk'] = None; from parsl.executors.globus_compute_multi import Endpoint, "
               "GlobusComputeMultiExecutor as E\ntry: E(['%s'])\nexcept Exception as e: print(type(e).__name__, e)" % A)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("OptionalModuleMissing") and "globus-compute-sdk" in done.stdout
    monkeypatch.setattr(module, "_globus_compute_enabled", False)
    monkeypatch.setattr(module, "_missing", "No module named 'globus_compute_sdk'", raising=False)
    with pytest.raises(OptionalModuleMissing):
        GlobusComputeMultiExecutor([A])


class TestSubmit:

    def test_before_start_it_is_refused(self):
        with pytest.raises(ExecutorNotRunning, match="not started"):
            GlobusComputeMultiExecutor([A]).submit(len, {}, [1])

    def test_after_shutdown_it_is_refused_and_shutdown_twice_is_fine(self):
        executor = GlobusComputeMultiExecutor([A])
        executor.shutdown()
        executor.shutdown()
        with pytest.raises(ExecutorNotRunning, match="shut down"):
            executor.submit(len, {}, [1])

    def test_a_task_larger_than_a_submission_says_its_size_the_limit_and_the_remedy(self):
        with pytest.raises(TaskTooLarge, match=r"13,33\d,\d{3} bytes .* 9,99\d,\d{3}.*ProxyStore"):
            GlobusComputeMultiExecutor([A]).submit(len, {}, b"x" * 10_000_000)

    def test_arguments_that_do_not_pickle_raise_what_pickling_raises(self):
        with pytest.raises(TypeError, match="pickle"):
            GlobusComputeMultiExecutor([A]).submit(len, {}, (x for x in "ab"))


class TestResourceSpecification:

    @pytest.mark.parametrize("specification, key", [
        ({"core": 1}, "core"), ({3: 1}, "3"),
        ({"cores": 0}, "cores"), ({"cores": True}, "cores"), ({"cores": 1.5}, "cores"), ({"cores": "4"}, "cores"),
        ({"priority": float("nan")}, "priority"), ({"priority": float("inf")}, "priority"),
        ({"priority": "high"}, "priority"), ({"priority": None}, "priority"),
    ])
    def test_what_cannot_be_used_is_named(self, specification, key):
        with pytest.raises(InvalidResourceSpecification, match=key):
            SpecificationReader("x").read(specification)

    def test_keys_of_other_executors_are_ignored_and_said_so_once(self, caplog):
        reader = SpecificationReader("mine")
        for _ in range(2):
            assert reader.read({"memory": 1, "cpus": 2, "cores": 3}).cores == 3
        assert sorted(record.getMessage() for record in caplog.records) == [
            "Executor mine ignores the key 'cpus' of resource specifications",
            "Executor mine ignores the key 'memory' of resource specifications"]
