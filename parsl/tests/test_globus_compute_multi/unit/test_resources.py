"""What a task may say in its resource specification, and how it is told that it may not."""
from __future__ import annotations

import copy

import pytest

from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.globus_compute_multi import ThreadClass
from parsl.executors.globus_compute_multi.resources import (
    KNOWN_KEYS,
    Requirement,
    SpecificationReader,
)

pytestmark = pytest.mark.local

FOUR = {"workers": 4, "queue": "short"}


@pytest.fixture
def reader():
    return SpecificationReader("mine", ["delta", "anvil"], [ThreadClass(1, 4, FOUR).config_text])


@pytest.mark.parametrize("specification, key, allowed", [
    ({"core": 1}, "core", ".*".join(sorted(KNOWN_KEYS))),
    ({3: 1}, "3", "cores"),
    *(({"cores": value}, "cores", "at least 1") for value in (0, -1, True, 1.5, "4", None)),
    *(({"cores": value}, "cores", "at most 1000000") for value in (1_000_001, 10 ** 400)),
    *(({"priority": value}, "priority", "finite number") for value in (float("nan"), float("inf"), "high", None, True, 10 ** 400)),
    *(({"estimated_seconds": value}, "estimated_seconds", "at least 0")
      for value in (float("nan"), float("inf"), -0.1, "3", None, False, 10 ** 400)),
    *(({"redispatch": value}, "redispatch", "True or False") for value in (None, 0, 1, "no", 1.0)),
    ({"estimated_seconds": 1.1e10}, "estimated_seconds", r"at most 1e\+10"),
    *(({"endpoints": value}, "endpoints", r"\['anvil', 'delta'\]")
      for value in ([], (), "", "Delta", ["delta", "gamma"], ["delta", 3], [["delta"]], 3, None, {"delta": 1})),
    *(({"user_endpoint_config": value}, "user_endpoint_config", "as JSON has it")
      for value in (None, "workers", {1: 2}, {"workers": (4,)}, {"workers": float("nan")}, {"workers": object()})),
    *(({"user_endpoint_config": value}, "user_endpoint_config", r"No thread class.*there are \{.queue.: .short., .workers.: 4\}")
      for value in ({"workers": 4}, {**FOUR, "workers": 4.5}, {**FOUR, "more": None})),
    *(({"num_nodes": value}, "num_nodes", "at least 1") for value in (0, True, "2", 2.0, None, 10 ** 400)),
    ({"num_nodes": 2, "ranks_per_node": 0}, "ranks_per_node", "at least 1"),
    ({"num_nodes": 2, "num_ranks": -4}, "num_ranks", "at least 1"),
    ({"num_nodes": 2, "launcher_options": 3}, "launcher_options", "string"),
    ({"ranks_per_node": 2}, "ranks_per_node", "num_nodes"),
    ({"num_ranks": 4, "ranks_per_node": 2}, "num_ranks", "num_nodes"),
    ({"launcher_options": "-v"}, "launcher_options", "num_nodes"),
    ({"num_nodes": 2, "num_ranks": 3}, "num_ranks", "do not fit together"),
    ({"num_nodes": 2, "num_ranks": 5, "ranks_per_node": 2}, "ranks_per_node", "do not fit together"),
])
def test_what_cannot_be_used_is_named_with_what_is_allowed(reader, specification, key, allowed):
    with pytest.raises(InvalidResourceSpecification, match=allowed) as caught:
        reader.read(specification)
    assert key in caught.value.invalid_keys


@pytest.mark.parametrize("specification", [None, [], "cores", 4])
def test_a_specification_that_is_no_dict_is_refused(reader, specification):
    with pytest.raises(InvalidResourceSpecification, match="must be a dict"):
        reader.read(specification)


@pytest.mark.parametrize("specification, requirement", [
    ({}, Requirement()),
    ({"cores": 16, "priority": -1}, Requirement(cores=16, priority=-1.0)),
    ({"estimated_seconds": 0}, Requirement(estimated_seconds=0.0)),
    ({"estimated_seconds": 2.5}, Requirement(estimated_seconds=2.5)),
    ({"estimated_seconds": 1e10}, Requirement(estimated_seconds=1e10)),
    ({"endpoints": "delta"}, Requirement(endpoints=frozenset({"delta"}))),
    *(({"endpoints": several(["anvil", "delta"])}, Requirement(endpoints=frozenset({"anvil", "delta"})))
      for several in (list, tuple, set, frozenset)),
    ({"user_endpoint_config": {"queue": "short", "workers": 4}}, Requirement(config_text=ThreadClass(1, 1, FOUR).config_text)),
    ({"user_endpoint_config": {}}, Requirement()),
    ({"num_nodes": 3}, Requirement(mpi=(("num_nodes", 3),))),
    ({"num_nodes": 3, "launcher_options": "-v"}, Requirement(mpi=(("launcher_options", "-v"), ("num_nodes", 3)))),
    *(({"num_nodes": 3, **ranks}, Requirement(mpi=(("num_nodes", 3), ("num_ranks", 6), ("ranks_per_node", 2))))
      for ranks in ({"ranks_per_node": 2}, {"num_ranks": 6}, {"num_ranks": 6, "ranks_per_node": 2})),
    ({"memory": 1, "cpus": 2, "disk": 3, "gpus": 1, "running_time_min": 5}, Requirement()),
])
def test_what_can_be_used_is_read_and_left_as_it_is(reader, specification, requirement):
    before = copy.deepcopy(specification)
    assert reader.read(specification) == requirement
    assert specification == before


def test_numbers_may_be_numpys_and_are_kept_as_pythons(reader):
    numpy = pytest.importorskip("numpy")
    requirement = reader.read({"cores": numpy.int64(4), "priority": numpy.int64(1), "estimated_seconds": numpy.float32(2),
                               "num_nodes": numpy.int32(3), "num_ranks": numpy.uint8(6)})
    assert requirement == Requirement(4, 1.0, 2.0, mpi=(("num_nodes", 3), ("num_ranks", 6), ("ranks_per_node", 2)))
    assert (type(requirement.cores), type(requirement.priority), type(requirement.estimated_seconds)) == (int, float, float)
    assert {type(value) for _, value in requirement.mpi} == {int}


def test_without_thread_classes_that_have_a_configuration_none_can_be_asked_for():
    with pytest.raises(InvalidResourceSpecification, match="there are none that have any"):
        SpecificationReader("mine", ["delta"], []).read({"user_endpoint_config": FOUR})


def test_keys_of_other_executors_are_ignored_and_said_so_once(caplog):
    reader = SpecificationReader("mine", ["delta"], [])
    for _ in range(2):
        assert reader.read({"memory": 1, "cpus": 2, "cores": 3}).cores == 3
    assert sorted(record.getMessage() for record in caplog.records) == [
        "Executor mine ignores the key 'cpus' of resource specifications",
        "Executor mine ignores the key 'memory' of resource specifications"]


@pytest.mark.parametrize("specification, redispatch", [
    ({}, None), ({"cores": 2}, None), ({"redispatch": True}, True), ({"redispatch": False}, False)])
def test_whether_a_task_may_be_started_twice_is_the_executors_affair_if_it_does_not_say(reader, specification, redispatch):
    assert reader.read(specification).redispatch is redispatch
