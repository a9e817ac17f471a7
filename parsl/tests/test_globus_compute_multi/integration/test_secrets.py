"""No credential of the real client, service or broker is in any log, text or exception, whatever fails."""
from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import time
import traceback
from urllib.parse import urlsplit

import pytest
import requests

from local_globus_compute.client import LocalClient
from parsl.app.app import python_app
from parsl.executors.globus_compute_multi.compute.service import Service
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.tests.test_globus_compute_multi.integration.common import increment

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]


def broker_secrets(client):
    """The password of the broker that results come from, and its whole address."""
    service = Service(client)
    url, _ = service.result_queue()
    service.close()
    password = urlsplit(url).password
    assert password
    return {password, url}


@pytest.fixture
def check(compute, caplog, tmp_path):
    """Checks that what was said and written in a test has no secret: messages of all loggers at all levels, and all files of the run."""
    caplog.set_level(logging.DEBUG)
    secrets = {compute.token, *broker_secrets(compute.client())}
    caplog.clear()

    def check(*texts, further=()):
        written = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
        assert written
        everything = "\n".join([caplog.text, *written, *texts])
        assert not [secret for secret in secrets.union(further) if secret in everything]
    return check


def chain(error):
    return "".join(traceback.format_exception(error)) + repr(error)


def test_a_workflow_with_failures_of_all_kinds(workflow, faults, compute, check):
    def hits(rule):
        return next(known["hits"] for known in faults.faults() if known["id"] == rule)

    with workflow(failover_attempts=1, status_interval=0.2) as (dfk, executor):
        app = python_app(increment, data_flow_kernel=dfk)
        assert app(1).result(60) == 2
        texts = [chain(app("text").exception(60)), repr(executor), str(executor), repr(executor.client)]
        for status in (400, 403, 429, 500):
            rule = faults.add_fault("reply_status", route="submit", status=status, count=1, **({"retry_after": 0.1} if status == 429 else {}))
            error = app(1).exception(120)
            texts += [chain(error)] if error is not None else []
            assert hits(rule) == 1
            faults.clear_faults()
        dropped = faults.add_fault("drop_connection", route="submit", count=1)
        refused = faults.add_fault("reply_status", route="endpoint_status", status=503, count=3)
        assert app(1).result(120) == 2
        deadline = time.monotonic() + 60
        while hits(refused) < 3:
            assert time.monotonic() < deadline, "statuses were not asked for"
            time.sleep(0.1)
        assert hits(dropped) == 1
    check(*texts)


def test_the_broker_goes_away_and_comes_back(workflow, compute, check):
    with workflow() as (dfk, executor):
        app = python_app(increment, data_flow_kernel=dfk)
        assert app(1).result(60) == 2
        compute.restart_broker()
        assert app(2).result(120) == 3
    check()


def test_the_broker_cannot_be_reached(make_executor, check, caplog):
    executor = make_executor(amqp_port=1)
    executor.start()
    future = executor.submit(increment, {}, 1)
    deadline = time.monotonic() + 60
    while not re.search("Results: .*(lost|refused|reached)", caplog.text):
        assert time.monotonic() < deadline, "nothing was said of it"
        time.sleep(0.1)
    executor.shutdown()
    check(*([] if future.exception(0) is None else [chain(future.exception(0))]))


def test_a_token_that_is_not_accepted(make_executor, compute, check, tmp_path):
    executor = make_executor(client=LocalClient(compute.address, "planted-Qx7"))
    with pytest.raises(Exception, match="HTTP 401") as refused:
        executor.start()
    executor.shutdown()
    (tmp_path / "errors").write_text(chain(refused.value))
    check(further={"planted-Qx7"})


@pytest.mark.parametrize("host", ["compute.api.globus.org", "attacker.example:5000", "127.0.0.1:1", "0.0.0.0:5000"])
def test_the_local_service_answers_nobody_who_asks_for_another_address(compute, host):
    answer = requests.get(f"{compute.address}/v2/version", headers={"Authorization": f"Bearer {compute.token}", "Host": host}, timeout=30)
    assert answer.status_code == 403
    answer = requests.get(f"{compute.address}/v2/version", headers={"Authorization": f"Bearer {compute.token}"}, timeout=30)
    assert answer.status_code == 200


def test_the_run_log_is_for_the_user_alone(workflow):
    with workflow() as (dfk, executor):
        assert python_app(increment, data_flow_kernel=dfk)(1).result(60) == 2
    assert os.stat(executor.log_file).st_mode & 0o777 == 0o600
    assert read_log(executor.log_file)


PROGRAM = """
import logging, sys, traceback
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
from parsl.executors.globus_compute_multi import GlobusComputeMultiExecutor

def increment(x):
    return x + 1

executor = GlobusComputeMultiExecutor([sys.argv[1]], log_file="log.jsonl")
executor.start()
print(executor.submit(increment, {}, 1).result(60), repr(executor), repr(executor.client))
traceback.print_exception(executor.submit(increment, {}, "text").exception(60))
executor.shutdown()
print("ended")
"""


def test_a_program_with_a_client_secret_of_its_own(compute, tmp_path):
    environment = {**os.environ, **compute.environment, "GLOBUS_COMPUTE_USER_DIR": str(tmp_path / "user")}
    ended = subprocess.run([sys.executable, "-c", PROGRAM, compute.endpoint_ids["small"]], cwd=tmp_path, env=environment, capture_output=True,
                           text=True, timeout=180)
    assert ended.stdout.endswith("ended\n"), ended.stderr
    with sqlite3.connect(tmp_path / "user" / "storage.db") as storage:
        tables = [name for name, in storage.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept = json.dumps([row for table in tables for row in storage.execute(f"SELECT * FROM {table}")])
    storage.close()
    tokens = set(re.findall(r'access_token[\\"]+: [\\"]+([^\\"]+)', kept))
    assert tokens, "the SDK keeps its tokens otherwise than this test thinks"
    secrets = tokens | broker_secrets(compute.client()) | {environment["GLOBUS_COMPUTE_CLIENT_SECRET"]}
    said = ended.stdout + ended.stderr + (tmp_path / "log.jsonl").read_text()
    assert not [secret for secret in secrets if secret in said]
