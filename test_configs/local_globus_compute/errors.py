"""What goes wrong when Globus Compute is run on localhost."""
from __future__ import annotations

from pathlib import Path


class LocalComputeError(RuntimeError):
    """A part of the local Globus Compute could not be started, stopped or reached; the message names it and says what to do."""


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log for an error message, or a remark that there is none.

    Parameters
    ----------
    path : Path
        The log file.
    lines : int
        How many lines to keep, empty ones not counted.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "  (no log was written)"
    kept = [line for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(f"  {line}" for line in kept) or "  (the log is empty)"
