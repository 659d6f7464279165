"""Interpreter settings of a server: thread switches, garbage collection, memory."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable

_ALLOCATIONS_BETWEEN_COLLECTIONS = 5_000
_ALLOCATIONS_WHILE_LOADING = 1_000
_COLLECTIONS_BETWEEN_LARGER = 4
_NEVER = 1_000_000_000
_FULL_COLLECTION_SECONDS = 3600
_SWITCH_SECONDS = 0.0005
_TRIM_SECONDS = 10


def switch_threads_often() -> None:
    """Make other threads yield to the event loop after 0.5 ms instead of 5 ms.

    The loop needs the interpreter's lock again each time it has waited for a socket. A busy thread, such as one that reads
    rules files, would make every turn 5 ms longer.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)


def expect_many_objects() -> None:
    """Let the collector walk through less at a time, until `freeze_garbage_collector`. To be called before a load.

    A load makes hundreds of thousands of objects that stay, among them mappings of all rules. Each collection would walk
    through many of them, for several milliseconds. What is garbage now is freed first, so that it is not frozen.
    """
    gc.collect(1)
    gc.set_threshold(_ALLOCATIONS_WHILE_LOADING, _COLLECTIONS_BETWEEN_LARGER, _NEVER)


def freeze_garbage_collector() -> None:
    """Freeze current objects and disable full collections.

    Call it after each load: rules stay until the next one, and the collector needs longer to walk 100,000 of them than a
    call may wait; the same holds for cached requests. Frozen objects are still freed when nothing refers to them, except
    cycles, so few cycles may be young now. Nothing is collected here, since new mappings of all rules are young too. A check
    leaves no cycle. Failed calls leave some: young collections find most of them, `collect_garbage` the rest.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS, _COLLECTIONS_BETWEEN_LARGER, _NEVER)


async def collect_garbage() -> None:
    """Run a full collection of objects that are not frozen once an hour, until cancelled. It may take some 0.1 s."""
    while True:
        await asyncio.sleep(_FULL_COLLECTION_SECONDS)
        gc.collect()


async def give_memory_back() -> None:
    """Return unused memory of the C allocator to the kernel every ten seconds, until cancelled.

    Large messages leave tens of MiB in it, of which glibc itself returns only the end of its heap. A call takes less than
    0.1 ms if there is nothing to return.
    """
    trim = _trim_of(ctypes.CDLL(None))
    while True:
        await asyncio.sleep(_TRIM_SECONDS)
        trim(0)


def _trim_of(libc: object) -> Callable[[int], object]:
    """malloc_trim(3); nothing where the C library has none, as musl."""
    return getattr(libc, "malloc_trim", lambda _: 0)
