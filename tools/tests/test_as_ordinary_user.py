"""Running a command as an ordinary user, in a folder of that user's."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "as_ordinary_user.sh"


def run(*command):
    return subprocess.run([SCRIPT, *command], capture_output=True, text=True)


def test_the_command_is_not_roots_and_may_not_write_what_only_root_may(tmp_path):
    tmp_path.chmod(0o700)
    ended = run("sh", "-c", f'id -u; touch "{tmp_path}/new"; true')
    assert int(ended.stdout) != 0
    if os.getuid() == 0:
        assert not (tmp_path / "new").exists()


def test_it_has_this_python_and_this_checkout(tmp_path):
    ended = run(sys.executable, "-c", f"print(open({str(SCRIPT)!r}).read(2))")
    assert ended.stdout == "#!\n", ended.stderr


def test_it_runs_in_a_home_of_its_own_that_goes_when_it_succeeds():
    ended = run("sh", "-c", 'touch here && test "$HOME" -ef . && pwd')
    assert ended.returncode == 0, ended.stderr
    assert not Path(ended.stdout.strip()).exists()


@pytest.mark.parametrize("status", [1, 5])
def test_the_status_is_the_commands_and_the_folder_of_a_failure_stays(status):
    ended = run("sh", "-c", f"touch here; pwd; exit {status}")
    assert ended.returncode == status
    folder = Path(ended.stdout.strip())
    assert (folder / "here").exists()
    assert f"it ran in {folder}, which is kept" in ended.stderr
    (folder / "here").unlink()
    folder.rmdir()
