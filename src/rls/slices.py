"""Long work on the loop, in slices that leave it to others in between.

Work is a generator that yields often: after at most a tenth of a millisecond or so, in practice after some hundred items.
`run` takes its steps on the loop until a slice is over; `finish` takes all of them at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import Any, TypeAlias, TypeVar

SLICE_SECONDS = 0.001
_BUSY = 2 / 3
"""Beside calls that need less of the thread's time, half of the loop's does not make them late."""
_MOST_BUSY = 0.9
"""Beside calls that need more of it, work takes a tenth all the same."""
_NEWEST = 0.4
"""The weight of the newest wait in the mean of what calls needed."""
STEP = 50
"""Items that one step of sliced work handles."""

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Work in steps: yields between them, and returns its result."""


class Slices:
    """Gives way after a millisecond of work.

    It takes at most half of the loop's time; beside calls that need more than two thirds of the thread's, what they leave.

    Args:
        eager: Take all of the loop's time but a turn between slices, as while nothing is served yet.
    """

    def __init__(self, *, eager: bool = False) -> None:
        self._eager = eager
        self._busy: float | None = None
        self._began = time.monotonic()

    async def next(self) -> None:
        """Give way if it is time: for at least one full turn, for as long as the slice took, and longer beside many calls."""
        worked = time.monotonic() - self._began
        if worked < SLICE_SECONDS:
            return
        if self._eager:
            await asyncio.sleep(0)
        else:
            await self._give_way(worked)
        self._began = time.monotonic()

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """What *awaitable* returns; to wait for it is no work."""
        began = time.monotonic()
        result = await awaitable
        self._began += time.monotonic() - began
        return result

    async def run(self, steps: Steps[T]) -> T:
        """Take all *steps*, and return their result."""
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                result: T = stop.value
                return result
            await self.next()

    async def _give_way(self, worked: float) -> None:
        began, used = time.monotonic(), time.thread_time()
        # uvloop's timers count in milliseconds: shorter ones would not wait at all.
        await asyncio.sleep(max(worked, SLICE_SECONDS))
        waited = time.monotonic() - began
        busy = (time.thread_time() - used) / waited
        if self._busy is not None:  # calls come in groups: one wait alone says little
            busy = _NEWEST * busy + (1 - _NEWEST) * self._busy
        self._busy = busy
        if busy > _BUSY:
            busy = min(busy, _MOST_BUSY)
            await asyncio.sleep(max(0.0, worked * busy / (1 - busy) - waited))


async def run(steps: Steps[T], *, eager: bool = False) -> T:
    """`Slices.run` with slices of its own."""
    return await Slices(eager=eager).run(steps)


def finish(steps: Steps[T]) -> T:
    """Take all *steps* at once, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def chunks(items: Iterable[T], size: int = STEP) -> Iterator[list[T]]:
    """*items* in lists of *size*."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def sort(items: Iterable[T], key: Callable[[T], Any]) -> Steps[list[T]]:
    """*items* in order, in steps: chunks are sorted, then merged."""
    runs = []
    for chunk in chunks(items):
        runs.append(sorted(chunk, key=key))
        yield
    result: list[T] = []
    for chunk in chunks(merge(*runs, key=key)) if len(runs) > 1 else runs:
        result += chunk
        yield
    return result
