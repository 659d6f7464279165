"""Where Redis refuses the commands that let counters expire, that is told, and ends when it allows them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from rls.errors import BackendError
from tests.counters import hit, until, until_works
from tests.redis_server import RedisServer, running
from tests.stores.conftest import KINDS, Connect, binary


class Told:
    """What was told, in turn, and by whom."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.addresses: set[str] = set()

    def __call__(self, address: str, text: str) -> None:
        self.addresses.add(address)
        self.texts.append(text)


@pytest.fixture
def told() -> Told:
    return Told()


def allow(client: Redis, *rights: str) -> None:
    client.execute_command("ACL", "SETUSER", "default", *rights)


def without_ttl(client: Redis) -> set[bytes]:
    keys: Any = client.keys("r1|test*")
    return {key for key in keys if client.ttl(key) == -1}


@pytest.mark.parametrize("refused", [("set", "expire"), ("set",), ("expire",)])
async def test_it_is_told_once_and_repaired(
    own_server: RedisServer, connect: Connect, told: Told, refused: tuple[str, ...]
) -> None:
    """Each combination leaves other counters without a TTL; all have theirs once Redis allows it."""
    backend = connect(own_server.url, on_ttl_refused=told)
    hits = [hit() for _ in range(100)]
    with own_server.client() as client:
        if refused == ("expire",):
            await backend.update(hits)
            client.flushall()  # what is counted anew needs an EXPIRE
        allow(client, *(f"-{command}" for command in refused))
        for n in range(1, 6):
            assert list(await backend.update(hits)) == [n] * 100
            await backend.ping()
        await until(lambda: told.texts)
        assert len(without_ttl(client)) == (100 if "expire" in refused else 0)
        (text,) = told.texts
        assert text.startswith(f"Redis at {own_server.url} refuses ")
        for command in ("set", "expire"):
            assert (command.upper() in text) == (command in refused)
        assert ("for ever" in text) == ("expire" in refused)
        assert all(backend.up.values())
        allow(client, *(f"+{command}" for command in refused))
        while told.texts[-1]:
            await backend.ping()
            await asyncio.sleep(0.01)
        await until(lambda: not without_ttl(client))
        assert client.dbsize() >= 100
    assert told.texts.count("") == 1
    assert told.addresses == {own_server.url}


@pytest.fixture(params=KINDS)
def poor(request: pytest.FixtureRequest, tmp_path: Path):
    """A server that has neither command."""
    config = tmp_path / "redis.conf"
    config.write_text("rename-command SET notset\nrename-command EXPIRE notexpire\n")
    with running(RedisServer(tmp_path, binary(request.param), config=config)) as started:
        yield started


async def test_a_server_without_the_commands_is_told_too(poor: RedisServer, connect: Connect, told: Told) -> None:
    backend = connect(poor.url, on_ttl_refused=told)
    await backend.ping()
    await until(lambda: told.texts)
    assert "unknown command" in told.texts[0]
    await backend.aclose()
    assert told.texts[1:] == [""]  # nobody asks it any more


async def test_a_user_with_all_rights_is_nothing_to_tell(server: RedisServer, connect: Connect, told: Told) -> None:
    """Nor is what Redis lost, nor a Redis that is full for a while."""
    backend = connect(server.url, on_ttl_refused=told)
    await backend.update([hit() for _ in range(10)])
    await backend.ping()
    with server.client() as client:
        client.flushall()
        await backend.ping()
        client.config_set("maxmemory", 1)
        with pytest.raises(BackendError, match="OOM"):
            await backend.ping()
        client.config_set("maxmemory", 0)
    await until_works(backend.ping)
    assert told.texts == []
