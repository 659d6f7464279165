"""The tasks that a service lives by: where one of them ends, the service must not look as if all were well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

Ended: TypeAlias = Callable[[str, BaseException | None], None]
"""Is given a task's name and the error that it ended with."""


class Tasks:
    """Tasks with names, until they are all cancelled.

    Args:
        on_end: Called when a task ends that is to run for as long as the service does, whatever ended it.
        on_failure: Called when any other task ends with an error.
    """

    def __init__(self, on_end: Ended, on_failure: Ended) -> None:
        self._on_end = on_end
        self._on_failure = on_failure
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False

    def keep(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run *work*, which must not end."""
        self._start(name, work, self._ended)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run *work*, which ends when it is done."""
        self._start(name, work, self._done)

    async def aclose(self) -> None:
        """Cancel them all."""
        self._closing = True
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str, work: Coroutine[Any, Any, None], done: Callable[[asyncio.Task[None]], None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(done)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not self._closing:
            self._on_end(task.get_name(), None if task.cancelled() else task.exception())

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)
