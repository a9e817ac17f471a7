"""Parsl's test configuration for GlobusComputeMultiExecutor: three endpoints on localhost, of 1, 2 and 4 threads.

``pytest parsl/tests --config test_configs/globus_compute_multi.py`` needs no account: ``fresh_config`` starts Globus Compute on localhost, and
the executor ends it when it is shut down. The request limit is off, for speed; the limits on sizes are on.
"""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from parsl.config import Config
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor

_here = str(Path(__file__).resolve().parent)
if _here not in sys.path:
    sys.path.insert(0, _here)

from local_globus_compute import Limits, LocalEndpoint, LocalGlobusCompute

THREADS = {"one": 1, "two": 2, "four": 4}


class LocalMultiExecutor(GlobusComputeMultiExecutor):
    """The executor together with the local Globus Compute that it runs on, which ends with it."""

    local_compute: LocalGlobusCompute

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """Shut the executor down, then the local Globus Compute; nothing the second time."""
        try:
            super().shutdown(*args, **kwargs)
        finally:
            self.local_compute.close()


def fresh_config() -> Config:
    """Start the endpoints, and return a configuration that ends them when it is cleaned up (at the latest when Python exits)."""
    endpoints = [LocalEndpoint(name, workers=threads) for name, threads in THREADS.items()]
    # One file system for client and workers, as the tests expect: relative paths mean the same on both sides.
    compute = LocalGlobusCompute(endpoints, limits=Limits(requests=None), working_dir=os.getcwd()).start()
    try:
        executor = LocalMultiExecutor(
            endpoints=[Endpoint(id, name=name, threads=THREADS[name], filesystem="local") for name, id in compute.endpoint_ids.items()],
            client=compute.client(),
            request_limit=None,
        )
        executor.local_compute = compute
        return Config(executors=[executor])
    except BaseException:
        compute.close()
        raise
