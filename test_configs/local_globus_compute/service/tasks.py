"""Ending asyncio's tasks."""
from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

#: Seconds after which a task that has not ended is cancelled once more.
_AGAIN_SECONDS = 0.5


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended.

    Once is not enough before Python 3.12: ``asyncio.wait_for`` forgets a cancellation that comes at the moment when what it waits for is done,
    and a task that works in a loop goes on.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
