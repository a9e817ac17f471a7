"""``python -m local_globus_compute``: Globus Compute on localhost, in the foreground."""
from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from local_globus_compute.endpoint import (
    ENGINES,
    MINIMUM_HEARTBEAT_SECONDS,
    LocalEndpoint,
    check_names,
)
from local_globus_compute.errors import LocalComputeError
from local_globus_compute.local import LocalGlobusCompute
from local_globus_compute.service.config import Limits

DESCRIPTION = """\
Run Globus Compute on this machine: no account, no internet.

Real endpoint agents run your functions; only the hosted service is replaced, by a program on this machine that nobody else can reach.
When all endpoints are online, their IDs are printed, with the settings that make your own programs use them. Paste the settings into
another terminal, and there use the Globus Compute SDK as ever:

  from globus_compute_sdk import Executor
  with Executor("<an endpoint ID>") as executor:
      print(executor.submit(pow, 2, 10).result())

Ctrl-C ends everything and removes all files.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `endpoint` becomes a list of LocalEndpoint."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--endpoint", action="append", metavar="NAME:WORKERS", help="an endpoint and how many tasks it runs at once; give it several times "
        "for several endpoints (default: alpha:1, beta:2 and gamma:4)"
    )
    parser.add_argument(
        "--engine", choices=ENGINES, default=ENGINES[0], help="what runs the tasks: threads, processes, or the worker pool that real sites "
        "use, slower to start (default: %(default)s)"
    )
    parser.add_argument(
        "--heartbeat", type=float, default=MINIMUM_HEARTBEAT_SECONDS, metavar="SECONDS", help="time between two signs of life of an endpoint "
        "(default and minimum: %(default)g)"
    )
    parser.add_argument("--working-dir", metavar="DIR", help="absolute folder in which tasks run (default: a temporary one of each endpoint)")
    parser.add_argument("--directory", metavar="DIR", help="new or empty folder for all files, logs too, which is kept at the end")
    parser.add_argument("--rabbitmq-url", metavar="URL", help="use this RabbitMQ broker (default: RABBITMQ_URL, else a private one is started)")
    parser.add_argument("--agent-python", metavar="FILE", help="Python of the virtual environment with globus-compute-endpoint (default: "
                        "LOCAL_GC_AGENT_PYTHON, else the repository's .venv-agents)")
    parser.add_argument("--no-rate-limit", action="store_true", help="answer any number of requests; the hosted service allows 20 in 10 s")
    options = parser.parse_args(arguments)
    try:
        options.endpoint = [_endpoint(text, options) for text in options.endpoint or ("alpha:1", "beta:2", "gamma:4")]
        check_names([endpoint.name for endpoint in options.endpoint])
    except ValueError as error:
        parser.error(str(error))
    return options


def _endpoint(text: str, options: argparse.Namespace) -> LocalEndpoint:
    name, colon, workers = text.partition(":")
    if not colon or not workers.isdigit():
        raise ValueError(f"--endpoint {text!r}: write a name, a colon and a number of workers, for example alpha:2")
    return LocalEndpoint(name, workers=int(workers), engine=options.engine, heartbeat_seconds=options.heartbeat)


def main() -> int:
    """Run until Ctrl-C or SIGTERM; returns the exit code (2: wrong arguments, 1: it did not start or end well)."""
    options = parse()

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    limits = Limits(requests=None) if options.no_rate_limit else Limits()
    try:
        compute = LocalGlobusCompute(
            options.endpoint,
            limits=limits,
            rabbitmq_url=options.rabbitmq_url,
            directory=options.directory,
            working_dir=options.working_dir,
            agent_python=options.agent_python,
        )
        print(f"Starting {len(options.endpoint)} endpoint(s) ...", file=sys.stderr, flush=True)
        with compute:
            _report(compute, options.endpoint)
            signal.pause()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except LocalComputeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Ended.", file=sys.stderr)
    return 0


def _report(compute: LocalGlobusCompute, endpoints: Sequence[LocalEndpoint]) -> None:
    print("# Endpoints")
    for endpoint in endpoints:
        print(f"#   {endpoint.name:12} {compute.endpoint_ids[endpoint.name]}  {endpoint.workers} x {endpoint.engine}")
    print("# In the terminal of your program:")
    for name, value in compute.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"# Files are in {compute.directory}; Ctrl-C ends everything.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
