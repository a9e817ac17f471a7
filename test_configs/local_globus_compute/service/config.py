"""Settings of the service, read from one JSON file that only its owner may read."""
from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# The person to whom all clients belong unless the file says otherwise. A core endpoint agent without identity mapping
# accepts start commands only from an identity that its own credentials are linked to.
DEFAULT_IDENTITY = "8c1b3a52-7d2f-5f0e-9b1c-6c6f63616c00"


class ConfigError(ValueError):
    """The configuration file is missing, unsafe or wrong; the message says which key, and why."""


@dataclass(frozen=True)
class Client:
    """One client of the service: the unit of authorisation and of rate limiting.

    Parameters
    ----------
    client_id : str
        UUID. Also what the request log calls the client.
    client_secret : str, optional
        For the ``client_credentials`` grant (agents, ``ClientApp``).
    token : str, optional
        Static bearer token, accepted on every route without a grant (``AccessTokenAuthorizer``).
    identity : str
        UUID of the person the client acts for; clients with one identity are linked identities.
    """

    client_id: str
    client_secret: str | None = None
    token: str | None = None
    identity: str = DEFAULT_IDENTITY


@dataclass(frozen=True)
class Limits:
    """The hosted service's limits; ``None`` switches one off.

    Parameters
    ----------
    requests : int or None
        Compute API requests admitted per client within `window_seconds`; the others are answered with 429 and ``Retry-After``.
    window_seconds : float
        Length of the sliding window, in seconds.
    batch_bytes : int or None
        Largest body of a Compute API request, in bytes as sent. A larger one is answered with 413; which status the hosted service's
        gateway gives is not documented.
    result_bytes : int or None
        Largest serialised value of a task (the ``data`` of its result message), in bytes of UTF-8. A
        larger one is replaced by an error with the code ``RESULT_TOO_LARGE``.
    count_refused : bool
        Whether a request answered with 429 counts, too: who goes on asking is then not let in again. What the hosted service does is not
        documented; this is the stricter way.
    """

    requests: int | None = 20
    window_seconds: float = 10.0
    batch_bytes: int | None = 10_000_000
    result_bytes: int | None = 10_000_000
    count_refused: bool = True

    def __post_init__(self) -> None:
        for name in ("requests", "batch_bytes", "result_bytes"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"limits.{name} must be a positive integer or null, not {value!r}")
        if isinstance(self.window_seconds, bool) or not isinstance(self.window_seconds, (int, float)) or self.window_seconds <= 0:
            raise ConfigError(f"limits.window_seconds must be a positive number, not {self.window_seconds!r}")
        if not isinstance(self.count_refused, bool):
            raise ConfigError(f"limits.count_refused must be true or false, not {self.count_refused!r}")


@dataclass(frozen=True)
class ServiceConfig:
    """Everything the service needs to run.

    Parameters
    ----------
    broker_url : str
        ``amqp://user:password@127.0.0.1:port/vhost`` of a RabbitMQ node; given to agents and clients as it is.
    database : Path
        SQLite file, created when missing.
    admin_token : str
        Guards ``/_admin``.
    clients : tuple of Client
        Who may use the service.
    ready_file : Path
        Written (``{"port": int, "pid": int}``) when the service listens and is connected to the broker, removed at exit.
    host, port : str, int
        Loopback address and port; port 0 takes a free one.
    limits : Limits
        Limits at start; :class:`~.admin.ServiceAdmin` changes them at run time.
    parent_pid : int, optional
        The service stops when its parent process is no longer this one (default: its parent when it starts).
    """

    broker_url: str
    database: Path
    admin_token: str
    clients: tuple[Client, ...]
    ready_file: Path
    host: str = "127.0.0.1"
    port: int = 0
    limits: Limits = field(default_factory=Limits)
    parent_pid: int | None = None

    @classmethod
    def from_file(cls, path: Path) -> ServiceConfig:
        """Read and check the file.

        Raises
        ------
        ConfigError
            When the file cannot be read, can be read by others, or has a wrong, missing or unknown key.
        """
        try:
            mode = os.stat(path).st_mode & 0o777
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error}") from error
        if mode & 0o077:
            raise ConfigError(f"{path} holds secrets but has mode {mode:04o}: make it readable by its owner only (chmod 600)")
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{path} is not JSON: {error}") from error
        return cls.from_dict(raw)

    @classmethod
    def from_dict(cls, raw: Any) -> ServiceConfig:
        """Build from the parsed JSON object; raises :class:`ConfigError` naming the key that is wrong."""
        values = dict(_object(cls, raw, "the configuration"))
        values["clients"] = tuple(_client(entry) for entry in values["clients"])
        if "limits" in values:
            values["limits"] = Limits(**_object(Limits, values["limits"], "limits"))
        if values.get("host", cls.host) not in ("127.0.0.1", "localhost"):
            raise ConfigError(f"host must be 127.0.0.1: the service is for this machine only, not {values['host']!r}")
        url = urlsplit(values["broker_url"])
        if url.scheme not in ("amqp", "amqps") or not url.hostname:
            raise ConfigError("broker_url must be amqp://user:password@host:port/vhost")
        if not values["admin_token"]:
            raise ConfigError("admin_token must not be empty")
        ids = [client.client_id for client in values["clients"]]
        if len(set(ids)) != len(ids):
            raise ConfigError("clients: the same client_id is there twice")
        for name in ("database", "ready_file"):
            values[name] = Path(values[name])
        return cls(**values)

    def secrets(self) -> list[str]:
        """Everything that must not show up in a log line."""
        password = urlsplit(self.broker_url).password
        found = [self.broker_url, self.admin_token, password, unquote(password) if password else None]
        for client in self.clients:
            found += [client.client_secret, client.token]
        return [secret for secret in found if secret]


def _object(cls: Any, raw: Any, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be a JSON object, not {type(raw).__name__}")
    known = {f.name for f in fields(cls)}
    required = {name for name in known if name in ("broker_url", "database", "admin_token", "clients", "ready_file", "client_id")}
    if unknown := set(raw) - known:
        raise ConfigError(f"{where}: unknown key(s) {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
    if missing := required - set(raw):
        raise ConfigError(f"{where}: missing key(s) {', '.join(sorted(missing))}")
    return raw


def _client(raw: Any) -> Client:
    client = Client(**_object(Client, raw, "an entry of clients"))
    for name in ("client_id", "identity"):
        try:
            uuid.UUID(getattr(client, name))
        except (ValueError, AttributeError, TypeError):
            raise ConfigError(f"clients: {name} must be a UUID, not {getattr(client, name)!r}") from None
    if not (client.client_secret or client.token):
        raise ConfigError(f"clients: {client.client_id} has neither client_secret nor token, so it could never be authorised")
    return client
