"""``python -m local_globus_compute.service --config FILE``"""
from __future__ import annotations

import argparse
import asyncio
import logging
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from .broker import BrokerError
from .config import ConfigError, ServiceConfig
from .server import run


class RedactingFormatter(logging.Formatter):
    """Takes secrets out of log lines, whatever library wrote them.

    Parameters
    ----------
    secrets : sequence of str
        What must not show up.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        # The longest first: a URL holds a password.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Format as usual, then replace each secret by three stars."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line


def main() -> int:
    """Run the service; returns the exit code (0 when told to stop, 2 for a wrong configuration, 1 when it cannot serve)."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Stand-in of the hosted Globus Compute service.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file, mode 0600; see the module config")
    try:
        config = ServiceConfig.from_file(parser.parse_args().config)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(config.secrets()))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in ("aio_pika", "aiormq", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        asyncio.run(run(config))
    except (BrokerError, OSError, sqlite3.Error) as error:
        logging.getLogger(__name__).error("cannot serve: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
