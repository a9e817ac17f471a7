"""Globus Compute on localhost does its work: real agents run tasks that the real SDK submits."""
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
import requests
from globus_compute_sdk.errors import TaskExecutionFailed
from globus_compute_sdk.serialize import ComputeSerializer, PureSourceTextInspect
from globus_sdk import GlobusAPIError

from local_globus_compute import Limits, LocalEndpoint, LocalGlobusCompute
from local_globus_compute.agent_files import agent_environment, write_agent_files
from local_globus_compute.agents import find_agent_program
from local_globus_compute.client import LocalClient

from .local_harness import PATIENCE, Footprint, until


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def compute(working_dir):
    endpoints = [
        LocalEndpoint("threads"),
        LocalEndpoint("processes", 2, "ProcessPoolEngine"),
        LocalEndpoint("engine", 4, "GlobusComputeEngine"),
    ]
    with LocalGlobusCompute(endpoints, limits=Limits(requests=None), working_dir=working_dir) as compute:
        yield compute


@pytest.mark.parametrize("name", ["threads", "processes", "engine"])
def test_tasks_run_in_the_working_dir_without_the_agents_proxy_and_secret(compute, working_dir, name):
    cwd, temporary, proxy, secret, path = run(compute, name, where_and_with_what)
    assert cwd == str(working_dir)
    assert temporary.startswith(f"/tmp/local-gc-{os.getpid()}-"), "what tasks leave there must go when the service ends"
    assert not proxy and not secret and not path


# Not upstream: begin (there, agents have the Parsl that is tested)
@pytest.mark.parametrize("name", ["threads", "processes", "engine"])
def test_our_executor_cannot_be_imported_on_the_agents_and_parsl_can(compute, name):
    version, found = run(compute, name, what_is_installed)
    assert version and found is None
# Not upstream: end


@pytest.mark.parametrize("name, workers", [("threads", 1), ("processes", 2), ("engine", 4)])
def test_a_child_reports_its_workers(compute, name, workers):
    child = child_of(compute, name)

    def reported():
        return compute.client().get_endpoint_status(child)["details"].get("total_workers")

    until(lambda: reported() == workers, f"{workers} workers in the status of {name}'s child")


def test_another_user_endpoint_config_gets_another_child(compute):
    before = compute.processes("threads").children
    child = child_of(compute, "threads", {"workers": 3})
    until(lambda: compute.client().get_endpoint_status(child)["details"].get("total_workers") == 3, "3 workers in the other child's status")
    assert child != child_of(compute, "threads")
    assert len(compute.processes("threads").children) >= max(2, len(before))


def test_a_variable_that_the_endpoint_does_not_have_fails_the_task_with_its_name(compute):
    with pytest.raises(TaskExecutionFailed, match="wrokers"):
        child_of(compute, "threads", {"wrokers": 3})


def test_any_program_with_an_unmodified_sdk_works_in_the_environment(compute):
    program = """
import sys
from globus_compute_sdk import Executor
with Executor(sys.argv[1]) as executor:
    print(executor.submit(pow, 2, 10).result(60))
"""
    environment = {**os.environ, **compute.environment}
    command = [sys.executable, "-c", program, compute.endpoint_ids["threads"]]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.stdout == "1024\n", ended.stderr


def test_without_its_token_the_service_answers_nobody(compute):
    with pytest.raises(GlobusAPIError) as refused:
        LocalClient(compute.address, "not the token").get_endpoint_status(compute.endpoint_ids["threads"])
    assert refused.value.http_status == 401


def test_nothing_is_listened_on_but_loopback(compute):
    child_of(compute, "engine")
    addresses = {address for address, _ in Footprint.of(os.getpid()).listening}
    assert addresses and addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_no_secret_is_on_a_command_line(compute):
    secrets = {value for name, value in compute.environment.items() if "SECRET" in name}
    lines = " ".join(" ".join(process.cmdline()) for process in Footprint.of(os.getpid()).left())
    assert secrets and not [secret for secret in secrets if secret in lines]


def test_an_endpoint_can_be_added_stopped_and_started_again_under_its_id(compute):
    added = compute.add_endpoint(LocalEndpoint("added"))
    client = compute.client()
    first = compute.processes("added").parent
    compute.stop_endpoint("added")
    compute.stop_endpoint("added")
    until(lambda: client.get_endpoint_status(added)["status"] == "offline", "the status of a stopped endpoint")
    compute.start_endpoint("added")
    assert compute.endpoint_ids["added"] == added
    assert compute.processes("added").parent != first
    assert run(compute, "added", works)
    with pytest.raises(ValueError, match="'added' is given more than once"):
        compute.add_endpoint(LocalEndpoint("added"))


def test_a_killed_endpoint_starts_again_at_once(compute):
    name = "killed"
    added = compute.add_endpoint(LocalEndpoint(name))
    killed = compute.processes(name).parent
    footprint = Footprint([psutil.Process(killed)], set())
    os.kill(killed, signal.SIGKILL)
    until(lambda: not footprint.left(), "the end of a killed agent")
    compute.start_endpoint(name)
    assert compute.endpoint_ids[name] == added and compute.processes(name).parent != killed
    assert run(compute, name, works)
    compute.stop_endpoint(name)


def test_after_a_restart_the_service_knows_functions_endpoints_and_tasks(compute):
    client = client_of(compute)
    endpoint = compute.endpoint_ids["threads"]
    function = client.register_function(works)
    before = client.run(endpoint_id=endpoint, function_id=function)
    compute.restart_service()
    after = client.run(endpoint_id=endpoint, function_id=function)
    assert result(client, before) and result(client, after)


def test_while_the_service_is_stopped_nobody_answers_and_what_was_accepted_is_there_afterwards(compute):
    client = client_of(compute)
    endpoint = compute.endpoint_ids["threads"]
    before = client.run(endpoint_id=endpoint, function_id=client.register_function(works))
    compute.stop_service()
    try:
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{compute.address}/v2/version", timeout=30)
    finally:
        compute.start_service()
    assert result(client, before)


def test_after_a_restart_of_the_broker_agents_and_service_find_it_again():
    def runs():
        try:
            return run(compute, "alone", works)
        except GlobusAPIError as error:
            assert error.http_status == 503, error  # the service has not found the broker yet
            return False

    with LocalGlobusCompute([LocalEndpoint("alone")], limits=Limits(requests=None)) as compute:
        compute.restart_broker()
        until(runs, "a task to run after the broker's restart")


def test_the_limits_are_the_hosted_services_unless_switched_off(compute):
    assert compute.admin.limits() == Limits(requests=None)
    with LocalGlobusCompute() as other:
        assert other.admin.limits() == Limits(requests=20, window_seconds=10.0)
        assert other.address != compute.address  # two at once, on ports of their own


@pytest.mark.parametrize("engine", ["ThreadPoolEngine", "ProcessPoolEngine", "GlobusComputeEngine"])
def test_the_agent_reads_the_template_as_meant(tmp_path, engine):
    program = find_agent_program(None)
    option = {"GlobusComputeEngine": {"label": 'a "b"', "prefetch_capacity": 2}}.get(engine, {})
    endpoint = LocalEndpoint("alpha", 3, engine, variables=option, working_dir=tmp_path / "it's here")
    folder = tmp_path / "alpha"
    write_agent_files(folder, endpoint, agent_environment(program.parent, tmp_path, tmp_path))
    render = f"""
import json, sys, yaml
from pathlib import Path
from globus_compute_endpoint.endpoint.config.utils import get_config, load_user_config_schema, render_config_user_template
from globus_compute_endpoint.endpoint.identity_mapper import MappedPosixIdentity
import os, pwd
folder = Path({str(folder)!r})
identity = MappedPosixIdentity(local_user_record=pwd.getpwuid(os.getuid()), globus_identity_candidates=[], matched_identity=None)
path = folder / "user_config_template.yaml.j2"
for options in json.loads(sys.argv[1]):
    text = render_config_user_template(get_config(folder), path.read_text(), path, identity,
                                       load_user_config_schema(folder / "user_config_schema.json"), options, {{}})
    print(json.dumps(yaml.safe_load(text)))
"""
    asked = [{}, {"workers": 5, **{name: type(value)() for name, value in option.items()}}]
    ended = subprocess.run([program.parent / "python", "-c", render, json.dumps(asked)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    default, other = (json.loads(line) for line in ended.stdout.splitlines())
    key = "max_workers_per_node" if engine == "GlobusComputeEngine" else "max_workers"
    assert (default["engine"][key], other["engine"][key]) == (3, 5)
    assert default["engine"]["type"] == engine
    assert {name: default["engine"][name] for name in option} == option
    assert {name: other["engine"][name] for name in option} == {name: type(value)() for name, value in option.items()}
    assert "it'" in default["endpoint_setup"]


# Functions for the agents, which cannot import this module: they go as source.


def works():
    return True


def where_and_with_what():
    import os
    import tempfile
    others = [os.environ.get(name) for name in ("http_proxy", "GLOBUS_COMPUTE_CLIENT_SECRET", "PYTHONPATH")]
    return os.getcwd(), tempfile.gettempdir(), *others


# Not upstream: begin
def what_is_installed():
    import importlib.util

    import parsl.executors
    return parsl.version.VERSION, importlib.util.find_spec("parsl.executors.globus_compute_multi")
# Not upstream: end


def folder_of_child():
    import os
    return os.path.basename(os.environ["GLOBUS_COMPUTE_ENDPOINT_DIR"])


def client_of(compute):
    client = compute.client()
    client.fx_serializer = ComputeSerializer(strategy_code=PureSourceTextInspect())
    return client


def run(compute, name, function, user_endpoint_config=None):
    """Run a function on an endpoint. Not with the SDK's Executor, whose thread outlives it and looks for the service for half a minute."""
    client = client_of(compute)
    batch = client.create_batch(user_endpoint_config=user_endpoint_config)
    function_id = client.register_function(function)
    batch.add(function_id)
    answer = client.batch_run(compute.endpoint_ids[name], batch)
    return result(client, answer["tasks"][function_id][0])


def result(client, task):
    until(lambda: not client.get_task(task)["pending"], f"task {task}")
    return client.get_result(task)


def child_of(compute, name, user_endpoint_config=None):
    return run(compute, name, folder_of_child, user_endpoint_config).rsplit(".", 1)[1]
