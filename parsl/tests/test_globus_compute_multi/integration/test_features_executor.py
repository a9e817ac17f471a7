"""What Parsl asks of an executor, beyond running apps: that it can be counted, named, mixed with others, measured, and used with MPI."""
# mypy: disable-error-code="import-untyped"
# (for the configuration, a single module that cannot say that it is typed)
from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from globus_compute_multi import THREADS as CONFIGURED
from globus_compute_multi import fresh_config
from local_globus_compute import LocalEndpoint
from parsl.app.app import python_app
from parsl.config import Config
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.globus_compute_multi import (
    Endpoint,
    GlobusComputeMultiExecutor,
    RoundRobin,
)
from parsl.executors.globus_compute_multi.errors import EndpointsFailed
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.executors.threads import ThreadPoolExecutor
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    THREADS,
    check_log,
    portable,
)
from parsl.usage_tracking.levels import LEVEL_3
from parsl.usage_tracking.usage import UsageTracker

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


@portable
def increment(x, parsl_resource_specification={}):
    return x + 1


@portable
def where(text="", inputs=(), outputs=()):
    """Add to a file, and say in which process."""
    import os
    text = "".join(open(file.filepath).read() for file in inputs) + text
    for file in outputs:
        with open(file.filepath, "w") as out:
            out.write(text)
    return os.getpid()


def test_usage_tracking_names_the_executor_but_neither_endpoints_nor_credentials(make_executor, compute, tmp_path, monkeypatch):
    packets = []
    # nothing leaves this machine
    monkeypatch.setattr(UsageTracker, "send_UDP_message", lambda tracker, packet: packets.append(packet.decode()))
    executor = make_executor(label="private label", policy=RoundRobin())
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), usage_tracking=LEVEL_3)) as dfk:
        assert python_app(increment, data_flow_kernel=dfk)(1).result() == 2
    assert len(packets) == 2  # at the start, and in the end
    for packet in packets:
        components = json.loads(packet[1:])["components"]  # after the version of the protocol
        assert f"{GlobusComputeMultiExecutor.__module__}.{GlobusComputeMultiExecutor.__name__}" in components
        for secret in (*THREADS, *compute.endpoint_ids.values(), compute.token, compute.address, "private label", str(tmp_path)):
            assert secret not in packet


def test_a_try_has_a_number_of_the_executors_own_in_parsls_log_and_in_the_run_log(workflow):
    with workflow(retries=1) as (dfk, executor):
        future = executor.submit(increment, {}, 1)
        assert isinstance(future.parsl_executor_task_id, int) and future.result() == 2
        good = python_app(increment, data_flow_kernel=dfk)(1)
        bad = python_app(increment, data_flow_kernel=dfk)("one")
        assert good.result() == 2 and isinstance(bad.exception(), TypeError)
        told = re.findall(r"Parsl task (\d+) try (\d+) launched on executor multi with executor id (\d+)",
                          (Path(dfk.run_dir) / "parsl.log").read_text())
    nodes = {line["task"]: line.get("node") for line in read_log(executor.log_file) if line["kind"] == "task" and line["state"] == "pending"}
    tries = sorted((int(node), int(number)) for node, number, _ in told)
    assert tries == [(good.tid, 0), (bad.tid, 0), (bad.tid, 1)]
    assert nodes == {future.parsl_executor_task_id: None, **{int(task): int(node) for node, _, task in told}}


@pytest.mark.parametrize("retries, failover_attempts, attempts", [(2, 0, 3), (0, 2, 3), (2, 2, 5)])
def test_attempts_elsewhere_and_parsls_retries_add_up_and_do_not_multiply(workflow, only_here, retries, failover_attempts, attempts):
    with workflow(retries=retries, failover_attempts=failover_attempts) as (dfk, executor):
        with pytest.raises(EndpointsFailed, match=only_here.__module__):
            python_app(only_here, data_flow_kernel=dfk)().result()
    state = check_log(executor)
    assert len(state.attempts) == attempts and len(state.tasks) == 1 + retries


class TestBesideAnotherExecutor:

    @pytest.fixture
    def both(self, make_executor, tmp_path):
        """A DataFlowKernel with endpoints, ``far``, and threads of this process, ``here``."""
        executors = [make_executor(label="far"), ThreadPoolExecutor(label="here")]
        with DataFlowKernel(Config(executors=executors, run_dir=str(tmp_path / "runinfo"))) as dfk:
            yield dfk
        check_log(executors[0])

    def test_each_app_runs_where_it_says(self, both):
        apps = {label: python_app(where, data_flow_kernel=both, executors=[label]) for label in ("far", "here")}
        processes = {label: {future.result() for future in [app() for _ in range(5)]} for label, app in apps.items()}
        assert processes["here"] == {os.getpid()} and os.getpid() not in processes["far"]

    def test_a_chain_goes_to_and_fro_with_its_values(self, both):
        far, here = (python_app(increment, data_flow_kernel=both, executors=[label]) for label in ("far", "here"))
        assert far(here(far(here(0)))).result() == 4

    def test_a_file_goes_to_and_fro(self, both, tmp_path):
        far, here = (python_app(where, data_flow_kernel=both, executors=[label]) for label in ("far", "here"))
        future = None
        for number, app in enumerate((far, here, far, here)):
            future = app(str(number), inputs=[] if future is None else [future.outputs[0]], outputs=[File(str(tmp_path / f"{number}.txt"))])
        future.result()
        assert (tmp_path / "3.txt").read_text() == "0123"

    def test_an_app_that_says_nothing_may_run_on_either(self, both):
        app = python_app(where, data_flow_kernel=both)
        processes = {future.result() for future in [app() for _ in range(60)]}  # Parsl draws the executor; 2 ** -60
        assert os.getpid() in processes and len(processes) > 1


class TestMPI:

    @pytest.fixture
    def mpi(self, compute, tmp_path):
        """An endpoint with a GlobusMPIEngine, which takes itself for a batch job on three nodes."""
        endpoint = LocalEndpoint("mpi", engine="GlobusComputeEngine")
        compute.add_endpoint(endpoint)
        (tmp_path / "nodes").write_text("node1\nnode2\nnode3\n")
        (compute.directory / "agents" / "mpi" / "mpi" / "user_config_template.yaml.j2").write_text(f"""
heartbeat_period: {endpoint.heartbeat_seconds}
idle_heartbeats_soft: 0
engine:
  type: GlobusMPIEngine
  mpi_launcher: mpiexec
  encrypted: false
  address: 127.0.0.1
  loopback_address: 127.0.0.1
  job_status_kwargs: {{strategy_period: 0.5, max_idletime: 1.0e+9}}
  provider:
    type: LocalProvider
    launcher: {{type: SimpleLauncher}}
    init_blocks: 1
    max_blocks: 1
    worker_init: export PBS_NODEFILE={tmp_path}/nodes
""")
        yield Endpoint(compute.endpoint_ids["mpi"], name="mpi")
        compute.stop_endpoint("mpi")

    def test_nodes_and_ranks_reach_the_mpi_engine_for_each_task_its_own(self, workflow, mpi):
        def launch(parsl_resource_specification):
            import os
            return os.environ["PARSL_MPI_PREFIX"]

        with workflow(endpoints=[mpi]) as (dfk, executor):
            app = python_app(portable(launch), data_flow_kernel=dfk)
            two = app(parsl_resource_specification={"num_nodes": 2, "ranks_per_node": 4, "launcher_options": "--verbose"})
            one = app(parsl_resource_specification={"num_nodes": 1, "num_ranks": 3})
            assert re.fullmatch("mpiexec -n 8 -ppn 4 -hosts node[123],node[123] --verbose", two.result())
            assert re.fullmatch("mpiexec -n 3 -ppn 3 -hosts node[123]", one.result().strip())

    def test_endpoints_without_an_mpi_engine_are_named_with_what_they_say(self, workflow):
        with workflow() as (dfk, _):
            app = python_app(increment, data_flow_kernel=dfk)
            with pytest.raises(EndpointsFailed, match="3 attempts on large, medium, small.*ThreadPoolEngine.*use GlobusMPIEngine"):
                app(1, parsl_resource_specification={"num_nodes": 2, "num_ranks": 4}).result()
            assert app(1).result() == 2


def test_parsl_perf_runs_with_the_registered_configuration_and_leaves_no_process(tmp_path):
    command = [sys.executable, "-m", "parsl.benchmark.perf", "--config", inspect.getfile(fresh_config), "--time", "1"]
    told, processes = [], set()
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "PYTHONUNBUFFERED": "1"}) as perf:
        for line in perf.stdout:  # as it comes, so the processes are seen while they run
            told.append(line)
            processes.update(psutil.Process(perf.pid).children(recursive=True))
    assert perf.returncode == 0 and told[-1] == "The end\n", "".join(told)
    assert len(processes) > 2 * len(CONFIGURED)  # an agent and its child for each endpoint, and more
    left = [process for process in psutil.wait_procs(processes, timeout=10)[1] if process.status() != psutil.STATUS_ZOMBIE]
    assert not left
