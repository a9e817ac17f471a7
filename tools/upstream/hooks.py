"""Whether the hooks came to lie where they should: a patch with little context may fit in another place, too."""
from __future__ import annotations

import ast
from pathlib import Path

from fork import ForkError

KERNEL = "parsl/dataflow/dflow.py"
CALLERS = {"task_state_changed": "_update_task_state", "task_submitting": "launch_task"}


def check_hooks(tree: Path) -> None:
    """See that each hook is called in its method of the DataFlowKernel, and nowhere else.

    Parameters
    ----------
    tree : Path
        A Parsl with the hooks.

    Raises
    ------
    ForkError
        If a call is missing, or is elsewhere.
    """
    callers: dict[str, list[str]] = {hook: [] for hook in CALLERS}
    for function in ast.walk(ast.parse((tree / KERNEL).read_text(encoding="utf-8"), KERNEL)):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in callers:
                    callers[node.func.attr].append(function.name)
    for hook, method in CALLERS.items():
        if callers[hook] != [method]:
            found = ", ".join(callers[hook]) or "nowhere"
            raise ForkError(f"In this commit of Parsl the patch of {KERNEL} does not fit: {hook} should be called in {method}, and would be in "
                            f"{found}. The clone is as it was. Check out a newer commit, or make the patch anew.")
