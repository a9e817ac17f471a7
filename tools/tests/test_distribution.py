"""What ``pip install .`` would install beside an unpatched Parsl."""
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "parsl/executors/globus_compute_multi/"


@pytest.fixture
def copy(tmp_path):
    """The repository, as far as setup.py goes: pip builds in the folder, and leaves files there."""
    for name in ("setup.py", "requirements.txt", "view-requirements.txt", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "parsl", tmp_path / "parsl", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_wheel_holds_the_executor_and_nothing_of_parsls(copy):
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "-w", "dist", "."],
                   cwd=copy, check=True)
    wheel, = (copy / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata, = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert names == {str(path.relative_to(copy)) for path in (copy / PACKAGE).rglob("*.py")}
    wanted = {Requirement(line + extra) for name, extra in (("requirements.txt", ""), ("view-requirements.txt", '; extra == "view"'))
              for line in (copy / name).read_text().splitlines() if line and not line.startswith("#")}
    found = [line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    assert {Requirement(line) for line in found} == wanted


def test_editable_install_is_refused_with_advice(copy):
    done = subprocess.run([sys.executable, "setup.py", "editable_wheel"], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 1
    assert "make fork" in done.stderr


@pytest.mark.parametrize("folder", ["executors/globus_compute_multi", "tests/test_globus_compute_multi"])
def test_every_folder_of_code_is_a_package(folder):
    # Parsl's own setup.py leaves out all below a folder without __init__.py.
    folders = {path.parent for path in (ROOT / "parsl" / folder).rglob("*.py")}
    assert folders
    assert [str(path) for path in folders if not (path / "__init__.py").exists()] == []
