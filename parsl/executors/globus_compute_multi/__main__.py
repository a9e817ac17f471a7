"""``python -m parsl.executors.globus_compute_multi``: what can be done from the command line."""
from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import List, Optional

from parsl.errors import OptionalModuleMissing
from parsl.executors.globus_compute_multi.observe.logfile import InconsistentLog

_PACKAGE = "parsl.executors.globus_compute_multi"

#: Modules of the commands. The docstring of each is its help: the first line says what it does; it ends with an example.
COMMANDS = {
    "show": "commands.show",
    "watch": "commands.watch",
    "report": "commands.report",
    "doctor": "doctor.command",
    "endpoints": "doctor.endpoints",
}

#: Of a process that was ended by Ctrl-C, as shells have it.
_INTERRUPTED = 130


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.

    Returns
    -------
    int
        0, 1 if the command has found a problem, 2 if it could not do its work (a file is missing, or no run log, say).
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {_PACKAGE}", description="One Parsl executor over many Globus Compute endpoints: tools for its runs.",
        epilog="'COMMAND --help' tells more. Exit codes: 0 all is well, 1 a problem was found, 2 it could not be done.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, path in COMMANDS.items():
        module = importlib.import_module(f"{_PACKAGE}.{path}")
        first, _, rest = (module.__doc__ or "").strip().partition("\n")
        command = commands.add_parser(name, help=first, description=f"{first}\n{rest}", formatter_class=_Help)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    _write_what_can_be_written()
    try:
        options = parser.parse_args(arguments)
        code = options.run(options)
        sys.stdout.flush()  # here an error can be told from one of the command's
        return int(code)
    except BrokenPipeError:  # as with "| head -1": the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (OSError, InconsistentLog, OptionalModuleMissing) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2


class _Help(argparse.HelpFormatter):
    """Fills paragraphs, and leaves those with lines that are set in, such as examples, as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(p if "\n " in p else super(_Help, self)._fill_text(p, width, indent) for p in paragraphs)


def _write_what_can_be_written() -> None:
    """Print characters that the terminal's encoding lacks as ``?`` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a test may have put something else there
        if reconfigure is not None:
            reconfigure(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
