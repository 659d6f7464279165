"""A command may be sent on more than once: its slot had moved, and is on its way again."""

from collections.abc import AsyncIterator, Iterator

import pytest

from rls.stores.redis import RedisClusterStore
from rls.stores.redis.slots import slot_of
from tests.counters import PATIENT, hit, new_key
from tests.redis_cluster import RedisCluster

KEY = b"{sent on twice}"


@pytest.fixture
async def backend(cluster: RedisCluster) -> AsyncIterator[RedisClusterStore]:
    backend = RedisClusterStore(cluster.url, timeout_seconds=PATIENT, connect_timeout_seconds=PATIENT)
    yield backend
    await backend.aclose()


@pytest.fixture
def slot(cluster: RedisCluster) -> Iterator[int]:
    """Where `KEY` belongs; the slot goes home in the end."""
    cluster.flush()
    slot = slot_of(KEY)
    home = cluster.owner(slot)
    yield slot
    cluster.flush()
    if cluster.owner(slot) is not home:
        cluster.move(slot, home)
    cluster.wait_until_well()


@pytest.mark.parametrize("amount", [1, -1, 0])
async def test_a_command_is_sent_on_twice(
    cluster: RedisCluster, backend: RedisClusterStore, slot: int, amount: int
) -> None:
    """MOVED by the node that is known to have it, ASK by the one that had it until now; whatever kind of hit it is."""
    one = hit(5, KEY + new_key())
    assert list(await backend.update([one])) == [5]
    first, second, third = sorted(cluster.primaries(), key=lambda server: server is not cluster.owner(slot))
    cluster.move(slot, second)
    source = cluster.begin_move(slot, third)
    cluster.move_keys(slot, source, third)
    try:
        assert first is not source is not third
        assert list(await backend.update([one.with_amount(amount)])) == [5 + amount]
    finally:
        cluster.end_move(slot, source, third)
