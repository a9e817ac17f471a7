"""Create a virtual environment with the given requirements, or bring it up to date; does nothing when nothing changed.

Usage: ``python3 tools/make_venv.py FOLDER REQUIREMENTS_FILE...``. The environment gets the Python that runs this.
"""
# Written so that Pythons which are too old can read it, and say so.
import argparse
import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import List, Sequence

OLDEST_PYTHON = (3, 10)
STAMP = ".made-with"


def stamp_for(folder: Path, requirements: Sequence[Path]) -> List[str]:
    """What an up-to-date environment was made from.

    Parameters
    ----------
    folder : Path
        The environment. It holds absolute paths, so it cannot be moved.
    requirements : Sequence[Path]
        The requirements files.

    Returns
    -------
    List[str]
        Two lines: the Python and the place, and a digest of the files' contents.
    """
    digest = hashlib.sha256()
    for path in requirements:
        digest.update(path.read_bytes())
    return [f"Python {sys.version_info[0]}.{sys.version_info[1]} of {sys.base_prefix} in {folder.resolve()}", digest.hexdigest()]


def read_stamp(folder: Path) -> List[str]:
    """What the environment in `folder` was made from; empty when there is none that works.

    Parameters
    ----------
    folder : Path
        The environment.

    Returns
    -------
    List[str]
        As from `stamp_for`, or an empty list.
    """
    stamp = folder / STAMP
    # exists() follows the link to the base Python, which may have been removed since.
    if not stamp.exists() or not (folder / "bin" / "python").exists():
        return []
    return stamp.read_text().splitlines()


def make_venv(folder: Path, requirements: Sequence[Path]) -> None:
    """Make `folder` an environment of this Python with `requirements` installed.

    An environment of another Python, or that was moved, is made anew. When only the requirements changed, what is installed stays.

    Parameters
    ----------
    folder : Path
        The environment, made if need be.
    requirements : Sequence[Path]
        The requirements files, given to one call of pip.

    Raises
    ------
    subprocess.CalledProcessError
        If venv or pip fails; its output has told why.
    """
    wanted, found = stamp_for(folder, requirements), read_stamp(folder)
    if found == wanted:
        return
    if found[:1] != wanted[:1]:
        print(f"{folder}: creating a virtual environment ({wanted[0]})", flush=True)
        # Upgraded, since the pip that comes with older Pythons has no --config-settings.
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--upgrade-deps", str(folder)], check=True)
    (folder / STAMP).write_text(f"{wanted[0]}\n")
    print(f"{folder}: installing {', '.join(path.name for path in requirements)}", flush=True)
    # Twice quiet: errors only.
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
    for path in requirements:
        command += ["-r", str(path)]
    subprocess.run(command, check=True)
    (folder / STAMP).write_text("\n".join(wanted) + "\n")


def main() -> None:
    """Read the command line, and make the environment."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        sys.exit(f"make_venv: Python {sys.version.split()[0]} ({sys.executable}) is too old: 3.10 or newer is needed. "
                 "Name one with make PYTHON=<path>.")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("requirements", type=Path, nargs="+")
    arguments = parser.parse_args()
    # One at a time: two runs of pip in one environment would spoil it.
    with open(arguments.requirements[0]) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            make_venv(arguments.folder, arguments.requirements)
        except subprocess.CalledProcessError as e:
            sys.exit(f"make_venv: {arguments.folder} could not be made: {' '.join(map(str, e.cmd))} "
                     f"ended with exit code {e.returncode} (its message is above).")


if __name__ == "__main__":
    main()
