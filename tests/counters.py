"""What tests of backends count, and how they wait."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from rls.core.update import CounterUpdate
from rls.errors import BackendError

PATIENT = 60.0
"""Seconds to wait where a test is not about waiting: more than any busy machine needs."""

LOOK_SECONDS = 0.005
"""Between two looks of `until` and `until_works`, or more on a busy machine."""

T = TypeVar("T")
_numbers = itertools.count()


def new_key() -> bytes:
    return b"r1|test|%d|" % next(_numbers)


def hit(amount: int = 1, key: bytes | None = None, *, limit: int = 2**40, window: int = 3600) -> CounterUpdate:
    """A hit on *key*, or on a new counter, in a window that does not end during a test."""
    now = int(time.time())
    return CounterUpdate(key or new_key(), amount, limit, now - now % window + 2 * window, window)


class Looks(Generic[T]):
    """Counts the looks at a condition: a busy machine takes fewer in a second, so their number is a bound where seconds are none."""

    def __init__(self, condition: Callable[[], T]) -> None:
        self.count = 0
        self._condition = condition

    def __call__(self) -> T:
        self.count += 1
        return self._condition()


async def until(condition: Callable[[], object], seconds: float = PATIENT) -> None:
    """Return when *condition* holds; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s"
        await asyncio.sleep(LOOK_SECONDS)


async def until_works(call: Callable[[], Awaitable[object]], seconds: float = PATIENT) -> None:
    """Return when *call* does not raise a BackendError any more; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await call()
        except BackendError:
            assert time.monotonic() < deadline, f"still fails after {seconds:g} s"
            await asyncio.sleep(LOOK_SECONDS)
        else:
            return
