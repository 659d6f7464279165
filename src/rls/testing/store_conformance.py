"""What every `CounterStore` promises, as tests.

A store from anywhere runs them with a fixture `store`, whose counters begin at 0 or are never named again:

    class TestMine(StoreConformance):
        @pytest.fixture
        async def store(self) -> AsyncIterator[CounterStore]:
            store = MyStore()
            yield store
            await store.aclose()

One that lists counters or keeps records inherits `ListingConformance` or `RecordsConformance` as well.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rls.core.model import UINT32_MAX
from rls.core.plan import MOST_GIVEN_BACK
from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, KeepsRecords, ListsCounters

_numbers = itertools.count()
_PROCESS = os.urandom(6).hex().encode()
_one_store = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
_calls = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-5, 8)), min_size=1, max_size=6), min_size=1, max_size=5
)


def new_key() -> bytes:
    """The key of a counter that no test has used."""
    return b"r1|conformance|%b|%d|" % (_PROCESS, next(_numbers))


def update(amount: int = 1, key: bytes | None = None, *, limit: int = 2**40, window: int = 3600) -> CounterUpdate:
    """An update of *key*, or of a new counter, in a window that does not end during a test."""
    now = int(time.time())
    return CounterUpdate(key or new_key(), amount, limit, now - now % window + 2 * window, window)


def one_by_one(counters: dict[bytes, int], updates: Sequence[CounterUpdate]) -> list[int]:
    """The counts after *updates* of *counters*, which are changed."""
    counts = []
    for one in updates:
        counters[one.key] = max(0, counters.get(one.key, 0) + one.amount)
        counts.append(counters[one.key])
    return counts


class _Told:
    """Hears what a `submit` comes to."""

    def __init__(self) -> None:
        self.calls: list[Sequence[int] | BackendError] = []
        self.first = asyncio.Event()

    def counted(self, counts: Sequence[int]) -> None:
        self._tell(counts)

    def failed(self, error: BackendError) -> None:
        self._tell(error)

    def _tell(self, said: Sequence[int] | BackendError) -> None:
        self.calls.append(said)
        self.first.set()


class StoreConformance:
    """The tests; see above."""

    pytestmark = pytest.mark.asyncio

    async def test_counts_are_those_after_each_update(self, store: CounterStore) -> None:
        a, b = new_key(), new_key()
        updates = [update(1, a), update(5, b), update(2, a), update(1, b), update(1, a)]
        assert list(await store.update(updates)) == [1, 5, 3, 6, 4]
        assert list(await store.update(updates)) == [5, 11, 7, 12, 8]

    async def test_no_updates_have_no_counts(self, store: CounterStore) -> None:
        assert list(await store.update([])) == []
        assert list(await store.update([update()])) == [1]

    async def test_a_submit_returns_counts_or_tells_them_once(self, store: CounterStore) -> None:
        for _ in range(3):
            told = _Told()
            counts = store.submit([update(2), update(3)], told)
            if counts is None:
                await told.first.wait()
            await asyncio.sleep(0.01)
            said = [*told.calls, *([] if counts is None else [counts])]
            assert [list(one) for one in said if not isinstance(one, BackendError)] == [[2, 3]]
            assert len(said) == 1

    async def test_an_amount_of_0_only_reads(self, store: CounterStore) -> None:
        key = new_key()
        assert list(await store.update([update(amount, key) for amount in (0, 0)])) == [0, 0]
        assert list(await store.update([update(amount, key) for amount in (0, 3, 0, 0, 1)])) == [0, 3, 3, 3, 4]
        assert list(await store.update([update(0, key)])) == [4]

    async def test_giving_back_stops_at_0(self, store: CounterStore) -> None:
        key = new_key()
        assert list(await store.update([update(amount, key) for amount in (-1, 0)])) == [0, 0]
        amounts = (5, -3, 0, -10, 2, -2, -1, 7)
        assert list(await store.update([update(amount, key) for amount in amounts])) == [5, 2, 2, 0, 2, 0, 0, 7]
        assert list(await store.update([update(amount, key) for amount in (-7, 1)])) == [0, 1]

    async def test_counters_are_independent(self, store: CounterStore) -> None:
        """Whatever bytes they are called by."""
        keys = [b"r1|a|", b"r1|a|\r\n", b"*1\r\n$4\r\nPING\r\n", b"\x00\xff" * 10, b"k" * 10_000, b" ", "é{x}".encode()]
        keys = [new_key() + key for key in keys]
        updates = [update(n, key) for n, key in enumerate(keys, 1)]
        assert list(await store.update(updates)) == list(range(1, len(keys) + 1))
        assert list(await store.update([one.with_amount(0) for one in updates])) == list(range(1, len(keys) + 1))

    async def test_large_amounts_are_exact(self, store: CounterStore) -> None:
        key = new_key()
        amounts = [UINT32_MAX, UINT32_MAX, -1, UINT32_MAX, -UINT32_MAX]
        updates = [update(amount, key, limit=2**60) for amount in amounts]
        assert list(await store.update(updates)) == one_by_one({}, updates)

    @_one_store
    @given(_calls)
    async def test_updates_are_applied_as_if_one_by_one(
        self, store: CounterStore, calls: list[list[tuple[int, int]]]
    ) -> None:
        """Whatever is merged on the way, calls in turn and calls at once."""
        keys = [new_key() for _ in range(3)]
        counters: dict[bytes, int] = {}
        planned = [[update(amount, keys[which]) for which, amount in call] for call in calls]
        for updates in planned:
            assert list(await store.update(updates)) == one_by_one(counters, updates)
        at_once = await asyncio.gather(*(store.update(updates) for updates in planned))
        assert [list(counts) for counts in at_once] == [one_by_one(counters, updates) for updates in planned]

    @_one_store
    @given(st.lists(st.integers(-4, 5), min_size=1, max_size=12), st.integers(0, 12), st.booleans())
    async def test_what_is_over_stays_over(
        self, store: CounterStore, amounts: list[int], limit: int, at_once: bool
    ) -> None:
        """As long as nothing is given back, a count is over the limit exactly when the counter is.

        What comes after may count less, by the hits that were over, but never more.
        """
        key = new_key()
        updates = [update(amount, key, limit=limit) for amount in amounts]
        calls = [updates] if at_once else [[one] for one in updates]
        counts = [count for call in calls for count in await store.update(call)]
        given_back = False
        for one, count, exact in zip(updates, counts, one_by_one({}, updates), strict=True):
            given_back = given_back or one.amount < 0
            if given_back:
                assert count <= exact
            else:
                assert count == exact or limit < count <= exact

    async def test_concurrent_updates_return_each_count_once(self, store: CounterStore) -> None:
        """Of n updates by 1, exactly one gets each of 1 … n: with a limit, exactly as many as it says are let pass."""
        key = new_key()

        async def client() -> list[int]:
            return [count for _ in range(20) for count in await store.update([update(1, key)])]

        counts = await asyncio.gather(*(client() for _ in range(64)))
        assert sorted(count for of_client in counts for count in of_client) == list(range(1, 64 * 20 + 1))
        for of_client in counts:
            assert of_client == sorted(of_client)

    async def test_exactly_the_limit_passes(self, store: CounterStore) -> None:
        """Also where those who are over their limit are not counted any more."""
        key = new_key()

        async def client() -> int:
            return sum([(await store.update([update(1, key, limit=100)]))[0] <= 100 for _ in range(10)])

        assert sum(await asyncio.gather(*(client() for _ in range(64)))) == 100

    async def test_a_call_that_is_cancelled_takes_no_other_with_it(self, store: CounterStore) -> None:
        """A client that gives up shares its batch with others, who get their counts."""
        key = new_key()
        await store.update([update(1, key)])
        tasks = [asyncio.create_task(store.update([update(1, key)])) for _ in range(8)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        counts = [count for task in tasks[1::2] for count in task.result()]
        assert len(set(counts)) == 4
        (count,) = await store.update([update(0, key)])
        assert 5 <= count <= 9

    async def test_the_most_that_can_be_given_back_resets_a_counter(self, store: CounterStore) -> None:
        """As it is read, reset and read again in one call, for people."""
        key = new_key()
        assert list(await store.update([update(amount, key, limit=3) for amount in (2, 3)]))[-1] >= 5
        asked = [update(amount, key, limit=3) for amount in (0, -MOST_GIVEN_BACK, 0)]
        assert list(await store.update(asked)) == [5, 0, 0]
        assert list(await store.update([update(1, key, limit=3)])) == [1]

    async def test_a_store_can_be_reached(self, store: CounterStore) -> None:
        await store.ping()
        await store.ping()

    async def test_closing_twice_is_closing(self, store: CounterStore) -> None:
        await store.update([update()])
        await store.aclose()
        await store.aclose()

    async def test_what_was_never_used_can_be_closed(self, store: CounterStore) -> None:
        await store.aclose()
        await store.aclose()


class ListingConformance:
    """What a store promises that is `ListsCounters`, too."""

    async def test_counters_are_listed(self, store: ListsCounters) -> None:
        assert isinstance(store, CounterStore)
        prefix = new_key() + b"list*[a-z]?\\|"
        updates = [update(n, b"%b%d" % (prefix, n)) for n in range(1, 6)]
        await store.update([*updates, update(1), update(1, prefix.replace(b"*", b"x") + b"1")])
        found = await store.list_counters(prefix, 5)
        assert (dict(found.counts), found.all) == ({one.key: one.amount for one in updates}, True)
        some = await store.list_counters(prefix, 3)
        assert (len(some.counts), some.all) == (3, False)
        assert set(some.counts.items()) <= set(found.counts.items())
        assert await store.list_counters(new_key(), 5) == ({}, True)


class RecordsConformance:
    """What a store promises that is `KeepsRecords`, too."""

    async def test_a_record_is_replaced_by_who_knows_it(self, store: KeepsRecords) -> None:
        name = new_key()
        assert await store.load_record(name) is None
        assert not await store.replace_record(name, b"else", b"1", 60)
        assert not await store.replace_record(name, b"", b"1", 60)
        assert await store.load_record(name) is None
        odd = bytes(range(256)) * 64
        assert await store.replace_record(name, None, odd, 60)
        assert not await store.replace_record(name, None, b"2", 60)
        assert await store.load_record(name) == odd
        assert await store.replace_record(name, odd, b"", 60)
        assert await store.load_record(name) == b""
        assert not await store.replace_record(name, None, b"2", 60)
        writers = [store.replace_record(name, b"", b"%d" % n, 60) for n in range(8)]
        assert sum(await asyncio.gather(*writers)) == 1
