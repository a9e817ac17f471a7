"""Parsl's test configuration for several pytest processes at once (``pytest -n``, pytest-xdist), and the pytest plugin that goes with it.

``pytest -p shared_endpoints -n 2 --config=<path>/shared_endpoints.py <path>/parsl/tests``, with absolute paths, runs on the endpoints of
``globus_compute_multi.py``, which all workers share. Each worker has a current directory of its own, because Parsl's conftest makes and
removes files with fixed names there, and children of its own at the endpoints, whose tasks run in that directory.
"""
from __future__ import annotations

import json
import os

import pytest

import own_directory
from globus_compute_multi import THREADS, start_endpoints
from local_globus_compute import LocalGlobusCompute
from local_globus_compute.client import LocalClient
from parsl.config import Config
from parsl.executors.globus_compute_multi import (
    Endpoint,
    GlobusComputeMultiExecutor,
    ThreadClass,
)

#: Environment variable by which the workers are told of the endpoints.
VARIABLE = "GLOBUS_COMPUTE_MULTI_SHARED_ENDPOINTS"

_compute = pytest.StashKey[LocalGlobusCompute]()


def pytest_configure(config: pytest.Config) -> None:
    """In a worker: go to its own directory. In the process that starts the workers: start the endpoints, and tell them by the environment.

    Raises
    ------
    pytest.UsageError
        Without ``-n``.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        own_directory.pytest_configure(config)
    elif not config.getoption("numprocesses", None):
        raise pytest.UsageError("shared_endpoints is for pytest -n; to run the tests in one process, use --config=globus_compute_multi.py")
    elif not config.getoption("collectonly"):
        compute = start_endpoints()
        config.stash[_compute] = compute
        os.environ[VARIABLE] = json.dumps({"address": compute.address, "token": compute.token, "endpoint_ids": compute.endpoint_ids})


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the endpoints."""
    if _compute in config.stash:
        del os.environ[VARIABLE]
        config.stash[_compute].close()


def fresh_config() -> Config:
    """Return a configuration on the shared endpoints."""
    shared = json.loads(os.environ[VARIABLE])
    here = {"working_dir": os.getcwd()}
    return Config(executors=[GlobusComputeMultiExecutor(
        endpoints=[Endpoint(id, name=name, threads=[ThreadClass(1, THREADS[name], here)], filesystem="local")
                   for name, id in shared["endpoint_ids"].items()],
        client=LocalClient(shared["address"], shared["token"]),
        request_limit=None,
    )])
