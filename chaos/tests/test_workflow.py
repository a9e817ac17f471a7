"""The workflow, and what it must give."""
from __future__ import annotations

import pytest

from chaos.workflow import expected_values, plan_workflow, portable, work


def test_the_same_seed_gives_the_same_workflow_and_another_another():
    assert plan_workflow(3, 80) == plan_workflow(3, 80) != plan_workflow(4, 80)


@pytest.mark.parametrize("tasks", [1, 2, 100, 500])
def test_it_has_so_many_tasks_each_after_its_inputs(tasks):
    planned = plan_workflow(1, tasks)
    assert len(planned) == tasks
    assert all(number < me for me, task in enumerate(planned) for number in task.inputs)


def test_it_has_chains_reductions_a_bag_exceptions_and_large_arguments():
    planned = plan_workflow(1, 500)
    assert {0, 1, 4} <= {len(task.inputs) for task in planned}
    assert any(task.raises for task in planned) and any(task.filler for task in planned) and any(task.cores == 2 for task in planned)


def test_no_task_needs_the_value_of_one_that_raises():
    planned = plan_workflow(2, 500)
    assert not any(planned[number].raises for task in planned for number in task.inputs)


def test_the_expected_values_are_those_of_the_tasks():
    planned = plan_workflow(1, 60)
    expected = expected_values(planned)
    found = []
    for task in planned:
        try:
            found.append(work(task.label, 0.0, task.raises, b"x" * task.filler, *(found[number] for number in task.inputs)))
        except ValueError as error:
            found.append(str(error))
    assert found == expected
    assert len(set(found)) == len(found)


def test_the_task_is_pickled_whole():
    assert portable(work).__module__ == "__main__"
    assert set(portable(work).__globals__) == {"__builtins__", "__name__"}
