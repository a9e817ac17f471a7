"""The request limit: a sliding window per client. Pure (the caller brings the time)."""
from __future__ import annotations

from collections import defaultdict, deque


class RequestWindow:
    """Counts the admitted requests of each client over a sliding window.

    A refused request is not counted: a client that only waits as long as it is told gets in.
    """

    def __init__(self, requests: int | None, window_seconds: float) -> None:
        self.set(requests, window_seconds)
        self._admitted: defaultdict[str, deque[float]] = defaultdict(deque)

    def set(self, requests: int | None, window_seconds: float) -> None:
        """Change the limit (`requests` in `window_seconds`, None = unlimited); what was admitted before still counts."""
        self.requests = requests
        self.window_seconds = window_seconds

    def admit(self, client_id: str, now: float) -> float | None:
        """Admit a request at `now` (seconds, monotonic) and return None, or refuse it and return the seconds to wait."""
        if self.requests is None:
            return None
        times = self._admitted[client_id]
        while times and times[0] <= now - self.window_seconds:
            times.popleft()
        if len(times) < self.requests:
            times.append(now)
            return None
        # The limit may have been lowered meanwhile: as many must leave the window as are too many.
        return times[len(times) - self.requests] + self.window_seconds - now
