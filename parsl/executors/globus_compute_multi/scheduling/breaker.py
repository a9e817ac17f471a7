"""Tells an endpoint where apps fail from apps that fail: an endpoint is to blame when the same app runs well elsewhere."""
from __future__ import annotations

from typing import Dict

#: So many failures of an app, one after the other on an endpoint, are the endpoint's own if the app has run elsewhere as often in a row: a
#: package is missing there, say.
APP_FAILURES = 5


class Breaker:
    """Counts, for each app on each endpoint, how often it has run or failed there since it last did the other."""

    def __init__(self) -> None:
        self._streaks: Dict[str, Dict[str, int]] = {}

    def ran(self, app: str, endpoint: str) -> None:
        """Note that a task of ``app`` has run on ``endpoint``."""
        streaks = self._streaks.setdefault(app, {})
        streaks[endpoint] = max(0, streaks.get(endpoint, 0)) + 1

    def failed(self, app: str, endpoint: str) -> bool:
        """Note that one has failed, in the app; whether the endpoint is to be left alone for that."""
        streaks = self._streaks.setdefault(app, {})
        streaks[endpoint] = min(0, streaks.get(endpoint, 0)) - 1
        others = [streak for other, streak in streaks.items() if other != endpoint]
        return -streaks[endpoint] >= APP_FAILURES and max(others, default=0) >= APP_FAILURES
