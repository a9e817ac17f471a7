"""Materialise the fork of Parsl in .fork/parsl, and install it editable in the virtual environment that runs this.

The fork is the pinned release (tools/parsl-sdist.txt) as one commit, patches/*.patch as one commit each, and on top, as links, the
files of this repository's parsl/ folder: an edit of those is live. Built anew when the pin, a patch or this file changes.

Usage: ``.venv/bin/python tools/fork.py``.
"""
from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AUTHOR = "GlobusComputeMultiExecutor developers"
EMAIL = "developers@globus-compute-multi.invalid"


class ForkError(Exception):
    """The fork could not be made. The message says why, and what to do."""


def run(*command: str, failure: str) -> None:
    """Run a program, quietly unless it fails.

    Parameters
    ----------
    *command : str
        The program and its arguments.
    failure : str
        What could not be done, for the error.

    Raises
    ------
    ForkError
        If the program cannot be found, or fails: with `failure` and all that it printed.
    """
    # What git finds in the environment or in the user's settings (a hook's GIT_DIR, commit signing, hooks) is not meant for the fork.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env.update(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")
    try:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        raise ForkError(f"{failure}: there is no {command[0]} on PATH.") from None
    if done.returncode != 0:
        raise ForkError(f"{failure}. {command[0]} ended with exit code {done.returncode} and said:\n{done.stdout.strip()}")


def git(tree: Path, *arguments: str, failure: str) -> None:
    """Run git in `tree`, with an identity of our own, since the user may have none.

    Parameters
    ----------
    tree : Path
        Where to run it.
    *arguments : str
        The subcommand and its arguments.
    failure : str
        What could not be done, for the error.

    Raises
    ------
    ForkError
        If git fails.
    """
    run("git", "-C", str(tree), "-c", f"user.name={AUTHOR}", "-c", f"user.email={EMAIL}", *arguments, failure=failure)


def read_pin(pin: Path) -> tuple[str, str]:
    """The release that is forked.

    Parameters
    ----------
    pin : Path
        A requirements file with the line ``parsl==<version> --hash=sha256:<digest>``.

    Returns
    -------
    tuple[str, str]
        The version and the sdist's SHA-256, in hexadecimal.

    Raises
    ------
    ForkError
        If there is no such line.
    """
    match = re.search(r"^parsl==(\S+) --hash=sha256:([0-9a-f]{64})$", pin.read_text(), re.MULTILINE)
    if match is None:
        raise ForkError(f"{pin}: no line of the form parsl==<version> --hash=sha256:<64 hexadecimal digits>")
    return match[1], match[2]


def fetch_sdist(pin: Path, folder: Path) -> Path:
    """Download the pinned sdist, unless it is there already.

    Parameters
    ----------
    pin : Path
        See `read_pin`.
    folder : Path
        Where the file is kept.

    Returns
    -------
    Path
        The file, whose hash is the pinned one.

    Raises
    ------
    ForkError
        If it cannot be had, or is another file than the pinned one.
    """
    version, sha256 = read_pin(pin)
    sdist = folder / f"parsl-{version}.tar.gz"
    if not sdist.exists() or hashlib.sha256(sdist.read_bytes()).hexdigest() != sha256:
        sdist.unlink(missing_ok=True)
        run(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", "parsl",
            "--no-build-isolation", "--require-hashes", "-r", str(pin), "-d", str(folder),
            failure=f"Parsl {version} could not be downloaded as {pin.name} pins it")
    return sdist


def apply_patches(tree: Path, patches: list[Path]) -> None:
    """Commit each patch in `tree`.

    Parameters
    ----------
    tree : Path
        A git repository without changes.
    patches : list[Path]
        Patches in git's mail format, in the order to apply them.

    Raises
    ------
    ForkError
        If one does not apply; the message names it.
    """
    for patch in patches:
        git(tree, "am", "--quiet", str(patch),
            failure=f"patches/{patch.name} does not apply. Make it anew in {tree}, with git format-patch --unified=1")


def build(tree: Path, sdist: Path, patches: list[Path]) -> None:
    """Unpack the release, and commit it and the patches; replaces `tree` once all that has worked.

    Parameters
    ----------
    tree : Path
        The fork.
    sdist : Path
        The release.
    patches : list[Path]
        See `apply_patches`.

    Raises
    ------
    ForkError
        If a patch does not apply. `tree` is as it was, and the unfinished one is left beside it to look at.
    """
    unfinished = tree.with_name("unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    # Not as root would by default, with the owner named in the archive: git refuses a repository of another user.
    run("tar", "--no-same-owner", "--strip-components", "1", "-C", str(unfinished), "-xzf", str(sdist), failure=f"{sdist} could not be unpacked")
    git(unfinished, "init", "--quiet", failure="the fork could not be made a git repository")
    (unfinished / ".git" / "info" / "exclude").write_text("*.egg-info/\n__pycache__/\n")
    git(unfinished, "add", "--all", failure="the release could not be committed")
    git(unfinished, "commit", "--quiet", "--message", f"The release {sdist.name}", failure="the release could not be committed")
    apply_patches(unfinished, patches)
    if tree.exists():
        shutil.rmtree(tree)
    unfinished.rename(tree)


def remove_dead_links(target: Path) -> None:
    """Remove the links below `target` whose file is gone from the repository.

    Parameters
    ----------
    target : Path
        A folder of the fork.
    """
    for path in target.rglob("*"):
        if path.is_symlink() and not path.exists():
            path.unlink()


def link_new_files(source: Path, target: Path) -> None:
    """Lay `source` over `target`: what is not in `target` is linked there, whole folders where possible.

    Parameters
    ----------
    source : Path
        The repository's folder.
    target : Path
        The fork's folder of the same name.

    Raises
    ------
    ForkError
        If both have a file of the same name: upstream's files are changed by patches alone.
    """
    for new in sorted(source.iterdir()):
        place = target / new.name
        if new.name == "__pycache__" or place.is_symlink():
            continue
        if not place.exists():
            place.symlink_to(os.path.relpath(new, target))
        elif new.is_dir() and place.is_dir():
            link_new_files(new, place)
        else:
            raise ForkError(f"{new} is a file of upstream's ({place}), which this repository must not hold: change it by a patch in patches/.")


def install(tree: Path, also_on_path: Path) -> None:
    """Put the fork, and `also_on_path`, on the path of the running virtual environment.

    Parameters
    ----------
    tree : Path
        The fork. It gets Parsl's metadata and scripts, too.
    also_on_path : Path
        The folder of Globus Compute on localhost.

    Raises
    ------
    ForkError
        If pip fails.
    """
    # A plain path entry ("compat"), because setuptools' import hooks lose against the repository's own parsl/ folder when that is in the
    # current directory: there a folder without __init__.py is found first, whereas among path entries a real package beats it.
    run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation",
        "--config-settings", "editable_mode=compat", "--editable", str(tree), failure="the fork could not be installed")
    (Path(sysconfig.get_path("purelib")) / "globus-compute-localhost.pth").write_text(f"{also_on_path}\n")


def main() -> None:
    """Make whatever is missing or out of date."""
    if sys.prefix == sys.base_prefix:
        raise ForkError(f"{sys.executable} is not of a virtual environment: run \"make fork\".")
    pin = ROOT / "tools" / "parsl-sdist.txt"
    patches = sorted((ROOT / "patches").glob("*.patch"))
    folder = ROOT / ".fork"
    tree, built, installed = folder / "parsl", folder / "built-from", Path(sys.prefix) / ".fork-installed"
    stamp = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in (Path(__file__), pin, *patches))).hexdigest()
    folder.mkdir(exist_ok=True)
    # One at a time: two would remove each other's files.
    with open(pin) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists() or not built.exists() or built.read_text() != stamp:
            print("fork: building .fork/parsl", flush=True)
            build(tree, fetch_sdist(pin, folder), patches)
            built.write_text(stamp)
        remove_dead_links(tree / "parsl")
        link_new_files(ROOT / "parsl", tree / "parsl")
        if not installed.exists() or installed.read_text() != stamp:
            print(f"fork: installing .fork/parsl in {sys.prefix}", flush=True)
            install(tree, ROOT / "test_configs")
            installed.write_text(stamp)


if __name__ == "__main__":
    try:
        main()
    except ForkError as e:
        sys.exit(f"fork: {e}")
