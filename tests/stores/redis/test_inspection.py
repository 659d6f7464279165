"""What real servers say of themselves: their clocks against ours, which is set wrong, and the counters that they evict."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from redis import Redis

from rls.stores.redis import Inspection, RedisClusterStore, RedisStore
from tests.counters import PATIENT, hit
from tests.redis_cluster import RedisCluster
from tests.redis_server import RedisServer

PATIENCE: dict[str, Any] = {"timeout_seconds": PATIENT, "connect_timeout_seconds": PATIENT}


class Clock:
    """Ours: wrong by some seconds, and slow to answer where the round trip is to take longer than it does."""

    def __init__(self) -> None:
        self.wrong_by = 0.0
        self.round_trip = 0.0
        self._readings = 0

    def __call__(self) -> float:
        self._readings += 1
        half = self.round_trip / 2
        return time.time() + self.wrong_by + (-half if self._readings % 2 else half)


class Inspected:
    """An inspection of *backends* by a clock that can be set."""

    def __init__(self, *backends: RedisStore | RedisClusterStore) -> None:
        self.clock = Clock()
        self.skew: list[str] = []
        self.evictions: list[str] = []
        self.inspection = Inspection(
            on_skew=self.skew.append, on_evictions=self.evictions.append, on_lost=lambda _: None, clock=self.clock
        )
        self.inspection.add(backends)

    async def skews(self, wrong_by: float, round_trip: float = 0.0) -> str:
        """What a look reports."""
        self.clock.wrong_by, self.clock.round_trip = wrong_by, round_trip
        await self.inspection.query_all()
        return self.skew[-1]

    async def evicts(self) -> str:
        """What a look reports."""
        await self.inspection.query_all()
        return self.evictions[-1]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisStore]:
    backend = RedisStore(url, **PATIENCE)
    async with aclosing(backend):
        await backend.ping()
        yield backend


@pytest.mark.parametrize(("wrong_by", "says"), [(3.0, "behind ours"), (-1.5, "ahead of ours"), (3600, "behind ours")])
async def test_a_wrong_clock_is_reported_until_it_is_right(server: RedisServer, wrong_by: float, says: str) -> None:
    async with connected(server.url) as backend:
        inspected = Inspected(backend)
        assert await inspected.skews(0.0) == ""
        told = await inspected.skews(wrong_by)
        assert f"the clock of Redis at {server.url} is" in told
        assert says in told
        ahead = inspected.inspection.clocks.ahead[server.url]
        assert ahead == pytest.approx(-wrong_by, abs=0.5)
        assert await inspected.skews(0.0) == ""


async def test_a_slow_answer_tells_nothing_about_the_clock(server: RedisServer) -> None:
    """Only what half of the round trip cannot explain is a skew."""
    async with connected(server.url) as backend:
        inspected = Inspected(backend)
        assert await inspected.skews(3.0, round_trip=4.5) == ""
        assert await inspected.skews(3.0, round_trip=2.0) != ""


async def test_a_skew_that_drifts_is_not_reported_at_each_look(server: RedisServer) -> None:
    """Each text is a line in the log. A skew near a second does not come and go."""
    async with connected(server.url) as backend:
        inspected = Inspected(backend)
        first = await inspected.skews(1.6)
        assert {await inspected.skews(wrong_by) for wrong_by in (1.7, 0.8, 1.4, 2.1)} == {first}
        assert await inspected.skews(4.0) not in {first, ""}
        assert await inspected.skews(0.2) == ""


async def test_each_node_of_a_cluster_is_asked(cluster: RedisCluster) -> None:
    backend = RedisClusterStore(cluster.url, **PATIENCE)
    async with aclosing(backend):
        await backend.ping()
        inspected = Inspected(backend)
        assert await inspected.skews(0.0) == ""
        assert sorted(inspected.inspection.clocks.ahead) == sorted(backend.up)
        assert (await inspected.skews(2.0)).count("the clock of Redis at") == len(backend.up)


async def test_a_user_without_the_right_to_ask_counts_and_nothing_is_reported(own_server: RedisServer) -> None:
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "u", "on", ">p", "~r1|*", "+set", "+incrby", "+expire")
        async with connected(own_server.url.replace("://", "://u:p@")) as backend:
            inspected = Inspected(backend)
            assert await inspected.skews(3.0) == ""
            assert inspected.inspection.clocks.ahead == {}
            assert list(await backend.update([hit()])) == [1]
            assert list(backend.up.values()) == [True]
            client.execute_command("ACL", "SETUSER", "u", "+time")
            assert "behind ours" in await inspected.skews(3.0)


async def test_a_node_that_is_gone_is_forgotten(own_server: RedisServer) -> None:
    """What it said does not stay for ever: it may be another one when it is back."""
    async with connected(own_server.url) as backend:
        inspected = Inspected(backend)
        assert await inspected.skews(3.0) != ""
        own_server.kill()
        with pytest.raises(Exception, match="Redis at"):
            await backend.ping()
        assert await inspected.skews(3.0) == ""
        assert inspected.inspection.clocks.ahead == {}


def fill(client: Redis, policy: str, share: float) -> None:
    """Let the server have used *share* of the memory that it may use."""
    client.flushall()
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", 0)
    for n in range(100):
        client.set(f"filler{n}", bytes(100_000), ex=3600)
    used: Any = client.info("memory")["used_memory"]
    client.config_set("maxmemory", int(used / share))


@pytest.mark.parametrize(
    ("policy", "share", "warned"),
    [
        ("allkeys-lru", 0.95, True),
        ("volatile-ttl", 0.95, True),
        ("volatile-ttl", 0.5, False),
        ("noeviction", 0.95, False),
    ],
)
async def test_a_node_that_is_nearly_full_and_may_evict_is_reported(
    own_server: RedisServer, policy: str, share: float, warned: bool
) -> None:
    with own_server.client() as client:
        fill(client, policy, share)
        async with connected(own_server.url) as backend:
            inspected = Inspected(backend)
            told = await inspected.evicts()
            assert (f"Redis at {own_server.url} has used 90 % of its maxmemory" in told) is warned
            assert (f"(maxmemory-policy {policy})" in told) is warned
            client.config_set("maxmemory", 0)
            assert await inspected.evicts() == ""


@pytest.mark.parametrize("policy", ["allkeys-random", "volatile-lru"])
async def test_counters_that_are_evicted_are_reported(own_server: RedisServer, policy: str) -> None:
    with own_server.client() as client:
        fill(client, policy, 0.5)
        async with connected(own_server.url) as backend:
            inspected = Inspected(backend)
            assert await inspected.evicts() == ""
            for n in range(100, 200):
                client.set(f"filler{n}", bytes(200_000), ex=3600)
            told = await inspected.evicts()
            assert (
                told == f"Redis at {own_server.url} evicts counters, which begin at 0 again (maxmemory-policy {policy})"
            )
            assert await inspected.evicts() == told, "it still is full"
            client.config_set("maxmemory", 0)
            assert await inspected.evicts() == ""


async def test_keys_that_were_evicted_before_we_came_are_not_reported(own_server: RedisServer) -> None:
    with own_server.client() as client:
        fill(client, "allkeys-lru", 2.0)
        client.config_set("maxmemory", 0)
        evicted: Any = client.info("stats")["evicted_keys"]
        assert evicted > 0
        async with connected(own_server.url) as backend:
            assert await Inspected(backend).evicts() == ""


async def test_a_user_without_info_counts_and_no_eviction_is_reported(own_server: RedisServer) -> None:
    with own_server.client() as client:
        fill(client, "allkeys-lru", 0.95)
        client.execute_command("ACL", "SETUSER", "u", "on", ">p", "~r1|*", "+set", "+incrby", "+expire", "+time")
        async with connected(own_server.url.replace("://", "://u:p@")) as backend:
            inspected = Inspected(backend)
            assert await inspected.evicts() == ""
            assert len(inspected.inspection.clocks.ahead) == 1
            assert list(await backend.update([hit()])) == [1]
            client.execute_command("ACL", "SETUSER", "u", "+info")
            assert "has used 90 %" in await inspected.evicts()
