"""The service's configuration file."""
import json
import logging
from pathlib import Path

import pytest

from local_globus_compute.service.__main__ import RedactingFormatter
from local_globus_compute.service.config import (
    Client,
    ConfigError,
    Limits,
    ServiceConfig,
)

ID = "11111111-1111-4111-8111-111111111111"


def settings(**changes):
    values = {
        "broker_url": "amqp://user:pass%2Fword@127.0.0.1:5672/vhost",
        "database": "state.db",
        "admin_token": "admin-token",
        "ready_file": "ready.json",
        "clients": [{"client_id": ID, "client_secret": "client-secret", "token": "static-token"}],
        **changes,
    }
    return {key: value for key, value in values.items() if value is not ...}


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_complete_file_is_read(tmp_path):
    config = ServiceConfig.from_file(write(tmp_path / "config.json", json.dumps(settings(limits={"requests": None, "window_seconds": 5}))))
    assert config.limits == Limits(requests=None, window_seconds=5, batch_bytes=10_000_000, result_bytes=10_000_000)
    assert config.clients == (Client(ID, "client-secret", "static-token"),)
    assert (config.host, config.port, config.database) == ("127.0.0.1", 0, Path("state.db"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_refused(tmp_path, mode):
    with pytest.raises(ConfigError, match="chmod 600"):
        ServiceConfig.from_file(write(tmp_path / "config.json", json.dumps(settings()), mode))


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.json"):
        ServiceConfig.from_file(tmp_path / "nowhere.json")


def test_a_file_that_is_not_json_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not JSON"):
        ServiceConfig.from_file(write(tmp_path / "config.json", "host: here"))


@pytest.mark.parametrize(("changes", "named"), [
    ({"broker_url": ...}, "broker_url"),
    ({"colour": "red"}, "colour"),
    ({"host": "0.0.0.0"}, "host"),
    ({"broker_url": "http://localhost"}, "broker_url"),
    ({"admin_token": ""}, "admin_token"),
    ({"limits": {"requests": 0}}, "limits.requests"),
    ({"limits": {"batch_bytes": True}}, "limits.batch_bytes"),
    ({"limits": {"window_seconds": None}}, "limits.window_seconds"),
    ({"limits": {"count_refused": 1}}, "limits.count_refused"),
    ({"limits": {"per_day": 1}}, "per_day"),
    ({"clients": [{"client_id": "me", "token": "t"}]}, "client_id"),
    ({"clients": [{"client_id": ID}]}, "neither client_secret nor token"),
    ({"clients": [{"client_id": ID, "token": "a"}, {"client_id": ID, "token": "b"}]}, "twice"),
    ({"clients": [{"client_id": ID, "token": "a", "identity": "someone"}]}, "identity"),
])
def test_a_wrong_setting_is_refused_by_name(changes, named):
    with pytest.raises(ConfigError, match=named):
        ServiceConfig.from_dict(settings(**changes))


def test_secrets_are_taken_out_of_log_lines_whatever_logged_them():
    config = ServiceConfig.from_dict(settings())
    line = f"to {config.broker_url} with pass/word or pass%2Fword, admin-token, client-secret and static-token"
    record = logging.LogRecord("some.library", logging.INFO, __file__, 1, "going %s", (line,), None)
    shown = RedactingFormatter(config.secrets()).format(record)
    assert shown.endswith("going to *** with *** or ***, ***, *** and ***")
