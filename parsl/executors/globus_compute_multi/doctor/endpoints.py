"""list your endpoints: name, ID, status, owner

Lists the endpoints that the service knows as yours. Exit code 2 if it cannot be asked.

example:
  python -m parsl.executors.globus_compute_multi endpoints --role any
"""
from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Dict, List, Sequence

_HEADINGS = ("name", "ID", "status", "for", "owner")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which arguments the command has."""
    parser.add_argument("--role", choices=("owner", "any"), default="owner", help="those that you own (owner), or all that you may use (any)")
    parser.add_argument("--no-status", action="store_true", help="do not ask for statuses: quicker where there are many")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """Print the list; the exit code."""
    from parsl.executors.globus_compute_multi.doctor.here import check_versions
    unfit = [finding for finding in check_versions() if finding.remedy]
    if unfit:
        print("\n".join(finding.lines() for finding in unfit), file=sys.stderr)
        return 2
    from parsl.executors.globus_compute_multi.doctor.command import set_up
    from parsl.executors.globus_compute_multi.doctor.listing import (
        CannotList,
        list_endpoints,
    )
    set_up()
    try:
        rows = list_endpoints(options.role, statuses=not options.no_status)
    except CannotList as e:
        print(e.finding.lines(), file=sys.stderr)
        return 2
    if options.json:
        for row in rows:
            print(json.dumps(row))
    elif rows:
        print(_table(rows))
        print(f"\nIn a configuration: GlobusComputeMultiExecutor(endpoints=[Endpoint({rows[0]['id']!r}, name={rows[0]['name']!r}), ...])\n"
              "How many threads each can have, the command doctor finds out.")
    else:
        print("You own no endpoint." if options.role == "owner" else "There is no endpoint that you may use.")
    return 0


def _table(rows: Sequence[Dict[str, Any]]) -> str:
    lines: List[Sequence[str]] = [_HEADINGS]
    for row in rows:
        users = {True: "several users", False: "one user"}.get(row["multi_user"], "-")
        lines.append((row["name"], row["id"], row["status"] or "-", users, row["owner"] or "-"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
