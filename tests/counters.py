"""What tests of backends count, and how they wait."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rls.errors import BackendError
from rls.stores.base import CounterUpdate, Waiting

PATIENT = 20.0
"""Seconds to wait where a test is not about waiting: more than any busy machine needs."""

_numbers = itertools.count()


def new_key() -> bytes:
    return b"r1|test|%d|" % next(_numbers)


def hit(amount: int = 1, key: bytes | None = None, *, limit: int = 2**40, window: int = 3600) -> CounterUpdate:
    """A hit on *key*, or on a new counter, in a window that does not end during a test."""
    now = int(time.time())
    return CounterUpdate(key or new_key(), amount, limit, now - now % window + 2 * window, window)


async def until(condition: Callable[[], object], seconds: float = PATIENT) -> None:
    """Return when *condition* holds; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s"
        await asyncio.sleep(0.005)


async def until_works(call: Callable[[], Awaitable[object]], seconds: float = PATIENT) -> None:
    """Return when *call* does not raise a BackendError any more; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await call()
        except BackendError:
            assert time.monotonic() < deadline, f"still fails after {seconds:g} s"
            await asyncio.sleep(0.005)
        else:
            return


class Submitted:
    """A backend whose counts are had without a task: `hit` is its `submit`, for tests of what both promise."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    async def hit(self, hits: Sequence[CounterUpdate]) -> Sequence[int]:
        told: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()
        counts = self._backend.submit(hits, Told(told))
        return await told if counts is None else counts

    def submit(self, hits: Sequence[CounterUpdate], waiting: Waiting) -> Sequence[int] | None:
        counts: Sequence[int] | None = self._backend.submit(hits, waiting)
        return counts

    async def ping(self) -> None:
        await self._backend.ping()

    async def aclose(self) -> None:
        await self._backend.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class Told:
    """Passes on what a `submit` comes to, once."""

    def __init__(self, told: asyncio.Future[Sequence[int]]) -> None:
        self._told = told
        self.times = 0

    def counted(self, counts: Sequence[int]) -> None:
        self._tell(lambda: self._told.set_result(counts))

    def failed(self, error: BackendError) -> None:
        self._tell(lambda: self._told.set_exception(error))

    def _tell(self, tell: Callable[[], None]) -> None:
        self.times += 1
        assert self.times == 1, "told twice"
        if not self._told.done():
            tell()
