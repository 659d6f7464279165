"""A Redis that answers and refuses writes is gone, until a write has succeeded."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from rls.core.rules import OnBackendError
from rls.engine.failure_policies import FailurePolicies
from rls.errors import BackendError, CounterRefused
from rls.stores.redis import RedisStore
from tests.counters import hit, until, until_works
from tests.redis_server import RedisServer
from tests.stores.conftest import Connect

LONG_ENOUGH = 1.5
"""Seconds after which one that is back has been said to be back."""


@contextmanager
def full(client: Redis, _: Path) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    yield
    client.config_set("maxmemory", 0)


@contextmanager
def without_replicas(client: Redis, _: Path) -> Iterator[None]:
    client.config_set("min-replicas-to-write", 1)
    yield
    client.config_set("min-replicas-to-write", 0)


@contextmanager
def replica(client: Redis, _: Path) -> Iterator[None]:
    client.replicaof("127.0.0.1", "1")
    yield
    client.replicaof("NO", "ONE")


@contextmanager
def disk_fails(client: Redis, directory: Path) -> Iterator[None]:
    """What is saved cannot be put in its place."""
    (directory / "dump.rdb").mkdir()
    client.config_set("save", "3600 1000000")
    client.bgsave()
    wait_until_saved(client)
    yield
    client.config_set("save", "")


@contextmanager
def without_right_to_count(client: Redis, _: Path) -> Iterator[None]:
    client.execute_command("ACL", "SETUSER", "default", "-incrby")
    yield
    client.execute_command("ACL", "SETUSER", "default", "+incrby")


@contextmanager
def without_right_to_keys(client: Redis, _: Path) -> Iterator[None]:
    client.execute_command("ACL", "SETUSER", "default", "resetkeys", "~other*")
    yield
    client.execute_command("ACL", "SETUSER", "default", "allkeys")


CAUSES = {
    "OOM": full,
    "NOREPLICAS": without_replicas,
    "READONLY": replica,
    "MISCONF": disk_fails,
    "incrby": without_right_to_count,
    "NOPERM": without_right_to_keys,
}


def wait_until_saved(client: Redis) -> None:
    deadline = time.monotonic() + 20
    persistence: Any = client.info("persistence")
    while persistence["rdb_bgsave_in_progress"] or persistence["rdb_last_bgsave_status"] != "err":
        assert time.monotonic() < deadline
        time.sleep(0.01)
        persistence = client.info("persistence")


class Watched:
    """Policies of a backend, and what they told."""

    def __init__(self, backend: RedisStore) -> None:
        self.told: list[str] = []
        self.policies = FailurePolicies(backend, default=OnBackendError.LOCAL, on_change=self.told.append)


@pytest.fixture
async def watch() -> AsyncIterator[Callable[[RedisStore], Watched]]:
    async with AsyncExitStack() as stack:

        def one(backend: RedisStore) -> Watched:
            watched = Watched(backend)
            stack.push_async_callback(watched.policies.aclose)
            return watched

        yield one


@pytest.mark.parametrize("cause", CAUSES)
async def test_it_is_gone_until_a_write_has_succeeded(
    own_server: RedisServer, connect: Connect, watch: Callable[[RedisStore], Watched], tmp_path: Path, cause: str
) -> None:
    """Without traffic as with it, told once when it goes and once when it is back, and no call asks it in vain."""
    backend = connect(own_server.url)
    watched = watch(backend)
    one = hit()
    await backend.update([one])
    with own_server.client() as client:
        with CAUSES[cause](client, tmp_path):
            with pytest.raises(BackendError, match=cause):
                await watched.policies.ping()
            await until(lambda: not any(backend.up.values()))
            began, before = time.monotonic(), rejected(client)
            for _ in range(200):
                with pytest.raises(BackendError, match=cause):
                    backend.update([one]).send(None)  # before the loop turns
            await asyncio.sleep(LONG_ENOUGH)
            with pytest.raises(BackendError, match=cause):
                await watched.policies.ping()
            # A write of its own five times a second, of which each may be refused twice.
            assert 0 < rejected(client) - before <= 2 * (2 + 5 * (time.monotonic() - began))
            assert watched.told == [watched.policies.reason]
            assert cause in watched.policies.reason
        await until(lambda: not watched.policies.reason)
    assert watched.told[1:] == [""]
    assert all(backend.up.values())
    assert list(await backend.update([one])) == [2]
    await asyncio.sleep(LONG_ENOUGH)
    assert len(watched.told) == 2


def rejected(client: Redis) -> int:
    """Writes that were refused."""
    stats: Any = client.info("commandstats")
    counting = [stats.get(f"cmdstat_{name}", {}) for name in ("set", "incrby")]
    return sum(found.get("rejected_calls", 0) + found.get("failed_calls", 0) for found in counting)


async def test_it_is_gone_from_the_start(own_server: RedisServer, connect: Connect) -> None:
    """Before there was any call."""
    with own_server.client() as client, without_replicas(client, Path()):
        backend = connect(own_server.url)
        with pytest.raises(BackendError, match="NOREPLICAS"):
            await backend.ping()
    await until_works(backend.ping)


async def test_a_call_that_is_refused_is_enough(own_server: RedisServer, connect: Connect) -> None:
    """Nobody needs to ping it, and nobody needs to until it is back."""
    backend = connect(own_server.url)
    one = hit()
    await backend.update([one])
    with own_server.client() as client, full(client, Path()):
        with pytest.raises(BackendError, match="OOM"):
            await backend.update([one])
        await until(lambda: backend.up == {own_server.url: False})
    await until(lambda: backend.up == {own_server.url: True})
    assert list(await backend.update([one])) == [2]


@pytest.mark.parametrize("kind", ["list", "text", "overflow"])
async def test_one_counter_takes_no_node_down(server: RedisServer, redis: Redis, connect: Connect, kind: str) -> None:
    backend, good, odd = connect(server.url), hit(), hit()
    if kind == "list":
        redis.rpush(odd.key, "x")
    else:
        redis.set(odd.key, "x" if kind == "text" else 2**63 - 1)
    for n in range(1, 20):
        with pytest.raises(CounterRefused, match=r"WRONGTYPE|not an integer|overflow"):
            await backend.update([odd])
        assert list(await backend.update([good])) == [n]
    assert all(backend.up.values())
    await backend.ping()


@pytest.mark.parametrize("right", ["get", "eval"])
async def test_one_right_less_takes_no_node_down(own_server: RedisServer, connect: Connect, right: str) -> None:
    """Looking or giving back is refused then; counting is not, and goes on."""
    backend, one = connect(own_server.url), hit()
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", f"-{right}")
    for n in range(1, 20):
        assert list(await backend.update([one])) == [n]
        with pytest.raises(CounterRefused, match=rf"(?i)NOPERM.*{right}"):
            await backend.update([one.with_amount(0 if right == "get" else -1)])
    assert all(backend.up.values())
    await backend.ping()


async def test_a_password_that_was_changed_under_an_open_connection(own_server: RedisServer, connect: Connect) -> None:
    """The connection holds until it is cut. From then on Redis is gone, and what it says is told."""
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "rls", "on", ">old", "allcommands", "allkeys")
        backend = connect(own_server.url.replace("://", "://rls:old@"))
        await backend.ping()
        client.execute_command("ACL", "SETUSER", "rls", "resetpass", ">new")
        await backend.ping()
        client.client_kill_filter(user="rls")
        await until(lambda: "WRONGPASS" in str(backend._node.error))
        with pytest.raises(BackendError, match="WRONGPASS"):
            await backend.ping()
        client.execute_command("ACL", "SETUSER", "rls", "resetpass", ">old")
    await until_works(backend.ping)


async def test_a_user_that_is_no_more_is_gone(own_server: RedisServer, connect: Connect) -> None:
    """Redis cuts its connections."""
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "rls", "on", ">old", "allcommands", "allkeys")
        backend = connect(own_server.url.replace("://", "://rls:old@"))
        await backend.ping()
        client.execute_command("ACL", "DELUSER", "rls")
        await until(lambda: not any(backend.up.values()))
        client.execute_command("ACL", "SETUSER", "rls", "on", ">old", "allcommands", "allkeys")
    await until_works(backend.ping)
