"""A cluster whose nodes hang, die, are replaced or cannot be reached."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from rls.core.rules import OnBackendError
from rls.core.update import CounterUpdate
from rls.engine.failure_policies import FailurePolicies
from rls.errors import BackendError
from rls.stores.redis import RedisClusterStore
from rls.stores.redis.slots import slot_of
from tests.counters import LOOK_SECONDS, PATIENT, Looks, hit, until, until_works
from tests.redis_cluster import RedisCluster, running_cluster
from tests.redis_server import RedisServer, newest_binary
from tests.stores.redis.test_single_failures import HANGING

Open = Callable[..., Any]
SECOND = 1.0
"""Within which a node that is back is in use again."""


@pytest.fixture(scope="module")
def maltreated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with running_cluster(RedisCluster(tmp_path_factory.mktemp("cluster"), newest_binary())) as started:
        yield started


@pytest.fixture
def own_cluster(maltreated: RedisCluster) -> Iterator[RedisCluster]:
    """A cluster that a test may maltreat; it is made well again."""
    maltreated.flush()
    yield maltreated
    for server in maltreated.servers:
        server.resume()
        if not server.is_running:
            server.start()
    maltreated.wait_until_well()


@pytest.fixture
async def open_backend() -> AsyncIterator[Open]:
    opened: list[RedisClusterStore] = []

    def open_one(url: str, **options: Any) -> Any:
        opened.append(RedisClusterStore(url, **{"timeout_seconds": 1.0, **options}))
        return opened[-1]

    yield open_one
    for backend in opened:
        await backend.aclose()


def one_for_each(cluster: RedisCluster) -> dict[RedisServer, CounterUpdate]:
    """A hit on a counter of each primary."""
    hits: dict[RedisServer, CounterUpdate] = {}
    while len(hits) < 3:
        one = hit()
        hits.setdefault(cluster.owner(slot_of(one.key)), one)
    return hits


async def counts(backend: RedisClusterStore, hits: list[CounterUpdate]) -> list[int | None]:
    try:
        return list(await backend.update(hits))
    except BackendError as error:
        return list(error.counts)


async def test_a_node_that_hangs_costs_its_hits_once_and_no_others(
    own_cluster: RedisCluster, open_backend: Open
) -> None:
    """The first call waits for its timeout, the next ones for nothing; the others' counts are there all the while."""
    backend = open_backend(own_cluster.url, timeout_seconds=0.25)
    hits = one_for_each(own_cluster)
    await until_works(lambda: backend.update(list(hits.values())))
    (hung, lost), *others = hits.items()
    hung.suspend()
    try:
        began = time.monotonic()
        with pytest.raises(BackendError, match=r"no answer within 250 ms$") as caught:
            await backend.update([lost, *(one for _, one in others)])
        assert 0.2 < time.monotonic() - began < HANGING
        assert caught.value.in_doubt
        assert [count is None for count in caught.value.counts] == [True, False, False]
        for _ in range(100):
            with pytest.raises(BackendError) as caught:
                backend.update([lost]).send(None)  # it fails before the loop turns
            assert not caught.value.in_doubt
        assert None not in await counts(backend, [one for _, one in others])
        assert backend.up == {f"redis://127.0.0.1:{server.port}": server is not hung for server in hits}
        with pytest.raises(BackendError) as caught:
            await backend.ping()
        assert sum(count is None for count in caught.value.counts) == 1
    finally:
        hung.resume()
    tried = Looks(lambda: backend.update([lost]))
    await until_works(tried)
    assert tried.count <= SECOND / LOOK_SECONDS


async def test_a_replica_takes_over(own_cluster: RedisCluster, open_backend: Open) -> None:
    """Its slots' hits fail until then, and are counted on from where the replica was."""
    backend = open_backend(own_cluster.url)
    hits = one_for_each(own_cluster)
    for _ in range(5):
        await until_works(lambda: backend.update(list(hits.values())))
    (killed, lost), *others = hits.items()
    with own_cluster.client(killed) as client:
        assert client.wait(1, 5000) == 1
    killed.kill()
    await until(lambda: any(node.error for node in backend._topology.nodes))
    with pytest.raises(BackendError) as caught:
        await backend.update([lost, *(one for _, one in others)])
    assert [count is None for count in caught.value.counts] == [True, False, False]
    await until_works(lambda: backend.update([lost]))
    assert (await backend.update([lost]))[0] >= 7
    assert len(backend._topology.nodes) == 3
    assert own_cluster.without_ttl() == []


async def test_a_cluster_that_dies_is_found_again(own_cluster: RedisCluster, open_backend: Open) -> None:
    """All of it, with all that it counted."""
    backend = open_backend(own_cluster.url)
    hits = list(one_for_each(own_cluster).values())
    await until_works(lambda: backend.update(hits))
    for server in own_cluster.servers:
        server.kill()
    await until(lambda: all(node.error for node in backend._topology.nodes))
    with pytest.raises(BackendError) as caught:
        await backend.update(hits)
    assert list(caught.value.counts) == []
    with pytest.raises(BackendError):
        await backend.ping()
    for server in own_cluster.servers:
        await asyncio.to_thread(server.start)
    await until_works(lambda: backend.update(hits))
    assert own_cluster.without_ttl() == []


async def test_it_starts_without_a_cluster(own_cluster: RedisCluster, open_backend: Open) -> None:
    """Calls fail while there is none, at once after the first, and work as soon as there is."""
    for server in own_cluster.servers:
        server.kill()
    backend = open_backend(own_cluster.url)
    with pytest.raises(BackendError):
        await backend.ping()
    with pytest.raises(BackendError):
        backend.update([hit()]).send(None)
    for server in own_cluster.servers:
        await asyncio.to_thread(server.start)
    await until_works(lambda: backend.update([hit() for _ in range(10)]))


async def test_it_starts_with_a_cluster_that_hangs(own_cluster: RedisCluster, open_backend: Open) -> None:
    """The time to learn the topology and to connect is part of the time that a call waits."""
    for server in own_cluster.servers:
        server.suspend()
    backend = open_backend(own_cluster.url, timeout_seconds=0.05)
    async with asyncio.timeout(HANGING):
        with pytest.raises(BackendError, match=r"no connection within 50 ms$"):
            await backend.update([hit()])
        with pytest.raises(BackendError):
            backend.update([hit()]).send(None)
    for server in own_cluster.servers:
        server.resume()
    await until_works(backend.ping)


async def test_first_hits_that_are_counted_after_all_are_in_doubt(
    own_cluster: RedisCluster, open_backend: Open
) -> None:
    """Nodes answer which slots they have, and count too late. Hits that are in no doubt would be sent again."""
    first = hit()
    for server in own_cluster.servers:
        with own_cluster.client(server) as client:
            client.client_pause(1_250, all=False)
    backend = open_backend(own_cluster.url, timeout_seconds=1.0)
    with pytest.raises(BackendError) as caught:
        await backend.update([first])
    await until_works(lambda: backend.update([first.with_amount(0)]))
    [count] = await backend.update([first.with_amount(0)])
    assert caught.value.in_doubt or not count


async def test_a_node_that_is_announced_where_it_cannot_be_reached_fails_alone(
    own_cluster: RedisCluster, open_backend: Open
) -> None:
    hits = one_for_each(own_cluster)
    (server, lost), *others = hits.items()
    everyone = [own_cluster.client(one) for one in own_cluster.servers]
    with own_cluster.client(server) as client:
        client.config_set("cluster-announce-ip", "127.0.0.9")
        client.config_set("cluster-announce-port", 1)
        try:
            await until(
                lambda: all(b"127.0.0.9:1@" in one.execute_command("CLUSTER", "NODES") for one in everyone),
            )
            backend = open_backend(own_cluster.url)
            await until_works(lambda: backend.update([one for _, one in others]))
            with pytest.raises(BackendError, match=r"127\.0\.0\.9:1"):
                await backend.ping()
            with pytest.raises(BackendError, match=r"127\.0\.0\.9:1") as caught:
                await backend.update([lost, *(one for _, one in others)])
            assert [count is None for count in caught.value.counts] == [True, False, False]
        finally:
            client.config_set("cluster-announce-ip", "")
            client.config_set("cluster-announce-port", 0)
            await until(
                lambda: all(b"127.0.0.9:1@" not in one.execute_command("CLUSTER", "NODES") for one in everyone),
            )
    for one in everyone:
        one.close()
    await until_works(lambda: backend.update([lost]))


async def test_slots_that_nobody_serves_are_told(own_cluster: RedisCluster, open_backend: Open) -> None:
    """A primary and its replica are gone: the others say CLUSTERDOWN, and are alive."""
    backend = open_backend(own_cluster.url)
    hits = one_for_each(own_cluster)
    await until_works(lambda: backend.update(list(hits.values())))
    (killed, lost), (_, other), _ = hits.items()
    with own_cluster.client(killed) as client:
        replication: Any = client.info("replication")
    for server in own_cluster.servers:
        if server is killed or server.port == replication["slave0"]["port"]:
            server.kill()
    errors = set[str]()

    async def is_down() -> bool:
        try:
            await backend.update([other])
        except BackendError as error:
            errors.add(str(error))
        return any(": CLUSTERDOWN" in text for text in errors)

    async def cannot_be_reached() -> bool:
        """Not before both that are alive have found it down: each does so for itself."""
        try:
            await backend.ping()
        except BackendError as error:
            return not error.counts
        return False

    deadline = time.monotonic() + PATIENT
    while not (await is_down() and await cannot_be_reached()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await until(lambda: sum("CLUSTERDOWN" in str(node.error) for node in backend._topology.nodes) == 2)
    for hits_of_one in ([lost], [other]):
        with pytest.raises(BackendError):
            await backend.update(hits_of_one)
    with pytest.raises(BackendError):
        await backend.ping()


@pytest.mark.parametrize("cause", ["min-replicas-to-write", "maxmemory"])
async def test_a_primary_that_refuses_writes_is_gone_alone(
    own_cluster: RedisCluster, open_backend: Open, cause: str
) -> None:
    """Although nobody calls for its counters: the backend is not said to be back before it is."""
    backend = open_backend(own_cluster.url)
    told: list[str] = []
    policies = FailurePolicies(backend, default=OnBackendError.LOCAL, on_change=told.append)
    hits = one_for_each(own_cluster)
    await until_works(lambda: backend.update(list(hits.values())))
    (full, lost), *others = hits.items()
    with own_cluster.client(full) as client:
        client.config_set(cause, 5)
        try:
            with pytest.raises(BackendError, match=r"NOREPLICAS|OOM") as caught:
                await policies.ping()
            assert sum(count is None for count in caught.value.counts) == 1
            await until(
                lambda: backend.up == {f"redis://127.0.0.1:{server.port}": server is not full for server in hits}
            )
            with pytest.raises(BackendError, match=r"NOREPLICAS|OOM"):
                backend.update([lost]).send(None)  # it fails before the loop turns
            began = time.monotonic()
            while time.monotonic() < began + 1.5 * SECOND:
                assert None not in await counts(backend, [one for _, one in others])
                await asyncio.sleep(0.02)
            assert told == [policies.reason]
        finally:
            client.config_set(cause, 0)
    await until(lambda: not policies.reason)
    assert told[1:] == [""]
    assert list(await backend.update([lost])) == [2]
    await policies.aclose()


async def test_a_primary_that_hands_over_to_its_replica_is_no_outage(
    own_cluster: RedisCluster, open_backend: Open
) -> None:
    """What was a primary sends its calls on, and is not asked again."""
    backend = open_backend(own_cluster.url)
    hits = one_for_each(own_cluster)
    await until_works(lambda: backend.update(list(hits.values())))
    (first, moved), *_ = hits.items()
    with own_cluster.client(first) as client:
        replication: Any = client.info("replication")
    heir = next(one for one in own_cluster.servers if one.port == replication["slave0"]["port"])
    with own_cluster.client(heir) as client:
        client.execute_command("CLUSTER", "FAILOVER")
    await until(lambda: heir in own_cluster.primaries())
    await until_works(lambda: backend.update([moved]))
    await until_works(backend.ping)
    await until(lambda: f"redis://127.0.0.1:{heir.port}" in backend.up)
    await until(lambda: all(backend.up.values()))
    assert len(backend.up) == 3


@pytest.mark.parametrize("state", ["starting", "well", "down"])
async def test_closing_ends_all(own_cluster: RedisCluster, open_backend: Open, state: str) -> None:
    backend = open_backend(own_cluster.url)
    if state != "starting":
        await until_works(backend.ping)
    if state != "well":
        for server in own_cluster.servers:
            server.suspend()
    calls = [asyncio.create_task(backend.update([hit() for _ in range(5)])) for _ in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(0.5):  # less than calls wait, and than an attempt to connect takes
        await backend.aclose()
        await backend.aclose()
        await asyncio.wait(calls)
    # Where all is well the answers may be quicker than the closing.
    assert {type(call.exception()) for call in calls} <= {BackendError, *([type(None)] if state == "well" else [])}
