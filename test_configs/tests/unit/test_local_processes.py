"""Starting processes and ending them."""
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

from local_globus_compute.processes import (
    Interrupted,
    end,
    kill_all,
    session_members,
    spawn,
    wait_until,
)


def start(tmp_path, *code):
    return spawn(
        [sys.executable, "-c", "\n".join(code)], environment=os.environ, directory=tmp_path, log=tmp_path / "log", death_signal=signal.SIGKILL
    )


def test_a_spawned_process_has_its_own_session_folder_and_log(tmp_path):
    process = start(tmp_path, "import os; print(os.getsid(0) == os.getpid(), os.getcwd())")
    assert process.wait() == 0
    assert (tmp_path / "log").read_text().split() == ["True", str(tmp_path)]


def test_a_spawned_process_dies_with_its_parent(tmp_path):
    parent = textwrap.dedent(f"""
        import os, pathlib, signal
        from local_globus_compute.processes import spawn
        here = pathlib.Path({str(tmp_path)!r})
        child = spawn(["sleep", "1000"], environment=os.environ, directory=here, log=here / "log", death_signal=signal.SIGKILL)
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    path = os.pathsep.join(sys.path)
    ended = subprocess.run([sys.executable, "-c", parent], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)
    child = int(ended.stdout)

    def gone():
        return not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE

    assert wait_until(gone, 20)


def test_a_process_that_ignores_the_polite_signal_is_killed(tmp_path):
    ready = tmp_path / "ready"
    process = start(tmp_path, "import pathlib, signal, time", "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
                    f"pathlib.Path({str(ready)!r}).touch()", "time.sleep(1000)")
    assert wait_until(ready.exists, 20)
    end(process, timeout=0.1)
    assert process.returncode == -signal.SIGKILL
    end(process, timeout=0.1)  # nothing the second time


def test_all_of_a_session_is_killed_its_orphans_too(tmp_path):
    ready = tmp_path / "ready"
    process = start(tmp_path, "import subprocess", "subprocess.Popen(['sleep', '1000'])", f"open({str(ready)!r}, 'w').close()")
    assert process.wait() == 0 and ready.exists()
    members = session_members({process.pid})
    assert [member.name() for member in members] == ["sleep"]
    assert kill_all(lambda: session_members({process.pid})) == []
    assert session_members({process.pid}) == []


def test_a_wait_tells_whether_its_condition_came_true():
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), timeout=20)
    assert not wait_until(lambda: False, timeout=0)


def test_a_wait_can_be_interrupted():
    with pytest.raises(Interrupted):
        wait_until(lambda: False, timeout=20, interrupted=lambda: True)
