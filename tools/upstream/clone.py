"""A clone of Parsl: what must be so before it is given a branch, and commits that leave its checkout alone."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fork import ROOT, ForkError, run

ADVICE = "Give a clone of Parsl (git clone https://github.com/Parsl/parsl): make upstream-pr PARSL=<folder>"
PARSLS_OWN = ("setup.py", "parsl/version.py", "parsl/dataflow/dflow.py")


def query(tree: Path, *arguments: str, text: str = "") -> str:
    """Ask git something.

    Parameters
    ----------
    tree : Path
        Where to ask.
    *arguments : str
        The subcommand and its arguments.
    text : str
        What it reads from standard input.

    Returns
    -------
    str
        What it prints, without the line's end.

    Raises
    ------
    ForkError
        If git fails.
    """
    # The environment of a hook names another repository.
    env = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")}
    done = subprocess.run(["git", "-C", str(tree), *arguments], env=env, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise ForkError(f"\"git {' '.join(arguments)}\" failed in {tree}:\n{done.stderr.strip()}")
    return done.stdout.rstrip("\n")


@dataclass(frozen=True)
class Identity:
    """Name and address under which the user commits."""

    name: str
    email: str

    @classmethod
    def of_user(cls, tree: Path) -> Identity:
        """Ask git.

        Parameters
        ----------
        tree : Path
            A repository, whose settings come first.

        Returns
        -------
        Identity
            The user's.

        Raises
        ------
        ForkError
            If the user has set none; git's guess from the machine's name is not taken.
        """
        try:
            answer = query(tree, "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT")
        except ForkError as error:
            raise ForkError("git does not know who makes the commits. Tell it, with git config --global user.name \"<your name>\" and "
                            f"git config --global user.email <your address>.\n{error}") from None
        match = re.fullmatch(r"(.*) <(.*)> \d+ [-+]\d{4}", answer)
        assert match is not None, answer
        return cls(match[1], match[2])


def check(clone: Path, branches: Sequence[str]) -> str:
    """Make sure that a clone can be given branches.

    Parameters
    ----------
    clone : Path
        The top folder of a clone of Parsl.
    branches : sequence of str
        The branches that it is to get.

    Returns
    -------
    str
        The commit that it has checked out.

    Raises
    ------
    ForkError
        If it is no clone of Parsl, has uncommitted changes, or has one of the branches already.
    """
    if not clone.is_dir():
        raise ForkError(f"There is no folder {clone}. {ADVICE}")
    if not (clone / ".git").exists():
        raise ForkError(f"{clone} is not the top folder of a git repository. {ADVICE}")
    if lacking := [name for name in PARSLS_OWN if not (clone / name).exists()]:
        raise ForkError(f"{clone} is no clone of Parsl: it has no {', '.join(lacking)}.")
    if changes := query(clone, "status", "--porcelain"):
        raise ForkError(f"{clone} has changes that are not committed, which the branch would lack. Commit them, or put them aside (git stash "
                        f"--include-untracked):\n{changes}")
    if there := [branch for branch in branches if query(clone, "branch", "--list", branch)]:
        raise ForkError(f"{clone} has {', '.join(there)} already. To remove: git -C {clone} branch -D {' '.join(there)} (with another branch "
                        "checked out).")
    return query(clone, "rev-parse", "--verify", "HEAD^{commit}")


class Worktree:
    """A work tree of a clone, in a folder of its own and on no branch.

    Parameters
    ----------
    folder : Path
        The work tree.
    identity : Identity
        Who commits.
    """

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder = folder
        self._identity = identity

    @classmethod
    @contextmanager
    def of(cls, clone: Path, commit: str, identity: Identity) -> Iterator[Worktree]:
        """Make one, which is gone after ``with``.

        Parameters
        ----------
        clone : Path
            The clone.
        commit : str
            What it begins with.
        identity : Identity
            Who commits.

        Yields
        ------
        Worktree
            It.
        """
        temporary = Path(tempfile.mkdtemp(prefix="parsl-upstream-pr-"))
        worktree = cls(temporary / "parsl", identity)
        try:
            worktree._git("worktree", "add", "--quiet", "--detach", str(worktree.folder), commit,
                          tree=clone, failure="no work tree could be made")
            yield worktree
        finally:
            shutil.rmtree(temporary)
            worktree._git("worktree", "prune", tree=clone, failure="the work tree could not be removed")

    def apply(self, patch: Path) -> list[str]:
        """Apply a patch, but for what it would change in files that are not there.

        Parameters
        ----------
        patch : Path
            In git's format; only changes files, and adds none.

        Returns
        -------
        list[str]
            The files that are not there.

        Raises
        ------
        ForkError
            If it does not apply.
        """
        names = re.findall(r"^\+\+\+ b/(.*)$", patch.read_text(), re.MULTILINE)
        missing = [name for name in names if not (self.folder / name).exists()]
        if len(missing) < len(names):
            # Recounted, so that lines can be added to a patch by hand.
            self._git("apply", "--index", "--recount", *(f"--exclude={name}" for name in missing), str(patch),
                      failure=f"{patch.relative_to(ROOT)} does not apply to this commit of Parsl; the clone is as it was. Check out "
                      "another commit, or make the patch anew, with git diff --unified=1")
        return missing

    def commit(self, message: str, files: Mapping[str, str]) -> str:
        """Commit files, and what was applied before.

        Parameters
        ----------
        message : str
            The commit's message.
        files : mapping
            Text by path.

        Returns
        -------
        str
            The commit's hash.

        Raises
        ------
        ForkError
            If git fails.
        """
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        # By force: what upstream's .gitignore names is meant for what programs leave behind.
        self._git("add", "--force", "--", *files, failure="the files could not be added")
        self._git("commit", "--quiet", "--message", message, failure=f"\"{message.splitlines()[0]}\" could not be committed")
        return query(self.folder, "rev-parse", "HEAD")

    def _git(self, *arguments: str, failure: str, tree: Path | None = None) -> None:
        # The clone's hooks are for the user's own commits.
        settings = {"user.name": self._identity.name, "user.email": self._identity.email, "core.hooksPath": os.devnull}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        run("git", "-C", str(tree or self.folder), *options, *arguments, failure=failure)
