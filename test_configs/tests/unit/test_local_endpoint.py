"""What LocalEndpoint, LocalGlobusCompute and the command line accept, and what they say about the rest."""
import json
import math

import pytest

from local_globus_compute import LocalComputeError, LocalEndpoint, LocalGlobusCompute
from local_globus_compute.__main__ import parse


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "é", "x" * 64, 7, None])
def test_a_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(ValueError, match="endpoint name"):
        LocalEndpoint(name)


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True, None])
def test_a_number_of_workers_that_is_no_count_is_refused(workers):
    with pytest.raises(ValueError, match="'alpha': workers"):
        LocalEndpoint("alpha", workers=workers)


@pytest.mark.parametrize("engine", ["HighThroughputEngine", "threadpoolengine", "", None])
def test_an_unknown_engine_is_refused_with_the_known_ones(engine):
    with pytest.raises(ValueError, match="'alpha': engine.*ThreadPoolEngine, ProcessPoolEngine, GlobusComputeEngine"):
        LocalEndpoint("alpha", engine=engine)


@pytest.mark.parametrize("seconds", [4.9, 0, -5, math.inf, math.nan, "5", True])
def test_a_heartbeat_that_the_agent_would_not_keep_is_refused(seconds):
    with pytest.raises(ValueError, match="'alpha': heartbeat_seconds"):
        LocalEndpoint("alpha", heartbeat_seconds=seconds)


@pytest.mark.parametrize("variables", [{"workers": 2}, {"type": "x"}, {"a-b": 1}, {"class": 1}, {"a": None}, {"a": [1]}, {1: 1}])
def test_a_variable_that_is_no_option_of_an_engine_is_refused(variables):
    with pytest.raises(ValueError, match="'alpha': variables"):
        LocalEndpoint("alpha", variables=variables)


def test_a_relative_working_dir_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="'alpha': working_dir"):
        LocalEndpoint("alpha", working_dir="here")
    with pytest.raises(ValueError, match="working_dir must be an absolute path"):
        LocalGlobusCompute(working_dir="here")


def test_two_endpoints_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'beta' is given more than once"):
        LocalGlobusCompute([LocalEndpoint("alpha"), LocalEndpoint("beta"), LocalEndpoint("beta", workers=2)])


def test_an_endpoint_survives_the_way_through_json(tmp_path):
    endpoint = LocalEndpoint("alpha", 3, "GlobusComputeEngine", 7.5, {"prefetch_capacity": 2, "label": "x"}, tmp_path)
    assert LocalEndpoint.from_json(endpoint.to_json()) == LocalEndpoint(
        "alpha", 3, "GlobusComputeEngine", 7.5, {"prefetch_capacity": 2, "label": "x"}, str(tmp_path)
    )
    assert json.loads(LocalEndpoint("beta").to_json())["working_dir"] is None


@pytest.mark.parametrize("use", [
    lambda compute: compute.environment,
    lambda compute: compute.client(),
    lambda compute: compute.admin,
    lambda compute: compute.directory,
    lambda compute: compute.restart_service(),
    lambda compute: compute.add_endpoint(LocalEndpoint("alpha")),
])
def test_what_was_not_started_says_so(use):
    with pytest.raises(LocalComputeError, match="call start"):
        use(LocalGlobusCompute())


def test_an_endpoint_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ValueError, match="no endpoint 'gamma'; there are none"):
        LocalGlobusCompute().stop_endpoint("gamma")


def test_closing_what_was_not_started_does_nothing():
    LocalGlobusCompute().close()


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, monkeypatch):
    agent = tmp_path / "bin" / "globus-compute-endpoint"
    agent.parent.mkdir()
    agent.touch(mode=0o755)
    with pytest.raises(ValueError, match="is not empty"):
        LocalGlobusCompute(directory=tmp_path, agent_python=tmp_path / "bin" / "python").start()
    assert list(tmp_path.iterdir()) == [agent.parent]


def test_a_python_without_the_agent_is_named_with_what_to_do(tmp_path):
    with pytest.raises(LocalComputeError, match="no globus-compute-endpoint beside .*nowhere.*make agents"):
        LocalGlobusCompute(agent_python=tmp_path / "nowhere" / "python").start()


def test_the_command_line_makes_endpoints():
    options = parse(["--endpoint", "a:1", "--endpoint", "b:8", "--engine", "ProcessPoolEngine", "--heartbeat", "6"])
    assert options.endpoint == [LocalEndpoint("a", 1, "ProcessPoolEngine", 6.0), LocalEndpoint("b", 8, "ProcessPoolEngine", 6.0)]


@pytest.mark.parametrize("arguments, complaint", [
    (["--endpoint", "alpha"], "write a name, a colon and a number of workers"),
    (["--endpoint", "alpha:many"], "write a name, a colon and a number of workers"),
    (["--endpoint", "alpha:0"], "'alpha': workers"),
    (["--endpoint", "a:1", "--endpoint", "a:2"], "'a' is given more than once"),
    (["--heartbeat", "1"], "heartbeat_seconds"),
    (["--engine", "NoEngine"], "invalid choice"),
])
def test_the_command_line_refuses_what_it_cannot_use(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
