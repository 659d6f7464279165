"""A cluster that is well: who is asked what, and what becomes of slots that move."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.redis import RedisClusterStore
from rls.stores.redis.slots import slot_of
from tests.counters import PATIENT, hit, new_key, until
from tests.redis_cluster import RedisCluster
from tests.redis_server import RedisServer

Open = Callable[..., Any]


@pytest.fixture
async def open_backend() -> AsyncIterator[Open]:
    """Opens backends, patient ones unless told otherwise; they are closed in the end."""
    opened: list[RedisClusterStore] = []

    def open_one(url: str, **options: Any) -> Any:
        options = {"timeout_seconds": PATIENT, "connect_timeout_seconds": PATIENT, **options}
        opened.append(RedisClusterStore(url, **options))
        return opened[-1]

    yield open_one
    for backend in opened:
        await backend.aclose()


@pytest.fixture
async def backend(cluster: RedisCluster, open_backend: Open) -> RedisClusterStore:
    """One that knows the cluster, which has no keys and statistics yet."""
    cluster.flush()
    backend: RedisClusterStore = open_backend(cluster.url)
    await backend.ping()
    reset(cluster)
    return backend


def reset(cluster: RedisCluster) -> None:
    for server in cluster.servers:
        with cluster.client(server) as client:
            client.config_resetstat()


def commands(cluster: RedisCluster, server: RedisServer) -> dict[str, int]:
    """How often *server* got each command since the statistics began; those that come as one script are not counted."""
    with cluster.client(server) as client:
        stats: Any = client.info("commandstats")
    sent = {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}
    return {name: sent[name] for name in ("set", "incrby", "asking", "cluster|slots") if name in sent}


def total(cluster: RedisCluster, name: str) -> int:
    """Without replicas, to which all writes come as well."""
    return sum(commands(cluster, server).get(name, 0) for server in cluster.primaries())


@pytest.fixture
def moved(cluster: RedisCluster) -> Iterator[Callable[[bytes], tuple[int, RedisServer, RedisServer]]]:
    """Puts the slot of a key on its way to another node; what was begun ends, and goes back, in the end."""
    with ExitStack() as stack:

        def begin(key: bytes) -> tuple[int, RedisServer, RedisServer]:
            slot = slot_of(key)
            target = next(server for server in cluster.primaries() if server is not cluster.owner(slot))
            source = cluster.begin_move(slot, target)
            stack.callback(give_back, slot, source, target)
            return slot, source, target

        def give_back(slot: int, source: RedisServer, target: RedisServer) -> None:
            cluster.move_keys(slot, source, target)
            cluster.end_move(slot, source, target)
            cluster.flush()
            cluster.move(slot, source)
            cluster.wait_until_well()

        yield begin


async def test_a_node_gets_one_write_however_many_counters(cluster: RedisCluster, backend: RedisClusterStore) -> None:
    """All nodes are written to before any is waited for: one round trip, however many descriptors."""
    hits = [hit() for _ in range(30)]
    call = asyncio.create_task(backend.update(hits))
    await asyncio.sleep(0)
    sent = [node.sender.in_flight or node.sender.next_batch for node in backend._topology.nodes]
    assert [pending.is_scheduled and not pending.is_answered for pending in sent] == [True] * 3
    assert sum(len(pending.batch) for pending in sent) == 30
    assert list(await call) == [1] * 30


async def test_every_counter_is_one_command_on_its_own_node(cluster: RedisCluster, backend: RedisClusterStore) -> None:
    hits = [hit() for _ in range(12)]
    counts = await asyncio.gather(*(backend.update(hits) for _ in range(50)))
    assert [list(count) for count in counts] == [[n] * 12 for n in range(1, 51)]
    assert (total(cluster, "set"), total(cluster, "incrby")) == (12, 12)
    for server in cluster.primaries():
        owned = sum(cluster.owner(slot_of(one.key)) is server for one in hits)
        assert commands(cluster, server).get("incrby", 0) == owned


async def test_a_slot_that_moved_is_followed_and_looked_up_once(
    cluster: RedisCluster, backend: RedisClusterStore, moved: Callable[[bytes], tuple[int, RedisServer, RedisServer]]
) -> None:
    """Not an error, not a hit lost, and not one question for each of the commands."""
    hits = [hit(1, b"{moved}%b" % new_key()) for _ in range(20)] + [hit()]
    assert list(await backend.update(hits)) == [1] * 21
    slot, source, target = moved(b"{moved}")
    cluster.move_keys(slot, source, target)
    cluster.end_move(slot, source, target)
    reset(cluster)
    counts = await asyncio.gather(*(backend.update(hits) for _ in range(10)))
    assert [list(count) for count in counts] == [[n] * 21 for n in range(2, 12)]
    assert total(cluster, "cluster|slots") <= 1
    await until(lambda: total(cluster, "cluster|slots") == 1)
    before = commands(cluster, source).get("incrby", 0)
    assert list(await backend.update(hits[:20])) == [12] * 20
    assert commands(cluster, source).get("incrby", 0) == before
    assert cluster.without_ttl() == []


async def test_a_slot_that_is_on_its_way_is_followed(
    cluster: RedisCluster, backend: RedisClusterStore, moved: Callable[[bytes], tuple[int, RedisServer, RedisServer]]
) -> None:
    """Counters that are there already, that are not yet, and that there are nowhere: none is lost, none counted twice."""
    there, not_yet, nowhere = [[hit(1, b"{asked}%b" % new_key()) for _ in range(15)] for _ in range(3)]
    hits = there + not_yet + nowhere
    await backend.update(there)
    slot, source, target = moved(b"{asked}")
    cluster.move_keys(slot, source, target)
    with cluster.client(source) as client:  # as if it had been made before the move began
        client.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
        await backend.update(not_yet)
        client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))
    reset(cluster)
    for n in range(1, 4):
        assert list(await backend.update(hits)) == [n + 1] * 30 + [n] * 15
    assert list(await backend.update([hits[0].with_amount(-2), hits[-1].with_amount(-9)])) == [2, 0]
    assert total(cluster, "asking") > 0
    assert total(cluster, "cluster|slots") == 0
    cluster.move_keys(slot, source, target)
    cluster.end_move(slot, source, target)
    assert list(await backend.update(hits)) == [3] + [5] * 29 + [4] * 14 + [1]
    assert cluster.without_ttl() == []


async def test_two_backends_let_exactly_the_limit_pass_while_slots_move(
    cluster: RedisCluster, open_backend: Open, moved: Callable[[bytes], tuple[int, RedisServer, RedisServer]]
) -> None:
    """Back and forth, under concurrency: each count is given out once."""
    cluster.flush()
    backends = [open_backend(cluster.url) for _ in range(2)]
    one = hit(1, b"{both}%b" % new_key())
    moving = True

    async def client(backend: RedisClusterStore) -> list[int]:
        counts: list[int] = []
        while moving or len(counts) < 100:
            counts += await backend.update([one, hit()])
            assert counts.pop() == 1
        return counts

    clients = [asyncio.create_task(client(backend)) for backend in backends for _ in range(4)]
    slot, source, target = await asyncio.to_thread(moved, b"{both}")
    await asyncio.to_thread(cluster.move_keys, slot, source, target)
    await asyncio.to_thread(cluster.end_move, slot, source, target)
    await asyncio.to_thread(cluster.move, slot, source)
    await asyncio.to_thread(cluster.move, slot, target)
    moving = False
    counts = sorted(count for counts in await asyncio.gather(*clients) for count in counts)
    assert counts == list(range(1, len(counts) + 1))
    assert sum(count <= 100 for count in counts) == 100
    assert cluster.without_ttl() == []


async def test_records_and_lists_follow_slots_that_move(
    cluster: RedisCluster, backend: RedisClusterStore, moved: Callable[[bytes], tuple[int, RedisServer, RedisServer]]
) -> None:
    """While a slot is on its way, and when it has come, before the backend has heard of it."""
    cluster.flush()
    name = b"record{%b}" % new_key()
    key = b"r1|" + name
    assert await backend.replace_record(name, None, b"1", 60)
    slot, source, target = await asyncio.to_thread(moved, key)
    await asyncio.to_thread(cluster.move_keys, slot, source, target)
    assert await backend.load_record(name) == b"1"
    assert await backend.replace_record(name, b"1", b"2", 60)
    await asyncio.to_thread(cluster.end_move, slot, source, target)
    assert not await backend.replace_record(name, b"1", b"3", 60)
    assert await backend.load_record(name) == b"2"
    await backend.update([hit(1, key + b"|of a rule"), hit(2, b"elsewhere|%b" % key)])
    assert dict((await backend.list_counters(key + b"|", 10)).counts) == {key + b"|of a rule": 1}


async def test_two_nodes_that_both_send_it_away_are_not_asked_for_ever(
    cluster: RedisCluster, backend: RedisClusterStore, moved: Callable[[bytes], tuple[int, RedisServer, RedisServer]]
) -> None:
    """Sent back and forth between who has no slot any more and who does not know that it has it."""
    one = hit(1, b"{loop}%b" % new_key())
    slot = slot_of(one.key)
    target = next(server for server in cluster.primaries() if server is not cluster.owner(slot))
    with cluster.client(cluster.owner(slot)) as giving:
        giving.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))
        try:
            with pytest.raises(BackendError, match=r"MOVED|ASK"):
                await backend.update([one])
        finally:
            giving.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
    assert list(await backend.update([one])) == [1]


async def test_nodes_that_do_not_tell_their_host_are_found(cluster: RedisCluster, open_backend: Open) -> None:
    """A cluster behind an address that it does not know announces ports only."""
    clients = [cluster.client(server) for server in cluster.servers]
    try:
        for client in clients:
            client.config_set("cluster-preferred-endpoint-type", "unknown-endpoint")
        backend = open_backend(cluster.url)
        hits = [hit() for _ in range(10)]
        assert list(await backend.update(hits)) == [1] * 10
    finally:
        for client in clients:
            client.config_set("cluster-preferred-endpoint-type", "ip")
            client.close()


async def test_any_node_that_answers_is_enough_to_begin_with(cluster: RedisCluster, open_backend: Open) -> None:
    """A replica, too; the others that the URL names may be gone."""
    replica = cluster.servers[-1]
    backend = open_backend(f"redis+cluster://127.0.0.1:1,127.0.0.1:{replica.port}")
    assert list(await backend.update([hit() for _ in range(10)])) == [1] * 10


async def test_a_call_may_be_cancelled_between_nodes(cluster: RedisCluster, backend: RedisClusterStore) -> None:
    """It takes no other with it, on any of the nodes that they share."""
    hits: Sequence[CounterUpdate] = [hit() for _ in range(9)]
    calls = [asyncio.create_task(backend.update(hits)) for _ in range(6)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.wait(calls)
    assert sorted(call.result()[0] for call in calls[1::2]) == [2, 4, 6]


async def test_routes_are_bounded(cluster: RedisCluster, backend: RedisClusterStore) -> None:
    backend._topology._known_routes = 50
    for _ in range(20):
        await backend.update([hit(0) for _ in range(10)])
    assert len(backend._topology.routes) <= 50


async def test_the_node_of_a_counter_is_the_one_that_has_it(cluster: RedisCluster, backend: RedisClusterStore) -> None:
    updates = [hit() for _ in range(30)]
    await backend.update(updates)
    nodes: dict[bytes, str] = {}
    for server in cluster.primaries():
        with cluster.client(server) as client:
            nodes |= dict.fromkeys(client.keys(), f"redis://127.0.0.1:{server.port}")
    found = {update.key: backend.node_of(update) for update in updates}
    assert found == {key: nodes[key] for key in found}
    assert len(set(found.values())) == 3
