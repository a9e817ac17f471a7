"""What several tests run, and what they look at."""
from __future__ import annotations

import time

from parsl.app.app import python_app
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.tests.test_globus_compute_multi.integration.conftest import portable

#: Seconds within which whatever is waited for happens on the slowest machine.
DEADLINE = 120


@portable
def increment(x):
    return x + 1


def run_tasks(dfk, count=30):
    """Run so many tasks, and check what comes of them."""
    app = python_app(increment, data_flow_kernel=dfk)
    assert [future.result(DEADLINE) for future in [app(i) for i in range(count)]] == list(range(1, count + 1))


def states(executor, kind):
    """States that the log tells of things of this kind, in order."""
    return [line["state"] for line in read_log(executor.log_file) if line["kind"] == kind]


def until(look, what):
    """Wait until ``look()`` is true."""
    deadline = time.monotonic() + DEADLINE
    while not look():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
