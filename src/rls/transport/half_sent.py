"""Calls whose message has not come whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rls.transport.base import Dropped
from rls.transport.wire import Aborted, StatusCode

T = TypeVar("T")
_REST_OF_MESSAGE = 1.0
_TICK_SECONDS = 0.05
_TICKS = 4


class HalfSent:
    """Bounds how many calls wait for the rest of their message, and how long: each holds memory.

    A call counts as half sent once nothing has come for some ticks of a timer. A clock would not do: while the loop stands
    still, it passes for calls whose message is there, but has not been looked at. Of too many half-sent calls, those that
    have waited longest give way.

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
        # At which tick each began to wait, in this order.
        self._waiting: dict[asyncio.Task[object], int] = {}
        self._ticks = 0
        self._ticking = False

    async def wait(self, rest: Awaitable[T]) -> T:
        """What comes, in the task of its call.

        Raises:
            Aborted: RESOURCE_EXHAUSTED where another call needed the place, DEADLINE_EXCEEDED where nothing came.
        """
        task = asyncio.current_task()
        assert task is not None
        waiting = self._waiting
        waiting[task] = self._ticks
        if not self._ticking:
            self._tick_later()
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

    def _tick_later(self) -> None:
        self._ticking = True
        asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._ticks += 1
        waiting = self._waiting
        while len(waiting) > self._at_most:
            longest, began = next(iter(waiting.items()))
            if self._ticks - began < _TICKS:
                break
            del waiting[longest]
            longest.cancel()
        if waiting:
            self._tick_later()
        else:
            self._ticking = False
