"""Data larger than the service takes: through ProxyStore it arrives; without, its task fails, alone, and is told what to do."""
from __future__ import annotations

import hashlib

import pytest

from parsl.app.app import python_app
from parsl.executors.globus_compute_multi.errors import ResultTooLarge, TaskTooLarge
from parsl.serialize import facade
from parsl.tests.test_globus_compute_multi.integration.common import increment
from parsl.tests.test_globus_compute_multi.integration.conftest import portable

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]

MEGABYTES = 20
LARGE = bytes(range(256)) * (MEGABYTES * 10 ** 6 // 256)
DIGEST = hashlib.sha256(LARGE).hexdigest()


@portable
def digest(data):
    import hashlib
    return type(data).__name__, hashlib.sha256(bytes(data)).hexdigest()


@portable
def digest_of_all(parts, more):
    import hashlib
    return [hashlib.sha256(bytes(part)).hexdigest() for part in (*parts, more["data"])]


@portable
def pass_on(data):
    from proxystore.store import get_store
    return get_store(data).proxy(bytes(data))


@portable
def make_bytes(count):
    return bytes(count)


@pytest.fixture
def store(tmp_path):
    """A ProxyStore in a folder that client and endpoints share."""
    pytest.importorskip("proxystore")
    from proxystore.connectors.file import FileConnector
    from proxystore.store import Store
    with Store(f"store {tmp_path.name}", FileConnector(str(tmp_path / "store")), register=True) as store:
        yield store


@pytest.fixture
def proxying(store, monkeypatch):
    """Parsl's serialiser that puts what is large into the store, and leaves a proxy in its place; gives the sizes of what was put there."""
    from parsl.serialize.proxystore import ProxyStoreSerializer
    proxied = []

    def is_large(value):
        if not isinstance(value, bytes) or len(value) <= 100_000:
            return False
        proxied.append(len(value))
        return True

    serializer = ProxyStoreSerializer(should_proxy=is_large, store=store)
    monkeypatch.setattr(facade, "methods_for_data", {serializer.identifier: serializer, **facade.methods_for_data})
    return proxied


def test_a_large_argument_goes_through_parsls_proxystore_serializer(workflow, proxying):
    with workflow() as (dfk, _):
        app = python_app(digest, data_flow_kernel=dfk)
        futures = [app(LARGE) for _ in range(3)]
        assert [future.result(120) for future in futures] == [("Proxy", DIGEST)] * 3
    assert proxying == [len(LARGE)] * 3


def test_large_arguments_within_others_go_through_it_too_and_small_ones_do_not(workflow, proxying):
    with workflow() as (dfk, _):
        future = python_app(digest_of_all, data_flow_kernel=dfk)([LARGE, b"small"], more={"data": LARGE})
        small = hashlib.sha256(b"small").hexdigest()
        assert future.result(120) == [DIGEST, small, DIGEST]
    assert proxying == [len(LARGE)] * 2


def test_a_proxy_of_a_large_argument_and_of_a_large_result_goes_from_task_to_task_and_back(workflow, store):
    with workflow() as (dfk, _):
        passed = python_app(pass_on, data_flow_kernel=dfk)(store.proxy(LARGE))
        assert python_app(digest, data_flow_kernel=dfk)(passed).result(120) == ("Proxy", DIGEST)
        assert passed.result(120) == LARGE


def test_too_large_an_argument_without_it_fails_alone_and_is_told_size_limit_and_remedy(workflow):
    with workflow() as (dfk, executor):
        app = python_app(increment, data_flow_kernel=dfk)
        before = [app(n) for n in range(5)]
        large = python_app(digest, data_flow_kernel=dfk)(LARGE)
        after = [app(n) for n in range(5, 10)]
        error = large.exception(60)
        assert [future.result(60) for future in before + after] == list(range(1, 11))
    assert isinstance(error, TaskTooLarge)
    for part in ("digest", "26,6", "9,99", "ProxyStore", "files"):
        assert part in str(error)


def test_too_large_a_result_without_it_fails_alone_and_is_told_size_limit_and_remedy(workflow):
    with workflow() as (dfk, executor):
        app = python_app(increment, data_flow_kernel=dfk)
        before = [app(n) for n in range(5)]
        large = python_app(make_bytes, data_flow_kernel=dfk)(MEGABYTES * 10 ** 6)
        after = [app(n) for n in range(5, 10)]
        error = large.exception(60)
        assert [future.result(60) for future in before + after] == list(range(1, 11))
    assert isinstance(error, ResultTooLarge)
    for part in ("make_bytes", "26666", "9900000", "ProxyStore", "files"):
        assert part in str(error)
