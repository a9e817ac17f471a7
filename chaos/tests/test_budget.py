"""The service's request log, over restarts."""
from __future__ import annotations

from types import SimpleNamespace

from chaos.budget import RequestWatch
from local_globus_compute.service.requestlog import LoggedRequest


class Service:
    """Has a request log that a restart empties."""

    def __init__(self):
        self.log = []
        self.admin = SimpleNamespace(requests=lambda since: [request for request in self.log if request.number > since])

    def ask(self, at, client="user", route="submit", size=10, status=200):
        self.log.append(LoggedRequest(len(self.log) + 1, at, at, client, "POST", route, True, size, status))


def test_requests_before_and_after_a_restart_are_counted_together():
    service = Service()
    watch = RequestWatch(service)
    for i in range(11):
        service.ask(float(i) / 10)
    watch.collect()
    service.log.clear()
    watch.restarted()
    for i in range(12):
        service.ask(2.0 + i / 10)
    watch.collect()
    assert watch.busiest() == 23


def test_only_the_users_requests_count_and_none_from_before():
    service = Service()
    for _ in range(30):
        service.ask(0.0)
    watch = RequestWatch(service)
    service.ask(1.0, size=77)
    service.ask(1.1, status=429)
    for _ in range(30):
        service.ask(1.2, client="an agent", route="register")
    watch.collect()
    assert (watch.busiest(), watch.refused(), watch.largest_submission(), watch.user()) == (2, 1, 77, "user")
