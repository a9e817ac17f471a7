"""What all of these tests have in common."""
from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDED = ("aio_pika", "globus_compute_sdk", "hypothesis", "jinja2", "pydantic", "starlette", "uvicorn", "yaml")
MARKS = {
    "local": "mark test to only run locally-defined config.",
    "globus_compute": "Marks local tests that require the Globus Compute SDK",
}


def pytest_ignore_collect() -> bool | None:
    """Without what they import there are no tests. Not by ``collect_ignore``, which is not asked after the hook in Parsl's conftest."""
    return None if all(map(find_spec, NEEDED)) else True


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marks mean, for runs without Parsl's own conftest; and let Ctrl-C end what the tests start.

    A shell that starts the tests in the background has them ignore SIGINT, and all that they start with them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for mark, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {meaning}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, so that of Parsl's make targets only those run them which are for them."""
    for item in items:
        if HERE in item.path.parents:
            for mark in MARKS:
                item.add_marker(mark)
