"""The agents' environment and configuration files."""
import json
import re
import shlex
import stat

import jinja2.sandbox
import pytest
import yaml

from local_globus_compute import LocalEndpoint
from local_globus_compute.agent_files import (
    agent_environment,
    proxy_environment,
    render_template,
    variables_schema,
    write_agent_files,
)


@pytest.fixture
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("PYTHONPATH", "/the/clients/own")
    monkeypatch.setenv("http_proxy", "http://proxy.example")
    monkeypatch.setenv("LANG", "C.UTF-8")
    return agent_environment(tmp_path / "bin", tmp_path / "agents" / "alpha", tmp_path / "tmp")


def test_agents_get_their_own_programs_first_and_nothing_of_the_clients_python(environment, tmp_path):
    assert environment["PATH"] == f"{tmp_path}/bin:/usr/bin"
    assert environment["LANG"] == "C.UTF-8"
    assert not {"PYTHONPATH", "VIRTUAL_ENV", "http_proxy"} & set(environment)


def test_agents_keep_their_files_in_their_own_folder(environment, tmp_path):
    assert environment["GLOBUS_COMPUTE_USER_DIR"] == str(tmp_path / "agents" / "alpha")
    assert environment["TMPDIR"] == str(tmp_path / "tmp")


def test_the_proxy_is_only_for_the_sdks_name_of_the_service():
    environment = proxy_environment(4711)
    assert environment["http_proxy"] == "http://127.0.0.1:4711"
    assert environment["no_proxy"] == "127.0.0.1"
    assert environment["GLOBUS_SDK_SERVICE_URL_AUTH"] == "http://127.0.0.1:4711"
    assert environment["GLOBUS_SDK_ENVIRONMENT"] == "local"


def test_children_get_the_agents_environment_without_its_proxy_and_credentials(environment, tmp_path):
    folder = tmp_path / "agents" / "alpha" / "alpha"
    write_agent_files(folder, LocalEndpoint("alpha"), environment)
    children = json.loads((folder / "user_environment.yaml").read_text())
    assert children["http_proxy"] == "" and children["no_proxy"] == ""
    assert children["PATH"] == environment["PATH"]
    assert children["GLOBUS_COMPUTE_CLIENT_SECRET"] == ""


def test_the_files_are_those_that_an_agent_reads_and_nobody_elses_business(environment, tmp_path):
    folder = tmp_path / "agents" / "alpha" / "alpha"
    write_agent_files(folder, LocalEndpoint("alpha", heartbeat_seconds=9), environment)
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "user_config_template.yaml.j2", "user_config_schema.json", "user_environment.yaml",
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    config = json.loads((folder / "config.yaml").read_text())
    assert config["heartbeat_period"] == 9 and config["display_name"] == "alpha"
    assert "engine" not in config  # the agent refuses it there


def test_the_schema_knows_the_variables_and_no_others():
    endpoint = LocalEndpoint("alpha", engine="GlobusComputeEngine", variables={"prefetch_capacity": 2, "label": "x", "enable": True})
    schema = variables_schema(endpoint)
    kinds = {name: entry["type"] for name, entry in schema["properties"].items()}
    assert kinds == {"workers": "integer", "working_dir": "string", "cores_per_worker": "number", "prefetch_capacity": "integer",
                     "label": "string", "enable": "boolean"}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("engine, option", [
    ("ThreadPoolEngine", "max_workers"), ("ProcessPoolEngine", "max_workers"), ("GlobusComputeEngine", "max_workers_per_node"),
])
def test_the_number_of_workers_is_a_variable_of_every_engine(engine, option):
    template = render_template(LocalEndpoint("alpha", workers=3, engine=engine))
    assert f"type: {engine}" in template
    assert f"{option}: {{{{ workers | default(3) }}}}" in template


def rendered(endpoint, **given):
    """The child's configuration as the agent makes it."""
    options = {name: json.dumps(value) if isinstance(value, str) else value for name, value in given.items()}
    environment = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    environment.filters["shell_escape"] = lambda text: json.dumps(shlex.quote(json.loads(text)))  # as the agent defines it
    return yaml.safe_load(environment.from_string(render_template(endpoint)).render(options))


def linked(configuration):
    """The folder that a child's tasks run in, according to its set-up command."""
    program, option, folder, link = shlex.split(configuration["endpoint_setup"])
    assert [program, option, link] == ["ln", "-sfn", "$GLOBUS_COMPUTE_ENDPOINT_DIR/tasks_working_dir"]
    return folder


def test_a_working_dir_is_linked_whatever_its_name(tmp_path):
    folder = str(tmp_path / "it's a \"dir\" ü")
    assert linked(rendered(LocalEndpoint("alpha", working_dir=folder))) == folder
    assert "endpoint_setup" not in rendered(LocalEndpoint("alpha"))


@pytest.mark.parametrize("default", [None, "/the/default"])
def test_a_users_working_dir_comes_before_the_endpoints_own(default):
    for folder in ("/tmp/a-b_c.d", "/tmp/with blanks, and: =+@%~"):
        assert linked(rendered(LocalEndpoint("alpha", working_dir=default), working_dir=folder)) == folder


@pytest.mark.parametrize("folder", ["relative", "/a$(touch x)", "/a`x`", '/a"', "/a\\n", "/a'", "/ü", ""])
def test_a_users_working_dir_with_characters_that_are_not_plain_is_refused(folder):
    pattern = variables_schema(LocalEndpoint("alpha"))["properties"]["working_dir"]["pattern"]
    assert not re.search(pattern, folder)
    assert re.search(pattern, "/plain")
