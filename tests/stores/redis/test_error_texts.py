"""A backend that cannot be used says why, and what to change in its URL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rls.errors import BackendError, TimedOut
from rls.stores.redis import RedisClusterStore, RedisSentinelStore, RedisStore
from rls.stores.redis.error_texts import cause
from tests.counters import hit, until_works
from tests.redis_cluster import RedisCluster
from tests.redis_server import DEADLINE, RedisServer
from tests.stores.redis.tls import Certified, tls_in_front_of

Open: TypeAlias = Callable[[str], Any]
KINDS: dict[str, Any] = {"redis+cluster": RedisClusterStore, "redis+sentinel": RedisSentinelStore}


@pytest.fixture
async def connect() -> AsyncIterator[Open]:
    """Opens backends, with the time limits that are the default; they are closed in the end."""
    async with AsyncExitStack() as stack:

        def open_backend(url: str) -> Any:
            backend = KINDS.get(url.partition(":")[0], RedisStore)(url)
            stack.push_async_callback(backend.aclose)
            return backend

        yield open_backend


async def failure(backend: Any) -> str:
    """What it says once it has had the time to find out."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            await backend.ping()
        except TimedOut:
            await asyncio.sleep(0.01)
        except BackendError as error:
            return str(error)
        else:
            await asyncio.sleep(0.01)
    pytest.fail("it works, or does not say why not")


async def outcomes(backend: Any) -> set[str]:
    """What thirty hits on one counter end with, "" where they are counted; but for those that a busy machine made late."""
    found = set()
    for _ in range(30):
        try:
            await backend.update([hit()])
        except TimedOut:
            continue
        except BackendError as error:
            found.add(str(error))
        else:
            found.add("")
    return found


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("AUTH was refused: WRONGPASS invalid username-password pair", "correct the user and the password in the URL"),
        ("AUTH was refused: ERR invalid password", "correct the user and the password in the URL"),
        ("NOAUTH Authentication required.", "give the user and the password in the URL"),
        ("AUTH was refused: ERR Client sent AUTH, but no password is set", "remove the password from the URL"),
        ("ERR unknown command `SENTINEL`, with args", "this is no sentinel"),
        ("ERR unknown command 'INCRBY', with args", "if this is a sentinel"),
        ("ERR This instance has cluster support disabled", "this is no node of a cluster"),
        ("SELECT 99 was refused: ERR invalid DB index", "correct the number of the database"),
    ],
)
def test_what_a_server_says_has_a_remedy(said: str, advice: str) -> None:
    text = cause("redis://h:1", said)
    assert text.startswith(f"Redis at redis://h:1: {said.rstrip('.')}; {advice}")


@pytest.mark.parametrize("said", ["Connection refused", "LOADING Redis is loading", "OOM command not allowed"])
def test_where_the_url_is_not_at_fault_there_is_none(said: str) -> None:
    assert cause("redis://h:1", said) == f"Redis at redis://h:1: {said}"


async def test_tls_on_a_port_without_it(server: RedisServer, connect: Open) -> None:
    backend = connect(server.url.replace("redis:", "rediss:"))
    text = await failure(backend)
    assert "does not answer TLS within 0.5 s" in text
    assert text.endswith("if this port does not speak TLS, let the URL begin with `redis` and not `rediss`")


async def test_no_tls_on_a_port_with_it(server: RedisServer, connect: Open, tmp_path: Path) -> None:
    async with tls_in_front_of(server.port, Certified(tmp_path).context) as port:
        text = await failure(connect(f"redis://127.0.0.1:{port}"))
        assert text.endswith("if this port speaks TLS, let the URL begin with `rediss` and not `redis`")
        text = await failure(connect(f"rediss://127.0.0.1:{port}"))
        assert text.endswith("name the authority that signed its certificate in the URL: `?ssl_ca_certs=FILE`")


async def test_one_node_of_a_cluster(cluster: RedisCluster, connect: Open) -> None:
    """It would refuse two counters of three; the URL of a cluster is named for any of its nodes, replicas too."""
    for server in cluster.servers[0], cluster.servers[-1]:
        backend = connect(server.url)
        text = (
            f"Redis at {server.url}: this is a node of a Redis Cluster: let the URL begin with `redis+cluster://` "
            "(`rediss+cluster://` with TLS)"
        )
        assert await failure(backend) == text
        assert await outcomes(backend) <= {text}


async def test_a_node_of_a_cluster_that_may_not_be_asked(cluster: RedisCluster, connect: Open) -> None:
    """Without a name it is not asked what it is: its first refusal says so."""
    backend = connect(cluster.servers[0].url + "?client_name=")
    await failure(backend)
    (text,) = await outcomes(backend) - {""}
    assert "let the URL begin with `redis+cluster://`" in text


async def test_a_cluster_of_one_node_is_used_like_a_server(own_server: RedisServer, connect: Open) -> None:
    """As is a server that has no CLUSTER at all."""
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-cluster")
    await until_works(connect(own_server.url).ping)


async def test_a_server_in_the_place_of_a_cluster_or_a_sentinel(server: RedisServer, connect: Open) -> None:
    text = await failure(connect(server.url.replace("redis:", "redis+cluster:")))
    assert "this is no node of a cluster" in text
    text = await failure(connect(server.url.replace("redis:", "redis+sentinel:") + "/name"))
    assert "this is no sentinel" in text


async def test_a_server_that_worked_gets_no_advice_on_tls(own_server: RedisServer, connect: Open) -> None:
    """Its URL was right."""
    backend = connect(own_server.url)
    await until_works(backend.ping)
    own_server.kill()
    assert "TLS" not in await failure(backend)
