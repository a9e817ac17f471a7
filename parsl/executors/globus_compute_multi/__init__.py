"""One Parsl executor over many Globus Compute endpoints."""
from parsl.executors.globus_compute_multi.endpoint import Endpoint, ThreadClass
from parsl.executors.globus_compute_multi.executor import GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi.monitoring import ResultRadio
from parsl.executors.globus_compute_multi.scheduling.policy import (
    Cheapest,
    EarliestFinish,
    LeastLoaded,
    Policy,
    Random,
    RoundRobin,
)

__all__ = [
    "Cheapest",
    "EarliestFinish",
    "Endpoint",
    "GlobusComputeMultiExecutor",
    "LeastLoaded",
    "Policy",
    "Random",
    "ResultRadio",
    "RoundRobin",
    "ThreadClass",
]
