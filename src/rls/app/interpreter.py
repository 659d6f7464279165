"""What a server asks of its interpreter."""

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
    """Let a thread that runs Python give way to the event loop after half a millisecond, not after five.

    Each time that the loop has waited for a socket it needs the interpreter's lock again. With a busy thread beside it,
    such as one that reads files of rules, every turn would take 5 ms longer.
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
    """Take what is there now for permanent, and never stop for a walk through all of it.

    To be called after each load: rules stay until the next one, and 100,000 of them take the collector longer to walk
    than a call may wait; so does what is remembered of requests. What is permanent is freed all the same once nothing
    refers to it. Cycles are not, so few may be young now: nothing is collected here, since new mappings of all rules
    are young too. A check leaves no cycle; those that failed calls leave are found while they are young, the rest by
    `collect_garbage`.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS, _COLLECTIONS_BETWEEN_LARGER, _NEVER)


async def collect_garbage() -> None:
    """Walk through all that is not permanent once an hour, until cancelled; that may take some tenths of a second."""
    while True:
        await asyncio.sleep(_FULL_COLLECTION_SECONDS)
        gc.collect()


async def give_memory_back() -> None:
    """Every ten seconds until cancelled, give back to the kernel what the allocator of C keeps for later.

    Large messages leave tens of MiB there, of which glibc gives back by itself only what is at the end of its heap. It
    takes less than 0.1 ms where there is nothing to give back.
    """
    trim = _trim_of(ctypes.CDLL(None))
    while True:
        await asyncio.sleep(_TRIM_SECONDS)
        trim(0)


def _trim_of(libc: object) -> Callable[[int], object]:
    """malloc_trim(3); nothing where the C library has none, as musl."""
    return getattr(libc, "malloc_trim", lambda _: 0)
