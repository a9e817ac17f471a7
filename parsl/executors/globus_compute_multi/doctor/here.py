"""What is installed here, and which credentials there are. Nothing is asked of any network."""
from __future__ import annotations

import importlib
import os
import platform
import sqlite3
from importlib import metadata
from typing import TYPE_CHECKING, Generator, Iterator, Optional, Tuple

from parsl.executors.globus_compute_multi.doctor.findings import (
    Finding,
    ok,
    problem,
    skipped,
    warning,
)

if TYPE_CHECKING:
    from globus_compute_sdk import Client

#: What the executor needs beside Parsl: module, distribution, least version.
_NEEDED = (("globus_compute_sdk", "globus-compute-sdk", (4, 19)), ("pika", "pika", (1, 3)), ("dill", "dill", ()))

_CHECK = "versions here"


def check_versions() -> Generator[Finding, None, bool]:
    """Check Python, Parsl and what the executor needs; returns whether anything else can be looked at."""
    found, complete = [], True
    for module, distribution, least in _NEEDED:
        try:
            importlib.import_module(module)
            version = metadata.version(distribution)
        except (ImportError, metadata.PackageNotFoundError) as e:
            complete = False
            yield problem(_CHECK, f"{distribution} cannot be imported ({type(e).__name__}: {e})", _install(distribution, least))
            continue
        found.append(f"{distribution} {version}")
        if _numbers(version)[:len(least)] < least:
            complete = False
            yield problem(_CHECK, f"{distribution} is {version}, which is too old", _install(distribution, least))
    import parsl.version
    if complete:
        yield ok(_CHECK, f"Python {platform.python_version()}, Parsl {parsl.version.VERSION}, {', '.join(found)}")
    return complete


def _install(distribution: str, least: Tuple[int, ...]) -> str:
    version = ".".join(map(str, least))
    return f"pip install '{distribution}>={version}'" if least else f"pip install {distribution}"


def _numbers(version: str) -> Tuple[int, ...]:
    parts = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        parts.append(int(part))
    return tuple(parts)


def skip_rest(why: str, *checks: str) -> Iterator[Finding]:
    """Say of each check that it was not done."""
    for check in checks:
        yield skipped(check, why)


def find_client() -> Generator[Finding, None, Optional[Client]]:
    """Make the SDK's own client, as the executor does; returns it, or None where that cannot be done.

    Whether there is a valid login is not known before Globus Auth can be asked.
    """
    import globus_sdk
    from globus_compute_sdk import Client
    check, variables = "credentials", ("GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET")
    given = [name for name in variables if os.environ.get(name)]
    environment = os.environ.get("GLOBUS_SDK_ENVIRONMENT", "production")
    where = "" if environment == "production" else f", in the environment {environment!r} (GLOBUS_SDK_ENVIRONMENT)"
    if given == [variables[1]]:
        yield problem(check, f"{variables[1]} is set and {variables[0]} is not", f"set {variables[0]} too, or unset {variables[1]}")
        return None
    try:
        client = Client(do_version_check=False)
    except (ValueError, OSError, sqlite3.Error, globus_sdk.GlobusError) as e:
        yield problem(check, f"the Globus Compute SDK cannot be set up: {type(e).__name__}: {e}",
                      "correct what it names; the variables that it looks at begin with GLOBUS_, and its files are in ~/.globus_compute or "
                      "the folder named by GLOBUS_COMPUTE_USER_DIR")
        return None
    if given == [variables[0]]:
        yield warning(check, f"{variables[0]} is set and {variables[1]} is not, so it is an application's ID with which people log in{where}",
                      f"if it is meant to be a client identity, set {variables[1]} too; else unset {variables[0]}")
    elif given:
        yield ok(check, f"client credentials, from {' and '.join(variables)}{where}")
    else:
        yield ok(check, f"the login that the SDK stores{where}")
    return client
