"""What a turn brings: to which child the next request goes, and which tasks it carries."""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple

from parsl.executors.globus_compute_multi.scheduling.pending import (
    PendingTasks,
    Shape,
    Task,
)
from parsl.executors.globus_compute_multi.scheduling.placement import (
    Placement,
    PolicyError,
)
from parsl.executors.globus_compute_multi.scheduling.pool import Pool
from parsl.executors.globus_compute_multi.scheduling.queueing import QueueAhead
from parsl.executors.globus_compute_multi.scheduling.restarts import Restarts
from parsl.executors.globus_compute_multi.scheduling.threads import Child, Threads


class Want(Enum):
    """What a turn is wanted for."""

    NOTHING = 0
    FOR_FREE_THREADS = 1
    FOR_OTHERS = 2
    """To queue ahead, or to start tasks again."""


@dataclass(frozen=True)
class Hands:
    """What making a turn lets happen to tasks; the scheduler does it.

    Parameters
    ----------
    bind : callable
        ``bind(task, threads)``: start an attempt there, in the dispatch being made.
    wait : callable
        ``wait(task, threads)``: let a ready task wait for threads that are busy.
    fail : callable
        ``fail(task, error)``: give up on a ready task for which the policy failed.
    """

    bind: Callable[[Task, Threads], None]
    wait: Callable[[Task, Threads], None]
    fail: Callable[[Task, PolicyError], None]


class Turns:
    """Makes turns: first for threads that are free, then for queues that run low, then for tasks that a cold endpoint may never run.

    Parameters
    ----------
    pool : Pool
    pending : PendingTasks
    placement : Placement
    ahead : QueueAhead
    restarts : Restarts
    batch_bytes : int or None
        Most bytes of tasks in one request.
    hands : Hands
    """

    def __init__(self, *, pool: Pool, pending: PendingTasks, placement: Placement, ahead: QueueAhead, restarts: Restarts,
                 batch_bytes: Optional[int], hands: Hands) -> None:
        self._pool = pool
        self._pending = pending
        self._placement = placement
        self._ahead = ahead
        self._restarts = restarts
        self._batch_bytes = batch_bytes
        self._hands = hands
        self._aside: List[_Aside] = []
        self._kept: Dict[int, Threads] = {}
        self._serial = 0

    def wanted(self, now: float) -> "Want":
        """Whether a turn would bring a request. Tasks that had better wait for threads that are busy begin to wait."""
        while self._pool.any_free:
            task = self._placement.first_ready()
            if task is None:
                break
            try:
                if not self._placement.may_wait(task):
                    return Want.FOR_FREE_THREADS
                threads = self._placement.choose(task, now)
            except PolicyError as e:
                self._hands.fail(task, e)
                continue
            if threads.free > 0:
                return Want.FOR_FREE_THREADS
            self._wait(task, threads)
        return Want.FOR_OTHERS if self._may_queue_ahead() or self._restarts.first(now) is not None else Want.NOTHING

    def make(self, now: float) -> None:
        """Bind tasks to one child, as far as one request carries them."""
        load = _Load(self._batch_bytes)
        self._aside = []
        child = self._fill_threads(now, load)
        if child is None:
            child = self._first_of_queue(now, load)
        if child is None:
            self._start_again(now, load)
        elif self._ahead.enabled and child.may_queue_ahead and child.classes[0].free <= 0:
            self._fill_queue(child, load)
        # what the policy chose holds for the next turn, if it is possible then: each choice has taken the others into account
        self._kept = {aside.task.id: aside.threads for aside in self._aside if aside.chosen}
        for aside in reversed(self._aside):
            self._take_back(aside)

    def _put_aside(self, task: Task, threads: Threads, chosen: bool) -> None:
        """Leave ``task`` and a thread for it to another turn; ``chosen``: by the policy, to count in its further choices."""
        self._pending.remove_first(task)
        counts = chosen and task.id not in threads.awaited
        if counts:
            threads.await_thread(task, self._placement.run_seconds(task, threads))
        self._aside.append(_Aside(task, threads, chosen, counts, threads.endpoint.served))
        threads.promised += 1
        self._served(threads)
        self._pool.note(threads)

    def _take_back(self, aside: "_Aside") -> None:
        threads = aside.threads
        if aside.counts:
            threads.await_no_more(aside.task)
        threads.endpoint.served = aside.served
        threads.promised -= 1
        self._pool.note(threads)
        self._pending.add(aside.task)

    def _served(self, threads: Threads) -> None:
        self._serial += 1
        threads.endpoint.served = self._serial

    def _leave_for_others(self) -> int:
        """Before tasks are queued ahead, leave those that come first to the free threads of others.

        Returns
        -------
        int
            How many they are, if they have been left where they are; 0 if they were put aside.
        """
        shapes = self._pending.shapes()
        if len(shapes) == 1:
            free = self._placement.free_for(shapes[0])
            if not self._pool.any_probing:  # of its threads, not all that are free may be taken together
                return min(free.count, len(self._pending))
        while True:
            task = self._placement.first_ready()
            if task is None:
                return 0
            self._put_aside(task, self._placement.free_for(task.shape).first, chosen=False)

    def _fill_threads(self, now: float, load: "_Load") -> Optional[Child]:
        """Bind tasks to free threads of one child: that of the first task. Others take their turn later, but keep their threads free."""
        child: Optional[Child] = None
        chosen: Optional[Tuple[Task, Threads]] = None
        decided, others = 0, 0
        while child is None or (decided < load.most_decided and others < _MOST_OTHERS and any(t.free > 0 for t in child.classes)):
            task = self._placement.first_ready()
            if task is None or load.is_too_much(task):
                break
            try:
                kept = self._kept.pop(task.id, None)
                if kept and self._placement.free_for(task.shape).offers(kept):
                    threads, chosen = kept, None
                elif chosen is not None and self._placement.is_alike(task, *chosen):
                    threads = chosen[1]
                else:
                    threads = self._placement.choose(task, now, child)
                    chosen = (task, threads) if task.shape.awaits is None else None
            except PolicyError as e:
                self._hands.fail(task, e)
                continue
            if threads.free <= 0:
                self._wait(task, threads)
                chosen = None
                continue
            if (child is None or threads.child is child) and load.suits(task.shape):
                child = threads.child
                self._pending.remove_first(task)
                self._bind(task, threads, load)
            else:
                if self._placement.free_for(task.shape).is_choice:
                    decided += 1
                else:
                    others += 1
                self._put_aside(task, threads, chosen=True)
                chosen = None
        if child is not None and (decided >= load.most_decided or others >= _MOST_OTHERS):
            self._fill_rest(child, load)
        return child

    def _fill_rest(self, child: Child, load: "_Load") -> None:
        """Bind the next tasks to the free threads that ``child`` has left, so that a request is not wasted on few of many.

        Only those for which there is no other free thread, so that the policy has no choice.
        """
        def here(shape: Shape) -> Optional[Threads]:
            free = self._placement.free_for(shape)
            return free.first if free and not free.is_choice and free.first.child is child else None

        while any(threads.free > 0 for threads in child.classes):
            task = self._pending.first(lambda shape: load.suits(shape) and here(shape) is not None)
            if task is None or load.is_too_much(task):
                return
            try:
                if self._placement.may_wait(task):
                    return
            except PolicyError as e:
                self._hands.fail(task, e)
                continue
            threads = here(task.shape)
            assert threads is not None
            self._pending.remove_first(task)
            self._bind(task, threads, load)

    def _wait(self, task: Task, threads: Threads) -> None:
        try:
            self._hands.wait(task, threads)
        except PolicyError as e:
            self._hands.fail(task, e)

    def _may_queue_ahead(self) -> bool:
        """Whether there is a task to be queued ahead."""
        if not self._pending or not self._ahead.enabled:
            return False
        for threads in self._ahead.hungry():
            task = self._pending.first(partial(self._placement.takes, threads))
            if task is not None and self._ahead.has_room(threads, task, self._ahead.worth_a_request(threads)):
                return True
        return False

    def _first_ahead(self) -> Optional[Tuple[Task, List[Threads]]]:
        """The first task to be queued ahead, and the threads on which it may be, all with the same number of cores: the closest."""
        if not self._pending or not self._ahead.enabled:
            return None
        hungry = sorted(self._ahead.hungry(), key=lambda t: t.place)
        best: Optional[Task] = None
        for threads in hungry:
            task = self._pending.first(partial(self._placement.takes, threads))
            if task is not None and (best is None or task.order < best.order):
                if self._ahead.has_room(threads, task, self._ahead.worth_a_request(threads)):
                    best = task
        if best is None:
            return None
        fitting = [t for t in hungry if self._placement.takes(t, best.shape)]
        candidates = [t for t in fitting if self._ahead.has_room(t, best, self._ahead.worth_a_request(t))]
        closest = min(threads.cores for threads in candidates)
        return best, [t for t in candidates if t.cores == closest]

    def _first_of_queue(self, now: float, load: "_Load") -> Optional[Child]:
        """Queue the first task ahead where the policy says; the child that takes it."""
        while True:
            found = self._first_ahead()
            if found is None:
                return None
            task, candidates = found
            try:
                threads = self._placement.ask(task, candidates, now)
            except PolicyError as e:
                self._hands.fail(task, e)
                continue
            self._pending.remove_first(task)
            self._bind(task, threads, load)
            return threads.child

    def _fill_queue(self, child: Child, load: "_Load") -> None:
        """Queue tasks ahead on ``child``, which has no free thread: what it does until the next request, and then what others leave to it."""
        threads = child.classes[0]
        self._ahead.refresh()
        until_turn = self._ahead.until_turn(threads)
        if until_turn > 0 and self._placement.by_finish:
            self._queue_up(threads, load, until_turn, 0, partial(self._ahead.is_done_in, until_turn))
        left = self._leave_for_others()
        self._ahead.refresh(left)
        self._queue_up(threads, load, self._ahead.horizon(threads), left)

    def _queue_up(self, threads: Threads, load: "_Load", horizon: float, left: int,
                  suits: Callable[[Task, Threads], bool] = lambda task, threads: True) -> None:
        """Queue tasks ahead on ``threads``, so many seconds of work, until one does not suit; not the first ``left``, all of one shape."""
        while True:
            task = self._pending.first(lambda shape: load.suits(shape) and self._placement.takes(threads, shape), left)
            if task is None or load.is_too_much(task) or not (self._ahead.has_room(threads, task, horizon) and suits(task, threads)):
                return
            self._pending.discard(task)
            self._bind(task, threads, load)

    def _start_again(self, now: float, load: "_Load") -> None:
        """Start tasks again that a cold endpoint holds, on one child."""
        child: Optional[Child] = None
        while True:
            found = self._restarts.first(now, child)
            if found is None or load.is_too_much(found[0]) or not load.suits(found[0].shape):
                return
            task, candidates = found
            threads = min(candidates, key=lambda t: self._placement.run_seconds(task, t))
            child = threads.child
            self._bind(task, threads, load)

    def _bind(self, task: Task, threads: Threads, load: "_Load") -> None:
        self._placement.end_wait(task)
        load.add(task)
        self._served(threads)
        self._hands.bind(task, threads)


#: Most decisions of the policy's that send tasks elsewhere while one child is filled: so many, more for each task that it has got, and so many
#: in all. So a policy that spreads tasks over many endpoints fills a request all the same, and one that sends few here does not take long.
_DECIDED, _DECIDED_FOR_EACH, _MOST_DECIDED = 50, 50, 2000

#: Most tasks that are put aside meanwhile since they can go elsewhere only. Beyond that, the child's own are looked for.
_MOST_OTHERS = 50


@dataclass(frozen=True)
class _Aside:
    """A task that is left to another turn, with a thread for it.

    ``chosen``: by the policy; ``counts``: whether it was entered among those that wait for the thread; ``served``: what it was before, of
    the endpoint.
    """

    task: Task
    threads: Threads
    chosen: bool
    counts: bool
    served: int


class _Load:
    """What a request carries."""

    def __init__(self, limit: Optional[int]) -> None:
        self._limit = limit
        self._size = 0
        self._tasks = 0
        self._company: Optional[int] = None
        self._alike: Optional[Tuple[Any, ...]] = None

    @property
    def most_decided(self) -> int:
        """How many tasks may be put aside by a decision of the policy's."""
        return min(_DECIDED + _DECIDED_FOR_EACH * self._tasks, _MOST_DECIDED)

    def suits(self, shape: Shape) -> bool:
        """Whether tasks of this shape may travel with those it carries: MPI keys are for a request, and so is whether it may be repeated."""
        return self._alike is None or self._alike == (shape.mpi, shape.once)

    def is_too_much(self, task: Task) -> bool:
        """Whether ``task`` must wait for the next request. The first task never must."""
        if self._tasks == 0:
            return False
        company = min((most for most in (self._company, task.company) if most is not None), default=None)
        return (self._limit is not None and self._size + task.size > self._limit) or (company is not None and self._tasks >= company)

    def add(self, task: Task) -> None:
        """Let ``task`` travel with it."""
        self._size += task.size
        self._tasks += 1
        self._alike = task.shape.mpi, task.shape.once
        if task.company is not None:
            self._company = task.company if self._company is None else min(task.company, self._company)
