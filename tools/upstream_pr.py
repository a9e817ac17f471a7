"""Give a clone of Parsl this repository's work, as branches of small commits that can be sent as pull requests.

Usage: ``make upstream-pr PARSL=<clone>``. The commits (``tools/upstream/plan.py``) begin at what the clone has checked out. Its checkout, its
current branch and its files stay as they are; all branches are made at the end, or none.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fork import ROOT, ForkError
from upstream.assign import assign
from upstream.clone import ADVICE, Identity, Worktree, check, query
from upstream.files import read_files
from upstream.hooks import check_hooks
from upstream.plan import BRANCH, COMMITS


def make_branches(clone: Path) -> tuple[dict[str, str], list[str]]:
    """Make the branches.

    Parameters
    ----------
    clone : Path
        A clone of Parsl without uncommitted changes.

    Returns
    -------
    tuple[dict[str, str], list[str]]
        Commit by name of branch, and the files that Parsl has and this clone has not, so that they could not be changed.

    Raises
    ------
    ForkError
        If it cannot be done. The clone is as it was.
    """
    tips = dict.fromkeys([*(f"{BRANCH}-{commit.part}" for commit in COMMITS), BRANCH], "")
    base = check(clone, list(tips))
    files = read_files(ROOT)
    brought = assign(files, COMMITS)
    if there := sorted(files.keys() & query(clone, "ls-tree", "-r", "--name-only", base).splitlines()):
        raise ForkError(f"{clone} has {there[0]} already, at its commit {base[:9]}. Check out a commit of Parsl's own: git checkout master")
    missing: list[str] = []
    with Worktree.of(clone, base, Identity.of_user(clone)) as worktree:
        for commit, added in zip(COMMITS, brought):
            for patch in commit.patches:
                own, upstream = ROOT / "patches" / patch, ROOT / "patches" / "upstream" / patch
                missing += worktree.apply(own if own.exists() else upstream)
            check_hooks(worktree.folder)
            tips[f"{BRANCH}-{commit.part}"] = tips[BRANCH] = worktree.commit(commit.message, added)
        query(clone, "update-ref", "--stdin", text="".join(f"create refs/heads/{branch} {tip}\n" for branch, tip in tips.items()))
    return tips, list(dict.fromkeys(missing))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, make the branches, and say what to do with them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clone", help="a clone of Parsl: git clone https://github.com/Parsl/parsl")
    clone = parser.parse_args(arguments).clone
    if not clone:
        raise ForkError(f"PARSL is not set. {ADVICE}")
    clone = Path(clone).expanduser().absolute()
    tips, missing = make_branches(clone)
    base = query(clone, "rev-parse", "HEAD")
    for branch, tip in tips.items():
        print(f"upstream-pr: {branch}: {query(clone, 'rev-list', '--count', f'{base}..{tip}')} commits on {base[:9]}")
    if missing:
        print(f"upstream-pr: left out, since {clone} lacks them, changes to: {', '.join(missing)}")
    print("upstream-pr: the text for the pull request is docs/pull-request.md")
    print(f"upstream-pr: to check every commit as upstream would: tools/check_upstream_pr.sh {clone}")


if __name__ == "__main__":
    try:
        main()
    except ForkError as e:
        sys.exit(f"upstream-pr: {e}")
