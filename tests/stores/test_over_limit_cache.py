import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.mesh.processes import free_port
from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores import over_limit_cache
from rls.stores.base import Done
from rls.stores.memory import MemoryStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.redis import RedisStore
from tests.clock import Clock
from tests.counters import until

END = 1060


class Asked(MemoryStore):
    """Memory that remembers what it was asked, and whether it was closed."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.hits: list[CounterUpdate] = []
        self.calls = self.pings = self.closed = 0

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
        self.calls += 1
        self.hits += updates
        return super().submit(updates, done)

    async def ping(self) -> None:
        self.pings += 1

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asked(clock: Clock) -> Asked:
    return Asked(clock)


@pytest.fixture
def cache(asked: Asked, clock: Clock) -> OverLimitCache:
    return OverLimitCache(asked, clock=clock, timer=clock)


def hit(amount: int = 1, key: bytes = b"key", limit: int = 2) -> CounterUpdate:
    return CounterUpdate(key, amount, limit, END, 60)


async def test_what_is_over_costs_nothing_for_a_second(cache: OverLimitCache, asked: Asked, clock: Clock) -> None:
    """And the count goes on, as if it had been asked for."""
    assert [list(await cache.update([hit()])) for _ in range(3)] == [[1], [2], [3]]
    for clock.now, count in ((1000, 4), (1000.5, 5), (1001, 6)):
        assert list(await cache.update([hit()])) == [count]
    assert (asked.calls, cache.answered) == (3, 3)
    clock.now = 1001.1
    assert list(await cache.update([hit()])) == [7]
    assert cache.answered == 3
    assert list(await asked.update([hit(0)])) == [7]


async def test_a_new_window_is_asked_for(cache: OverLimitCache, asked: Asked, clock: Clock) -> None:
    clock.now = END - 0.5
    await cache.update([hit(3)])
    clock.now = END
    assert list(await cache.update([hit()])) == [1]
    assert (asked.calls, cache.answered) == (2, 0)


@pytest.mark.parametrize("elsewhere", ["refund", "reset", "raised"])
async def test_what_happens_elsewhere_is_seen_after_a_second(
    cache: OverLimitCache, asked: Asked, clock: Clock, elsewhere: str
) -> None:
    """However often it was asked for meanwhile, by others too."""
    await cache.update([hit(4)])
    await asked.update([hit({"refund": -2, "reset": -9, "raised": 0}[elsewhere])])
    await asyncio.gather(*(cache.update([hit()]) for _ in range(5)))
    clock.now += 1.01
    limit = 20 if elsewhere == "raised" else 2
    counts = [(await cache.update([hit(limit=limit)]))[0] for _ in range(2)]
    assert counts == {"refund": [3, 4], "reset": [1, 2], "raised": [10, 11]}[elsewhere]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was answered from memory is counted with the next turn of the loop."""
    monkeypatch.setattr(over_limit_cache, "_SETTLE_SECONDS", 0)


async def settled(cache: OverLimitCache) -> None:
    await until(lambda: not cache._unsettled)
    if cache._settling is not None:
        await cache._settling


async def test_what_was_answered_from_memory_is_counted(
    soon: None, cache: OverLimitCache, asked: Asked, clock: Clock
) -> None:
    """All at once: two commands for each counter; and what they tell is fresh."""
    await cache.update([hit(3)])
    clock.now += 0.9
    for _ in range(50):
        await cache.update([hit(), hit(2)])
    before = len(asked.hits)
    await settled(cache)
    assert [one.amount for one in asked.hits[before:]] == [0, 150]
    clock.now += 0.9
    assert list(await cache.update([hit()])) == [154]
    assert cache.answered == 101


async def test_what_is_not_over_any_more_is_not_counted_on_top(
    soon: None, cache: OverLimitCache, asked: Asked, clock: Clock
) -> None:
    """Calls that were refused by what was true a moment before do not use up what was given back."""
    await cache.update([hit(3)])
    await cache.update([hit(100)])
    await asked.update([hit(-3)])
    await settled(cache)
    assert list(await cache.update([hit()])) == [1]


async def test_many_counters_are_settled_in_parts(soon: None, asked: Asked, clock: Clock) -> None:
    cache = OverLimitCache(asked, clock=clock, timer=clock)
    keys = [b"%d" % number for number in range(450)]
    await cache.update([hit(3, key) for key in keys])
    await cache.update([hit(1, key) for key in keys])
    asked.calls = 0
    await settled(cache)
    assert list(await asked.update([hit(0, key) for key in keys])) == [4] * 450
    assert asked.calls == 2 * 3 + 1


async def test_closing_counts_what_was_answered_from_memory(cache: OverLimitCache, asked: Asked) -> None:
    await cache.update([hit(3)])
    await cache.update([hit(4)])
    await cache.aclose()
    assert list(await asked.update([hit(0)])) == [7]


steps = st.lists(
    st.one_of(
        st.tuples(st.integers(-3, 5), st.sampled_from([2, 5]), st.integers(0, 1)),
        st.sampled_from([0.3, 0.9, 1.1]),
        st.just("settle"),
    ),
    max_size=40,
)


@given(steps)
async def test_on_or_off_all_is_counted_alike(steps: list[tuple[int, int, int] | float | str]) -> None:
    """Where nobody else counts: hits, looks, refunds, and limits that differ, whenever they come."""
    clock = Clock()
    plain, cached = Asked(clock), Asked(clock)
    cache = OverLimitCache(cached, clock=clock, timer=clock)
    for step in steps:
        if isinstance(step, float):
            clock.now = min(END - 1, clock.now + step)
        elif isinstance(step, str):
            await cache._settle_all()
        else:
            amount, limit, key = step
            one = hit(amount, b"%d" % key, limit)
            assert list(await cache.update([one])) == list(await plain.update([one]))
    await cache.aclose()
    looks = [hit(0, b"%d" % key, 10**6) for key in (0, 1)]
    assert list(await cached.update(looks)) == list(await plain.update(looks))
    assert cached.calls - 1 <= 3 * plain.calls


class Away(Asked):
    """As it is told: `away` fails without counting, `silent` counts and fails all the same, `blind` reads nothing."""

    state = ""

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
        if self.state == "away" or (self.state == "blind" and not all(one.amount for one in updates)):
            raise BackendError("away")
        counts = super().submit(updates, done)
        if self.state == "silent":
            raise BackendError("silent", in_doubt=True)
        return counts


@pytest.mark.parametrize("state", ["away", "silent"])
async def test_what_is_known_to_be_over_stays_refused_while_the_backend_is_away(clock: Clock, state: str) -> None:
    """However long that takes: what cannot be asked must not pass. What it surely has not got it gets afterwards."""
    backend = Away(clock)
    cache = OverLimitCache(backend, clock=clock, timer=clock)
    await cache.update([hit(3)])
    backend.state = state
    for n in range(5):
        clock.now += 1.1
        with pytest.raises(BackendError) as caught:
            await cache.update([hit()])
        assert list(caught.value.counts) == [4 + 2 * n]
        assert list(await cache.update([hit()])) == [5 + 2 * n]
    with pytest.raises(BackendError) as caught:
        await cache.update([hit(key=b"new"), hit()])
    assert list(caught.value.counts) == [None, 14]
    backend.state = ""
    await cache._settle_all()
    (count,) = await backend.update([hit(0)])
    assert count == 14 if state == "away" else 8 <= count <= 14
    clock.now += 1.1
    assert list(await cache.update([hit(-count)])) == [0]
    assert list(await cache.update([hit()])) == [1]


async def test_a_backend_that_reads_nothing_still_tells(clock: Clock) -> None:
    """A user without the right to GET: calls that count find out."""
    backend = Away(clock)
    cache = OverLimitCache(backend, clock=clock, timer=clock)
    await cache.update([hit(3)])
    await cache.update([hit()])
    backend.state = "blind"
    await cache._settle_all()
    backend.state = ""
    await backend.update([hit(-9)])
    backend.state = "blind"
    clock.now += 1.1
    assert list(await cache.update([hit()])) == [1]


async def test_looking_and_adding_nothing_is_over_too(cache: OverLimitCache, asked: Asked) -> None:
    await cache.update([hit(3)])
    assert list(await cache.update([hit(0), hit(5)])) == [3, 8]
    assert asked.calls == 1


async def test_what_is_exactly_at_its_limit_is_counted(cache: OverLimitCache, asked: Asked) -> None:
    await cache.update([hit(2)])
    assert list(await cache.update([hit(0)])) == [2]
    assert asked.calls == 2


async def test_only_what_is_not_over_is_asked_for(cache: OverLimitCache, asked: Asked) -> None:
    """Counts are handed out in the order of the hits, wherever they come from."""
    await cache.update([hit(3, b"over")])
    hits = [hit(1, b"a"), hit(1, b"over"), hit(5, b"b"), hit(2, b"over"), hit(1, b"a")]
    assert list(await cache.update(hits)) == [1, 4, 5, 6, 2]
    assert [one.key for one in asked.hits] == [b"over", b"a", b"b", b"a"]


async def test_a_larger_limit_is_asked_for(cache: OverLimitCache, asked: Asked) -> None:
    """What is kept is a count: an override, or a rule that was raised, is not refused by what another limit refused."""
    await cache.update([hit(3)])
    assert list(await cache.update([hit(1, limit=10)])) == [4]
    assert list(await cache.update([hit(1, limit=4)])) == [5]
    assert asked.calls == 3
    assert (await cache.update([hit(1, limit=2)]))[0] > 2
    assert asked.calls == 3


async def test_giving_back_is_asked_for_and_forgets(cache: OverLimitCache, asked: Asked) -> None:
    await cache.update([hit(3)])
    assert list(await cache.update([hit(-2)])) == [1]
    assert list(await cache.update([hit(1)])) == [2]
    assert cache.answered == 0


async def test_giving_back_helps_the_next_hit_of_the_same_call(cache: OverLimitCache) -> None:
    await cache.update([hit(3)])
    assert list(await cache.update([hit(-2), hit(1)])) == [1, 2]


async def test_what_is_over_after_giving_back_is_over(cache: OverLimitCache, asked: Asked) -> None:
    await cache.update([hit(9)])
    assert list(await cache.update([hit(-1), hit(1)])) == [8, 9]
    assert (await cache.update([hit(1)]))[0] > 2
    assert asked.calls == 2


async def test_what_is_remembered_is_bounded(asked: Asked, clock: Clock) -> None:
    cache = OverLimitCache(asked, capacity=2, clock=clock)
    for key in (b"a", b"b", b"c"):
        await cache.update([hit(3, key)])
    await cache.update([hit(1, b"a"), hit(1, b"b"), hit(1, b"c")])
    assert cache.answered == 2


async def test_a_backend_that_fails_teaches_nothing() -> None:
    backend = RedisStore(f"redis://127.0.0.1:{free_port()}", timeout_seconds=1)
    cache = OverLimitCache(backend)
    with pytest.raises(BackendError):
        await cache.update([hit(100)])
    with pytest.raises(BackendError):
        await cache.update([hit(0)])
    with pytest.raises(BackendError):
        await cache.ping()
    await cache.aclose()


async def test_the_backend_is_pinged_and_closed(cache: OverLimitCache, asked: Asked) -> None:
    await cache.ping()
    await cache.aclose()
    assert (asked.pings, asked.closed) == (1, 1)


async def test_what_is_known_to_be_over_is_among_the_counts_that_could_be_had(clock: Clock) -> None:
    """Where the backend fails, its error holds a place for each hit that the caller gave."""

    class Failing(Asked):
        counts: Sequence[int | None] = ()

        def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
            if updates[0].key == b"key":
                return super().submit(updates, done)
            raise BackendError("gone", counts=self.counts, in_doubt=True)

    backend = Failing(clock)
    cache = OverLimitCache(backend, clock=clock)
    await cache.update([hit(3)])
    for backend.counts, expected in (((), [None, 4, None]), ((None, 7), [None, 5, 7])):
        with pytest.raises(BackendError, match="gone") as caught:
            await cache.update([hit(key=b"a"), hit(), hit(key=b"b")])
        assert caught.value.counts == expected
        assert caught.value.in_doubt
