"""Ending asyncio's tasks."""
from __future__ import annotations

import asyncio

from local_globus_compute.service.tasks import end_tasks


def test_a_task_that_forgets_a_cancellation_is_ended_all_the_same():
    async def forgetful() -> None:
        forgotten = 0
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                forgotten += 1
                if forgotten == 2:
                    raise

    async def run() -> None:
        tasks = [asyncio.create_task(forgetful()) for _ in range(2)]
        await asyncio.sleep(0)
        await end_tasks(tasks)
        assert all(task.cancelled() for task in tasks)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_tasks_that_have_ended_are_let_be():
    async def run() -> None:
        task = asyncio.create_task(asyncio.sleep(0, "value"))
        assert await task == "value"
        await end_tasks([task])
        assert task.result() == "value"

    asyncio.run(run())
