"""The systems that ``bench.py`` compares, as users would configure them."""
from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple

import globus_compute_sdk

from parsl.config import Config
from parsl.executors import GlobusComputeExecutor, HighThroughputExecutor
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor
from parsl.providers import LocalProvider

#: The one option of the SDK's Executor that helps: no waiting before small batches.
BURST_LIMIT = 1


def multi(ids: Dict[str, str], threads: Dict[str, int], request_limit: Optional[Tuple[int, float]] = (20, 10.0)) -> Config:
    """This executor, over all endpoints."""
    endpoints = [Endpoint(ids[name], name=name, threads=count) for name, count in threads.items()]
    return Config(executors=[GlobusComputeMultiExecutor(endpoints, request_limit=request_limit)])


def one_for_each(ids: Dict[str, str], threads: Dict[str, int], **sdk_options: Any) -> Config:
    """Parsl's own executor for each endpoint, as in its ``gc_multisite.py``; each task goes to one of them by chance."""
    return Config(executors=[GlobusComputeExecutor(globus_compute_sdk.Executor(ids[name], **sdk_options), label=name) for name in threads])


def htex(threads: Dict[str, int]) -> Config:
    """As many workers on this machine."""
    executor = HighThroughputExecutor(
        address="127.0.0.1", encrypted=False, cores_per_worker=0.01, max_workers_per_node=sum(threads.values()),
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1))
    return Config(executors=[executor], strategy="none")


#: Those that Parsl runs.
CONFIGURATIONS: Dict[str, Callable[[Dict[str, str], Dict[str, int]], Config]] = {
    "multi": multi,
    "gce-default": one_for_each,
    "gce-tuned": lambda ids, threads: one_for_each(ids, threads, api_burst_limit=BURST_LIMIT),
    "htex": lambda ids, threads: htex(threads),
}
