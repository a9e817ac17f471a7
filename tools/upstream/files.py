"""The repository's files as they look in Parsl's tree."""
from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import isort

from fork import ForkError

# Folders and their places in Parsl's tree, the longest first; a name that is found again in a file's text is changed there, too.
PLACES = {
    "parsl/tests/test_globus_compute_multi/unit/test_hooks.py": "parsl/tests/unit/test_task_observers.py",
    "parsl/": "parsl/",
    "docs/userguide/": "docs/userguide/",
    "test_configs/local_globus_compute/": "parsl/tests/local_globus_compute/",
    "test_configs/tests/": "parsl/tests/test_local_globus_compute/",
    "test_configs/": "parsl/tests/configs/",
}

NOT_SENT = (
    "test_configs/local_globus_compute/py.typed",  # Parsl has one for the whole package
    "test_configs/shared_endpoints.py",  # for pytest-xdist, which Parsl does not use
    "test_configs/own_directory.py",
)

IGNORED = {"__pycache__", ".mypy_cache", ".pytest_cache", ".hypothesis"}

_CUT = re.compile(r"(\n*)^ *# Not upstream: begin\b.*?^ *# Not upstream: end\n(\n*)", re.MULTILINE | re.DOTALL)
_ISORT = isort.Config(profile="black", known_first_party=frozenset({"parsl"}))


def read_files(root: Path) -> dict[str, str]:
    """Read what is to be sent, and change what names the repository's own places.

    Parameters
    ----------
    root : Path
        The repository.

    Returns
    -------
    dict[str, str]
        The text of each file by its path in Parsl's tree.

    Raises
    ------
    ForkError
        If a file is no text.
    """
    found: dict[str, str] = {}
    for folder in dict.fromkeys(place.split("/")[0] for place in PLACES):
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and not IGNORED & set(path.parts) and (place := place_of(name)) is not None:
                found[place] = name
    modules = _moved_modules(found)
    texts = {}
    for place, name in found.items():
        try:
            texts[place] = _changed((root / name).read_text(encoding="utf-8"), place, modules)
        except UnicodeDecodeError:
            raise ForkError(f"{name} is no text in UTF-8, and cannot be sent to Parsl. Name it in NOT_SENT, tools/upstream/files.py.") from None
    return texts


def place_of(name: str) -> str | None:
    """Return where a file of the repository goes in Parsl's tree.

    Parameters
    ----------
    name : str
        Its path in the repository, with slashes.

    Returns
    -------
    str or None
        Its path in Parsl's tree; None when it is not sent.
    """
    if name in NOT_SENT:
        return None
    return next((place + name[len(ours):] for ours, place in PLACES.items() if name.startswith(ours)), None)


def _moved_modules(found: Mapping[str, str]) -> dict[str, str]:
    """The modules and packages right under test_configs/, and what they are called in Parsl."""
    parts = {name: place for place, name in found.items() if name.startswith("test_configs/") and not name.startswith("test_configs/tests/")}
    moved = {}
    for name, place in parts.items():
        ours, theirs = PurePosixPath(name).with_suffix(""), PurePosixPath(place).with_suffix("")
        depth = len(ours.parts) - 2  # how far below the top-level module it is
        moved[ours.parts[1]] = ".".join(theirs.parts[:len(theirs.parts) - depth])
    return moved


def _changed(text: str, place: str, modules: Mapping[str, str]) -> str:
    for ours, theirs in PLACES.items():
        if ours != theirs:
            text = text.replace(ours, theirs)
    for module, theirs in modules.items():
        if theirs.startswith("parsl.tests.configs."):
            # Its name may stand for other things, too: only where it is imported, or named as pytest's plugin.
            text = re.sub(rf"(?<!\w)(from |-p ){module}\b", rf"\g<1>{theirs}", text)
        else:
            text = re.sub(rf"(?<![\w./]){module}\b(?!/)", theirs, text)
    cut = _CUT.sub(lambda part: max(part[1], "\n" + part[2]), text)
    if "# Not upstream:" in cut:
        raise ForkError(f"{place}, as it would be in Parsl, has \"# Not upstream: begin\" or \"end\" without the other.")
    if place.endswith(".py"):
        if cut != text:
            cut = _without_unused_imports(text, cut).rstrip("\n") + "\n"
        cut = isort.code(cut, config=_ISORT)
    return cut


def _without_unused_imports(before: str, after: str) -> str:
    """Leave out of the top of a module the imports that only what was cut has used."""
    used_before, used_after = _names_used(before), _names_used(after)
    lines = after.splitlines(keepends=True)
    for node in reversed(ast.parse(after).body):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias: (alias.asname or alias.name).split(".")[0] for alias in node.names}
            kept = [alias for alias, name in names.items() if name in used_after or name not in used_before]
            if len(kept) < len(names):
                node.names = kept
                lines[node.lineno - 1:node.end_lineno] = [f"{ast.unparse(node)}\n"] if kept else []
    return "".join(lines)


def _names_used(text: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(text)))
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {node.arg for node in nodes if isinstance(node, ast.arg)}
