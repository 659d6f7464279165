import asyncio
import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import uvloop
from redis.asyncio import ConnectionPool

from examples.mesh.processes import free_port
from rls.errors import BackendError, SettingsError
from rls.stores.redis import RedisStore
from rls.stores.redis.connecting import RedisEndpoint
from tests.counters import PATIENT, hit
from tests.redis_server import RedisServer, running
from tests.stores.conftest import KINDS, Connect, binary
from tests.stores.redis.tls import Certified, tls_in_front_of

SECRET = "c0rrect-h0rse"


LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def test_redis_py_still_tells_what_a_url_says() -> None:
    """What is read of its connections, which are never opened: a version that names it otherwise must not be taken."""
    pool = ConnectionPool.from_url("rediss://u:p@cache:7/3")
    said: Any = pool.connection_class(**pool.connection_kwargs)
    assert (said.host, said.port, said.db, said.username, said.password) == ("cache", 7, 3, "u", "p")
    assert said.socket_keepalive
    assert all(isinstance(option, int) for option in said.socket_keepalive_options)
    assert said.ssl_context.get().check_hostname
    pool = ConnectionPool.from_url("unix:///run/redis.sock?db=1")
    said = pool.connection_class(**pool.connection_kwargs)
    assert (said.path, said.db, said.username, said.password) == ("/run/redis.sock", 1, None, None)


@LOOPS
def test_bytes_out_replies_in(server: RedisServer, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """As many replies as are expected come at once, errors among them, however large they are; on any loop."""

    async def exchange() -> list[object]:
        lost: list[BackendError] = []
        connection = await RedisEndpoint(server.url).connect(PATIENT, lost.append)
        replies = asyncio.get_running_loop().create_future()
        big = b"x" * 3_000_000
        commands = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(big), big)
        commands += b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" + b"*3\r\n$6\r\nINCRBY\r\n$1\r\nk\r\n$1\r\n1\r\n"
        connection.send(commands, 3, replies.set_result)
        received: list[object] = await asyncio.wait_for(replies, PATIENT)
        connection.close()
        assert not lost
        assert received[:2] == [b"OK", big]
        return received

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert "not an integer" in str(runner.run(exchange())[2])
    gc.collect()  # uvloop warns of connections that nobody closed


@pytest.fixture
def socket() -> Iterator[str]:
    """Path of a Unix socket, which may have 107 bytes at most: too few for pytest's directories."""
    with TemporaryDirectory(prefix="rls-") as directory:
        yield f"{directory}/socket"


@pytest.fixture(params=KINDS)
def guarded(request, tmp_path: Path, socket: str) -> Iterator[RedisServer]:
    """A server that asks for a password, on a Unix socket too, with a user who may do no more than rls needs."""
    options = ["--requirepass", SECRET, "--unixsocket", socket]
    with running(RedisServer(tmp_path, binary(request.param), options)) as server:
        with server.client(SECRET) as client:
            rights = "~r1|* +get +set +incrby +expire +eval +decrby +select +client|setname"
            client.execute_command("ACL", "SETUSER", "rls", "on", f">{SECRET}", *rights.split())
        yield server


@pytest.mark.parametrize(
    "url",
    [
        "redis://:{secret}@127.0.0.1:{port}",
        "redis://127.0.0.1:{port}/3?password={secret}",
        "unix://:{secret}@{socket}",
        "redis://default:{secret}@localhost:{port}/1",
    ],
)
async def test_a_password_opens_the_door(guarded: RedisServer, connect: Connect, socket: str, url: str) -> None:
    backend = connect(url.format(secret=SECRET, port=guarded.port, socket=socket))
    await backend.ping()
    assert list(await backend.update([hit(2)])) == [2]


async def test_a_user_with_few_rights_is_enough(guarded: RedisServer, connect: Connect) -> None:
    """These commands on keys of this prefix; docs may tell so."""
    backend = connect(f"redis://rls:{SECRET}@127.0.0.1:{guarded.port}")
    counter = hit(3)
    await backend.ping()
    taken = [counter, counter.with_amount(-1), counter.with_amount(-9), counter.with_amount(0)]
    assert list(await backend.update(taken)) == [3, 2, 0, 0]
    with pytest.raises(BackendError, match=r"^Redis at .*: .*(permission|NOPERM)"):
        await backend.update([replace(counter, key=b"other")])
    assert list(await backend.update([counter])) == [3]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://:wr0ng-{secret}@127.0.0.1:{port}", "^Redis at redis://127.0.0.1:[0-9]+: .*(password|auth)"),
        ("redis://nobody:{secret}@127.0.0.1:{port}", "^Redis at redis://127.0.0.1:[0-9]+: .*(password|auth)"),
        ("redis://127.0.0.1:{port}", "^Redis(: .*| at .*: .*)[Aa]uth"),
        ("redis://:{secret}@127.0.0.1:{closed}", "^Redis at redis://127.0.0.1:[0-9]+: .*refused|Connect call failed"),
        ("redis://:{secret}@no.such.host.invalid", "^Redis at redis://no.such.host.invalid: "),
        ("unix://:{secret}@/no/such/socket", "^Redis at unix:///no/such/socket: "),
    ],
)
async def test_what_is_wrong_is_told_without_the_password(
    guarded: RedisServer, connect: Connect, url: str, text: str
) -> None:
    """Where Redis is, and what it, the system or redis-py said."""
    backend = connect(url.format(secret=SECRET, port=guarded.port, closed=free_port()))
    with pytest.raises(BackendError, match=text) as caught:
        await backend.ping()
    assert_hidden(backend, caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rediss://cache?ssl_cert_reqs=maybe", "Invalid SSL Certificate Requirements Flag: maybe"),
        ("rediss://cache?ssl_ca_certs=/dev/null", ".*(?i:certificate|crl).*"),
        ("redis://cache?db=one", "Invalid value for 'db' in connection URL."),
        ("redis://cache?tmeout=1", "unknown option tmeout, expected .*"),
    ],
)
def test_an_address_to_which_there_can_be_no_connection_is_told_before_there_is_a_loop(url: str, reason: str) -> None:
    """What redis-py says of it, and what it would not say."""
    with pytest.raises(SettingsError, match=rf"^the backend \w+://cache cannot be used: {reason}$"):
        RedisStore(url)


async def test_a_server_that_is_silent_is_told_too(guarded: RedisServer, connect: Connect) -> None:
    """As one that does not speak TLS is, or one behind a firewall."""
    backend = connect(f"rediss://:{SECRET}@127.0.0.1:{guarded.port}", timeout_seconds=0.2)
    with pytest.raises(BackendError, match=r"^Redis at rediss://127.0.0.1:[0-9]+: ") as caught:
        await backend.ping()
    assert_hidden(backend, caught.value)


def assert_hidden(backend: RedisStore, error: BaseException) -> None:
    shown = f"{error} {error!r} {backend!r}"
    assert SECRET not in shown


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified(tmp_path_factory.mktemp("ca"))


async def test_tls(server: RedisServer, connect: Connect, certified: Certified) -> None:
    """`rediss://` speaks TLS, here to a server whose authority is named in the URL."""
    async with tls_in_front_of(server.port, certified.context) as port:
        backend = connect(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certified.root}")
        key = hit().key
        counts = await asyncio.gather(*(backend.update([hit(1, key)]) for _ in range(50)))
        await backend.aclose()
    assert sorted(count for (count,) in counts) == list(range(1, 51))


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: RedisServer, connect: Connect, certified: Certified
) -> None:
    async with tls_in_front_of(server.port, certified.context) as port:
        backend = connect(f"rediss://127.0.0.1:{port}")
        with pytest.raises(BackendError, match=r"(?i)certificate"):
            await backend.ping()
        await backend.aclose()
