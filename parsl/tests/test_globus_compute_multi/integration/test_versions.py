"""Versions of real endpoints."""
from __future__ import annotations

import logging
import platform

import pytest

from parsl.app.app import python_app
from parsl.executors.globus_compute_multi import versions
from parsl.executors.globus_compute_multi.errors import EndpointsFailed
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    THREADS,
    check_log,
    portable,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def work(parsl_resource_specification={}):
    pass


def run_everywhere(dfk):
    app = python_app(work, data_flow_kernel=dfk)
    for future in [app(parsl_resource_specification={"endpoints": name}) for name in THREADS]:
        future.result(60)


def test_versions_of_each_endpoint_are_in_the_log_once_and_nothing_is_said_if_they_are_ours(workflow, caplog):
    with caplog.at_level(logging.WARNING), workflow() as (dfk, executor):
        for _ in range(2):
            run_everywhere(dfk)
    state = check_log(executor)
    for name in THREADS:
        (told,) = state.endpoints[name].versions.values()
        assert told["python"] == platform.python_version() and told.keys() == {"python", "parsl", "dill", "sdk"}
    assert "there and" not in caplog.text


@pytest.fixture
def another_python_here(monkeypatch):
    """As if we ran under another Python than the endpoints."""
    monkeypatch.setattr(versions, "our_versions", lambda: {"python": "3.99.0", "parsl": "2026.10.26", "dill": "0.3.9", "sdk": "4.19.0"})


def test_a_difference_is_said_once_for_each_endpoint(workflow, another_python_here, caplog):
    with caplog.at_level(logging.WARNING), workflow() as (dfk, _):
        for _ in range(2):
            run_everywhere(dfk)
    for name in THREADS:
        assert caplog.text.count(f"Endpoint {name}: Python is {platform.python_version()} there and 3.99.0 here") == 1


def test_a_task_that_cannot_be_unpacked_there_fails_with_the_difference_named(workflow, another_python_here, only_here):
    with workflow() as (dfk, _):
        future = python_app(only_here, data_flow_kernel=dfk)()
        with pytest.raises(EndpointsFailed, match=f"ModuleNotFoundError.*Python is {platform.python_version()} there and 3.99.0 here"):
            future.result(60)
