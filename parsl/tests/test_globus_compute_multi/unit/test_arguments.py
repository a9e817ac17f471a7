"""Bad input to the constructor, to Endpoint and to submit: each a clear error that names the culprit."""
from __future__ import annotations

import subprocess
import sys
import uuid
from fractions import Fraction

import pytest
import typeguard
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer

import parsl.executors.globus_compute_multi.executor as module
from parsl.errors import OptionalModuleMissing
from parsl.executors.globus_compute_multi import (
    Endpoint,
    GlobusComputeMultiExecutor,
    ThreadClass,
)
from parsl.executors.globus_compute_multi.arguments import as_run_time
from parsl.executors.globus_compute_multi.errors import (
    EndpointConfigurationError,
    ExecutorNotRunning,
    TaskTooLarge,
)

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
    ({"id": A, "threads": 1_000_001}, "threads must be .* at most 1000000"),
    ({"id": A, "threads": 10 ** 400}, "threads must be .* at most 1000000"),
    ({"id": A, "threads": {1: 4, 10 ** 400: 2}}, "threads: each key.* at most 1000000"),
    ({"id": A, "threads": {1: 10 ** 400}}, r"threads\[1\] must be .* at most 1000000"),
    ({"id": A, "cores_per_thread": 10 ** 400}, "cores_per_thread must be .* at most 1000000"),
    ({"id": A, "threads": {1, 2}}, "threads must be"),
    ({"id": A, "threads": {}}, "threads is empty"),
    ({"id": A, "threads": {1: 4, 0: 2}}, "threads: each key"),
    ({"id": A, "threads": {1: 4, "16": 2}}, "threads: each key.*'16'"),
    ({"id": A, "threads": {True: 2}}, "threads: each key.*True"),
    ({"id": A, "threads": {1: 4, 16: 0}}, r"threads\[16\]"),
    ({"id": A, "threads": {1: 4, 16: 2.0}}, r"threads\[16\]"),
    ({"id": A, "threads": {1: True}}, r"threads\[1\]"),
    ({"id": A, "threads": []}, "threads is empty"),
    ({"id": A, "threads": [ThreadClass(1, 4), 3]}, r"threads\[1\] must be a ThreadClass, not 3"),
    ({"id": A, "threads": [ThreadClass(1, 4), ThreadClass(2, 4), ThreadClass(1, 9)]}, r"threads\[0\] and .*threads\[2\] have the same"),
    ({"id": A, "threads": [ThreadClass(1, 4), ThreadClass(1, 4, {})]}, "have the same"),
    ({"id": A, "threads": [ThreadClass(1, 4, {"a": 1, "b": 2}), ThreadClass(1, 2, {"b": 2, "a": 1})]}, "have the same"),
    ({"id": A, "threads": {1: 4}, "cores_per_thread": 1}, "cores_per_thread"),
    ({"id": A, "threads": [ThreadClass(1, 4)], "cores_per_thread": 1}, "cores_per_thread"),
    ({"id": A, "cores_per_thread": 0}, "cores_per_thread"),
    ({"id": A, "cores_per_thread": True}, "cores_per_thread"),
    ({"id": A, "filesystem": ""}, "filesystem"),
    ({"id": A, "filesystem": 3}, "filesystem"),
    ({"id": A, "startup_seconds": -1}, "startup_seconds"),
    ({"id": A, "startup_seconds": float("nan")}, "startup_seconds"),
    ({"id": A, "startup_seconds": True}, "startup_seconds"),
    ({"id": A, "cost_per_core_hour": float("inf")}, "cost_per_core_hour"),
    ({"id": A, "cost_per_core_hour": "1"}, "cost_per_core_hour"),
    ({"id": A, "cost_per_core_hour": None}, "cost_per_core_hour"),
    ({"id": A, "speed": 0}, "speed"),
    ({"id": A, "speed": -2.0}, "speed"),
    ({"id": A, "speed": 10 ** 400}, "speed"),
    ({"id": A, "name": ""}, "name"),
    ({"id": A, "name": 3}, "name"),
])
def test_an_endpoint_refuses_what_cannot_be_used(arguments, culprit):
    with pytest.raises(EndpointConfigurationError, match=culprit):
        Endpoint(**arguments)


def test_what_is_wrong_with_an_endpoint_is_said_with_its_name():
    with pytest.raises(EndpointConfigurationError, match=r"endpoint delta: threads\[16\] must be a whole number of at least 1 .*, not 0"):
        Endpoint(A, name="delta", threads={16: 0})


@pytest.mark.parametrize("whole, real", [("int64", "float64"), ("uint8", "float32"), ("int32", "int32")])
def test_numbers_may_be_numpys_and_are_kept_as_pythons(whole, real):
    numpy = pytest.importorskip("numpy")
    count, number = getattr(numpy, whole)(3), getattr(numpy, real)(2)
    endpoint = Endpoint(A, threads=count, cores_per_thread=count, startup_seconds=number, cost_per_core_hour=number, speed=number)
    kept = [endpoint.threads, endpoint.cores_per_thread, endpoint.startup_seconds, endpoint.cost_per_core_hour, endpoint.speed]
    assert kept == [3, 3, 2.0, 2.0, 2.0] and [type(value) for value in kept] == [int, int, float, float, float]
    by_cores = Endpoint(A, threads={count: count}).threads
    assert by_cores == {3: 3} and {type(value) for item in by_cores.items() for value in item} == {int}
    threads = ThreadClass(count, count)
    assert threads == ThreadClass(3, 3) and {type(threads.cores), type(threads.count)} == {int}


@pytest.mark.parametrize("given, seconds", [
    (2, 2.0), (0, 0.0), (Fraction(1, 2), 0.5), (1e10, 1e10), (1.1e10, None), (10 ** 400, None), (-0.1, None), (float("nan"), None),
    (float("inf"), None), (True, None), ("2", None), (None, None), (1j, None)])
def test_a_run_time_is_a_number_of_seconds_that_can_be_learned_from(given, seconds):
    assert as_run_time(given) == seconds


def test_numpys_true_is_no_number_either():
    numpy = pytest.importorskip("numpy")
    for arguments in ({"threads": numpy.True_}, {"cores_per_thread": numpy.True_}, {"speed": numpy.True_}):
        with pytest.raises(EndpointConfigurationError, match=next(iter(arguments))):
            Endpoint(A, **arguments)


def test_endpoint_ids_are_normalised_and_give_a_name():
    endpoint = Endpoint(A.upper())
    assert (endpoint.id, endpoint.name) == (A, A[:8])


@pytest.mark.parametrize("endpoint, given, classes", [
    (Endpoint(A), False, ["8 x 2 cores"]),
    (Endpoint(A, cores_per_thread=4), False, ["8 x 4 cores"]),
    (Endpoint(A, threads=3), True, ["3 x 2 cores"]),
    (Endpoint(A, threads=3, cores_per_thread=1), True, ["3 x 1 core"]),
    (Endpoint(A, threads={16: 4, 1: 48}), True, ["4 x 16 cores", "48 x 1 core"]),
    (Endpoint(A, threads=(ThreadClass(1, 2), ThreadClass(1, 3, {"workers": 3}))), True, ["2 x 1 core", '3 x 1 core with {"workers": 3}']),
])
def test_thread_classes_are_what_the_endpoint_says_and_else_the_defaults(endpoint, given, classes):
    assert endpoint.threads_given is given
    assert [str(c) for c in endpoint.thread_classes(8, 2)] == classes


@pytest.mark.parametrize("arguments", [
    {"cores": 0, "count": 1}, {"cores": True, "count": 1}, {"cores": 1.0, "count": 1}, {"cores": "1", "count": 1},
    {"count": 0, "cores": 1}, {"count": None, "cores": 1}, {"count": True, "cores": 1},
    {"cores": 10 ** 400, "count": 1}, {"count": 1_000_001, "cores": 1},
    *({"user_endpoint_config": config, "cores": 1, "count": 1} for config in (
        "workers: 2", ["workers"], {1: "x"}, {"a": {2: "x"}}, {"a": (1, 2)}, {"a": float("nan")}, {"a": {1, 2}}, {"a": object()}, {"a": b"x"})),
])
def test_a_thread_class_refuses_what_cannot_be_used(arguments):
    with pytest.raises(EndpointConfigurationError, match=f"ThreadClass: {next(iter(arguments))} must"):
        ThreadClass(**arguments)


def test_a_configuration_that_contains_itself_is_refused():
    config = {}
    config["self"] = config
    with pytest.raises(EndpointConfigurationError, match="user_endpoint_config"):
        ThreadClass(1, 1, config)


def test_thread_classes_are_equal_if_they_say_the_same():
    one, other = ThreadClass(2, 3, {"a": 1, "b": [True, None]}), ThreadClass(2, 3, {"b": [True, None], "a": 1})
    assert one == other and hash(one) == hash(other) and one.config_text == other.config_text
    assert len({one, ThreadClass(2, 3), ThreadClass(2, 3, {"a": 2}), ThreadClass(2, 4, {"a": 1, "b": [True, None]})}) == 4
    assert ThreadClass(2, 3, {}) == ThreadClass(2, 3)


def test_what_a_user_changes_later_changes_no_endpoint():
    config, threads = {"a": [1]}, {1: 2}
    classes = [ThreadClass(1, 2, config)]
    by_class, by_cores = Endpoint(A, threads=classes), Endpoint(B, threads=threads)
    config["a"].append(2)
    classes.append(ThreadClass(4, 1))
    threads[4] = 1
    assert by_class.thread_classes(1, 1) == (ThreadClass(1, 2, {"a": [1]}),)
    assert by_cores.thread_classes(1, 1) == (ThreadClass(1, 2),)


def test_every_argument_of_an_endpoint_is_an_attribute_and_shows():
    arguments = {"id": A, "name": "delta", "threads": {1: 48, 16: 4}, "filesystem": "lustre", "startup_seconds": 600,
                 "cost_per_core_hour": 0.25, "speed": 2.0}
    endpoint = Endpoint(**arguments)
    assert {key: getattr(endpoint, key) for key in arguments} == arguments
    assert eval(repr(endpoint)) == endpoint and hash(endpoint) == hash(Endpoint(**arguments))
    with_classes = Endpoint(B, threads=[ThreadClass(8, 4, {"cores_per_worker": 8})])
    assert eval(repr(with_classes)) == with_classes
    assert repr(with_classes) in repr(GlobusComputeMultiExecutor([endpoint, with_classes])).replace("\n    ", "").replace("\n", "")


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
    ("threads_per_endpoint", 0), ("threads_per_endpoint", True), ("threads_per_endpoint", 10 ** 400), ("prefetch", 10 ** 400),
    ("cores_per_thread", -1), ("failover_attempts", -1), ("prefetch", -1),
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
