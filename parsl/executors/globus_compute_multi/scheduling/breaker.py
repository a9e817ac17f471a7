"""Tells an endpoint that fails from tasks that fail: an endpoint is to blame when the same apps run well elsewhere."""
from __future__ import annotations

from typing import Dict

#: So many failures outside the app, one after the other on an endpoint, are its own if the app has just run elsewhere.
FAILURES = 3

#: So many of the app's own are, if the app has run elsewhere as often since it last failed there: a package is missing, say.
APP_FAILURES = 5


class Breaker:
    """Counts, for each app on each endpoint, how often it has run or failed there since it last did the other."""

    def __init__(self) -> None:
        self._streaks: Dict[str, Dict[str, int]] = {}

    def ran(self, app: str, endpoint: str) -> None:
        """Note that a task of ``app`` has run on ``endpoint``."""
        streaks = self._streaks.setdefault(app, {})
        streaks[endpoint] = max(0, streaks.get(endpoint, 0)) + 1

    def failed(self, app: str, endpoint: str, in_app: bool) -> bool:
        """Note that one has failed, in the app itself or outside it; whether the endpoint is to be left alone for that.

        It is if the app runs on another endpoint, and fails on no other.
        """
        streaks = self._streaks.setdefault(app, {})
        streaks[endpoint] = min(0, streaks.get(endpoint, 0)) - 1
        needed = APP_FAILURES if in_app else FAILURES
        others = [streak for other, streak in streaks.items() if other != endpoint]
        return -streaks[endpoint] >= needed and min(others, default=0) >= 0 and max(others, default=0) >= (needed if in_app else 1)

    def forget(self, endpoint: str) -> None:
        """Judge ``endpoint`` anew."""
        for streaks in self._streaks.values():
            streaks.pop(endpoint, None)
