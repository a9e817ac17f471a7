"""One Parsl executor over many Globus Compute endpoints."""
from parsl.executors.globus_compute_multi.endpoint import Endpoint, ThreadClass
from parsl.executors.globus_compute_multi.executor import GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi.monitoring import ResultRadio
from parsl.executors.globus_compute_multi.observe.readers import Reader
from parsl.executors.globus_compute_multi.observe.records import ResultRecord
from parsl.executors.globus_compute_multi.observe.status import Status
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
    "Reader",
    "ResultRadio",
    "ResultRecord",
    "RoundRobin",
    "Status",
    "ThreadClass",
]
