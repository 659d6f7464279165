"""What every backend promises; see `CounterStore`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rls.core.update import CounterUpdate
from rls.stores.base import CounterStore
from rls.stores.memory import MemoryStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.redis import RedisClusterStore, RedisSentinelStore, RedisStore
from tests.counters import PATIENT, hit, new_key
from tests.stores.conftest import KINDS

one_backend = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
UINT32_MAX = 2**32 - 1


def open_backend(kind: str, request: pytest.FixtureRequest) -> CounterStore:
    if kind == "memory":
        return MemoryStore()
    patient: dict[str, Any] = {"timeout_seconds": PATIENT, "connect_timeout_seconds": PATIENT}
    if kind == "cluster":
        return RedisClusterStore(request.getfixturevalue("cluster").url, **patient)
    if kind == "sentinel":
        return RedisSentinelStore(request.getfixturevalue("sentinels").url, **patient)
    return RedisStore(request.getfixturevalue("servers")(kind).url, **patient)


@pytest.fixture(params=["memory", *KINDS, "cluster", "sentinel"])
async def counted(request: pytest.FixtureRequest) -> AsyncIterator[CounterStore]:
    """A backend that counts."""
    backend = open_backend(request.param, request)
    yield backend
    await backend.aclose()


@pytest.fixture(params=["counted", "remembered"])
def backend(request, counted: CounterStore) -> CounterStore:
    """With a memory of what is over its limit, and without one."""
    return OverLimitCache(counted) if request.param == "remembered" else counted


def hits_on(key: bytes, *amounts: int) -> list[CounterUpdate]:
    return [hit(amount, key) for amount in amounts]


def naive(counters: dict[bytes, int], hits: Sequence[CounterUpdate]) -> list[int]:
    """One by one."""
    counts = []
    for one in hits:
        counters[one.key] = max(0, counters.get(one.key, 0) + one.amount)
        counts.append(counters[one.key])
    return counts


async def test_counts_are_those_after_each_hit(backend: CounterStore) -> None:
    a, b = new_key(), new_key()
    hits = [hit(1, a), hit(5, b), hit(2, a), hit(1, b), hit(1, a)]
    assert list(await backend.update(hits)) == [1, 5, 3, 6, 4]
    assert list(await backend.update(hits)) == [5, 11, 7, 12, 8]


async def test_no_hits_have_no_counts(backend: CounterStore) -> None:
    assert list(await backend.update([])) == []
    assert list(await backend.update([hit()])) == [1]


async def test_an_amount_of_0_only_reads(backend: CounterStore) -> None:
    key = new_key()
    assert list(await backend.update(hits_on(key, 0, 0))) == [0, 0]
    assert list(await backend.update(hits_on(key, 0, 3, 0, 0, 1))) == [0, 3, 3, 3, 4]
    assert list(await backend.update(hits_on(key, 0))) == [4]


async def test_giving_back_stops_at_0(backend: CounterStore) -> None:
    key = new_key()
    assert list(await backend.update(hits_on(key, -1, 0))) == [0, 0]
    assert list(await backend.update(hits_on(key, 5, -3, 0, -10, 2, -2, -1, 7))) == [5, 2, 2, 0, 2, 0, 0, 7]
    assert list(await backend.update(hits_on(key, -7, 1))) == [0, 1]


async def test_counters_are_independent(backend: CounterStore) -> None:
    """Whatever bytes they are called by."""
    keys = [b"r1|a|", b"r1|a|\r\n", b"*1\r\n$4\r\nPING\r\n", b"\x00\xff" * 10, b"k" * 10_000, b" ", "é{x}".encode()]
    keys = [new_key() + key for key in keys]
    hits = [hit(n, key) for n, key in enumerate(keys, 1)]
    assert list(await backend.update(hits)) == list(range(1, len(keys) + 1))
    assert list(await backend.update([one.with_amount(0) for one in hits])) == list(range(1, len(keys) + 1))


async def test_large_amounts_are_exact(backend: CounterStore) -> None:
    key = new_key()
    amounts = [UINT32_MAX, UINT32_MAX, -1, UINT32_MAX, -UINT32_MAX]
    hits = [hit(amount, key, limit=2**60) for amount in amounts]
    assert list(await backend.update(hits)) == naive({}, hits)


calls = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-5, 8)), min_size=1, max_size=6), min_size=1, max_size=5
)


@one_backend
@given(calls)
async def test_hits_are_applied_as_if_one_by_one(backend: CounterStore, calls: list[list[tuple[int, int]]]) -> None:
    """Whatever is merged on the way, calls in turn and calls at once."""
    keys = [new_key() for _ in range(3)]
    counters: dict[bytes, int] = {}
    planned = [[hit(amount, keys[which]) for which, amount in call] for call in calls]
    for hits in planned:
        assert list(await backend.update(hits)) == naive(counters, hits)
    at_once = await asyncio.gather(*(backend.update(hits) for hits in planned))
    assert [list(counts) for counts in at_once] == [naive(counters, hits) for hits in planned]


@one_backend
@given(st.lists(st.integers(-4, 5), min_size=1, max_size=12), st.integers(0, 12), st.booleans())
async def test_what_is_over_stays_over(backend: CounterStore, amounts: list[int], limit: int, at_once: bool) -> None:
    """As long as nothing is given back, a hit is told to be over its limit exactly when it is.

    What comes after may count less, by the hits that were refused, but never more.
    """
    key = new_key()
    hits = [hit(amount, key, limit=limit) for amount in amounts]
    calls = [hits] if at_once else [[one] for one in hits]
    counts = [count for call in calls for count in await backend.update(call)]
    given_back = False
    for one, count, exact in zip(hits, counts, naive({}, hits), strict=True):
        given_back = given_back or one.amount < 0
        if given_back:
            assert count <= exact
        else:
            assert count == exact or limit < count <= exact


async def test_concurrent_hits_return_each_count_once(backend: CounterStore) -> None:
    """Of n hits of 1, exactly one gets each of 1 … n: with a limit, exactly as many as it says are let pass."""
    key = new_key()

    async def client() -> list[int]:
        return [count for _ in range(20) for count in await backend.update([hit(1, key)])]

    counts = await asyncio.gather(*(client() for _ in range(64)))
    assert sorted(count for of_client in counts for count in of_client) == list(range(1, 64 * 20 + 1))
    for of_client in counts:
        assert of_client == sorted(of_client)


async def test_exactly_the_limit_passes(backend: CounterStore) -> None:
    """Also where those who are over their limit are not counted any more."""
    key = new_key()

    async def client() -> int:
        return sum([(await backend.update([hit(1, key, limit=100)]))[0] <= 100 for _ in range(10)])

    assert sum(await asyncio.gather(*(client() for _ in range(64)))) == 100


async def test_a_call_that_is_cancelled_takes_no_other_with_it(backend: CounterStore) -> None:
    """A client that gives up shares its batch with others, who get their counts."""
    key = new_key()
    await backend.update([hit(1, key)])
    tasks = [asyncio.create_task(backend.update([hit(1, key)])) for _ in range(8)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.wait(tasks)
    counts = [count for task in tasks[1::2] for count in task.result()]
    assert len(set(counts)) == 4
    (count,) = await backend.update([hit(0, key)])
    assert 5 <= count <= 9


async def test_a_backend_can_be_reached(backend: CounterStore) -> None:
    await backend.ping()
    await backend.ping()


async def test_closing_twice_is_closing(backend: CounterStore) -> None:
    await backend.update([hit()])
    await backend.aclose()
    await backend.aclose()


async def test_what_was_never_used_can_be_closed(backend: CounterStore) -> None:
    await backend.aclose()
    await backend.aclose()
