"""What is registered with Globus Compute, as an endpoint's worker uses it: unpacked anew for each task, in a process that stays."""
from __future__ import annotations

import ast
import base64
import inspect
import json
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
from globus_compute_sdk.serialize import ComputeSerializer

from parsl.executors.globus_compute_multi.compute import registration, runner
from parsl.executors.globus_compute_multi.compute.envelope import encode_arguments
from parsl.executors.globus_compute_multi.compute.registration import (
    NAME,
    function_code,
    registered_source,
)
from parsl.serialize import deserialize, pack_apply_message

pytestmark = pytest.mark.local


def modules():
    return {name for name in sys.modules if name.startswith(NAME)}


@pytest.fixture(autouse=True)
def restored():
    """The modules as they were before."""
    before = modules()
    yield
    for name in modules() - before:
        del sys.modules[name]


def unpacked():
    return ComputeSerializer().deserialize(function_code())


def value_of(envelope):
    return deserialize(base64.b64decode(envelope["value"]))


def packed(function, *args):
    return encode_arguments("session", "7.1", pack_apply_message(function, args, {}))


def test_what_is_registered_needs_nothing_but_its_own_source():
    program = registered_source() + f"\nimport json; print(json.dumps({NAME}(*{packed(divmod, 7, 2)!r})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    envelope = json.loads(done.stdout)
    assert (envelope["outcome"], value_of(envelope)) == ("ok", (3, 1))


def test_what_is_registered_tells_where_there_is_no_parsl():
    program = "import sys; sys.modules['parsl'] = None\n" + registered_source() + f"\nprint({NAME}(*{packed(int)!r})['outcome'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "not_unpacked"


def test_the_sdk_unpacks_what_is_registered():
    function = unpacked()
    assert function.__name__ == NAME
    assert list(inspect.signature(function).parameters) == ["attempt", "packed", "limit"]
    assert value_of(function(*packed(divmod, 7, 2))) == (3, 1)


def test_a_process_compiles_the_runner_once():
    first = unpacked()
    assert unpacked() is first


def test_threads_that_begin_at_once_can_all_run_tasks():
    with ThreadPoolExecutor(8) as pool:
        envelopes = list(pool.map(lambda number: unpacked()(*packed(divmod, number, 2)), range(50)))
    assert [value_of(envelope) for envelope in envelopes] == [divmod(number, 2) for number in range(50)]


def test_an_app_that_clears_the_modules_spoils_nothing_for_the_next_task():
    unpacked()
    for name in modules():
        del sys.modules[name]
    assert value_of(unpacked()(*packed(divmod, 7, 2))) == (3, 1)


def test_two_versions_of_the_runner_do_not_meet(monkeypatch):
    ours = unpacked()
    other = types.ModuleType("other")
    monkeypatch.setattr(registration, "runner", other)
    monkeypatch.setattr(inspect, "getsource", lambda _: f"def {NAME}(attempt, packed, limit):\n    return 'other'\n")
    assert unpacked()("", "", 1) == "other"
    monkeypatch.undo()
    assert unpacked() is ours


@pytest.mark.parametrize("source", [registered_source(), inspect.getsource(runner)])
def test_what_is_sent_is_python_3_8_and_imports_nothing_at_first_but_what_all_have(source):
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names


def test_what_travels_with_each_task_is_short():
    assert len(function_code()) < 4500
