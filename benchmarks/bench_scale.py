"""What ``bench.py`` measures without endpoint agents: programs of their own, one after the other, whose words are passed on."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Tuple

from local_globus_compute.processes import kill_all, session_members

#: Programs of this folder with their arguments: all that they judge, but of "core" one load only, since each takes minutes.
PROGRAMS: Dict[str, Tuple[str, ...]] = {
    "budget": ("budget_scale.py", "16", "16-log-normal", "16-configs", "16-specs", "16-configs-specs", "64", "64-log-normal", "64-configs",
               "64-large"),
    "core": ("core_scale.py", "--loads", "bag", "--tasks", "10000", "1000000", "--endpoints", "1000", "--memory", "100000"),
    "dfk": ("dfk_scale.py", "--tasks", "20000"),
}

#: Seconds after which a program is killed.
PATIENCE = 1200.0

#: The line after which a program says what must be reached, a line for each.
MUST_REACH = "Must reach:"


@dataclass(frozen=True)
class Said:
    """What a program has said in the end.

    Parameters
    ----------
    name : str
        Which of :data:`PROGRAMS`.
    status : int
        Its exit status: 0, 1 if something was missed that must be reached, or another if it failed.
    must : tuple of str
        Lines of what must be reached.
    """

    name: str
    status: int
    must: Tuple[str, ...]

    @property
    def failure(self) -> str:
        """What went wrong, if it did not come to its end; else empty."""
        if self.must and self.status in (0, 1):
            return ""
        silent = "" if self.must else ", and said nothing of what must be reached"
        return f"FAILED: {PROGRAMS[self.name][0]} ended with status {self.status}{silent}"


def run(name: str) -> Said:
    """Run a program to its end, and pass on what it prints, line by line; it ends with whatever ends this function."""
    program, *arguments = PROGRAMS[name]
    command = [sys.executable, str(Path(__file__).parent / program), *arguments]
    print(f"\n{' '.join([program, *arguments])}", flush=True)
    must: list[str] = []
    ending = False
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None

    def kill() -> None:
        kill_all(lambda: session_members({process.pid}))  # processes of its own, too

    timer = threading.Timer(PATIENCE, kill)
    timer.start()
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            if ending:
                must.append(line.rstrip("\n"))
            ending = ending or line.startswith(MUST_REACH)
        return Said(name, process.wait(), tuple(must))
    finally:
        timer.cancel()
        kill()
        process.stdout.close()
        process.wait()
