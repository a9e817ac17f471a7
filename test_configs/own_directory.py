"""A pytest plugin for several pytest processes at once (pytest-xdist): each goes to a directory of its own.

Parsl's conftest makes and removes files with fixed names in the current one.
"""
from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """In a worker: go to its own directory, below the one in which pytest was started."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        directory = Path(worker).absolute()
        directory.mkdir(exist_ok=True)
        os.chdir(directory)
