"""Bad arguments of the constructors: each is refused with an error of a known type that names the culprit."""
from __future__ import annotations

from decimal import Decimal
from typing import Any, Dict, List

import pytest
import typeguard

from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.executors.globus_compute_multi import (
    EarliestFinish,
    Endpoint,
    GlobusComputeMultiExecutor,
    ResultRadio,
    ThreadClass,
)
from parsl.executors.globus_compute_multi.errors import EndpointConfigurationError
from parsl.monitoring.radios.htex import HTEXRadio

pytestmark = pytest.mark.local

A, B = "4b116d3c-1703-4f8f-9f6f-39921e5864df", "0c1d2a7e-0f1b-4a51-9df1-5d5e6b3a7c11"
NAN, INFINITE = float("nan"), float("inf")

#: An int that Python refuses to write as text.
WITHOUT_TEXT = 10 ** 5000


class Unshowable:
    """Raises when a message is to show it."""

    def __repr__(self):
        raise RuntimeError("no text for you")

    __str__ = __repr__


def numpys(*names):
    """Odd values of NumPy's, if it is there."""
    try:
        import numpy
    except ImportError:
        return []
    odd = {"nan": numpy.float64("nan"), "infinity": numpy.float32("inf"), "negative": numpy.int64(-1), "true": numpy.True_,
           "zero": numpy.uint8(0), "huge": numpy.uint64(2 ** 64 - 1), "array": numpy.array([1]), "scalar array": numpy.array(1),
           "complex": numpy.complex128(1), "time": numpy.timedelta64(1, "s")}
    return [odd[name] for name in names]


COUNTS: List[Any] = [0, -1, True, 1.5, "8", None, [1], 10 ** 7, WITHOUT_TEXT, NAN, Unshowable(),
                     *numpys("negative", "true", "zero", "array", "huge")]
NUMBERS: List[Any] = [-1, NAN, INFINITE, True, "1", 1j, Decimal(1), 1e300, WITHOUT_TEXT, Unshowable(),
                      *numpys("nan", "infinity", "true", "array", "scalar array", "complex", "time")]

#: For each argument, what it must not be. Of the executor:
EXECUTOR: Dict[str, List[Any]] = {
    "endpoints": [None, 3, A, "", b"x" * 16, [], (), {A: 1}, {A}, (e for e in [A]), [None], [A, None], [A, 3.5], [A, A.encode()], ["nonsense"],
                  ["", A], [A, A], [A, A.upper()], [A, f"{{{A}}}"], [A, Endpoint(A, name="other")],
                  [Endpoint(A, name="x"), Endpoint(B, name="x")], [A, Unshowable()]],
    "client": ["me", 3, object(), Unshowable()],
    "label": [3, None, "", "a/b", "/", "nul\0", b"x"],
    "threads_per_endpoint": COUNTS,
    "cores_per_thread": COUNTS,
    "policy": [EarliestFinish, "fastest", 3, lambda task, candidates, outlook: None],
    "redispatch": ["no", None, 0, 2],
    "failover_attempts": [-1, 1.5, None, True, INFINITE, WITHOUT_TEXT],
    "prefetch": [-1, 0.5, True, "2", WITHOUT_TEXT],
    "request_limit": [20, (20,), (20, 10, 1), (0, 10), (-1, 10), (True, 10), (2.5, 10), ("20", 10), (20, 0), (20, -1), (20, NAN), (20, INFINITE),
                      (20, "10"), (20, True), (20, 1e300), (WITHOUT_TEXT, 10), [20, 10]],
    "status_interval": [0, -1, NAN, INFINITE, True, None, "30", 1e300, WITHOUT_TEXT],
    "runner_id": ["x", "", 3, A[:-1]],
    "amqp_port": [0, -1, 65536, True, "5671", 5671.5, WITHOUT_TEXT],
    "log_file": [3, True, "", "nul\0", ["log"]],
    "working_dir": [3, True, ["here"]],
    "storage_access": ["file", [3], [None], [NoOpFileStaging], [NoOpFileStaging(), Unshowable()]],
    "remote_monitoring_radio": ["udp", 3, ResultRadio, HTEXRadio()],
}

#: Of an endpoint.
ENDPOINT: Dict[str, List[Any]] = {
    "id": [None, 3, "", "not one", A[:-1], f"{A}0", A.encode(), [A], WITHOUT_TEXT, Unshowable()],
    "name": ["", 3, b"x", True, Unshowable()],
    "threads": [*(value for value in COUNTS if value is not None), {}, [], {1, 2}, {0: 1}, {True: 1}, {"1": 1}, {1.0: 1}, {1: 0}, {1: True},
                {1: "4"}, {1: None}, {WITHOUT_TEXT: 1}, {1: WITHOUT_TEXT}, [3], [ThreadClass(1, 1), None],
                [ThreadClass(1, 1), ThreadClass(1, 2)], b"\x01", (n for n in [1])],
    "cores_per_thread": [value for value in COUNTS if value is not None],
    "filesystem": ["", 3, b"x", True, Unshowable()],
    "startup_seconds": NUMBERS,
    "cost_per_core_hour": [*NUMBERS, None],
    "speed": [*NUMBERS, 0, 1e-300],
}

#: Of a thread class.
THREAD_CLASS: Dict[str, List[Any]] = {
    "cores": COUNTS,
    "count": COUNTS,
    "user_endpoint_config": ["workers: 2", 3, [("workers", 2)], {1: "x"}, {"a": (1, 2)}, {"a": NAN}, {"a": {1, 2}}, {"a": b"x"}, {"a": object()},
                             {"a": {2: "x"}}, {"a": WITHOUT_TEXT}, {"a": Unshowable()}, Unshowable()],
}

ARGUMENTS = [(kind, argument, value) for kind, table in (("executor", EXECUTOR), ("endpoint", ENDPOINT), ("thread class", THREAD_CLASS))
             for argument, values in table.items() for value in values]


@pytest.mark.parametrize("kind, argument, value", ARGUMENTS, ids=[f"{kind} {argument} {n}" for n, (kind, argument, _) in enumerate(ARGUMENTS)])
def test_an_argument_that_cannot_be_used_is_refused_by_its_name(kind, argument, value):
    with pytest.raises((EndpointConfigurationError, typeguard.TypeCheckError)) as refused:
        if kind == "executor":
            GlobusComputeMultiExecutor(**{"endpoints": [A], argument: value})
        elif kind == "endpoint":
            Endpoint(**{"id": A, argument: value})
        else:
            ThreadClass(**{"cores": 1, "count": 1, argument: value})
    # an endpoint's own argument is named with the endpoint
    culprit = "endpoint" if argument in ("endpoints", "id") else argument
    assert culprit in str(refused.value)
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("make, name", [(lambda **more: GlobusComputeMultiExecutor([A], **more), "thread_per_endpoint"),
                                        (lambda **more: Endpoint(A, **more), "thread"), (lambda **more: ThreadClass(1, 1, **more), "config")])
def test_an_argument_that_there_is_not_is_named(make, name):
    with pytest.raises(TypeError, match=name):
        make(**{name: 3})
