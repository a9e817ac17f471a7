"""Which commit brings which file: by rules about folders, and by what the files import, so that each commit can be tested by itself."""
from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from fork import ForkError
from upstream.plan import Commit


def assign(files: Mapping[str, str], commits: Sequence[Commit]) -> list[dict[str, str]]:
    """Share the files out among the commits.

    A commit brings what it takes, and what that imports unless an earlier commit brought it; a test comes as soon as all is there that it
    imports. A package whose ``__init__.py`` imports what is not there yet begins with the docstring of that.

    Parameters
    ----------
    files : mapping
        Text of each file by path in Parsl's tree.
    commits : sequence of Commit
        In their order.

    Returns
    -------
    list[dict[str, str]]
        For each commit, the text of the files that it adds or replaces, by path.

    Raises
    ------
    ForkError
        If a file belongs to no commit, or a rule has become void.
    """
    imports = {path: set(_imports(path, text, files)) for path, text in files.items() if path.endswith(".py")}
    place: dict[str, int] = {}
    for number, commit in enumerate(commits):
        for rule in commit.takes:
            matching = [path for path in files if _matches(path, rule)]
            if not matching:
                raise ForkError(f"There is no {rule}, which the commit \"{commit.summary}\" should bring: change tools/upstream/plan.py.")
            for path in matching:
                for needed in _closure(path, imports):
                    # a test that another one uses comes with its like
                    if not any(_matches(needed, test) for earlier in commits[:number] for test in earlier.tests):
                        place.setdefault(needed, number)
    for number, commit in enumerate(commits):
        for rule in commit.tests:
            for path in files:
                if path not in place and _matches(path, rule):
                    others = [place[needed] for needed in _closure(path, imports) if needed in place]
                    place[path] = max([number, *others])
    if homeless := sorted(files.keys() - place.keys()):
        raise ForkError("These files (paths as in Parsl's tree) belong to no commit for Parsl. Say in tools/upstream/plan.py which brings them, "
                        "or in tools/upstream/files.py that they are not sent:\n  " + "\n  ".join(homeless))
    brought: list[dict[str, str]] = [{} for _ in commits]
    for path in sorted(files):
        brought[place[path]][path] = files[path]
    _open_packages(brought, files)
    for number, commit in enumerate(commits):
        for path, heading in commit.sections:
            before, found, _ = files[path].partition(f"\n{heading}\n")
            if not found:
                raise ForkError(f"{path} has no section \"{heading}\" any more: change tools/upstream/plan.py.")
            brought[place[path]][path], brought[number][path] = before, files[path]
    return brought


def _matches(path: str, rule: str) -> bool:
    return path.startswith(rule) if rule.endswith("/") else PurePosixPath(path).match(rule)


def _closure(path: str, imports: Mapping[str, set[str]]) -> set[str]:
    found, open_ = set(), [path]
    while open_:
        here = open_.pop()
        if here not in found:
            found.add(here)
            open_ += imports.get(here, ())
    return found


def _imports(path: str, text: str, files: Mapping[str, str]) -> Iterator[str]:
    """The files among `files` that a module imports, anywhere in it."""
    package = path.split("/")[:-1]
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            modules = [f"{base}.{alias.name}" if _file_of(f"{base}.{alias.name}", files) else base for alias in node.names]
        else:
            continue
        yield from filter(None, (_file_of(module, files) for module in modules))


def _file_of(module: str, files: Mapping[str, str]) -> str | None:
    path = module.replace(".", "/")
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if file in files), None)


def _open_packages(brought: list[dict[str, str]], files: Mapping[str, str]) -> None:
    """Let each package begin where its first module comes."""
    there: set[str] = set()
    for added in brought:
        for path in list(added):
            for folder in PurePosixPath(path).parents:
                package = f"{folder}/__init__.py"
                if package in files and package not in there:
                    there.add(package)
                    added.setdefault(package, _docstring(files[package]))


def _docstring(text: str) -> str:
    first = next(iter(ast.parse(text).body), None)
    return "".join(text.splitlines(keepends=True)[:first.end_lineno]) if isinstance(first, ast.Expr) else ""
