"""Which requests get past the gate, and which bodies the routes take."""
import asyncio
import uuid

import pytest

from local_globus_compute.service.app import Gate
from local_globus_compute.service.errors import ApiError
from local_globus_compute.service.schemas import (
    FunctionRegistration,
    Submission,
    parse,
    parse_uuid,
)

FUNCTION = str(uuid.uuid4())


def through_gate(method, target, host):
    """What the gate answers (a status), or the path with which it let the request through."""
    outcome = []

    async def inner(scope, receive, send):
        outcome.append((scope["path"], scope["raw_path"]))

    async def send(message):
        if message["type"] == "http.response.start":
            outcome.append(message["status"])

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path": target, "raw_path": target.encode(), "headers": [(b"host", host.encode())]}
    asyncio.run(Gate(inner, 8000)(scope, receive, send))
    return outcome[0]


@pytest.mark.parametrize(("target", "host"), [
    ("/v2/version", "127.0.0.1:8000"),
    ("/v2/version", "localhost:8000"),
    ("/v2/version", "localhost:5000"),
    ("http://localhost:5000/v2/version", "localhost:5000"),
    ("http://127.0.0.1:8000/v2/version", "127.0.0.1:8000"),
])
def test_both_forms_of_a_request_for_this_service_get_through(target, host):
    assert through_gate("GET", target, host) == ("/v2/version", b"/v2/version")


@pytest.mark.parametrize(("target", "host"), [
    ("http://compute.api.globus.org/v2/version", "compute.api.globus.org"),
    ("http://compute.api.globus.org/v2/version", "localhost:5000"),
    ("http://localhost/v2/version", "localhost"),
    ("http://localhost:8001/v2/version", "localhost:8001"),
    ("http://localhost:port/", "localhost"),
    ("http://localhost:5000@evil.example/", "localhost"),
    ("http://localhost.evil.example:5000/", "localhost"),
    ("/v2/version", "evil.example:8000"),
    ("/v2/version", "localhost:9"),
])
def test_a_request_for_anything_else_is_refused(target, host):
    assert through_gate("GET", target, host) == 403


@pytest.mark.parametrize(("method", "target"), [
    ("CONNECT", "localhost:5000"), ("CONNECT", "/"), ("GET", "https://localhost:5000/"), ("GET", "*")])
def test_no_tunnels_and_no_other_schemes(method, target):
    assert through_gate(method, target, "localhost:5000") == 405


def test_a_submission_may_be_as_short_as_can_be():
    parsed = parse(Submission, f'{{"tasks": {{"{FUNCTION}": ["payload"]}}}}'.encode())
    assert {str(key): value for key, value in parsed.tasks.items()} == {FUNCTION: ["payload"]}
    assert (parsed.create_queue, parsed.task_group_id, parsed.user_endpoint_config) == (False, None, None)


@pytest.mark.parametrize(("body", "status"), [
    (b"", 400),
    (b"{", 400),
    (b"[]", 422),
    (b"{}", 422),
    (b'{"tasks": {}}', 422),
    (b'{"tasks": {"me": ["p"]}}', 422),
    (f'{{"tasks": {{"{FUNCTION}": []}}}}'.encode(), 422),
    (f'{{"tasks": {{"{FUNCTION}": [""]}}}}'.encode(), 422),
    (f'{{"tasks": {{"{FUNCTION}": [1]}}}}'.encode(), 422),
    (f'{{"tasks": {{"{FUNCTION}": ["p"]}}, "task_group_id": "mine"}}'.encode(), 422),
    (f'{{"tasks": {{"{FUNCTION}": ["p"]}}, "user_endpoint_config": []}}'.encode(), 422),
])
def test_a_malformed_submission_is_refused(body, status):
    with pytest.raises(ApiError) as refused:
        parse(Submission, body)
    assert refused.value.status == status


def test_a_refusal_says_where_the_body_is_wrong_and_does_not_repeat_it():
    with pytest.raises(ApiError) as refused:
        parse(FunctionRegistration, b'{"function_name": "f", "function_code": ["secret"]}')
    assert "function_code" in refused.value.reason and "secret" not in refused.value.reason


def test_an_id_in_a_path_is_canonical_or_refused():
    assert parse_uuid(FUNCTION.upper(), "id") == FUNCTION
    with pytest.raises(ApiError) as refused:
        parse_uuid("me", "id")
    assert refused.value.status == 400
