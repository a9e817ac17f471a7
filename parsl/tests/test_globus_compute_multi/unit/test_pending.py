"""The queue of pending tasks, with so many that it has several blocks for each shape."""
from __future__ import annotations

import random

import pytest

from parsl.executors.globus_compute_multi.scheduling.pending import (
    PendingTasks,
    Shape,
    Task,
)

pytestmark = pytest.mark.local

SHAPES = [Shape(1), Shape(2)]


def any_shape(shape):
    return True


def task_of(number, rng):
    task = Task(number, "app", 10, rng.choice([0.0, 1.0]), rng.choice(SHAPES), None, None, 0.0, None)
    task.rank = rng.choice([0.0, 1.0, 2.0])
    return task


@pytest.fixture(params=range(3))
def filled(request):
    """A queue, what is in it by number, and a source of chance."""
    rng, pending = random.Random(request.param), PendingTasks()
    tasks = {number: task_of(number, rng) for number in range(5000)}
    for number in rng.sample(sorted(tasks), len(tasks)):
        pending.add(tasks[number])
    return pending, tasks, rng


def test_tasks_come_out_in_order_whatever_is_put_in_and_taken_out_between(filled):
    pending, tasks, rng = filled
    for number in range(5000, 20_000):
        if rng.random() < 0.5 or not tasks:
            tasks[number] = task_of(number, rng)
            pending.add(tasks[number])
        elif rng.random() < 0.5:
            pending.discard(tasks.pop(rng.choice(list(tasks)) if len(tasks) < 50 else next(iter(tasks))))
        else:
            first = pending.first(any_shape)
            pending.remove_first(first)
            del tasks[first.id]
            assert not tasks or first.order < min(task.order for task in rng.sample(list(tasks.values()), min(20, len(tasks))))
    assert len(pending) == len(tasks)
    left = sorted(tasks.values(), key=lambda task: task.order)
    for task in left:
        assert pending.first(any_shape) is task
        pending.remove_first(task)
    assert not pending and pending.first(any_shape) is None and pending.shapes() == []


def test_tasks_of_one_shape_are_found_and_so_are_those_after_the_first_of_each(filled):
    pending, tasks, _ = filled
    by_shape = {shape: sorted((task for task in tasks.values() if task.shape == shape), key=lambda task: task.order) for shape in SHAPES}
    for shape, ordered in by_shape.items():
        for after in (0, 1, 999, len(ordered) - 1):
            assert pending.first(lambda s: s == shape, after) is ordered[after]
        assert pending.first(lambda s: s == shape, len(ordered)) is None
    assert pending.first(any_shape, 700) is min((ordered[700] for ordered in by_shape.values()), key=lambda task: task.order)


def test_all_of_a_shape_are_taken_out_in_order(filled):
    pending, tasks, _ = filled
    taken = pending.take_all(SHAPES[0])
    assert taken == sorted((task for task in tasks.values() if task.shape == SHAPES[0]), key=lambda task: task.order)
    assert pending.shapes() == [SHAPES[1]] and len(pending) == len(tasks) - len(taken)


def test_new_ranks_give_a_new_order(filled):
    pending, tasks, rng = filled
    ranks = {number: rng.random() for number in tasks}
    pending.reorder(lambda task: ranks[task.id])
    for _ in range(1000):
        first = pending.first(any_shape)
        assert first.rank == ranks[first.id]
        pending.remove_first(first)
        following = pending.first(any_shape)
        assert first.order < following.order


def test_a_task_that_is_not_the_first_is_not_taken_for_it(filled):
    pending, tasks, _ = filled
    last = max(tasks.values(), key=lambda task: task.order)
    with pytest.raises(ValueError, match=f"task {last.id} is not the first"):
        pending.remove_first(last)


def test_a_task_that_is_not_there_cannot_be_taken_out(filled):
    pending, _, rng = filled
    with pytest.raises(ValueError, match="not in the queue"):
        pending.discard(task_of(2500.5, rng))


def test_the_last_of_all_that_is_not_there_cannot_be_taken_out_either(filled):
    pending, _, rng = filled
    beyond = task_of(10_000, rng)
    beyond.priority = 2.0
    with pytest.raises(ValueError, match="not in the queue"):
        pending.discard(beyond)


def test_few_tasks_that_are_left_of_many_are_in_few_blocks():
    pending, tasks = PendingTasks(), [task_of(number, random.Random(0)) for number in range(50_000)]
    for task in tasks:
        task.shape = SHAPES[0]
        pending.add(task)
    for number, task in enumerate(tasks):
        if number % 400:
            pending.discard(task)
    assert len(pending) == 125
    assert len(pending._orders[SHAPES[0]]._blocks) == 1


def test_the_heads_are_the_first_of_each_shape(filled):
    pending, tasks, _ = filled
    assert sorted(pending.heads(), key=lambda task: task.shape) == [
        min((task for task in tasks.values() if task.shape == shape), key=lambda task: task.order) for shape in SHAPES]


def test_the_first_tasks_can_be_looked_at_if_all_have_one_shape(filled):
    pending, tasks, _ = filled
    pending.take_all(SHAPES[0])
    left = sorted((task for task in tasks.values() if task.shape == SHAPES[1]), key=lambda task: task.order)
    assert list(pending.first_of_only_shape(700)) == left[:700]
    assert list(pending.first_of_only_shape(10_000)) == left
