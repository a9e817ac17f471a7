"""Processes that cannot outlive us, on Linux: the agents run nowhere else, so nothing else is catered for."""
from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Interrupted(Exception):
    """A wait was given up because everything is to stop."""


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends, daemons included, so that none gets lost."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def dying_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """What a new process is to do first (``preexec_fn`` of :class:`subprocess.Popen`) so as to get `death_signal` when this one ends."""
    parent = os.getpid()

    def die_with_parent() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the kernel was told
            os._exit(1)

    return die_with_parent


def spawn(
    command: Sequence[str | os.PathLike[str]],
    *,
    environment: Mapping[str, str],
    directory: Path,
    log: Path,
    death_signal: signal.Signals,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own that gets `death_signal` when we die, however we die.

    Must be called on the main thread: the kernel sends the signal when the *thread* that started the process ends.

    Parameters
    ----------
    command : sequence of str or path
        Program and arguments.
    environment : mapping
        Its whole environment.
    directory : Path
        Its working directory.
    log : Path
        Where its standard output and error are appended.
    death_signal : signal.Signals
        What the kernel sends it when this process ends.
    """
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=dying_with_parent(death_signal),
        )


def wait_until(condition: Callable[[], bool], timeout: float, interrupted: Callable[[], bool] = lambda: False) -> bool:
    """Wait for a condition; return whether it came true in time.

    Parameters
    ----------
    condition : callable
        Asked about twenty times a second.
    timeout : float
        Seconds.
    interrupted : callable
        Asked as often; when true, the wait is given up.

    Raises
    ------
    Interrupted
        When `interrupted` says so.
    """
    deadline = time.monotonic() + timeout
    while True:
        if interrupted():
            raise Interrupted()
        if condition():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def end(process: subprocess.Popen[Any], timeout: float, first: signal.Signals = signal.SIGTERM) -> None:
    """End one process: with `first`, and with SIGKILL when it is still there after `timeout` seconds."""
    if process.poll() is None:
        process.send_signal(first)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def session_members(sessions: set[int]) -> list[psutil.Process]:
    """Return the live processes of the given sessions (an engine's processes stay in the session of their endpoint process)."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue  # ended while we looked
    return found


def kill_all(find: Callable[[], list[psutil.Process]], timeout: float = 5.0) -> list[int]:
    """Kill what `find` returns until it returns nothing, since a process may fork while it is being killed.

    Returns
    -------
    list of int
        What is still there after `timeout` seconds: empty unless a process hangs in the kernel.
    """

    def kill() -> bool:
        left = find()
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass  # ended by itself
        return not left

    return [] if wait_until(kill, timeout) else [process.pid for process in find()]


def descendants() -> list[psutil.Process]:
    """Return all live descendants of this process; with :func:`adopt_orphans`, also those that made themselves daemons."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                _reap(process.pid)
            else:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # a grandchild: its own parent's to reap
