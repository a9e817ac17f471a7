"""What the service was asked, kept over its restarts."""
from __future__ import annotations

from local_globus_compute import LocalGlobusCompute
from local_globus_compute.service.admin import busiest_window
from local_globus_compute.service.requestlog import LoggedRequest


class RequestWatch:
    """Collects the service's request log, which a restart of the service empties.

    Parameters
    ----------
    compute : LocalGlobusCompute
        Which runs; what it was asked before is left out.
    """

    def __init__(self, compute: LocalGlobusCompute) -> None:
        self._compute = compute
        self.requests: list[LoggedRequest] = []
        self._seen = 0
        self.collect()
        self.requests.clear()

    def collect(self) -> None:
        """Take what has come since the last time."""
        new = self._compute.admin.requests(self._seen)
        self._seen = new[-1].number if new else self._seen
        self.requests += new

    def restarted(self) -> None:
        """The service counts its requests from one again."""
        self._seen = 0

    def user(self) -> str | None:
        """ID of the client that submits; None while nothing was submitted."""
        return next((request.client_id for request in reversed(self.requests) if request.route == "submit"), None)

    def of_user(self) -> list[LoggedRequest]:
        """Those of the client that submits, oldest first."""
        user = self.user()
        return [request for request in self.requests if user is not None and request.client_id == user]

    def busiest(self) -> int:
        """The most requests of the user's in any 10 s."""
        return busiest_window(self.of_user())

    def refused(self) -> int:
        """How many of the user's were refused as too many."""
        return sum(request.status == 429 for request in self.of_user())

    def largest_submission(self) -> int:
        """Bytes of the largest submission's body."""
        return max((request.body_bytes for request in self.requests if request.route == "submit"), default=0)
