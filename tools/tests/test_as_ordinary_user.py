"""Running a command as an ordinary user, in a folder of that user's."""
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "as_ordinary_user.sh"


def run(*command):
    return subprocess.run([SCRIPT, *command], capture_output=True, text=True)


def test_the_command_is_not_roots_and_may_read_but_not_write_elsewhere(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "readable").write_text("text")
    ended = run("sh", "-c", f'id -u; cat "{tmp_path}/readable"; touch "{tmp_path}/new"')
    uid, text = ended.stdout.split()
    assert int(uid) != 0
    assert text == "text"
    if os.getuid() == 0:
        assert ended.returncode != 0
        assert not (tmp_path / "new").exists()


def test_it_runs_in_a_home_of_its_own_that_goes_when_it_succeeds():
    ended = run("sh", "-c", 'touch here && test "$HOME" -ef . && pwd' if os.getuid() == 0 else "touch here && pwd")
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
