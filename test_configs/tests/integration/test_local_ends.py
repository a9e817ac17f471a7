"""However a local Globus Compute ends, no process, port or file of it is left."""
import os
import re
import signal

import pika
import psutil
import pytest

from local_globus_compute import LocalComputeError, LocalEndpoint, LocalGlobusCompute
from local_globus_compute.agents import find_agent_program
from local_globus_compute.broker import PrivateBroker

from .local_harness import Footprint, Owner, until

FOR_EVER = "time.sleep(1000)"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "temporary"


def test_when_its_with_statement_ends(folder):
    owner, _ = Owner.running(folder, "sys.stdin.readline()")
    footprint = owner.footprint()
    assert len(footprint.left()) >= 7  # supervisor, broker, service, two agents, two children
    owner.proceed()
    assert owner.check_nothing_left(footprint) == 0


@pytest.mark.parametrize("body, status", [("raise SystemExit(7)", 7), ("raise ArithmeticError('in the body')", 1)])
def test_when_the_users_program_ends_or_fails(folder, body, status):
    owner, _ = Owner.running(folder, f"sys.stdin.readline()\n{body}")
    footprint = owner.footprint()
    owner.proceed()
    assert owner.check_nothing_left(footprint) == status
    if status == 1:
        assert "ArithmeticError: in the body" in owner.errors.read_text()


@pytest.mark.parametrize("engine", ["ThreadPoolEngine", "GlobusComputeEngine"])
def test_when_the_users_program_is_killed(folder, engine):
    owner, _ = Owner.running(folder, FOR_EVER, engine)
    footprint = owner.footprint()
    owner.send(signal.SIGKILL)
    owner.check_nothing_left(footprint)


def test_when_the_users_program_is_killed_while_a_process_that_it_forked_lives_on(folder):
    owner, _ = Owner.running(folder, f"""
child = os.fork()
if child == 0:
    {FOR_EVER}
print(child, flush=True)
{FOR_EVER}""")
    forked = psutil.Process(int(owner.next_line()))
    footprint = owner.footprint()
    footprint.processes.remove(forked)
    owner.send(signal.SIGKILL)
    try:
        owner.check_nothing_left(footprint)
    finally:
        forked.kill()


def test_when_the_supervisor_is_killed_and_the_user_ends_later(folder):
    owner, info = Owner.running(folder, "sys.stdin.readline()")
    footprint = owner.footprint()
    os.kill(info["supervisor"], signal.SIGKILL)
    owner.proceed()
    assert owner.check_nothing_left(footprint) == 1
    assert "did not end well (status -9)" in owner.errors.read_text()


def test_the_orphans_of_a_killed_child_go_with_the_rest(folder):
    owner, _ = Owner.running(folder, f"""
found = compute.processes("beta")
assert len(found.children) == 1 and found.workers
os.kill(found.children[0], 9)
print(json.dumps(found.workers), flush=True)
{FOR_EVER}""", "GlobusComputeEngine")
    assert owner.next_line()
    footprint = owner.footprint()
    owner.send(signal.SIGINT)
    owner.check_nothing_left(footprint)


COMMAND = ["-m", "local_globus_compute", "--endpoint", "alpha:1", "--endpoint", "beta:2"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_when_the_command_is_told_to_end(folder, signum):
    owner = Owner(folder, COMMAND)
    lines = [owner.next_line()]
    while not lines[-1].startswith("# Files are in"):
        assert lines[-1], owner.errors.read_text()
        lines.append(owner.next_line())
    text = "".join(lines)
    assert re.search(r"^#   alpha +[0-9a-f-]{36}  1 x ThreadPoolEngine$", text, re.MULTILINE)
    assert "export GLOBUS_SDK_ENVIRONMENT=local\n" in text
    footprint = owner.footprint()
    owner.send(signum)
    assert owner.check_nothing_left(footprint) == 0


@pytest.mark.parametrize("stage", ["supervisor.log", "rabbitmq/data", "service/ready.json", "agents/alpha/alpha/daemon.pid"])
def test_when_the_command_is_interrupted_while_it_starts(folder, stage):
    owner = Owner(folder, COMMAND)
    until(lambda: bool(list(folder.glob(f"*/{stage}"))), f"{stage} to be written")
    footprint = owner.footprint()
    owner.send(signal.SIGINT)
    assert owner.check_nothing_left(footprint) == 0


def test_a_second_interrupt_does_not_keep_it_from_ending(folder):
    owner = Owner(folder, COMMAND)
    until(lambda: bool(list(folder.glob("*/agents/*/*/daemon.pid"))), "an agent")
    footprint = owner.footprint()
    owner.send(signal.SIGINT)
    until(lambda: len(footprint.left()) < len(footprint.processes), "the first process to end")
    owner.send(signal.SIGINT)
    owner.check_nothing_left(footprint)


@pytest.fixture
def agent_that_fails(tmp_path):
    """An agent that is the real one, but for endpoint "broken", whose configuration it finds spoilt."""
    program = tmp_path / "bin" / "globus-compute-endpoint"
    program.parent.mkdir()
    program.write_text(f"""#!/bin/sh
[ "$2" = broken ] && echo 'engine: {{type: ThreadPoolEngine}}' > "$GLOBUS_COMPUTE_USER_DIR/broken/config.yaml"
exec '{find_agent_program(None)}' "$@"
""")
    program.chmod(0o755)
    return program.parent / "python"


def test_when_one_agent_does_not_start_the_error_has_its_name_and_cause(tmp_path, monkeypatch, agent_that_fails, folder):
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    before = set(psutil.Process().children(recursive=True))
    compute = LocalGlobusCompute([LocalEndpoint("alpha"), LocalEndpoint("broken")], agent_python=agent_that_fails)
    with pytest.raises(LocalComputeError, match=r"(?s)endpoint 'broken' stopped while it was starting .*contains an `engine` field"):
        compute.start()
    assert set(psutil.Process().children(recursive=True)) <= before
    assert not list(folder.iterdir())


def test_an_endpoint_that_does_not_start_leaves_the_others_alone(agent_that_fails):
    with LocalGlobusCompute([LocalEndpoint("alpha")], agent_python=agent_that_fails) as compute:
        with pytest.raises(LocalComputeError, match="'broken'"):
            compute.add_endpoint(LocalEndpoint("broken"))
        assert list(compute.endpoint_ids) == ["alpha"]
        assert compute.client().get_endpoint_status(compute.endpoint_ids["alpha"])["status"] == "online"


def test_it_ends_once_and_is_not_started_again():
    compute = LocalGlobusCompute()
    with compute:
        pass
    compute.close()
    with pytest.raises(LocalComputeError, match="make another one"):
        compute.start()
    with pytest.raises(LocalComputeError, match="does not run"):
        compute.restart_service()


def test_a_folder_given_by_the_user_stays_with_its_logs(tmp_path):
    with LocalGlobusCompute([LocalEndpoint("alpha")], directory=tmp_path / "kept") as compute:
        footprint = Footprint.of(os.getpid())
    footprint.check_gone()
    for log in ("supervisor.log", "rabbitmq/rabbitmq.log", "service/service.log", "agents/alpha/alpha/endpoint.log"):
        assert (tmp_path / "kept" / log).exists()
    assert compute.directory == tmp_path / "kept"


def test_a_broker_given_by_its_url_stays_without_our_queues(tmp_path):
    broker = PrivateBroker(tmp_path / "broker")
    broker.spawn()
    try:
        broker.wait()
        with LocalGlobusCompute([LocalEndpoint("alpha")], rabbitmq_url=broker.url) as compute:
            prefix = compute.client().get_result_amqp_url()["queue_prefix"].removesuffix(".task_group.")
            assert exists(broker.url, f"{prefix}.results")
            with pytest.raises(LocalComputeError, match="not ours to restart"):
                compute.restart_broker()
        assert not exists(broker.url, f"{prefix}.results")
    finally:
        broker.stop()


def exists(url, exchange):
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        try:
            connection.channel().exchange_declare(exchange, passive=True)
            return True
        except pika.exceptions.ChannelClosedByBroker:
            return False
