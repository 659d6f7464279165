from collections.abc import Sequence

import pytest

from examples.mesh.processes import free_port
from rls.backends.base import Hit
from rls.backends.memory import MemoryBackend
from rls.backends.overlimit_cache import OverLimitCache
from rls.backends.redis import RedisBackend
from rls.errors import BackendError

END = 1060


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Asked(MemoryBackend):
    """Memory that remembers what it was asked, and whether it was closed."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.hits: list[Hit] = []
        self.calls = self.pings = self.closed = 0

    async def hit(self, hits: Sequence[Hit]) -> Sequence[int]:
        self.calls += 1
        self.hits += hits
        return await super().hit(hits)

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
    return OverLimitCache(asked, clock=clock)


def hit(amount: int = 1, key: bytes = b"key", limit: int = 2) -> Hit:
    return Hit(key, amount, limit, END, 60)


async def test_what_is_over_costs_nothing_until_its_window_ends(
    cache: OverLimitCache, asked: Asked, clock: Clock
) -> None:
    assert [list(await cache.hit([hit()])) for _ in range(3)] == [[1], [2], [3]]
    for clock.now in (1000, 1030, 1059.9):
        assert (await cache.hit([hit()]))[0] > 2
    assert (asked.calls, cache.answered) == (3, 3)
    clock.now = END
    assert list(await cache.hit([hit()])) == [1]
    assert (asked.calls, cache.answered) == (4, 3)


async def test_looking_and_adding_nothing_is_over_too(cache: OverLimitCache, asked: Asked) -> None:
    await cache.hit([hit(3)])
    assert list(await cache.hit([hit(0), hit(5)])) == [3, 8]
    assert asked.calls == 1


async def test_what_is_exactly_at_its_limit_is_counted(cache: OverLimitCache, asked: Asked) -> None:
    await cache.hit([hit(2)])
    assert list(await cache.hit([hit(0)])) == [2]
    assert asked.calls == 2


async def test_only_what_is_not_over_is_asked_for(cache: OverLimitCache, asked: Asked) -> None:
    """Counts are handed out in the order of the hits, wherever they come from."""
    await cache.hit([hit(3, b"over")])
    hits = [hit(1, b"a"), hit(1, b"over"), hit(5, b"b"), hit(2, b"over"), hit(1, b"a")]
    assert list(await cache.hit(hits)) == [1, 4, 5, 5, 2]
    assert [one.key for one in asked.hits] == [b"over", b"a", b"b", b"a"]


async def test_a_larger_limit_is_asked_for(cache: OverLimitCache, asked: Asked) -> None:
    """What is kept is a count: an override, or a rule that was raised, is not refused by what another limit refused."""
    await cache.hit([hit(3)])
    assert list(await cache.hit([hit(1, limit=10)])) == [4]
    assert list(await cache.hit([hit(1, limit=3)])) == [5]
    assert asked.calls == 3
    assert (await cache.hit([hit(1, limit=2)]))[0] > 2
    assert asked.calls == 3


async def test_giving_back_is_asked_for_and_forgets(cache: OverLimitCache, asked: Asked) -> None:
    await cache.hit([hit(3)])
    assert list(await cache.hit([hit(-2)])) == [1]
    assert list(await cache.hit([hit(1)])) == [2]
    assert cache.answered == 0


async def test_giving_back_helps_the_next_hit_of_the_same_call(cache: OverLimitCache) -> None:
    await cache.hit([hit(3)])
    assert list(await cache.hit([hit(-2), hit(1)])) == [1, 2]


async def test_what_is_over_after_giving_back_is_over(cache: OverLimitCache, asked: Asked) -> None:
    await cache.hit([hit(9)])
    assert list(await cache.hit([hit(-1), hit(1)])) == [8, 9]
    assert (await cache.hit([hit(1)]))[0] > 2
    assert asked.calls == 2


async def test_what_is_remembered_is_bounded(asked: Asked, clock: Clock) -> None:
    cache = OverLimitCache(asked, capacity=2, clock=clock)
    for key in (b"a", b"b", b"c"):
        await cache.hit([hit(3, key)])
    await cache.hit([hit(1, b"a"), hit(1, b"b"), hit(1, b"c")])
    assert cache.answered == 2


async def test_a_backend_that_fails_teaches_nothing() -> None:
    backend = RedisBackend(f"redis://127.0.0.1:{free_port()}", timeout_seconds=1)
    cache = OverLimitCache(backend)
    with pytest.raises(BackendError):
        await cache.hit([hit(100)])
    with pytest.raises(BackendError):
        await cache.hit([hit(0)])
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

        async def hit(self, hits: Sequence[Hit]) -> Sequence[int]:
            if hits[0].key == b"key":
                return await super().hit(hits)
            raise BackendError("gone", counts=self.counts, in_doubt=True)

    backend = Failing(clock)
    cache = OverLimitCache(backend, clock=clock)
    await cache.hit([hit(3)])
    for backend.counts, expected in (((), [None, 4, None]), ((None, 7), [None, 4, 7])):
        with pytest.raises(BackendError, match="gone") as caught:
            await cache.hit([hit(key=b"a"), hit(), hit(key=b"b")])
        assert caught.value.counts == expected
        assert caught.value.in_doubt
