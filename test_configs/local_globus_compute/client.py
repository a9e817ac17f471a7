"""A Globus Compute SDK client of the local service."""
from __future__ import annotations

import globus_sdk
from globus_compute_sdk import Client
from globus_compute_sdk.sdk import client as sdk_client


class LocalClient(Client):
    """The SDK's own client, wired to a local service without any change to the process's environment.

    Parameters
    ----------
    address : str
        ``http://127.0.0.1:port``
    token : str
        Bearer token.
    """

    def __init__(self, address: str, token: str) -> None:
        authorizer = globus_sdk.AccessTokenAuthorizer(token)
        super().__init__(local_compute_services=True, do_version_check=False, authorizer=authorizer)
        # The SDK knows the local service by one hard-coded address, so here, and nowhere else in this package, we reach into it.
        self.web_service_address = address
        self._compute_web_client = sdk_client._ComputeWebClient(base_url=address, authorizer=authorizer)
