"""Who is asking: the Globus Auth token route, and the check of every request's token."""
from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from typing import Any

from .config import Client
from .errors import UNAUTHENTICATED, ApiError
from .storage import Storage

COMPUTE_SCOPE = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"
COMPUTE = "funcx_service"
AUTH = "auth.globus.org"
TOKEN_SECONDS = 48 * 3600


class Authenticator:
    """Issues and checks bearer tokens.

    Parameters
    ----------
    clients : iterable of Client
        Who may use the service.
    storage : Storage
        Keeps the digests of issued tokens.
    """

    def __init__(self, clients: tuple[Client, ...], storage: Storage) -> None:
        self._clients = {client.client_id: client for client in clients}
        self._static = {_digest(client.token): client for client in clients if client.token}
        self._storage = storage
        self._suspended: set[str] = set()

    def expire(self, client_id: str) -> bool:
        """Have all tokens of a client expired: those that were granted for good, its static one until :meth:`renew_static`.

        Returns whether there is such a client.
        """
        self._storage.remove_tokens(client_id)
        self._suspended.add(client_id)
        return client_id in self._clients

    def renew_static(self) -> None:
        """Accept all static tokens again."""
        self._suspended.clear()

    def grant(self, authorization: str | None, form: dict[str, str]) -> dict[str, Any]:
        """Answer a ``client_credentials`` request.

        Raises
        ------
        ApiError
            401 when the credentials are wrong, 400 for another grant.
        """
        client = self._basic(authorization)
        if form.get("grant_type") != "client_credentials":
            raise ApiError(400, UNAUTHENTICATED, f"unsupported_grant_type: {form.get('grant_type')!r}; only client_credentials is served")
        scopes: dict[str, list[str]] = {}
        for scope in form.get("scope", "").split() or [COMPUTE_SCOPE]:
            scopes.setdefault(COMPUTE if scope == COMPUTE_SCOPE else AUTH, []).append(scope)
        tokens = [self._issue(client, server, " ".join(asked)) for server, asked in scopes.items()]
        return {**tokens[0], "other_tokens": tokens[1:]}

    def identify(self, authorization: str | None, resource_server: str) -> Client:
        """The client whose token this ``Authorization`` header carries; raises :class:`ApiError` 401."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and token:
            digest = _digest(token.strip())
            client = self._static.get(digest)
            if client and client.client_id not in self._suspended:
                return client
            if (found := self._storage.token(digest)) and found[1] == resource_server and found[0] in self._clients:
                return self._clients[found[0]]
        raise ApiError(401, UNAUTHENTICATED, "Credentials are required to perform this action.")

    def identities(self) -> list[str]:
        """All identities that clients act for."""
        return sorted({client.identity for client in self._clients.values()})

    def _issue(self, client: Client, resource_server: str, scope: str) -> dict[str, Any]:
        token = secrets.token_urlsafe(32)
        self._storage.add_token(_digest(token), client.client_id, resource_server, time.time() + TOKEN_SECONDS)
        return {"access_token": token, "scope": scope, "expires_in": TOKEN_SECONDS, "resource_server": resource_server, "token_type": "Bearer"}

    def _basic(self, authorization: str | None) -> Client:
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() == "basic":
            try:
                client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                client_id = secret = ""
            client = self._clients.get(client_id)
            if client and client.client_secret and hmac.compare_digest(client.client_secret.encode(), secret.encode()):
                return client
        raise ApiError(401, UNAUTHENTICATED, "invalid_client: unknown client_id or wrong client_secret")


def _digest(token: str) -> str:
    # Only digests are kept, so that a copy of the database is no key to the service.
    return hashlib.sha256(token.encode()).hexdigest()
