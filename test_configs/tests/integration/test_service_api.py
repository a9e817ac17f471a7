"""The REST API of a running service, with its limits."""
import socket
import uuid

import pytest
import requests

from local_globus_compute.client import LocalClient
from local_globus_compute.service.admin import AdminError, ServiceAdmin, busiest_window
from local_globus_compute.service.config import Limits

from .service_harness import (
    AGENT,
    DEADLINE_SECONDS,
    OTHER_USER,
    STRANGER,
    TOKENS,
    USER,
    RawAgent,
    running_service,
)

NOWHERE = str(uuid.uuid4())


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_request_limit(service):
    yield
    service.admin.set_limits(Limits(requests=None))


@pytest.fixture
def agent(service):
    raw = RawAgent(service)
    yield raw
    raw.close()


@pytest.fixture
def agent_for_all(service):
    raw = RawAgent(service, multi_user=True)
    yield raw
    raw.close()


@pytest.fixture(scope="module")
def function(service):
    return service.function()


@pytest.fixture(scope="module")
def public_function(service):
    return service.function(public=True)


def is_error(response, status):
    body = response.json()
    return response.status_code == status and body["http_status_code"] == status and bool(body["reason"]) and "code" in body


# authorisation

@pytest.mark.parametrize("path", ["/v2/version", f"/v2/endpoints/{NOWHERE}/status", "/v2/oauth2/userinfo", "/nowhere"])
def test_a_request_without_a_token_is_refused(service, path):
    assert is_error(service.send("GET", path, client=None), 401)


def test_a_client_credentials_grant_opens_the_compute_api(service):
    scope = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"
    form = {"grant_type": "client_credentials", "scope": scope}
    answer = service.send("POST", "/v2/oauth2/token", client=None, data=form, auth=(USER, "secret-of-user")).json()
    granted = requests.get(f"{service.url}/v2/version", headers={"Authorization": f"Bearer {answer['access_token']}"}, timeout=DEADLINE_SECONDS)
    assert granted.ok
    assert service.send("POST", "/v2/oauth2/token", client=None, data=form, auth=(USER, "wrong")).status_code == 401


def test_tokens_that_have_expired_are_refused_until_there_is_a_new_one(service):
    form = {"grant_type": "client_credentials"}

    def granted():
        return service.send("POST", "/v2/oauth2/token", client=None, data=form, auth=(USER, "secret-of-user")).json()["access_token"]

    def answer(token):
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{service.url}/v2/version", headers=headers, timeout=DEADLINE_SECONDS).status_code

    old = granted()
    service.admin.expire_tokens(USER)
    try:
        assert (answer(old), answer(TOKENS[USER]), answer(granted()), answer(TOKENS[OTHER_USER])) == (401, 401, 200, 200)
    finally:
        service.admin.renew_static_tokens()
    assert answer(TOKENS[USER]) == 200
    with pytest.raises(AdminError, match="no client"):
        service.admin.expire_tokens(NOWHERE)


def test_clients_of_one_person_are_linked_identities(service):
    subjects = {client: service.call("GET", "/v2/oauth2/userinfo", client)["sub"] for client in (USER, AGENT, STRANGER)}
    assert subjects[USER] == subjects[AGENT] != subjects[STRANGER]
    asked = service.call("GET", f"/v2/api/identities?ids={subjects[USER]},{NOWHERE}")
    assert [identity["id"] for identity in asked["identities"]] == [subjects[USER]]


def test_the_admin_routes_need_the_admin_token(service):
    assert service.send("GET", "/_admin/counters", client=USER).status_code == 401
    with pytest.raises(AdminError):
        ServiceAdmin(service.url, "wrong").counters()


# who is served

def raw_request(service, text):
    with socket.create_connection(("127.0.0.1", service.process.port), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode())
        return connection.makefile("rb").readline().split()[1].decode()


def test_a_request_by_way_of_a_proxy_is_served(service):
    proxies = {"http": service.url}
    headers = {"Authorization": f"Bearer {TOKENS[USER]}"}
    assert requests.get("http://localhost:5000/v2/version?service=all", headers=headers, proxies=proxies, timeout=DEADLINE_SECONDS).ok
    elsewhere = requests.get("http://compute.api.globus.org/v2/version", headers=headers, proxies=proxies, timeout=DEADLINE_SECONDS)
    assert elsewhere.status_code == 403


def test_no_tunnel_is_opened(service):
    assert raw_request(service, "CONNECT localhost:5000 HTTP/1.1\nHost: localhost:5000\n\n") == "405"


def test_the_service_listens_on_loopback_only(service):
    own_address = socket.gethostbyname(socket.gethostname())
    if own_address.startswith("127."):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
            except OSError:
                pytest.skip("this machine has no address but loopback")
            own_address = probe.getsockname()[0]
    with pytest.raises(OSError):
        socket.create_connection((own_address, service.process.port), timeout=DEADLINE_SECONDS)


# functions and endpoints

def test_what_was_registered_can_be_asked_for_and_deleted(service):
    function_id = service.call("POST", "/v3/functions", json={
        "function_name": "g", "function_code": "source", "serialized": False, "meta": {"python_version": "3.11"}})["function_uuid"]
    found = service.call("GET", f"/v2/functions/{function_id}")
    assert (found["function_name"], found["meta"]) == ("g", {"python_version": "3.11"})
    service.call("DELETE", f"/v2/functions/{function_id}")
    assert is_error(service.send("GET", f"/v2/functions/{function_id}"), 404)
    assert is_error(service.send("DELETE", f"/v2/functions/{function_id}"), 404)


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/v2/endpoints/{}"),
    ("DELETE", "/v2/endpoints/{}"),
    ("GET", "/v2/endpoints/{}/status"),
    ("PUT", "/v3/endpoints/{}"),
    ("POST", "/v3/endpoints/{}/lock"),
    ("GET", "/v3/endpoints/{}/allowed_functions"),
    ("GET", "/v2/tasks/{}"),
    ("GET", "/v2/taskgroup/{}"),
    ("GET", "/v2/functions/{}"),
])
def test_what_does_not_exist_is_not_found_and_what_is_no_uuid_is_refused(service, method, path):
    body = {"endpoint_name": "e"}
    assert is_error(service.send(method, path.format(NOWHERE), json=body), 404)
    assert is_error(service.send(method, path.format("me"), json=body), 400)


def test_a_route_that_does_not_exist_is_not_found(service):
    assert is_error(service.send("GET", "/v2/nowhere"), 404)


def test_a_registered_endpoint_is_listed_offline_and_can_be_deleted(service, agent):
    listed = {endpoint["uuid"]: endpoint["name"] for endpoint in service.call("GET", "/v2/endpoints?role=owner")}
    assert listed[agent.id] == "raw"
    assert service.status(agent.id) == {"status": "offline", "details": {}}
    assert agent.id not in [endpoint["uuid"] for endpoint in service.call("GET", "/v2/endpoints", STRANGER)]
    assert agent.id in [endpoint["uuid"] for endpoint in service.call("GET", "/v2/endpoints?role=any", STRANGER)]
    service.call("DELETE", f"/v2/endpoints/{agent.id}", AGENT)
    assert is_error(service.send("GET", f"/v2/endpoints/{agent.id}/status"), 404)


def test_an_endpoint_registers_again_under_its_id_but_not_for_someone_else(service, agent):
    again = service.call("PUT", f"/v3/endpoints/{agent.id}", AGENT, json={"endpoint_name": "renamed"})
    assert again == agent.info
    assert service.call("GET", f"/v2/endpoints/{agent.id}")["name"] == "renamed"
    assert is_error(service.send("PUT", f"/v3/endpoints/{agent.id}", STRANGER, json={"endpoint_name": "mine"}), 403)


def test_a_locked_endpoint_cannot_register_for_a_while(service, agent):
    service.call("POST", f"/v3/endpoints/{agent.id}/lock", AGENT)
    assert is_error(service.send("PUT", f"/v3/endpoints/{agent.id}", AGENT, json={"endpoint_name": "raw"}), 423)


# submissions that are refused

def refused(service, endpoint_id, status, client=USER, **body):
    return is_error(service.send("POST", f"/v3/endpoints/{endpoint_id}/submit", client, json=body), status)


def test_an_unknown_endpoint_or_function_or_task_group_is_not_found(service, agent, function):
    assert refused(service, NOWHERE, 404, tasks={function: ["p"]})
    assert refused(service, agent.id, 404, tasks={NOWHERE: ["p"]})
    assert refused(service, agent.id, 404, tasks={function: ["p"], NOWHERE: ["p"]})
    assert refused(service, agent.id, 404, tasks={function: ["p"]}, task_group_id=NOWHERE)


def test_a_task_group_of_someone_else_is_not_found(service, function, agent_for_all, public_function):
    agent = agent_for_all
    group = service.submit(agent.id, function, ["p"])["task_group_id"]
    assert refused(service, agent.id, 404, STRANGER, tasks={public_function: ["p"]}, task_group_id=group)
    assert service.submit(agent.id, function, ["p"], OTHER_USER, task_group_id=group)["task_group_id"] == group


def test_an_endpoint_of_someone_else_may_not_be_used_nor_its_status_be_asked(service, agent, public_function):
    assert refused(service, agent.id, 403, STRANGER, tasks={public_function: ["p"]})
    assert is_error(service.send("GET", f"/v2/endpoints/{agent.id}/status", STRANGER), 403)
    assert service.send("GET", f"/v2/endpoints/{agent.id}/status", OTHER_USER).ok


def test_an_endpoint_that_is_registered_for_several_users_is_for_all_of_them(service, agent_for_all, public_function):
    assert service.submit(agent_for_all.id, public_function, ["p"], STRANGER)["ids"]
    assert service.call("GET", f"/v2/endpoints/{agent_for_all.id}/status", STRANGER)["status"] == "offline"


def test_a_function_of_someone_else_may_not_be_used_looked_at_or_deleted(service, agent_for_all, function, public_function):
    assert refused(service, agent_for_all.id, 403, STRANGER, tasks={function: ["p"]})
    assert is_error(service.send("GET", f"/v2/functions/{function}", STRANGER), 403)
    assert service.send("GET", f"/v2/functions/{public_function}", STRANGER).ok
    for each in (function, public_function):
        assert is_error(service.send("DELETE", f"/v2/functions/{each}", STRANGER), 403)
        assert service.send("GET", f"/v2/functions/{each}").ok


def test_a_function_that_the_endpoint_does_not_allow_is_forbidden(service, function):
    agent = RawAgent(service, allowed_functions=[function])
    other = service.function()
    assert service.call("GET", f"/v3/endpoints/{agent.id}/allowed_functions") == {"restricted": True, "functions": [function]}
    assert service.submit(agent.id, function, ["p"])["ids"]
    assert refused(service, agent.id, 403, tasks={other: ["p"]})
    agent.close()


def test_a_malformed_submission_is_refused_and_leaves_nothing(service, agent, function):
    before = service.admin.counters().get("tasks_submitted", 0)
    url = f"/v3/endpoints/{agent.id}/submit"
    response = service.send("POST", url, json={"tasks": {function: ["good", {"not": "a string"}]}})
    assert is_error(response, 422) and f"{function}.1:" in response.json()["reason"], "which task is named"
    assert is_error(service.send("POST", url, data=b"{"), 400)
    assert service.admin.counters().get("tasks_submitted", 0) == before


# limits

def test_the_request_after_the_last_allowed_one_is_told_when_to_come_back(service):
    service.admin.set_limits(Limits(requests=5, window_seconds=1000))
    since = service.last_request()
    answers = [service.send("GET", "/v2/version", OTHER_USER) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert is_error(answers[-1], 429)
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 1000
    assert busiest_window(service.admin.requests(since), 1000) == 7
    # Another client, another budget; and Globus Auth is another service.
    assert service.send("GET", "/v2/version", AGENT).ok
    assert service.send("GET", "/v2/oauth2/userinfo", OTHER_USER).ok


def test_limits_are_changed_at_once_and_as_a_whole(service):
    limits = Limits(requests=7, window_seconds=1.5, batch_bytes=None, result_bytes=99, count_refused=False)
    service.admin.set_limits(limits)
    assert service.admin.limits() == limits


def test_requests_of_all_routes_count_together(service):
    service.admin.set_limits(Limits(requests=3, window_seconds=1000))
    paths = ["/v2/version", f"/v2/endpoints/{NOWHERE}/status", "/nowhere", "/v2/endpoints"]
    assert [service.send("GET", path, STRANGER).status_code for path in paths] == [200, 404, 404, 429]


def test_the_sdk_sees_a_refusal_as_its_own_error_and_gets_in_after_waiting(service):
    service.admin.set_limits(Limits(requests=2, window_seconds=4))
    client = LocalClient(service.url, TOKENS[USER])
    since = service.last_request()
    for _ in range(5):
        client.version_check()
    statuses = [request.status for request in service.admin.requests(since) if request.route == "version"]
    assert statuses.count(200) == 5 and 429 in statuses


def test_a_batch_of_ten_megabytes_is_taken_and_one_byte_more_is_not(service, agent, function):
    service.admin.set_limits(Limits(requests=None, batch_bytes=10_000_000))
    frame = len(f'{{"tasks": {{"{function}": [""]}}}}')
    url = f"/v3/endpoints/{agent.id}/submit"
    for size, status in ((10_000_000, 200), (10_000_001, 413)):
        body = f'{{"tasks": {{"{function}": ["{"x" * (size - frame)}"]}}}}'
        response = service.send("POST", url, data=body)
        assert len(body) == size and response.status_code == status
    assert is_error(response, 413)
    assert "10,000,001" in response.json()["reason"]


def test_a_limit_that_makes_no_sense_is_refused(service):
    with pytest.raises(AdminError, match="positive"):
        service.admin._call("PUT", "/limits", {"requests": -1})
    with pytest.raises(AdminError, match="per_day"):
        service.admin._call("PUT", "/limits", {"per_day": 1})


# what the service tells of itself

def test_the_request_log_says_who_asked_what_and_what_came_of_it(service, agent, function):
    since = service.last_request()
    body = f'{{"tasks": {{"{function}": ["p"]}}}}'
    service.send("POST", f"/v3/endpoints/{agent.id}/submit", OTHER_USER, data=body)
    service.send("GET", "/v2/version", client=None)
    submit, version = service.admin.requests(since)
    assert (submit.client_id, submit.method, submit.route, submit.status, submit.body_bytes) == (OTHER_USER, "POST", "submit", 200, len(body))
    assert (version.client_id, version.route, version.status, version.counted) == (None, "version", 401, False)
    assert submit.arrived < version.arrived


def test_no_secret_is_in_the_log(service):
    text = service.log.read_text()
    assert "listening" in text
    secrets = [service.broker_url, *TOKENS.values(), "secret-of-user", "token-of-admin"]
    assert not [secret for secret in secrets if secret in text]
