"""Parsl's test configuration for GlobusComputeMultiExecutor: three endpoints on localhost, of 1, 2 and 4 threads.

``pytest parsl/tests --config test_configs/globus_compute_multi.py`` needs no account: ``fresh_config`` starts Globus Compute on
localhost, and the executor ends it when it is shut down. The request limit is off, for speed; the limits on sizes are on. The environment
variable ``LOCAL_GC_ENGINE`` names the engine of the endpoints: ThreadPoolEngine (the default), ProcessPoolEngine or GlobusComputeEngine.
"""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from parsl.config import Config
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor

# Not upstream: begin
_here = str(Path(__file__).resolve().parent)
if _here not in sys.path:
    sys.path.insert(0, _here)
# Not upstream: end

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


def start_endpoints() -> LocalGlobusCompute:
    """Start the endpoints. Their tasks run in the current directory, so relative paths mean the same on both sides, as Parsl's tests expect."""
    engine = os.environ.get("LOCAL_GC_ENGINE", "ThreadPoolEngine")
    endpoints = [LocalEndpoint(name, workers=threads, engine=engine) for name, threads in THREADS.items()]
    return LocalGlobusCompute(endpoints, limits=Limits(requests=None), working_dir=os.getcwd()).start()


def fresh_config() -> Config:
    """Start the endpoints, and return a configuration that ends them when it is cleaned up (at the latest when Python exits)."""
    compute = start_endpoints()
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
