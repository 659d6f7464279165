"""Calls whose message has not come whole."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rls.transport.base import Dropped
from rls.transport.status import Aborted, StatusCode

T = TypeVar("T")
_REST_OF_MESSAGE = 5.0
_TICK_SECONDS = 0.05
_TICKS = 6


class IncompleteRequests:
    """Bounds how many calls wait for the rest of their message, and how long: each holds memory.

    Time is measured in ticks of a timer. A clock would not do: while the loop stands still, it goes on for calls whose
    message is there, but has not been looked at. A call counts as half sent once nothing has come for some ticks. Of too
    many, those of the connections that have the most give way, and of these those that have waited longest: a whole call that
    grpc's core is late to hand over is one of a connection that has few.

    Args:
        on_drop: Called with INCOMPLETE for each that gives way.

    Attributes:
        count: How many counted as half sent at the last tick.
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
        self._longest = math.ceil(at_most_seconds / _TICK_SECONDS)
        # At which tick each began to wait, in this order, and on which connection; and why a call that waits no more was ended.
        self._waiting: dict[asyncio.Task[object], tuple[int, str]] = {}
        self._ended: dict[asyncio.Task[object], Aborted] = {}
        self._ticks = 0
        self._ticking = False
        self.count = 0

    async def wait(self, connection: str, rest: Awaitable[T]) -> T:
        """What comes, in the task of a call on *connection*.

        Raises:
            Aborted: RESOURCE_EXHAUSTED where it gave way to another call, DEADLINE_EXCEEDED where nothing came.
        """
        task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = self._ticks, connection
        if not self._ticking:
            self._tick_later()
        try:
            return await rest
        except asyncio.CancelledError:
            error = self._ended.pop(task, None)
            if error is None:
                raise
            task.uncancel()
            if error.code is StatusCode.RESOURCE_EXHAUSTED:
                self._on_drop(Dropped.INCOMPLETE)
            raise error from None
        finally:
            self._waiting.pop(task, None)
            self._ended.pop(task, None)

    def _tick_later(self) -> None:
        self._ticking = True
        asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._ticks += 1
        waiting = self._waiting
        while waiting:
            task, (began, _) = next(iter(waiting.items()))
            if self._ticks - began < self._longest:
                break
            self._end(task, Aborted(StatusCode.DEADLINE_EXCEEDED, "the message did not come"))
        for task in self._too_many():
            self._end(task, Aborted(StatusCode.RESOURCE_EXHAUSTED, "too many calls are half sent"))
        self.count = sum(map(self._is_half_sent, waiting))
        if waiting:
            self._tick_later()
        else:
            self._ticking = False

    def _is_half_sent(self, task: asyncio.Task[object]) -> bool:
        return self._ticks - self._waiting[task][0] >= _TICKS

    def _too_many(self) -> list[asyncio.Task[object]]:
        """Those that give way. New calls of a greedy connection count, but do not yet."""
        excess = len(self._waiting) - self._at_most
        if excess <= 0:
            return []
        # A call goes before those that have fewer calls of their connection behind them.
        behind = Counter[str]()
        ranks: dict[asyncio.Task[object], int] = {}
        for task, (_, connection) in reversed(self._waiting.items()):
            ranks[task] = behind[connection]
            behind[connection] += 1
        return list(filter(self._is_half_sent, sorted(ranks, key=ranks.__getitem__)[-excess:]))

    def _end(self, task: asyncio.Task[object], why: Aborted) -> None:
        del self._waiting[task]
        self._ended[task] = why
        task.cancel()
