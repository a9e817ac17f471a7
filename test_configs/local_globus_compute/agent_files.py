"""The configuration files of an agent, written rather than made by ``configure``, which costs seconds per endpoint."""
from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from local_globus_compute.endpoint import LocalEndpoint, Scalar

# Of the starter's own environment. Not PYTHONPATH and the like: agents have their own Python with their own packages, as on another machine.
_INHERITED = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")

# As root a child starts with nothing but its configured environment; otherwise it inherits the agent's, which has these.
_NOT_FOR_TASKS = dict.fromkeys(("http_proxy", "no_proxy", "GLOBUS_COMPUTE_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_SECRET"), "")

_SIMPLE_PATH = "/[A-Za-z0-9/ _.,:=+@%~-]*"


def agent_environment(programs: Path, user_dir: Path, tasks_tmp: Path) -> dict[str, str]:
    """Return what agents, their children and their tasks find in their environment.

    Parameters
    ----------
    programs : Path
        Folder of the agents' Python, first on PATH because engines run their helpers by name.
    user_dir : Path
        What stands in for ``~/.globus_compute``.
    tasks_tmp : Path
        Folder for temporary files.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **environment,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "TMPDIR": str(tasks_tmp),
        "GLOBUS_COMPUTE_USER_DIR": str(user_dir),
        "GLOBUS_SDK_ENVIRONMENT": "local",
    }


def proxy_environment(service_port: int) -> dict[str, str]:
    """Return what makes the SDK talk to the local service.

    The SDK's local environment is ``http://localhost:5000``, hard-coded. That port may be taken, so requests to this name go through
    the service as their HTTP proxy; what is addressed to 127.0.0.1 goes there directly.
    """
    service = f"http://127.0.0.1:{service_port}"
    return {"http_proxy": service, "no_proxy": "127.0.0.1", "GLOBUS_SDK_SERVICE_URL_AUTH": service, "GLOBUS_SDK_ENVIRONMENT": "local"}


def write_agent_files(folder: Path, endpoint: LocalEndpoint, environment: Mapping[str, str]) -> None:
    """Write the four files of an endpoint into `folder`, which is created.

    Parameters
    ----------
    folder : Path
        ``<user_dir>/<name>``.
    endpoint : LocalEndpoint
        What to write.
    environment : mapping
        Environment of its children, from :func:`agent_environment`.
    """
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    # JSON is YAML, too.
    files = {
        "config.yaml": json.dumps(core_config(endpoint), indent=1),
        "user_config_template.yaml.j2": render_template(endpoint),
        "user_config_schema.json": json.dumps(variables_schema(endpoint), indent=1),
        "user_environment.yaml": json.dumps({**environment, **_NOT_FOR_TASKS, "CWD": str(folder.parent)}, indent=1),
    }
    for name, text in files.items():
        (folder / name).write_text(text)


def core_config(endpoint: LocalEndpoint) -> dict[str, object]:
    """Return the configuration of the parent process, the one that is registered."""
    return {
        "display_name": endpoint.name,
        "email": "nobody@localhost.invalid",  # asked for when run as root
        "environment": "local",
        "local_compute_services": True,
        "heartbeat_period": endpoint.heartbeat_seconds,
    }


def variables_schema(endpoint: LocalEndpoint) -> dict[str, object]:
    """Return the JSON schema of `user_endpoint_config`: an unknown variable is refused by the agent, with the reason."""
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    properties: dict[str, object] = {
        "workers": {"type": "integer", "minimum": 1},
        "working_dir": {"type": "string", "pattern": f"^{_SIMPLE_PATH}$"},
    }
    properties.update({name: {"type": kinds[type(value)]} for name, value in _variables(endpoint).items()})
    return {"type": "object", "properties": properties, "additionalProperties": False}


def render_template(endpoint: LocalEndpoint) -> str:
    """Return the template from which the agent makes a child's configuration."""
    lines = [
        f"heartbeat_period: {endpoint.heartbeat_seconds}",
        "idle_heartbeats_soft: 0",  # a child stays until its endpoint stops
    ]
    # Of the engines only GlobusComputeEngine takes a working_dir; all of them run tasks in this folder of the child's. What a user gives
    # comes as JSON, of a kind (_SIMPLE_PATH) whose characters JSON does not escape.
    own = 'ln -sfn {} "$GLOBUS_COMPUTE_ENDPOINT_DIR/tasks_working_dir"'
    lines += [
        "{% if working_dir is defined %}",
        f"endpoint_setup: {{{{ {own!r}.format((working_dir | shell_escape)[1:-1]) | tojson }}}}",
        "{% else %}",
        f"endpoint_setup: {json.dumps(own.format(shlex.quote(os.fspath(endpoint.working_dir))))}" if endpoint.working_dir is not None else "",
        "{% endif %}",
    ]
    lines += ["engine:", f"  type: {endpoint.engine}"]
    workers = f"workers | default({endpoint.workers})"
    if endpoint.engine == "GlobusComputeEngine":
        lines += [
            "  encrypted: false",
            "  address: 127.0.0.1",
            "  loopback_address: 127.0.0.1",
            "  job_status_kwargs: {strategy_period: 0.5, max_idletime: 1.0e+9}",
            f"  max_workers_per_node: {{{{ {workers} }}}}",
            "  provider: {type: LocalProvider, init_blocks: 1, min_blocks: 1, max_blocks: 1}",
        ]
        if "cores_per_worker" not in endpoint.variables:
            # The engine starts no more workers than cores; localhost stands in for a machine that has them.
            cores = f"cores_per_worker | default([1.0, {float(os.cpu_count() or 1)} / ({workers})] | min)"
            lines.append(f"  cores_per_worker: {{{{ {cores} | round(4, 'floor') }}}}")
    else:
        lines.append(f"  max_workers: {{{{ {workers} }}}}")
    lines += [f"  {name}: {{{{ {name} | default({_literal(value)}) }}}}" for name, value in endpoint.variables.items()]
    return "\n".join(lines) + "\n"


def _variables(endpoint: LocalEndpoint) -> dict[str, Scalar]:
    implied: dict[str, Scalar] = {"cores_per_worker": 1.0} if endpoint.engine == "GlobusComputeEngine" else {}
    return {**implied, **endpoint.variables}


def _literal(value: Scalar) -> str:
    # What a user gives arrives as JSON, strings in their quotes: defaults are the same. Jinja reads Python's literals.
    return repr(json.dumps(value) if isinstance(value, str) else value)
