"""Every test here is local, as Parsl calls those that bring what they run on; without what they import, there are none."""
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDED = ("aio_pika", "globus_compute_sdk", "hypothesis", "jinja2", "pydantic", "starlette", "uvicorn", "yaml")

if not all(map(find_spec, NEEDED)):
    collect_ignore_glob = ["*"]


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark means, for runs without Parsl's own conftest."""
    config.addinivalue_line("markers", "local: mark test to only run locally-defined config.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.local)
