"""The request limit: a sliding window per client. Pure (the caller brings the time)."""
from __future__ import annotations

from collections import defaultdict, deque


class RequestWindow:
    """Counts the requests of each client over a sliding window.

    Refused ones count when `count_refused` says so; either way, a client that waits as long as it is told gets in.
    """

    def __init__(self, requests: int | None, window_seconds: float, count_refused: bool) -> None:
        self.set(requests, window_seconds, count_refused)
        self._counted: defaultdict[str, deque[float]] = defaultdict(deque)

    def set(self, requests: int | None, window_seconds: float, count_refused: bool) -> None:
        """Change the limit (`requests` in `window_seconds`, None = unlimited); what was counted before still counts."""
        self.requests = requests
        self.window_seconds = window_seconds
        self.count_refused = count_refused

    def admit(self, client_id: str, now: float) -> float | None:
        """Admit a request at `now` (seconds, monotonic) and return None, or refuse it and return the seconds to wait."""
        if self.requests is None:
            return None
        times = self._counted[client_id]
        while times and times[0] <= now - self.window_seconds:
            times.popleft()
        if len(times) < self.requests:
            times.append(now)
            return None
        if self.count_refused:
            times.append(now)
        # As many must leave the window as are too many.
        return times[len(times) - self.requests] + self.window_seconds - now
