import asyncio
import threading

import pytest

from rls.core.update import CounterUpdate
from rls.stores import memory
from rls.stores.memory import MemoryStore
from tests.clock import Clock
from tests.counters import hit, new_key


async def test_counters_go_with_their_window() -> None:
    """When a window has ended its counters take no memory any more, while others stay."""
    clock = Clock()
    backend = MemoryStore(clock=clock)
    soon, late = CounterUpdate(b"soon", 1, 10, 1010, 10), CounterUpdate(b"late", 1, 10, 1060, 60)
    await backend.update([soon, late])
    clock.now = 1009.9
    assert list(await backend.update([soon, late])) == [2, 2]
    assert len(backend) == 2
    clock.now = 1010
    assert list(await backend.update([late])) == [3]
    assert len(backend) == 1


async def test_memory_is_bounded() -> None:
    """Counters whose window ends first make room, and begin again at 0; the others go on."""
    backend = MemoryStore(capacity=3, clock=lambda: 1000)
    long = [CounterUpdate(b"%d" % n, 1, 10, 2000, 1000) for n in range(3)]
    short = CounterUpdate(b"short", 1, 10, 1010, 10)
    await backend.update([short, *long[:2]])
    assert list(await backend.update([short])) == [2]
    await backend.update([long[2]])
    assert len(backend) == 3
    assert list(await backend.update([one.with_amount(0) for one in (short, *long)])) == [0, 1, 1, 1]
    for n in range(100):
        await backend.update([hit(1, b"other %d" % n)])
    assert len(backend) == 3


async def test_looking_and_giving_back_take_no_room() -> None:
    """Where there is nothing yet, nothing is kept, and no other counter is driven out."""
    backend = MemoryStore(capacity=1)
    counter = hit()
    await backend.update([counter])
    assert list(await backend.update([hit(0), hit(-1), counter])) == [0, 0, 2]
    assert len(backend) == 1


def test_threads_share_counters() -> None:
    """Several loops in several threads count exactly."""
    backend = MemoryStore()
    key = new_key()
    counts: list[int] = []

    async def count() -> None:
        for _ in range(500):
            counts.extend(await backend.update([hit(1, key)]))

    threads = [threading.Thread(target=lambda: asyncio.run(count())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == list(range(1, 4001))


async def test_a_list_looks_at_so_many_counters_and_says_that_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of windows that have ended are not listed."""
    clock = Clock()
    backend = MemoryStore(clock=clock)
    await backend.update([CounterUpdate(b"key|%d" % n, 1, 10, 1010 + 50 * (n > 0), 60) for n in range(5)])
    clock.now = 1020
    assert await backend.list_counters(b"key|", 10) == ({b"key|%d" % n: 1 for n in range(1, 5)}, True)
    monkeypatch.setattr(memory, "MOST_LOOKED_AT", 3)
    found = await backend.list_counters(b"key|", 10)
    assert (len(found.counts), found.all) == (2, False)
