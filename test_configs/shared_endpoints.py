"""pytest plugin for ``pytest -n``: one local Globus Compute for all workers, and a current directory of its own for each.

Use it with Parsl's test suite as ``pytest -p shared_endpoints -n 2 --config=<path>/globus_compute_multi.py
<path>/parsl/tests``, with absolute paths. Parsl's conftest makes and removes files with fixed names in the current directory, so workers in
one directory would disturb each other. Without ``-n`` the plugin does nothing.
"""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from globus_compute_multi import VARIABLE, start_endpoints
from local_globus_compute import LocalGlobusCompute

_compute = pytest.StashKey[LocalGlobusCompute]()


def pytest_configure(config: pytest.Config) -> None:
    """In a worker: go to its own directory. In the process that starts the workers: start the endpoints, and tell them by the environment."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        directory = Path(worker).absolute()
        directory.mkdir(exist_ok=True)
        os.chdir(directory)
    elif config.getoption("numprocesses", None) and not config.getoption("collectonly"):
        compute = start_endpoints()
        config.stash[_compute] = compute
        os.environ[VARIABLE] = json.dumps({"address": compute.address, "token": compute.token, "endpoint_ids": compute.endpoint_ids})


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the endpoints."""
    if _compute in config.stash:
        del os.environ[VARIABLE]
        config.stash[_compute].close()
