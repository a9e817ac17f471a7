"""When a virtual environment counts as up to date."""
import subprocess
import sys

import pytest

import make_venv


@pytest.fixture
def requirements(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("one\n")
    return path


@pytest.fixture
def folder(tmp_path, requirements):
    """What make_venv leaves behind, without the installing."""
    path = tmp_path / "venv"
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "python").symlink_to(sys.executable)
    (path / make_venv.STAMP).write_text("\n".join(make_venv.stamp_for(path, [requirements])) + "\n")
    return path


@pytest.fixture
def commands(monkeypatch):
    """The programs that would have run."""
    found = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: found.append(command))
    return found


def test_nothing_runs_when_nothing_changed(folder, requirements, commands):
    make_venv.make_venv(folder, [requirements])
    assert commands == []


def test_changed_requirement_is_installed_in_the_environment_as_it_is(folder, requirements, commands):
    requirements.write_text("two\n")
    make_venv.make_venv(folder, [requirements])
    assert [command[1:4] for command in commands] == [["-m", "pip", "install"]]
    assert commands[0][-2:] == ["-r", str(requirements)]
    assert make_venv.read_stamp(folder) == make_venv.stamp_for(folder, [requirements])


def test_environment_of_another_python_is_made_anew(folder, requirements, commands):
    (folder / make_venv.STAMP).write_text("2.7 of /elsewhere\n" + make_venv.stamp_for(folder, [requirements])[1] + "\n")
    make_venv.make_venv(folder, [requirements])
    assert commands[0][:4] == [sys.executable, "-m", "venv", "--clear"]
    assert commands[1][1:4] == ["-m", "pip", "install"]


def test_environment_that_was_moved_is_made_anew(folder, requirements, commands, tmp_path):
    moved = folder.rename(tmp_path / "moved")
    make_venv.make_venv(moved, [requirements])
    assert commands[0][:4] == [sys.executable, "-m", "venv", "--clear"]


def test_environment_whose_python_was_removed_is_made_anew(folder, requirements, commands):
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to(folder / "removed")
    make_venv.make_venv(folder, [requirements])
    assert commands[0][:4] == [sys.executable, "-m", "venv", "--clear"]


def test_failed_install_is_tried_again(folder, requirements, monkeypatch):
    def fail(command, check):
        raise subprocess.CalledProcessError(1, command)

    requirements.write_text("two\n")
    monkeypatch.setattr(subprocess, "run", fail)
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            make_venv.make_venv(folder, [requirements])
