"""A time in which the service cannot be reached."""
from __future__ import annotations

import logging
import threading
import time
from typing import Optional

logger = logging.getLogger(__name__)

#: Where some connections get through and others do not, it is said again after so many seconds at the earliest.
_TELL_AGAIN_SECONDS = 60.0


class Outage:
    """What several threads know together of whether the service can be reached, said once when it cannot, and once when it can again.

    Parameters
    ----------
    stopping : threading.Event
        Set when the executor shuts down.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._changed = threading.Condition()
        self._since: Optional[float] = None
        self._reason = ""
        self._told_at = float("-inf")
        self._told = False

    def begin(self, reason: str) -> None:
        """Take note that the service cannot be reached, ``reason`` being why, for people."""
        with self._changed:
            if self._since is None:
                self._since, self._reason, self._told = time.monotonic(), reason, False
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if self._since is not None and not self._told and now >= self._told_at + _TELL_AGAIN_SECONDS:
            self._told, self._told_at = True, now
            logger.warning("Globus Compute cannot be reached (%s). Tasks wait until it can; it is tried again and again. "
                           "Check the network, and https://status.globus.org.", self._reason)

    def end(self) -> None:
        """Take note that the service has answered; all who wait go on."""
        with self._changed:
            since, self._since = self._since, None
            told = self._told
            self._changed.notify_all()
        if since is not None and told:
            logger.warning("Globus Compute can be reached again, after %.0f s", time.monotonic() - since)

    def wait(self, seconds: float) -> None:
        """Wait for its end, ``seconds`` at most, or until the executor shuts down."""
        with self._changed:
            self._changed.wait_for(lambda: self._since is None or self._stopping.is_set(), seconds)

    def wake(self) -> None:
        """Let all who wait look whether they are to stop."""
        with self._changed:
            self._changed.notify_all()
