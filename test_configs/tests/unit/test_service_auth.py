"""Tokens: who gets them and what they open."""
import base64

import pytest

from local_globus_compute.service import auth
from local_globus_compute.service.auth import Authenticator
from local_globus_compute.service.config import Client
from local_globus_compute.service.errors import ApiError
from local_globus_compute.service.storage import Storage

AGENT = Client("22222222-2222-4222-8222-222222222222", client_secret="secret")
USER = Client("11111111-1111-4111-8111-111111111111", token="static")
CREDENTIALS = {"grant_type": "client_credentials", "scope": f"openid {auth.COMPUTE_SCOPE} email"}


@pytest.fixture
def storage(tmp_path):
    opened = Storage(tmp_path / "state.db")
    yield opened
    opened.close()


@pytest.fixture
def authenticator(storage):
    return Authenticator((AGENT, USER), storage)


def basic(client_id, secret):
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def test_a_grant_gives_one_token_for_each_resource_server_and_each_opens_only_its_own(authenticator):
    answer = authenticator.grant(basic(AGENT.client_id, "secret"), CREDENTIALS)
    tokens = {token["resource_server"]: token for token in [answer, *answer["other_tokens"]]}
    assert set(tokens) == {"funcx_service", "auth.globus.org"}
    assert tokens["funcx_service"]["scope"] == auth.COMPUTE_SCOPE
    for server, token in tokens.items():
        assert authenticator.identify("Bearer " + token["access_token"], server) == AGENT
    with pytest.raises(ApiError) as refused:
        authenticator.identify("Bearer " + tokens["auth.globus.org"]["access_token"], auth.COMPUTE)
    assert refused.value.status == 401


def test_tokens_differ_and_are_not_kept_in_clear(authenticator, storage, tmp_path):
    one, two = (authenticator.grant(basic(AGENT.client_id, "secret"), CREDENTIALS)["access_token"] for _ in range(2))
    assert one != two
    storage.close()
    assert not any(one.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_a_token_works_after_a_restart_but_not_for_a_client_that_is_gone(authenticator, storage):
    token = authenticator.grant(basic(AGENT.client_id, "secret"), {"grant_type": "client_credentials"})["access_token"]
    assert Authenticator((AGENT,), storage).identify(f"Bearer {token}", auth.COMPUTE) == AGENT
    with pytest.raises(ApiError):
        Authenticator((USER,), storage).identify(f"Bearer {token}", auth.COMPUTE)


def test_expired_tokens_open_nothing_and_the_next_grant_does(authenticator):
    token = authenticator.grant(basic(AGENT.client_id, "secret"), {"grant_type": "client_credentials"})["access_token"]
    assert authenticator.expire(AGENT.client_id)
    with pytest.raises(ApiError):
        authenticator.identify(f"Bearer {token}", auth.COMPUTE)
    assert authenticator.identify("Bearer static", auth.COMPUTE) == USER, "another client's are as they were"
    fresh = authenticator.grant(basic(AGENT.client_id, "secret"), {"grant_type": "client_credentials"})["access_token"]
    assert authenticator.identify(f"Bearer {fresh}", auth.COMPUTE) == AGENT


def test_an_expired_static_token_opens_nothing_until_it_is_renewed(authenticator):
    assert authenticator.expire(USER.client_id)
    with pytest.raises(ApiError):
        authenticator.identify("Bearer static", auth.COMPUTE)
    authenticator.renew_static()
    assert authenticator.identify("Bearer static", auth.COMPUTE) == USER
    assert not authenticator.expire("nobody")


def test_a_static_token_opens_everything(authenticator):
    assert authenticator.identify("Bearer static", auth.COMPUTE) == authenticator.identify("bearer static", auth.AUTH) == USER


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic static", "static"])
def test_a_request_without_a_valid_token_is_refused(authenticator, header):
    with pytest.raises(ApiError) as refused:
        authenticator.identify(header, auth.COMPUTE)
    assert refused.value.status == 401
    assert {"reason", "code"} <= set(refused.value.body())


@pytest.mark.parametrize("header", [None, "Basic !!!", "Bearer static", basic(AGENT.client_id, "wrong"), basic(USER.client_id, "None"),
                                    basic("nobody", "secret"), basic(AGENT.client_id, "")])
def test_wrong_credentials_get_no_token(authenticator, header):
    with pytest.raises(ApiError) as refused:
        authenticator.grant(header, CREDENTIALS)
    assert refused.value.status == 401


def test_another_grant_is_refused(authenticator):
    with pytest.raises(ApiError, match="password"):
        authenticator.grant(basic(AGENT.client_id, "secret"), {"grant_type": "password"})
