"""Where a program of "make test" runs, and what stays of that."""
import shutil
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "in_scratch.sh"


def run(code):
    return subprocess.run(["sh", str(SCRIPT), "sh", "-c", code], capture_output=True, text=True)


def test_folder_is_new_and_goes_when_the_program_succeeds():
    done = run("ls -A; pwd; touch litter")
    folder, = done.stdout.splitlines()
    assert done.returncode == 0
    assert done.stderr == ""
    assert Path(folder).parent.name == ".scratch"
    assert not Path(folder).exists()


def test_folder_and_exit_code_stay_when_the_program_fails():
    done = run("pwd; touch litter; exit 3")
    folder = Path(done.stdout.strip())
    try:
        assert done.returncode == 3
        assert str(folder) in done.stderr
        assert (folder / "litter").exists()
    finally:
        shutil.rmtree(folder)
