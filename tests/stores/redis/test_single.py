import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from redis import Redis

from rls.core.update import CounterUpdate
from rls.errors import BackendError, CounterRefused
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.redis import RedisStore
from tests.counters import hit, new_key, until, until_works
from tests.redis_server import RedisServer
from tests.stores.conftest import Connect

Stats = Mapping[str, Mapping[str, int]]


def commands(redis: Redis) -> dict[str, int]:
    """How often the backend sent each command since the statistics began."""
    stats: Any = redis.info("commandstats")
    sent = {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}
    return {name: sent[name] for name in ("get", "set", "incrby", "expire", "eval") if name in sent}


def ttls(redis: Redis) -> dict[bytes, int]:
    keys: Any = redis.keys()
    return {key: int(redis.ttl(key)) for key in keys if not key.startswith(b"r1|ping|")}


def assert_all_expire(redis: Redis, hits: Sequence[CounterUpdate], jitter: int = 300) -> None:
    """Every key there is lives a little longer than its window, and no longer."""
    now = time.time()
    windows = {one.key: one for one in hits}
    found = ttls(redis)
    assert found.keys() == windows.keys()
    for key, ttl in found.items():
        left = windows[key].expires_at - now
        assert left - 1 <= ttl <= left + min(jitter, windows[key].window_seconds) + 1


async def test_a_counter_costs_one_command_and_one_more_at_first(
    server: RedisServer, redis: Redis, connect: Connect
) -> None:
    """Its TTL is set once for each key, not with each hit."""
    backend, key = connect(server.url), new_key()
    for _ in range(10):
        await backend.update([hit(1, key)])
    assert commands(redis) == {"set": 1, "incrby": 10}


async def test_equal_counters_of_calls_in_flight_are_one_command(
    server: RedisServer, redis: Redis, connect: Connect
) -> None:
    backend, keys = connect(server.url), [new_key() for _ in range(3)]
    await backend.ping()
    redis.config_resetstat()
    hits = [hit(1, key) for key in keys]
    counts = await asyncio.gather(*(backend.update(hits) for _ in range(100)))
    assert [list(count) for count in counts] == [[n] * 3 for n in range(1, 101)]
    assert commands(redis) == {"set": 3, "incrby": 3}


async def test_what_comes_while_a_write_is_under_way_goes_out_with_the_next(
    server: RedisServer, redis: Redis, connect: Connect
) -> None:
    """Group commit: under load the commands for one counter are far fewer than its hits."""
    backend, key = connect(server.url), new_key()

    async def client() -> None:
        for _ in range(50):
            await backend.update([hit(1, key)])

    await asyncio.gather(*(client() for _ in range(64)))
    assert redis.get(key) == b"3200"
    assert commands(redis)["incrby"] <= 200


async def test_what_is_over_its_limit_costs_no_command(server: RedisServer, redis: Redis, connect: Connect) -> None:
    cache, key = OverLimitCache(connect(server.url)), new_key()
    for _ in range(20):
        await cache.update([hit(1, key, limit=5)])
    assert commands(redis) == {"set": 1, "incrby": 6}


async def test_looking_makes_no_counter(server: RedisServer, redis: Redis, connect: Connect) -> None:
    backend = connect(server.url)
    await backend.update([hit(0), hit(-5)])
    assert redis.dbsize() == 0


async def test_a_ping_does_what_calls_do(server: RedisServer, redis: Redis, connect: Connect) -> None:
    """It counts, on a counter of its own that lives for some seconds, and gives it a TTL whatever it gave before."""
    now = 1_000_000_000.0
    backend = connect(server.url, key_prefix="mesh:", clock=lambda: now)
    for _ in range(3):
        await backend.ping()
        now += 1
    assert commands(redis) == {"set": 3, "incrby": 3}
    keys: Any = redis.keys()
    assert {key.rpartition(b"|")[0] for key in keys} == {b"mesh:r1|ping|1"}
    assert all(0 < redis.ttl(key) <= 2 for key in keys)


async def test_two_processes_let_exactly_the_limit_pass(server: RedisServer, connect: Connect) -> None:
    """Backends that share a Redis share its counters."""
    backends, key = [connect(server.url) for _ in range(2)], new_key()

    async def client(backend: RedisStore) -> list[int]:
        return [count for _ in range(20) for count in await backend.update([hit(1, key)])]

    counts = await asyncio.gather(*(client(backend) for backend in backends for _ in range(32)))
    assert sorted(count for of_client in counts for count in of_client) == list(range(1, 1281))


async def test_two_processes_give_back_down_to_0(server: RedisServer, redis: Redis, connect: Connect) -> None:
    backends, key = [connect(server.url) for _ in range(2)], new_key()
    await backends[0].update([hit(100, key)])
    counts = await asyncio.gather(*(backends[n % 2].update([hit(-3, key)]) for n in range(40)))
    assert sorted(count for (count,) in counts) == [0] * 7 + list(range(1, 100, 3))
    assert int(redis.get(key) or 0) == 0


@pytest.mark.parametrize("window", [1, 60, 86_400, 100 * 31_536_000])
@pytest.mark.parametrize("jitter", [0, 300])
async def test_counters_live_a_little_longer_than_their_window(
    server: RedisServer, redis: Redis, connect: Connect, window: int, jitter: int
) -> None:
    """Spread by the jitter, which is never longer than the window."""
    backend = connect(server.url, jitter_seconds=jitter)
    hits = [hit(1, window=window) for _ in range(20)]
    await backend.update(hits)
    assert_all_expire(redis, hits, max(jitter, 1))


async def test_giving_back_keeps_the_ttl(server: RedisServer, redis: Redis, connect: Connect) -> None:
    backend, one = connect(server.url), hit(5)
    await backend.update([one, one.with_amount(-1)])
    assert_all_expire(redis, [one])
    await backend.update([one.with_amount(-9)])
    assert_all_expire(redis, [one])
    await backend.update([one])
    assert_all_expire(redis, [one])


@pytest.mark.parametrize("lose", ["flush", "delete", "evict"])
async def test_a_counter_that_redis_lost_expires_again(
    server: RedisServer, redis: Redis, connect: Connect, lose: str
) -> None:
    """Without waiting for another call: there may be none."""
    backend, one, other = connect(server.url), hit(3), hit(1)
    await backend.update([one, other])
    if lose == "flush":
        redis.flushall()
    elif lose == "delete":
        redis.delete(one.key, other.key)
    else:
        redis.pexpire(one.key, 1)
        redis.pexpire(other.key, 1)
        await until(lambda: not redis.dbsize())
    assert list(await backend.update([one, other, one])) == [3, 1, 6]
    await until(lambda: -1 not in ttls(redis).values())
    assert_all_expire(redis, [one, other])
    assert list(await backend.update([one])) == [9]


async def test_counters_expire_after_the_connection_was_lost(
    server: RedisServer, redis: Redis, connect: Connect
) -> None:
    """What this process knew of TTLs may be wrong then, and is forgotten."""
    backend, hits = connect(server.url), [hit(1) for _ in range(5)]
    await backend.update(hits)
    redis.flushall()
    lost = backend._node.sender.connection
    redis.client_kill_filter(_type="normal", skipme=True)
    await until(lambda: backend._node.sender.connection not in {None, lost} and backend._node.error is None)
    assert list(await backend.update(hits)) == [1] * 5
    assert_all_expire(redis, hits)


async def test_counters_expire_however_many_are_known(server: RedisServer, redis: Redis, connect: Connect) -> None:
    backend, hits = connect(server.url, known_counters=2), [hit(1) for _ in range(10)]
    for n in range(1, 4):
        assert list(await backend.update(hits)) == [n] * 10
    assert_all_expire(redis, hits)


async def test_windows_that_ended_are_forgotten(server: RedisServer, connect: Connect) -> None:
    now = time.time()
    backend = connect(server.url, clock=lambda: now)
    for _ in range(3):
        await backend.update([hit(1, window=1) for _ in range(10)])
        now += 10
    await backend.update([hit(0)])
    assert len(backend._node._ttl_tracker) == 0


async def test_what_redis_refuses_fails_only_those_who_asked(
    server: RedisServer, redis: Redis, connect: Connect
) -> None:
    """A key of another kind, or one that is no number, is no reason to fail the rest of a batch, or to hang it."""
    backend, good, odd, text = connect(server.url), hit(), hit(), hit(0)
    redis.rpush(odd.key, "x")
    redis.set(text.key, "text")
    outcomes = await asyncio.gather(*(backend.update([one]) for one in (good, odd, text, good)), return_exceptions=True)
    assert [list(outcome) for outcome in outcomes if not isinstance(outcome, BaseException)] == [[1], [2]]
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(error) for error in failed] == [CounterRefused] * 2
    assert str(failed[0]).startswith(f"Redis at {server.url}: WRONGTYPE")
    assert str(failed[0]).endswith(odd.key.decode())
    assert list(await backend.update([good])) == [3]


async def test_redis_that_is_full_is_told(own_server: RedisServer, connect: Connect) -> None:
    backend = connect(own_server.url)
    one = hit()
    await backend.update([one])
    with own_server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(BackendError, match=r"^Redis at .*: .*maxmemory"):
            await backend.update([one])
        with pytest.raises(BackendError, match=r"^Redis.* maxmemory|'maxmemory'"):
            await backend.ping()
        client.config_set("maxmemory", 0)
    await until_works(backend.ping)
    assert list(await backend.update([one])) == [2]
