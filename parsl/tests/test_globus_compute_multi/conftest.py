"""What all of these tests have in common."""
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDED = ("globus_compute_sdk", "hypothesis")


def pytest_ignore_collect():
    """Without what they import there are no tests. Not by ``collect_ignore``, which is not asked after the hook in Parsl's conftest."""
    return None if all(map(find_spec, NEEDED)) else True


def pytest_configure(config):
    """Say what the mark means."""
    config.addinivalue_line("markers", "globus_compute: Marks local tests that require the Globus Compute SDK")


def pytest_collection_modifyitems(items):
    """Mark the tests as those of GlobusComputeExecutor are, which ``make config_local_test`` leaves out."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.globus_compute)
