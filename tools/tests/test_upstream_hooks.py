"""Whether the hooks came to lie where they should."""
import pytest

from fork import ROOT, ForkError
from upstream.hooks import KERNEL, check_hooks


@pytest.fixture
def tree(tmp_path):
    """A Parsl with the hooks, whose DataFlowKernel may be changed."""
    (tmp_path / KERNEL).parent.mkdir(parents=True)
    (tmp_path / KERNEL).write_text((ROOT / ".fork" / "parsl" / KERNEL).read_text())
    return tmp_path


def change(tree, old, new):
    text = (tree / KERNEL).read_text()
    assert text.count(old) == 1
    (tree / KERNEL).write_text(text.replace(old, new))


def test_the_forks_hooks_are_where_they_should_be(tree):
    check_hooks(tree)


@pytest.mark.parametrize("old, new, found", [
    ("executor.task_state_changed(", "str(", "called in _update_task_state, and would be in nowhere"),
    ("executor.task_submitting(", "str(", "called in launch_task, and would be in nowhere"),
    ("    def _update_task_state(", "    def wipe_task_state(", "called in _update_task_state, and would be in wipe_task_state"),
])
def test_a_hook_that_is_elsewhere_is_named_with_where_it_is(tree, old, new, found):
    change(tree, old, new)
    with pytest.raises(ForkError, match=found):
        check_hooks(tree)
