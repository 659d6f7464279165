"""Every scenario on every backend, with and without the memory of what is over its limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from rls.core.pseudonyms import Pseudonyms
from rls.stores.base import CounterStore
from rls.stores.memory import MemoryStore
from rls.stores.redis import RedisClusterStore, RedisSentinelStore, RedisStore
from rls.tools.rule_tests.grammar import RuleTest, read_tests
from rls.tools.rule_tests.play import Player
from tests.redis_cluster import RedisCluster
from tests.redis_sentinel import Sentinels
from tests.redis_server import redis_server

FILES = sorted(Path(__file__).parent.joinpath("scenarios").glob("*.yaml"))
# Redis measures a counter's life by its own clock, so a scenario's counters must outlive the time that it takes.
SLACK = 3600
# The settings refuse digests in compatible names.
HIDDEN = [path for path in FILES if "key_format: compat" not in path.read_text()]
UNSEEN = ("keys", "label", "metadata")
"""What digests change."""

scenarios = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
caches = pytest.mark.parametrize("over_limit_cache", [False, True], ids=["counted", "remembered"])


def scenario(path: Path) -> RuleTest:
    (test,) = read_tests(str(path), path.read_bytes()).tests
    return test


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@scenarios
@caches
async def test_in_memory(path: Path, over_limit_cache: bool, tmp_path: Path) -> None:
    """Counted in this process, a scenario comes out as it says."""
    player = Player(scenario(path), tmp_path)
    assert await player.play(MemoryStore(clock=player.clock), over_limit_cache=over_limit_cache) == []


@pytest.mark.parametrize("path", HIDDEN, ids=[path.stem for path in HIDDEN])
@caches
async def test_with_hidden_values(path: Path, over_limit_cache: bool, tmp_path: Path) -> None:
    """Limits are the same where digests stand for values: each value has one counter still."""
    player = Player(scenario(path), tmp_path, hide=Pseudonyms(bytes(16)).hide, unseen=UNSEEN)
    assert await player.play(MemoryStore(clock=player.clock), over_limit_cache=over_limit_cache) == []


@scenarios
@caches
async def test_in_redis(path: Path, over_limit_cache: bool, tmp_path: Path, redis_port: int) -> None:
    """Counted in a real Redis, a scenario comes out as it says."""
    with Redis(port=redis_port) as redis:
        redis.flushall()
    await play(partial(RedisStore, f"redis://127.0.0.1:{redis_port}"), path, over_limit_cache, tmp_path)


@scenarios
@caches
async def test_in_a_cluster(path: Path, over_limit_cache: bool, tmp_path: Path, cluster: RedisCluster) -> None:
    """Counted in a real cluster, a scenario comes out as it says."""
    cluster.flush()
    await play(partial(RedisClusterStore, cluster.url), path, over_limit_cache, tmp_path)


@scenarios
@caches
async def test_behind_sentinels(path: Path, over_limit_cache: bool, tmp_path: Path, sentinels: Sentinels) -> None:
    """Counted in the primary that sentinels find, a scenario comes out as it says."""
    with sentinels.client(sentinels.primary()) as redis:
        redis.flushall()
    await play(partial(RedisSentinelStore, sentinels.url), path, over_limit_cache, tmp_path)


async def play(open_backend: Callable[..., CounterStore], path: Path, over_limit_cache: bool, folder: Path) -> None:
    player = Player(scenario(path), folder)
    backend = open_backend(timeout_seconds=10, clock=lambda: player.clock() - SLACK)
    try:
        assert await player.play(backend, over_limit_cache=over_limit_cache) == []
    finally:
        await backend.aclose()
