"""The tasks that a service needs: if one ends, the service must not look healthy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

Ended: TypeAlias = Callable[[str, BaseException | None], None]
"""Is given a task's name and the error that it ended with."""


class Tasks:
    """Tasks with names, until they are all cancelled.

    Args:
        on_end: Called when a task ends before that, whatever ended it.
    """

    def __init__(self, on_end: Ended) -> None:
        self._on_end = on_end
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False

    def keep(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run *work*, which must not end."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        """Cancel them all."""
        self._closing = True
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if not self._closing:
            self._on_end(task.get_name(), error)
