"""Requests go on being limited while a real Redis is away, and what was counted here is in it once when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rls.core.model import Code, Unit
from rls.core.rules import OnBackendError
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.errors import BackendError
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.redis import RedisStore
from tests.counters import until, until_works
from tests.redis_server import RedisServer, redis_binary, running
from tests.tries import Step, descriptor, request, rule, rule_set

LIMIT = 10


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path, redis_binary())) as server:
        yield server


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Limiter]]:
    """Opens limiters as a server builds them; by the year, so that no window ends."""
    async with AsyncExitStack() as stack:

        def one(redis: RedisServer, *, timeout_seconds: float = 0.25, **more) -> Limiter:
            backend = RedisStore(redis.url, timeout_seconds=timeout_seconds)
            cache = OverLimitCache(backend)
            policies = FailurePolicies(cache, **{"default": OnBackendError.LOCAL, **more})
            stack.push_async_callback(backend.aclose)
            stack.push_async_callback(policies.aclose)
            limiter = Limiter(cache, policies=policies)
            limiter.load(rule_set({(Step("company"),): rule("company", LIMIT, Unit.YEAR)}))
            return limiter

        yield one


async def ask(limiter: Limiter, times: int, **more) -> list[int]:
    """What remains after each request; the limit's excess below zero."""
    statuses = [
        (await limiter.check(request(descriptor(("company", "acme"), **more)))).statuses[0] for _ in range(times)
    ]
    return [-1 if status.code is Code.OVER_LIMIT else status.limit_remaining for status in statuses]


def count(redis: RedisServer) -> int:
    """What the only counter stands at."""
    with redis.client() as client:
        (key,) = [key for key in client.scan_iter() if b"company" in key]
        assert client.ttl(key) > 0
        return int(client.get(key) or 0)


async def connected(limiter: Limiter) -> None:
    await until_works(limiter.policies.ping)
    await until(lambda: not limiter.policies.reason)


async def missed(limiter: Limiter) -> None:
    """Find out that Redis is away by what counts nothing: whatever is sent first may arrive, and is not sent again."""
    with pytest.raises(BackendError):
        await limiter.policies.ping()


async def test_killed_and_restarted_empty(redis, serve) -> None:
    """What it had counted is gone with it; what was counted here is not."""
    limiter = serve(redis)
    await connected(limiter)
    assert await ask(limiter, 3) == [9, 8, 7]
    redis.kill()
    await missed(limiter)
    assert await ask(limiter, 4) == [9, 8, 7, 6]
    redis.start()
    await until(lambda: not limiter.policies.reason)
    assert count(redis) == 4
    assert await ask(limiter, 7) == [5, 4, 3, 2, 1, 0, -1]


async def test_stopped_and_resumed(redis, serve) -> None:
    """It still knows what it had counted: both add up, and nothing twice that was surely not sent."""
    limiter = serve(redis, timeout_seconds=0.05)
    await connected(limiter)
    assert await ask(limiter, 3) == [9, 8, 7]
    redis.suspend()
    await missed(limiter)
    assert await ask(limiter, 4) == [9, 8, 7, 6]
    redis.resume()
    await until(lambda: not limiter.policies.reason)
    assert count(redis) == 7
    assert await ask(limiter, 4) == [2, 1, 0, -1]


async def test_cut_again_and_again(redis, serve) -> None:
    """However often the connection breaks, every hit is in it once."""
    limiter = serve(redis, timeout_seconds=1, probe_seconds=0.005)
    limiter.load(rule_set({(Step("company"),): rule("company", 1_000_000, Unit.YEAR)}))
    await connected(limiter)
    asked = 0
    for _ in range(5):
        with redis.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        await missed(limiter)
        while limiter.policies.reason:
            asked += 1
            await ask(limiter, 1)
            await asyncio.sleep(0)
    await connected(limiter)
    assert count(redis) == asked


async def test_a_limit_holds_for_each_server_that_counts_alone(redis, serve) -> None:
    """Of two servers that know of each other, both together let the limit pass; when Redis is back, no more."""
    servers = [serve(redis, replicas=lambda: 2) for _ in range(2)]
    for limiter in servers:
        await connected(limiter)
    redis.kill()
    for limiter in servers:
        await missed(limiter)
    assert [await ask(limiter, 6) for limiter in servers] == [[4, 3, 2, 1, 0, -1]] * 2
    redis.start()
    await until(lambda: not any(limiter.policies.reason for limiter in servers))
    assert count(redis) == 12
    assert [await ask(limiter, 1) for limiter in servers] == [[-1]] * 2


async def test_what_is_given_back_meanwhile_is_given_back_to_redis(redis, serve) -> None:
    limiter = serve(redis, timeout_seconds=0.05)
    await connected(limiter)
    assert await ask(limiter, 8) == [9, 8, 7, 6, 5, 4, 3, 2]
    redis.suspend()
    await missed(limiter)
    await ask(limiter, 1, hits_addend=5, is_negative_hits=True)
    redis.resume()
    await until(lambda: not limiter.policies.reason)
    assert count(redis) == 3
