"""check login, service, AMQP and endpoints

Checks everything between here and the workers of the endpoints, in this order: versions here, connection to the service, TLS, credentials, AMQP
(the way of results), what the service knows of each endpoint, and a small task on each, all at once. Prints a line with a verdict for each, and
for whatever is not ok a line with what to do. Exit code 1 if there is a problem, or an endpoint could not be examined; 0 if there are only
warnings.

For Globus' own support, 'globus-compute-diagnostic' (of the SDK) collects what is installed on a machine, and the logs of its endpoints.

example:
  python -m parsl.executors.globus_compute_multi doctor 4b116d3c-1703-4f8f-9f6f-39921e5864df
"""
from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import uuid
from typing import Any, Callable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which arguments the command has."""
    parser.add_argument("endpoints", metavar="ENDPOINT", nargs="*", type=_uuid, help="IDs of endpoints; none: only what is on the way to them")
    parser.add_argument("--timeout", type=_seconds, default=60.0, metavar="SECONDS",
                        help="how long to wait for the tasks on the endpoints (60); more where workers wait in a batch system's queue")
    parser.add_argument("--amqp-port", type=_port, metavar="PORT",
                        help="the executor's amqp_port: a port of the broker, instead of the one that the service names")
    parser.add_argument("--runner-id", type=_uuid, metavar="ID", help="the executor's runner_id: for endpoints that allow only listed functions")
    parser.add_argument("--no-probe", action="store_true", help="run no tasks")
    parser.add_argument("--json", action="store_true",
                        help='one JSON object a line, with "check", "verdict" (ok, warning, problem, skipped), "text" and "remedy"')


def run(options: argparse.Namespace) -> int:
    """Print the findings as they are made; the exit code."""
    from parsl.executors.globus_compute_multi.doctor.here import check_versions
    missing = [finding for finding in check_versions() if finding.remedy]
    if missing:  # what makes the other checks cannot be imported
        for finding in missing:
            print(finding.to_json() if options.json else finding.lines())
        return 1
    from parsl.executors.globus_compute_multi.doctor.diagnose import examine, exit_code
    set_up()
    findings = []
    for finding in examine(list(dict.fromkeys(options.endpoints)), timeout=options.timeout, amqp_port=options.amqp_port,
                           runner_id=options.runner_id, probe=not options.no_probe):
        findings.append(finding)
        print(finding.to_json() if options.json else finding.lines(), flush=True)
    if exit_code(findings) and not options.json:
        print("There are problems. For Globus' own support, 'globus-compute-diagnostic' collects more.", file=sys.stderr)
    return exit_code(findings)


def set_up() -> None:
    """For a process of its own: the SDK gives up sooner, and libraries that log say nothing beside what is printed."""
    os.environ.setdefault("GLOBUS_SDK_HTTP_TIMEOUT", "10")
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(True)  # they would be printed between the findings, which say what matters of them


def _uuid(text: str) -> str:
    return _checked(lambda: str(uuid.UUID(text)), f"{text!r} is not a UUID; 'globus-compute-endpoint list' on its machine shows an endpoint's")


def _seconds(text: str) -> float:
    def read() -> float:
        seconds = float(text)
        if not 0 < seconds < math.inf:
            raise ValueError
        return seconds
    return _checked(read, f"{text!r} is not a number of seconds above 0")


def _port(text: str) -> int:
    def read() -> int:
        if not 0 < int(text) < 65536:
            raise ValueError
        return int(text)
    return _checked(read, f"{text!r} is not a port number (1 to 65535)")


def _checked(read: Callable[[], Any], message: str) -> Any:
    try:
        return read()
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
