"""How many bad inputs there are, and those of tasks that do not pickle; the others are in ``test_bad_arguments`` and its neighbours."""
from __future__ import annotations

import hashlib
import queue
import sys
import threading

import pytest

from parsl.executors.globus_compute_multi import GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi.errors import TaskNotPickled, TaskTooLarge
from parsl.tests.test_globus_compute_multi.unit.test_bad_arguments import (
    ARGUMENTS,
    A,
    Unshowable,
)
from parsl.tests.test_globus_compute_multi.unit.test_bad_results import (
    FOREIGN,
    UNREADABLE,
    VALUES,
)
from parsl.tests.test_globus_compute_multi.unit.test_bad_specifications import (
    SPECIFICATIONS,
)

pytestmark = pytest.mark.local


class PicklesTo:
    """Does what it is told when it is pickled."""

    def __init__(self, act):
        self.act = act

    def __reduce__(self):
        return self.act()


def raising(error):
    def act():
        raise error
    return PicklesTo(act)


class NoText(Exception):
    def __str__(self):
        raise RuntimeError("no text for you")

    __repr__ = __str__


class NotAnException(BaseException):
    pass


def deep():
    inner = []
    for _ in range(sys.getrecursionlimit() * 10):
        inner = [inner]
    return inner


def over(value):
    return lambda: value


#: Arguments that do not pickle.
VALUES_NOT_PICKLED = {
    "queue": queue.SimpleQueue(), "local": threading.local(), "generator": (x for x in "ab"), "frame": sys._getframe(),
    "memory": memoryview(b"x"), "hash": hashlib.sha256(), "within": {"deep": [1, (2, queue.SimpleQueue())]},
    "over a queue": over(queue.SimpleQueue()), "over a generator": over(x for x in "ab"), "raises": raising(ValueError("on purpose")),
    "exits": raising(SystemExit(3)), "ends": raising(NotAnException("on purpose")), "ends the generator": raising(GeneratorExit()),
    "no text": raising(NoText()), "recursion": deep(), "no reduction": PicklesTo(lambda: 3), "wrong reduction": PicklesTo(lambda: (3, ())),
}


@pytest.mark.parametrize("value", VALUES_NOT_PICKLED.values(), ids=VALUES_NOT_PICKLED)
@pytest.mark.parametrize("place", ["argument 1", "argument 'x'"])
def test_an_argument_that_does_not_pickle_is_named_with_the_app(value, place):
    executor = GlobusComputeMultiExecutor([A])
    with pytest.raises(TaskNotPickled, match=f"^{place} of max cannot be pickled") as refused:
        if place == "argument 1":
            executor.submit(max, {}, 0, value)
        else:
            executor.submit(max, {}, 0, x=value)
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("function", [
    lambda waiting=queue.SimpleQueue(): waiting, over(queue.SimpleQueue()), over(x for x in "ab"), raising(ValueError("x"))])
def test_a_function_that_does_not_pickle_is_named(function):
    with pytest.raises(TaskNotPickled, match="^the function of (<lambda>|PicklesTo) cannot be pickled"):
        GlobusComputeMultiExecutor([A]).submit(function, {})


def test_an_interrupt_by_the_user_while_an_argument_is_pickled_is_an_interrupt():
    with pytest.raises(KeyboardInterrupt):
        GlobusComputeMultiExecutor([A]).submit(max, {}, raising(KeyboardInterrupt()))


@pytest.mark.parametrize("value", [b"x" * 8_000_000, "x" * 8_000_000, list(range(4_000_000)), {"a": [bytes(4_000_000), bytes(3_999_999)]}],
                         ids=["bytes", "text", "list", "dict"])
def test_arguments_that_are_too_large_together_are_named_with_app_size_limit_and_remedy(value):
    with pytest.raises(TaskTooLarge, match=r"of max take \d\d,\d{3},\d{3} bytes .* at most 9,99\d,\d{3}.*ProxyStore"):
        GlobusComputeMultiExecutor([A]).submit(max, {}, value)


def test_what_cannot_be_shown_is_packed_and_needs_no_text():
    with pytest.raises(Exception, match="not started"):
        GlobusComputeMultiExecutor([A]).submit(max, {}, Unshowable())


def test_there_are_more_than_two_hundred_bad_inputs():
    tables = [ARGUMENTS, SPECIFICATIONS, FOREIGN, UNREADABLE, VALUES, VALUES_NOT_PICKLED]
    assert all(tables) and sum(map(len, tables)) >= 200
