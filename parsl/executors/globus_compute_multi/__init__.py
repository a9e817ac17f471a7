"""One Parsl executor over many Globus Compute endpoints."""
from parsl.executors.globus_compute_multi.endpoint import Endpoint
from parsl.executors.globus_compute_multi.executor import GlobusComputeMultiExecutor

__all__ = ["Endpoint", "GlobusComputeMultiExecutor"]
