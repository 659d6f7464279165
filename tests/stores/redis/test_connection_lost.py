"""What goes with a connection: what is known of TTLs, and the task that polls the file with the password."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rls.errors import BackendError
from rls.stores.redis import password
from tests.counters import hit, until, until_works
from tests.redis_server import RedisServer
from tests.stores.conftest import Connect


def commands(server: RedisServer) -> dict[str, int]:
    """How often the server got each command since it started."""
    with server.client() as client:
        stats: Any = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}


def pollers() -> int:
    """Tasks that poll a file with a password."""
    codes = (getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks())
    return sum(code is not None and code.co_filename == password.__file__ for code in codes)


async def test_a_redis_that_forgot_its_counters_makes_each_with_its_ttl(
    own_server: RedisServer, connect: Connect
) -> None:
    """Not first the counter and then its TTL: this process might end between the two."""
    backend = connect(own_server.url)
    one, other = hit(), hit()
    await backend.update([one, other])
    own_server.kill()
    await until(lambda: backend._node.error is not None)
    own_server.start()
    await until_works(backend.ping)
    before = commands(own_server)
    for n in range(1, 4):
        assert list(await backend.update([one, other])) == [n, n]
    after = commands(own_server)
    assert after["incrby"] - before.get("incrby", 0) == 6
    assert after.get("set", 0) - before.get("set", 0) == 2
    assert "expire" not in after


async def test_one_task_polls_the_password_however_often_the_connection_is_lost(
    own_server: RedisServer, connect: Connect, tmp_path: Path
) -> None:
    """And none while there is no connection."""
    file = tmp_path / "password"
    file.write_text("secret")
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "rls", "on", ">secret", "~*", "+@all")
        backend = connect(f"redis://rls@127.0.0.1:{own_server.port}?password_file={file}")
        await backend.ping()
        seen = {None, backend._node.sender.connection}
        for _ in range(3):
            client.client_kill_filter(user="rls")
            await until(lambda: backend._node.sender.connection not in seen and backend._node.error is None)
            seen.add(backend._node.sender.connection)
            await until_works(backend.ping)
        await until(lambda: pollers() == 1)
    own_server.kill()
    await until(lambda: pollers() == 0)


async def test_a_counter_that_redis_created_unheard_gets_its_ttl(own_server: RedisServer, connect: Connect) -> None:
    """Redis had lost it, and the reply that would have shown that is lost, too."""
    backend = connect(own_server.url)
    one = hit()
    await until_works(backend.ping)
    await backend.update([one])
    with own_server.client() as client:
        client.delete(one.key)
        own_server.suspend()
        call = asyncio.create_task(backend.update([one]))
        await until(lambda: backend._node.sender.in_flight is not None)
        backend._node.disconnect("the test closes it")
        with pytest.raises(BackendError):
            await call
        own_server.resume()
        await until(lambda: client.ttl(one.key) > 0)
