"""What the service answers about endpoints, over HTTP on the loopback interface."""
from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer

from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.messages import StatusAnswered
from parsl.executors.globus_compute_multi.compute.status_poller import (
    StatusPoller,
)

pytestmark = pytest.mark.local

ENDPOINT, CHILD = "4b116d3c-1703-4f8f-9f6f-39921e5864df", "0c1d2a7e-0f1b-4a51-9df1-5d5e6b3a7c11"


@pytest.fixture
def ask():
    """Asks for the status of the endpoint or its child, with what the service is to answer; gives the poller's message."""
    answers, paths, messages = queue.SimpleQueue(), [], queue.SimpleQueue()

    class Service(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            status, body = answers.get()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Service)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    client = Client(authorizer=AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
    client.web_service_address = f"http://127.0.0.1:{server.server_port}"
    poller = StatusPoller(client=client, endpoint_ids={"delta": ENDPOINT}, governor=Governor(None, 1.0), post=messages.put,
                          stopping=threading.Event())
    poller.start()

    def ask(answer, child=None, http_status=200):
        answers.put((http_status, json.dumps(answer).encode()))
        poller.ask("delta", child)
        message = messages.get(timeout=30)
        assert paths.pop().endswith(f"/endpoints/{child or ENDPOINT}/status")
        return message

    yield ask
    poller.stop()
    assert poller.join(30)
    server.shutdown()
    serving.join()
    server.server_close()


def test_it_tells_whether_an_endpoint_is_online_and_how_many_workers_and_tasks_its_child_has(ask):
    assert ask({"status": "online"}) == StatusAnswered("delta", None, True)
    assert ask({"status": "offline", "details": None}, CHILD) == StatusAnswered("delta", CHILD, False)
    counts = {"total_workers": 8, "pending_tasks": 0}
    assert ask({"status": "online", "details": counts}, CHILD) == StatusAnswered("delta", CHILD, True, 8, 0)


@pytest.mark.parametrize("count", [-3, True, False, "8", 8.0, None, [8], 10 ** 400])
def test_a_count_that_cannot_be_one_is_taken_as_unknown(ask, count):
    answer = {"status": "online", "details": {"total_workers": count, "pending_tasks": count}}
    message = ask(answer, CHILD)
    assert message == StatusAnswered("delta", CHILD, True) and message.workers is None and message.pending is None


@pytest.mark.parametrize("answer, http_status", [({}, 200), ([], 200), ({"status": "online", "details": 3}, 200), ({"reason": "no"}, 500)])
def test_an_answer_that_tells_nothing_is_no_status_and_the_next_one_is(ask, answer, http_status):
    assert ask(answer, http_status=http_status) == StatusAnswered("delta", None, None)
    assert ask({"status": "online"}) == StatusAnswered("delta", None, True)
