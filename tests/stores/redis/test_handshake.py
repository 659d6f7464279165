"""What is said first on a connection, and what becomes of it where Redis refuses that."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rls.errors import BackendError
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.handshake import greet
from tests.counters import hit, until_works
from tests.redis_server import RedisServer, running
from tests.stores.conftest import KINDS, Connect, binary


def names(server: RedisServer) -> set[str]:
    with server.client() as client:
        return {one["name"] for one in client.client_list() if one["name"]}


def calls(server: RedisServer, command: str) -> int:
    with server.client() as client:
        stats: Any = client.info("commandstats")
        found = stats.get(f"cmdstat_{command}", {})
        return int(found.get("calls", 0) + found.get("rejected_calls", 0))


@pytest.fixture(params=KINDS)
def nameless(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server without CLIENT."""
    config = tmp_path / "redis.conf"
    config.write_text('rename-command CLIENT ""\n')
    with running(RedisServer(tmp_path, binary(request.param), config=config)) as server:
        yield server


@pytest.mark.parametrize("query", ["", "?client_name=", "?client_name=other"])
async def test_a_server_without_client_counts(nameless: RedisServer, connect: Connect, query: str) -> None:
    backend = connect(nameless.url + query)
    assert list(await backend.update([hit()])) == [1]
    await backend.ping()


async def test_a_user_without_client_counts(own_server: RedisServer, connect: Connect) -> None:
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "rls", "on", ">p", "~r1|*", "+set", "+incrby")
    backend = connect(own_server.url.replace("://", "://rls:p@"))
    assert list(await backend.update([hit()])) == [1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", {"rls"}), ("?client_name=gateway-7", {"gateway-7"}), ("?client_name=", set()), ("?client_name=a%20b", set())],
)
async def test_its_name(server: RedisServer, connect: Connect, query: str, expected: set[str]) -> None:
    """One that Redis does not take is none."""
    backend = connect(server.url + query)
    await backend.ping()
    assert names(server) == expected
    assert bool(calls(server, "client|setname")) == (query != "?client_name=")


@pytest.mark.parametrize(
    ("rights", "text"),
    [("+auth", r"SELECT 3 was refused: NOPERM"), ("+select", r"SELECT 99 was refused: ERR .*out of range")],
)
async def test_a_database_that_is_refused_is_told(
    own_server: RedisServer, connect: Connect, rights: str, text: str
) -> None:
    """What counts in another one would count what is somebody else's."""
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "rls", "on", ">p", "~r1|*", "+set", "+incrby", rights)
        number = 3 if rights == "+auth" else 99
        backend = connect(own_server.url.replace("://", "://rls:p@") + f"/{number}")
        with pytest.raises(BackendError, match=rf"^Redis at {own_server.url}/{number}: {text}"):
            await backend.ping()
        assert client.dbsize() == 0


async def test_a_database_that_is_not_asked_for_needs_no_select(own_server: RedisServer, connect: Connect) -> None:
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-select", "-client")
        backend = connect(own_server.url + "/0")
        await backend.ping()
        client.execute_command("ACL", "SETUSER", "default", "+@all")


async def test_a_password_for_a_server_that_has_none_is_told(own_server: RedisServer, connect: Connect) -> None:
    """It may be another server than was meant."""
    backend = connect(own_server.url.replace("://", "://:secret@"))
    with pytest.raises(BackendError, match=r"AUTH was refused: ERR .*without any password configured") as caught:
        await backend.ping()
    assert "secret" not in str(caught.value)


async def test_a_server_that_is_asked_without_a_password_says_so(own_server: RedisServer, connect: Connect) -> None:
    """Whether or not the connection gets a name."""
    with own_server.client() as client:
        client.config_set("requirepass", "secret")
    for query in ("", "?client_name="):
        backend = connect(own_server.url + query)
        with pytest.raises(BackendError, match="NOAUTH Authentication required"):
            await backend.ping()


async def test_a_server_that_takes_no_more_clients_says_so(own_server: RedisServer, connect: Connect) -> None:
    with own_server.client() as client:
        client.ping()
        client.config_set("maxclients", 1)
        backend = connect(own_server.url)
        # What Redis says is lost where it closes the connection before it has read what we say.
        with pytest.raises(BackendError, match=r"max number of clients reached|reset by peer"):
            await backend.update([hit()])
        client.config_set("maxclients", 100)
    await until_works(backend.ping)


async def test_a_server_before_redis_6_gets_the_password_alone() -> None:
    """It knows no users. None is here, so what it replies stands here."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (
            b"-ERR wrong number of arguments for 'auth' command\r\n-NOAUTH Authentication required.\r\n",
            b"+OK\r\n+OK\r\n",
        ):
            heard.append(await reader.read(1000))
            writer.write(reply)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = NodeConnection("old")
    port = server.sockets[0].getsockname()[1]
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
    await greet(connection, "old", ("user", "password"), 0, "rls")
    connection.close()
    server.close()
    assert heard[0].startswith(b"*3\r\n$4\r\nAUTH\r\n$4\r\nuser\r\n")
    assert heard[1].startswith(b"*2\r\n$4\r\nAUTH\r\n$8\r\npassword\r\n")
