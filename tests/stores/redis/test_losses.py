"""Real servers that lose counters: each pod that counted there says so, and for how long it matters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from rls.stores.redis import Inspection, RedisClusterStore, RedisStore
from rls.stores.redis.losses import LONGEST_SECONDS, SHORTEST_SECONDS
from tests.counters import PATIENT, hit, until_works
from tests.redis_cluster import RedisCluster, running_cluster
from tests.redis_server import RedisServer, newest_binary, wait_until

PATIENCE: dict[str, Any] = {"timeout_seconds": PATIENT, "connect_timeout_seconds": PATIENT}
A_WEEK = 7 * 86_400


class Pod:
    """A process that counts in *store*, and looks for losses when it is told to.

    Attributes:
        later: Seconds by which its clock is ahead: time that has passed for it.
    """

    def __init__(self, store: RedisStore | RedisClusterStore) -> None:
        self.store = store
        self.later = 0.0
        self._texts: list[str] = []
        self.inspection = Inspection(
            on_skew=lambda _: None,
            on_evictions=lambda _: None,
            on_lost=self._texts.append,
            clock=lambda: time.time() + self.later,
        )
        self.inspection.add([store])

    async def look(self) -> str:
        """What it reports then."""
        await self.inspection.query_all()
        return self._texts[-1]


@asynccontextmanager
async def pod(url: str, **options: Any) -> AsyncIterator[Pod]:
    store = RedisStore(url, **{**PATIENCE, **options})
    async with aclosing(store):
        await store.ping()
        yield Pod(store)


def restart(server: RedisServer, *, saved: bool) -> None:
    """End the server, and start it with what it held, or with what it held when it was saved last: nothing, if it never was."""
    if saved:
        with server.client() as client:
            client.save()
    server.kill()
    server.start()


async def test_a_restart_without_data_is_reported_with_node_and_time(own_server: RedisServer) -> None:
    async with pod(own_server.url) as one:
        assert await one.look() == ""
        looked_at = time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
        assert await one.look() == ""
        restart(own_server, saved=False)
        await until_works(one.store.ping)
        told = await one.look()
        assert told.startswith(f"Redis at {own_server.url} lost its counters after {looked_at}")
        assert told.endswith("they began at 0 again")
        assert one.inspection.losses.found == {own_server.url: 1}
        assert await one.look() == told, "it matters for a while"
        assert one.inspection.losses.found == {own_server.url: 1}, "and happened once"


async def test_a_restart_with_all_data_is_not_reported(own_server: RedisServer) -> None:
    async with pod(own_server.url) as one:
        for _ in range(3):
            assert await one.look() == ""
        restart(own_server, saved=True)
        await until_works(one.store.ping)
        assert await one.look() == ""
        assert one.inspection.losses.found == {own_server.url: 0}


async def test_a_restart_with_an_old_snapshot_is_reported(own_server: RedisServer) -> None:
    async with pod(own_server.url) as one:
        assert await one.look() == ""
        with own_server.client() as client:
            client.save()
        assert await one.look() == ""
        restart(own_server, saved=False)
        await until_works(one.store.ping)
        told = await one.look()
        assert told.startswith(f"Redis at {own_server.url} holds an older state than at ")
        assert told.endswith("the newest hits are lost")


async def test_every_pod_reports_a_flush_whichever_looks_first(server: RedisServer, redis: Redis) -> None:
    """The first one makes a new marker; it must not look like the old one to the others."""
    async with pod(server.url) as one, pod(server.url) as other:
        for _ in range(3):
            assert [await one.look(), await other.look()] == ["", ""]
        redis.flushall()
        for _ in range(10):
            assert "lost its counters" in await one.look()
        assert "lost its counters" in await other.look()


async def test_a_second_loss_is_told_again(server: RedisServer, redis: Redis) -> None:
    async with pod(server.url) as one:
        await one.look()
        redis.flushall()
        first = await one.look()
        one.later = 1
        assert await one.look() == first
        redis.flushall()
        second = await one.look()
        assert second not in {"", first}
        assert one.inspection.losses.found == {server.url: 2}


async def test_a_pod_that_starts_afterwards_knows_of_nothing(server: RedisServer, redis: Redis) -> None:
    async with pod(server.url) as one:
        await one.look()
        redis.flushall()
    async with pod(server.url) as other:
        assert await other.look() == ""


@pytest.mark.parametrize(
    ("window", "lasts"), [(1, SHORTEST_SECONDS), (600, None), (86_400 * 30, LONGEST_SECONDS)], ids=str
)
async def test_it_is_over_when_the_windows_are_that_were_open(
    window: int, lasts: int | None, server: RedisServer, redis: Redis
) -> None:
    """Counters of later windows are whole again. The report lasts an hour for a month, and a minute for seconds."""
    async with pod(server.url) as one:
        counted = hit(window=window)
        await one.store.update([counted])
        await one.look()
        redis.flushall()
        assert await one.look() != ""
        left = counted.expires_at - time.time() if lasts is None else lasts
        one.later = left - 10
        assert await one.look() != ""
        one.later = left + 10
        assert await one.look() == ""


async def test_windows_that_were_open_before_the_connection_broke_count(own_server: RedisServer) -> None:
    async with pod(own_server.url) as one:
        counted = hit(window=600)
        await one.store.update([counted])
        await one.look()
        restart(own_server, saved=False)
        await until_works(one.store.ping)
        assert await one.look() != ""
        one.later = counted.expires_at - time.time() - 10
        assert await one.look() != ""


async def test_the_marker_does_not_stay_for_ever_and_is_replaced_in_time(server: RedisServer, redis: Redis) -> None:
    async with pod(server.url, key_prefix="p|") as one:
        assert await one.look() == ""
        (key,) = redis.keys("*marker*")
        assert str(key).startswith("b'p|r1|marker|")
        assert A_WEEK < redis.ttl(key) <= 2 * A_WEEK
        one.later = A_WEEK
        assert await one.look() == ""
        assert len(redis.keys("*marker*")) == 2
        redis.delete(key)
        assert await one.look() == "", "the old one does not matter any more"
        redis.flushall()
        assert await one.look() != ""


@pytest.mark.parametrize("policy", ["allkeys-random", "allkeys-lru"])
async def test_a_marker_that_is_evicted_is_no_loss_of_its_own(own_server: RedisServer, policy: str) -> None:
    """`redis_evicts` says it already."""
    with own_server.client() as client:
        async with pod(own_server.url) as one:
            await one.look()
            client.config_set("maxmemory-policy", policy)
            for n in range(50):
                client.set(f"filler{n}", bytes(100_000))
            used: Any = client.info("memory")["used_memory"]
            client.config_set("maxmemory", used)
            for n in range(50, 100):
                client.set(f"filler{n}", bytes(200_000))
            client.delete(*client.keys("*marker*") or ["x"])
            assert await one.look() == ""


async def test_the_documented_rights_are_enough(own_server: RedisServer) -> None:
    with own_server.client() as client:
        rights = ("~p|*", "+get", "+set", "+incrby", "+expire", "+eval", "+decrby")
        client.execute_command("ACL", "SETUSER", "u", "on", ">p", *rights)
        async with pod(own_server.url.replace("://", "://u:p@"), key_prefix="p|") as one:
            assert await one.look() == ""
            client.flushall()
            assert "lost its counters" in await one.look()


async def test_a_user_without_set_counts_and_nothing_is_reported(own_server: RedisServer) -> None:
    """An INCRBY alone would leave a key without a TTL."""
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "u", "on", ">p", "~*", "+incrby", "+expire")
        async with pod(own_server.url.replace("://", "://u:p@")) as one:
            assert await one.look() == ""
            assert client.keys("*marker*") == []
            assert list(await one.store.update([hit()])) == [1]


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    with running_cluster(RedisCluster(tmp_path, newest_binary())) as started:
        yield started


async def test_a_failover_loses_nothing_unless_the_replica_is_empty(own_cluster: RedisCluster) -> None:
    """The node that takes over is named."""
    first, replica = own_cluster.servers[0], own_cluster.servers[3]
    store = RedisClusterStore(own_cluster.url, **PATIENCE)
    async with aclosing(store):
        await store.ping()
        one = Pod(store)
        assert await one.look() == ""
        assert await one.look() == ""
        take_over(own_cluster, replica)
        await counts_at(store, replica)
        assert await one.look() == ""
        with own_cluster.client(replica) as client:
            # The old primary is its replica now. It starts again with nothing, and gets nothing.
            client.execute_command("ACL", "SETUSER", "default", "-sync", "-psync")
        first.kill()
        first.start()
        assert await one.look() == ""
        take_over(own_cluster, first)
        await counts_at(store, first)
        told = await one.look()
        assert told.startswith(f"Redis at redis://127.0.0.1:{first.port} lost its counters after ")
        assert told.count("lost") == 1, "the others have theirs"


async def counts_at(store: RedisClusterStore, server: RedisServer) -> None:
    """Return when *server* is a primary to *store*: a node that is one no more sends calls on to it."""
    async with asyncio.timeout(PATIENT):
        while f"redis://127.0.0.1:{server.port}" not in store.up:
            await until_works(store.ping)


def take_over(cluster: RedisCluster, replica: RedisServer) -> None:
    """Let *replica* be the primary, whatever the others say."""
    with cluster.client(replica) as client:
        client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
    wait_until(lambda: cluster.owner(0) is replica, "the others know it")
