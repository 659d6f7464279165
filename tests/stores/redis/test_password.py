"""A password in a file, which changes while there are connections."""

from pathlib import Path

import pytest
from redis import Redis

from rls.errors import BackendError
from rls.stores.redis.password import PasswordFile
from tests.counters import hit, until, until_works
from tests.redis_server import RedisServer, running
from tests.stores.conftest import KINDS, Connect, binary

OLD, NEW = "old secret", "n3w/secret?"
RIGHTS = "~r1|* +get +set +incrby +expire +eval +decrby +select +client|setname"


@pytest.fixture(params=KINDS)
def guarded(request, tmp_path: Path):
    with running(RedisServer(tmp_path, binary(request.param))) as server:
        with server.client() as client:
            change(client, OLD)
        yield server


def change(client: Redis, password: str) -> None:
    client.execute_command("ACL", "SETUSER", "rls", "on", "resetpass", f">{password}", *RIGHTS.split())


def connections(server: RedisServer) -> list[dict[str, str]]:
    with server.client() as client:
        return [one for one in client.client_list() if one["name"] == "rls"]


def last_command(server: RedisServer) -> list[str]:
    return [one["cmd"] for one in connections(server)]


async def test_a_rotated_password_is_used(guarded: RedisServer, connect: Connect, tmp_path: Path) -> None:
    """By the connection that there is, without a call that fails, and by new ones."""
    file = tmp_path / "password"
    file.write_text(f"{OLD}\n")
    backend = connect(f"redis://rls@127.0.0.1:{guarded.port}?password_file={file}")
    one = hit()
    assert list(await backend.update([one])) == [1]
    connection = backend._node.sender.connection
    with guarded.client() as client:
        change(client, NEW)
        file.write_text(NEW)
        await until(lambda: last_command(guarded) == ["auth"])
        assert list(await backend.update([one])) == [2]
        assert backend._node.sender.connection is connection
        client.client_kill_filter(user="rls")
    await until(lambda: backend._node.sender.connection not in {None, connection} and backend._node.error is None)
    assert list(await backend.update([one])) == [3]


async def test_a_password_that_redis_does_not_know_yet_is_tried_again(
    guarded: RedisServer, connect: Connect, tmp_path: Path
) -> None:
    """The old one holds meanwhile: nothing fails, whichever of the two learns of it first."""
    file = tmp_path / "password"
    file.write_text(OLD)
    backend = connect(f"redis://rls@127.0.0.1:{guarded.port}?password_file={file}")
    await backend.ping()
    file.write_text(NEW)
    await until(lambda: last_command(guarded) == ["auth"])
    for _ in range(20):
        await backend.ping()
    with guarded.client() as client:
        change(client, NEW)
        client.acl_log_reset()
    await until(lambda: last_command(guarded) == ["auth"])
    await backend.ping()


async def test_a_file_that_is_not_there_is_told(guarded: RedisServer, connect: Connect, tmp_path: Path) -> None:
    """When it went; before, the URL cannot be used."""
    file = tmp_path / "password"
    file.write_text(OLD)
    backend = connect(f"redis://rls@127.0.0.1:{guarded.port}?password_file={file}")
    file.unlink()
    with pytest.raises(BackendError, match="No such file"):
        await backend.ping()
    file.write_text(OLD)
    await until_works(backend.ping)


def test_the_line_s_end_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b" p\xc3\xa4ss \r\n")
    assert PasswordFile(str(file), None).get_credentials() == (" päss ",)
    assert PasswordFile(str(file), "me").get_credentials() == ("me", " päss ")
    assert PasswordFile(str(file), "me").auth() == b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$7\r\n p\xc3\xa4ss \r\n"
