"""Bad resource specifications: each is refused with an error that names the key."""
from __future__ import annotations

import pytest

from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.globus_compute_multi.resources import SpecificationReader
from parsl.tests.test_globus_compute_multi.unit.test_bad_arguments import (
    COUNTS,
    INFINITE,
    NAN,
    NUMBERS,
    WITHOUT_TEXT,
    Unshowable,
    numpys,
)

pytestmark = pytest.mark.local

#: For each key, what it must not be.
VALUES = {
    "cores": COUNTS,
    "priority": [NAN, INFINITE, -INFINITE, "high", None, True, 1j, [1], WITHOUT_TEXT, Unshowable(), *numpys("nan", "true", "array")],
    "estimated_seconds": [*NUMBERS, None],
    "endpoints": ["", "gamma", [], [3], ["delta", None], [["delta"]], {"delta": 1}, 3, None, True, b"delta", (n for n in ["delta"]),
                  Unshowable(), *numpys("array")],
    "user_endpoint_config": [None, "workers", 3, {1: 2}, {"workers": NAN}, {"workers": (1,)}, {"workers": object()}, {"workers": 3},
                             {"workers": WITHOUT_TEXT}, Unshowable()],
    "num_nodes": COUNTS,
}

SPECIFICATIONS = [
    *(({key: value}, key) for key, values in VALUES.items() for value in values),
    *(({"num_nodes": 2, key: value}, key) for key in ("ranks_per_node", "num_ranks") for value in COUNTS),
    *(({"num_nodes": 2, "launcher_options": value}, "launcher_options") for value in (3, None, b"-v", ["-v"], Unshowable())),
    *(({key: value}, key) for key, value in (("ranks_per_node", 2), ("num_ranks", 2), ("launcher_options", "-v"))),
    ({"num_nodes": 2, "num_ranks": 3}, "num_ranks"),
    ({"num_nodes": 2, "num_ranks": 4, "ranks_per_node": 4}, "ranks_per_node"),
    ({"core": 1}, "core"),
    ({"Cores": 1}, "Cores"),
    ({"cores ": 1}, "cores "),
    ({"": 1}, ""),
    ({3: 1}, "3"),
    ({None: 1}, "None"),
    ({b"cores": 1}, "b'cores'"),
    ({(): 1}, "()"),
    ({WITHOUT_TEXT: 1}, "something of type int that cannot be shown"),
    ({"cores": 1, "cpu": 1}, "cpu"),
    *((specification, "parsl_resource_specification") for specification in (
        [], (), 0, "", False, [("cores", 1)], "cores", 4, {"cores"}, Unshowable(), *numpys("array"))),
]


@pytest.mark.parametrize("specification, key", SPECIFICATIONS, ids=[f"{key} {n}" for n, (_, key) in enumerate(SPECIFICATIONS)])
def test_a_specification_that_cannot_be_used_is_refused_by_its_key(specification, key):
    with pytest.raises(InvalidResourceSpecification) as refused:
        SpecificationReader("mine", ["delta"], []).read(specification)
    assert key in str(refused.value)
    assert len(str(refused.value)) < 2000
