"""Calls whose message has not come whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rls.transport.base import Dropped
from rls.transport.wire import Aborted, StatusCode

T = TypeVar("T")
_REST_OF_MESSAGE = 1.0


class HalfSent:
    """Bounds how many calls wait for the rest of their message, and how long: each holds one of the calls in flight.

    Where there are too many, the one that has waited longest gives way. Messages of callers that mean well come whole, or
    a moment later; without this, a client that never completes its calls would keep all others out.

    Args:
        on_drop: Called with SHED for each that gives way.
    """

    def __init__(
        self,
        at_most: int,
        at_most_seconds: float = _REST_OF_MESSAGE,
        *,
        on_drop: Callable[[Dropped], None] = lambda _: None,
    ) -> None:
        self._at_most = at_most
        self._on_drop = on_drop
        self._at_most_seconds = at_most_seconds
        self._waiting: dict[asyncio.Task[object], None] = {}

    async def wait(self, rest: Awaitable[T]) -> T:
        """What comes, in the task of its call.

        Raises:
            Aborted: RESOURCE_EXHAUSTED where another call needed the place, DEADLINE_EXCEEDED where nothing came.
        """
        task = asyncio.current_task()
        assert task is not None
        waiting = self._waiting
        if len(waiting) >= self._at_most:
            longest = next(iter(waiting))
            del waiting[longest]
            longest.cancel()
        waiting[task] = None
        try:
            async with asyncio.timeout(self._at_most_seconds):
                return await rest
        except TimeoutError:
            raise Aborted(StatusCode.DEADLINE_EXCEEDED, "the message did not come") from None
        except asyncio.CancelledError:
            if task in waiting:
                raise
            task.uncancel()
            self._on_drop(Dropped.SHED)
            raise Aborted(StatusCode.RESOURCE_EXHAUSTED, "too many calls are half sent") from None
        finally:
            waiting.pop(task, None)
