import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from redis.asyncio import ConnectionPool

from rls.backends.redis import RedisBackend
from rls.backends.redis.connection import RedisEndpoint
from rls.errors import BackendError, SettingsError
from tests.backends.conftest import KINDS, Connect, binary
from tests.counters import PATIENT, hit
from tests.redis_server import RedisServer, free_port, running

SECRET = "c0rrect-h0rse"


LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@LOOPS
def test_redis_py_still_has_a_transport_to_take_over(
    server: RedisServer, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Its name is private: a version of redis-py that renames it must not be taken without a word."""

    async def look() -> None:
        connection = ConnectionPool.from_url(server.url).make_connection()
        await connection.connect()
        try:
            transport = connection._writer.transport
            for name in ("write", "abort", "close", "set_protocol"):
                assert callable(getattr(transport, name))
            assert callable(connection._close)
        finally:
            await connection.disconnect()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(look())


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
    gc.collect()  # redis-py warns of connections that nobody closed


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
    assert list(await backend.hit([hit(2)])) == [2]


async def test_a_user_with_few_rights_is_enough(guarded: RedisServer, connect: Connect) -> None:
    """These commands on keys of this prefix; docs may tell so."""
    backend = connect(f"redis://rls:{SECRET}@127.0.0.1:{guarded.port}")
    counter = hit(3)
    await backend.ping()
    taken = [counter, counter._replace(amount=-1), counter._replace(amount=-9), counter._replace(amount=0)]
    assert list(await backend.hit(taken)) == [3, 2, 0, 0]
    with pytest.raises(BackendError, match=r"^Redis: .*(permission|NOPERM)"):
        await backend.hit([counter._replace(key=b"other")])
    assert list(await backend.hit([counter])) == [3]


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
        RedisBackend(url)


async def test_a_server_that_is_silent_is_told_too(guarded: RedisServer, connect: Connect) -> None:
    """As one that does not speak TLS is, or one behind a firewall."""
    backend = connect(f"rediss://:{SECRET}@127.0.0.1:{guarded.port}", timeout_seconds=0.2)
    with pytest.raises(BackendError, match=r"^Redis at rediss://127.0.0.1:[0-9]+: ") as caught:
        await backend.ping()
    assert_hidden(backend, caught.value)


def assert_hidden(backend: RedisBackend, error: BaseException) -> None:
    shown = f"{error} {error!r} {backend!r}"
    assert SECRET not in shown


class Authority:
    """A certificate authority that nobody else trusts, and a certificate of it for 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rls tests")])
        now = datetime.now(UTC)

        def certificate(of: ec.EllipticCurvePrivateKey, *, authority: bool) -> bytes:
            subject = name if authority else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
            built = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(name)
                .public_key(of.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(hours=1))
                .not_valid_after(now + timedelta(hours=1))
                .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
                .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
            )
            return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)

        self.root = directory / "ca.pem"
        self.root.write_bytes(certificate(key, authority=True))
        chain = directory / "server.pem"
        private = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain.write_bytes(private + certificate(server_key, authority=False))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(chain)


@asynccontextmanager
async def tls_in_front_of(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a proxy that ends TLS, since not every build of Redis and Valkey speaks it."""
    links: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", port)
        links.update({asyncio.create_task(pipe(reader, redis_writer)), asyncio.create_task(pipe(redis_reader, writer))})

    proxy = await asyncio.start_server(link, "127.0.0.1", 0, ssl=context)
    try:
        yield proxy.sockets[0].getsockname()[1]
    finally:
        proxy.close()
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


async def test_tls(server: RedisServer, connect: Connect, authority: Authority) -> None:
    """`rediss://` speaks TLS, here to a server whose authority is named in the URL."""
    async with tls_in_front_of(server.port, authority.context) as port:
        backend = connect(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.root}")
        key = hit().key
        counts = await asyncio.gather(*(backend.hit([hit(1, key)]) for _ in range(50)))
        await backend.aclose()
    assert sorted(count for (count,) in counts) == list(range(1, 51))


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: RedisServer, connect: Connect, authority: Authority
) -> None:
    async with tls_in_front_of(server.port, authority.context) as port:
        backend = connect(f"rediss://127.0.0.1:{port}")
        with pytest.raises(BackendError, match=r"(?i)certificate"):
            await backend.ping()
        await backend.aclose()
