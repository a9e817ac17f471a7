"""The way of a result: from the agents' queue, through the store, to the client's queue; once, unless a fault says otherwise."""
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from . import faults, messages
from .broker import Broker, BrokerError, Outgoing
from .messages import ResultMessage
from .state import Controls
from .storage import Storage, Task
from .tasks import end_tasks

log = logging.getLogger(__name__)

Delivery = tuple[Task, bytes]


class Results:
    """Stores, deduplicates and republishes results.

    Parameters
    ----------
    storage, broker, controls
        The service's parts.
    """

    def __init__(self, storage: Storage, broker: Broker, controls: Controls) -> None:
        self._storage = storage
        self._broker = broker
        self._controls = controls
        self._held: dict[int, list[Delivery]] = {}
        self._kept_back: set[str] = set()
        self._waiting: dict[str, asyncio.Queue[None]] = {}
        self._later: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Publish what an earlier run of the service stored but did not publish, and consume results."""
        left = self._storage.unpublished_tasks()
        bodies = {outcome.task_id: outcome.body for outcome in self._storage.outcomes([task.task_id for task in left])}
        await self._deliver([(task, bodies[task.task_id] or b"") for task in left])
        await self._broker.consume(self._broker.names.results, self.handle)

    async def close(self) -> None:
        """Give up what was to be published later; it is unpublished in the store, and published at the next start."""
        await end_tasks(self._later)

    async def handle(self, bodies: Sequence[bytes]) -> None:
        """Take a batch of result messages as agents sent them."""
        results: dict[str, ResultMessage] = {}
        for body in bodies:
            try:
                result = messages.read_result(body)
            except messages.MessageError as error:
                self._controls.counters["results_unreadable"] += 1
                log.warning("dropped a message on the result queue: %s", error)
            else:
                results.setdefault(result.task_id, result)
        self._controls.counters["results_received"] += len(bodies)
        tasks = self._storage.tasks(list(results))
        for task_id in results.keys() - tasks.keys():
            log.warning("dropped the result of unknown task %s", task_id)
        duplicates = len(bodies) - len(results) + sum(1 for task in tasks.values() if task.completed is not None)
        self._controls.counters["results_dropped"] += duplicates + len(results) - len(tasks)
        await self.complete([(task, self._within_limit(results[task_id])) for task_id, task in tasks.items() if task.completed is None])
        # Stored by an earlier delivery of the same message that got no further.
        again = [task for task in tasks.values() if task.completed is not None and not task.published and task.task_id not in self._kept_back]
        bodies_again = {outcome.task_id: outcome.body for outcome in self._storage.outcomes([task.task_id for task in again])}
        await self._deliver([(task, bodies_again[task.task_id] or b"") for task in again])

    def _within_limit(self, result: ResultMessage) -> ResultMessage:
        limit = self._controls.limits.result_bytes
        if limit is None or result.data_bytes <= limit:
            return result
        self._controls.counters["results_too_large"] += 1
        reason = f"The result of the task has {result.data_bytes:,} bytes when serialised; the limit of the service is {limit:,} bytes"
        return messages.error_result(result.task_id, "RESULT_TOO_LARGE", reason)

    async def fail(self, tasks: Sequence[Task], code: str, message: str) -> None:
        """Give these unfinished tasks an error as their result."""
        self._controls.counters["tasks_failed_by_service"] += len(tasks)
        await self.complete([(task, messages.error_result(task.task_id, code, message)) for task in tasks])

    async def complete(self, results: Sequence[tuple[Task, ResultMessage]]) -> None:
        """Store and deliver results of unfinished tasks."""
        if results:
            now = time.time()
            self._storage.complete([(task.task_id, now, result.failed, result.body) for task, result in results])
            await self._deliver([(task, result.body) for task, result in results])

    def watch(self, task_ids: Sequence[str]) -> asyncio.Queue[None]:
        """A queue that gets an item whenever the result of one of these tasks has been published."""
        watcher: asyncio.Queue[None] = asyncio.Queue()
        self._waiting.update((task_id, watcher) for task_id in task_ids)
        return watcher

    def unwatch(self, task_ids: Sequence[str]) -> None:
        """Undo :meth:`watch`."""
        for task_id in task_ids:
            self._waiting.pop(task_id, None)

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Publish now, or as the first fault rule that applies to each result says."""
        now: list[Delivery] = []
        for delivery in deliveries:
            task, _ = delivery
            rule = self._controls.faults.strike(faults.RESULT, endpoint_id=(task.child_id, task.parent_id)) if task.has_queue else None
            if rule is None:
                now.append(delivery)
                continue
            self._controls.counters[f"fault_{rule.kind}"] += 1
            if rule.kind == "duplicate_result":
                now += [delivery] * int(rule.params["copies"])
            elif rule.kind == "lose_result":
                self._storage.mark_published([task.task_id])
            elif rule.kind == "late_result":
                self._kept_back.add(task.task_id)
                self._spawn(self._publish_after(rule.params["seconds"], [delivery]))
            elif rule.kind == "reorder_results":
                self._hold(rule, delivery)
        await self._publish(now)

    def _hold(self, rule: faults.Rule, delivery: Delivery) -> None:
        self._kept_back.add(delivery[0].task_id)
        held = self._held.setdefault(rule.id, [])
        held.append(delivery)
        if len(held) >= rule.params["size"]:
            self._spawn(self._release(rule.id, held, 0))
        elif len(held) == 1:
            self._spawn(self._release(rule.id, held, rule.params["deadline_seconds"]))

    async def _release(self, rule_id: int, held: list[Delivery], seconds: float) -> None:
        await asyncio.sleep(seconds)
        # The same list is released when it is full and when its deadline is over, whichever comes first.
        if self._held.get(rule_id) is held:
            del self._held[rule_id]
            await self._publish(held[::-1])

    async def _publish_after(self, seconds: float, deliveries: Sequence[Delivery]) -> None:
        await asyncio.sleep(seconds)
        await self._publish(deliveries)

    async def _publish(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        outgoing = [Outgoing(self._broker.names.group(task.group_id), body) for task, body in deliveries if task.has_queue]
        while True:
            try:
                await self._broker.publish(outgoing)
                break
            except BrokerError as error:
                log.warning("results wait for the broker: %s", error)
                await asyncio.sleep(1)
        self._controls.counters["results_published"] += len(outgoing)
        self._storage.mark_published(task.task_id for task, _ in deliveries)
        for task, _ in deliveries:
            self._kept_back.discard(task.task_id)
            if watcher := self._waiting.pop(task.task_id, None):
                watcher.put_nowait(None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a result that was kept back could not be published", exc_info=error)
