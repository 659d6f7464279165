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
"""uvloop's timers count in milliseconds: to wait for less would be no wait."""
_LONG_SLICE = 2 * SLICE_SECONDS
_BUSY = 2 / 3
_MOST_BUSY = 0.9
_NEWEST = 0.4
"""The weight of the newest slice in the mean of how busy the thread is after one."""
STEP = 50
"""Items that one step of sliced work handles."""

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Work in steps: yields between them, and returns its result."""


class Slices:
    """Gives way after a millisecond of work.

    It takes at most half of the loop's time, and less beside many calls. After each slice it waits for as long as that took, and
    looks how busy calls keep the thread, with those that came meanwhile: two thirds are reached where they need a third of
    the thread's time. Above that it waits longer, until it takes a tenth.

    Args:
        eager: Take all of the loop's time but a turn between slices, as while nothing is served yet.
    """

    _worked = 0.0
    """CPU of all slices so far: other work is no call."""

    def __init__(self, *, eager: bool = False) -> None:
        self._eager = eager
        self._busy: float | None = None
        self._began, self._used = time.monotonic(), time.thread_time()

    async def next(self) -> None:
        """Give way if it is time: for at least one full turn, for as long as the slice took, and longer beside many calls."""
        worked = time.monotonic() - self._began
        if worked < SLICE_SECONDS:
            return
        Slices._worked += min(worked, time.thread_time() - self._used)
        if self._eager:
            await asyncio.sleep(0)
        else:
            await self._give_way(worked)
        self._began, self._used = time.monotonic(), time.thread_time()

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
        began, used = time.monotonic(), time.thread_time() - Slices._worked
        await asyncio.sleep(worked)
        waited = time.monotonic() - began
        busy = (time.thread_time() - Slices._worked - used) / waited
        if self._busy is not None:  # calls come in groups: one wait alone says little
            busy = _NEWEST * busy + (1 - _NEWEST) * self._busy
        self._busy = busy
        if busy > _BUSY:
            busy = min(busy, _MOST_BUSY)
            # What a slice waited for, as for a slow reader, is not made up for.
            await asyncio.sleep(min(worked, _LONG_SLICE) * busy / (1 - busy) - waited)


async def run(steps: Steps[T], *, eager: bool = False) -> T:
    """`Slices.run` with slices of its own."""
    return await Slices(eager=eager).run(steps)


def finish(steps: Steps[T], between: Callable[[], object] = lambda: None) -> T:
    """Take all *steps* at once, call *between* after each, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        between()


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
