"""Fixtures with real endpoint agents, a real RabbitMQ and the local stand-in of the hosted service."""
from __future__ import annotations

import builtins
import gc
import importlib
import threading
import types
import uuid
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import psutil
import pytest

from local_globus_compute import Limits, LocalEndpoint, LocalGlobusCompute
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.globus_compute_multi import Endpoint, GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi.observe.logfile import follow_log, read_log
from parsl.executors.globus_compute_multi.observe.replay import replay
from parsl.executors.globus_compute_multi.observe.status import Status

THREADS = {"small": 1, "medium": 2, "large": 4}
NO_REQUEST_LIMIT = Limits(requests=None)


def portable(function):
    """The function as if it stood in the user's script: endpoints may have a Parsl without this test."""
    copy = types.FunctionType(function.__code__, {"__builtins__": builtins, "__name__": "__main__"}, function.__name__,
                              function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__module__ = "__main__"
    return copy


@pytest.fixture
def only_here(tmp_path, monkeypatch):
    """A function of a module that the endpoints do not have, so it is pickled by name, and cannot be unpickled there."""
    name = f"only_here_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text("def work():\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name).work


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("globus-compute-multi")]


def sockets():
    """Open connections of this process; garbage, such as an HTTP response in the traceback of a handled error, does not count."""
    gc.collect()
    return {c.laddr for c in psutil.Process().net_connections("tcp") if c.raddr}


@pytest.fixture(scope="session")
def compute(tmp_path_factory):
    endpoints = [LocalEndpoint(name, workers=threads) for name, threads in THREADS.items()]
    with LocalGlobusCompute(endpoints, limits=NO_REQUEST_LIMIT, working_dir=tmp_path_factory.mktemp("shared")) as service:
        yield service


@pytest.fixture
def faults(compute):
    """Admin of the service; whatever a test switches on there is off again afterwards."""
    yield compute.admin
    compute.admin.clear_faults()
    compute.admin.set_limits(NO_REQUEST_LIMIT)


@pytest.fixture
def make_executor(compute, tmp_path):
    """Makes executors on the pool of three endpoints, with logs under ``tmp_path``."""
    def make(**arguments):
        if "endpoints" not in arguments:
            arguments["endpoints"] = [Endpoint(compute.endpoint_ids[name], name=name, threads=threads) for name, threads in THREADS.items()]
        label = arguments.setdefault("label", "multi")
        arguments.setdefault("log_file", str(tmp_path / f"{label}.jsonl"))
        return GlobusComputeMultiExecutor(**{"client": compute.client(), "request_limit": None, **arguments})
    return make


@pytest.fixture
def web(tmp_path):
    """Address of a web server with a file ``data.txt``."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "data.txt").write_text("from the web")

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def check_status(executor):
    """The status of an executor that runs is that which follows from its log, as far as that went then."""
    status, count = executor._status_and_lines()
    lines = islice((line for line in follow_log(Path(executor.log_file), poll=0.05) if line is not None), count)
    assert Status.of(replay(lines), status.time) == status


def check_log(executor):
    """Replay an executor's log, which checks its invariants; all tasks must be finished, and no thread bound."""
    state = replay(read_log(Path(executor.log_file)))
    assert set(state.tasks.values()) <= {"done", "failed"}
    assert not any(endpoint.running or endpoint.ahead for endpoint in state.endpoints.values())
    return state


@pytest.fixture
def workflow(make_executor, tmp_path):
    """``with workflow(...) as (dfk, executor)``; in the end the executor's log is checked, and nothing of it is left."""
    @contextmanager
    def load(retries=0, **arguments):
        before = sockets()
        executor = make_executor(**arguments)
        with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), retries=retries)) as dfk:
            yield dfk, executor
            check_status(executor)
        assert not our_threads()
        assert sockets() <= before
        state = check_log(executor)
        assert Status.of(state, 0.0) == executor.status()
    return load
