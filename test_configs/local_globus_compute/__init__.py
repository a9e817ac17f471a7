"""Globus Compute on localhost: no account and no internet, but the real SDK, real endpoint agents and a real message broker.

Only the *hosted* part is stood in for, by :mod:`local_globus_compute.service`. Use :class:`LocalGlobusCompute` as a library, or
``python -m local_globus_compute --help`` from the command line.

Where to find what:

* ``local``: what users call; it talks to ``supervisor``, a process that owns a ``deployment`` and outlives no user
* ``broker``, ``service_process``, ``agents``: the processes of a deployment; ``processes``: how none is lost
* ``endpoint``, ``agent_files``: what a user says about an endpoint, and the agent's configuration files made from it
* ``client``: the SDK client of the local service
"""
from local_globus_compute.agents import EndpointProcesses
from local_globus_compute.endpoint import LocalEndpoint
from local_globus_compute.errors import LocalComputeError
from local_globus_compute.local import LocalGlobusCompute
from local_globus_compute.service.config import Limits

__all__ = ["EndpointProcesses", "Limits", "LocalComputeError", "LocalEndpoint", "LocalGlobusCompute"]
