"""TLS and mTLS with real clients, and certificates that change on disk, on all transports."""

import asyncio
import contextlib
import resource
import ssl
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from rls.errors import SettingsError
from rls.transport.base import CertificateStatus, Tls
from rls.transport.handler import Call
from rls.transport.tls import Certificates, expiry_of, make_context
from tests.certs import Authority, put
from tests.transport.conftest import until
from tests.transport.test_lifecycle import Waiting

ECHO, WAIT = "/t/echo", "/t/wait"
HOST = "rls.example"
CA, OTHER_CA = Authority(), Authority()
DEADLINE = 10


async def echo(call: Call) -> bytes:
    return call.message


@pytest.fixture
def tls(tmp_path) -> Tls:
    put(tmp_path, *CA.issue(HOST))
    return Tls(tmp_path / "tls.crt", tmp_path / "tls.key")


@pytest.fixture
def mtls(tls, tmp_path) -> Tls:
    client_ca = tmp_path / "ca.crt"
    client_ca.write_bytes(CA.pem)
    return Tls(tls.cert, tls.key, client_ca)


@contextlib.asynccontextmanager
async def calling(address: str, client: tuple[bytes, bytes] | None = None, ca: bytes = CA.pem):
    """Calls a method on a connection of its own, with *client*'s certificate and key."""
    cert, key = client or (None, None)
    options = [("grpc.ssl_target_name_override", HOST), ("grpc.use_local_subchannel_pool", 1)]
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    async with grpc.aio.secure_channel(address, credentials, options) as channel:

        async def call(path, payload=b"hello"):
            return await channel.unary_unary(path)(payload, timeout=DEADLINE)

        yield call


async def status_of(call, path: str = ECHO) -> grpc.StatusCode:
    try:
        await call(path)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def certificate_of(address: str) -> str:
    """PEM of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cadata=CA.pem.decode())
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=HOST)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return ssl.DER_cert_to_PEM_cert(shown)


def same(pem: str, cert: bytes) -> bool:
    return ssl.PEM_cert_to_DER_cert(pem) == ssl.PEM_cert_to_DER_cert(cert.decode())


async def test_call_over_tls(serve, tls):
    served = await serve({ECHO: echo}, tls=tls)
    async with calling(served.address) as call:
        assert await call(ECHO) == b"hello"


async def test_call_in_the_clear_gets_nothing_where_tls_is_served(serve, tls):
    served = await serve({ECHO: echo}, tls=tls)
    async with grpc.aio.insecure_channel(served.address) as channel:
        method: Any = channel.unary_unary(ECHO)

        async def call(path):
            return await method(b"", timeout=1)

        assert await status_of(call) is not grpc.StatusCode.OK
    async with calling(served.address) as call:
        assert await call(ECHO) == b"hello"


async def test_client_with_a_certificate_of_the_client_ca_is_served(serve, mtls):
    served = await serve({ECHO: echo}, tls=mtls)
    async with calling(served.address, CA.issue("client.example")) as call:
        assert await call(ECHO) == b"hello"


@pytest.mark.parametrize("client", [None, OTHER_CA.issue("client.example")], ids=["none", "another CA's"])
async def test_client_without_a_certificate_of_the_client_ca_is_not_served(serve, mtls, client):
    served = await serve({ECHO: echo}, tls=mtls)
    async with calling(served.address, client) as call:
        assert await status_of(call) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["gateway.example"], grpc.StatusCode.OK),
        (["spiffe://mesh/ns/a/sa/envoy"], grpc.StatusCode.OK),
        (["other.example", "GATEWAY.example"], grpc.StatusCode.OK),
        (["other.example"], grpc.StatusCode.PERMISSION_DENIED),
        (["spiffe://mesh/ns/a/sa/other"], grpc.StatusCode.PERMISSION_DENIED),
        ([], grpc.StatusCode.PERMISSION_DENIED),
    ],
    ids=str,
)
async def test_client_is_served_by_its_names_where_names_are_asked_for(serve, mtls, names, status):
    allowed = ("gateway.example", "spiffe://mesh/ns/a/sa/envoy")
    served = await serve({ECHO: echo}, tls=Tls(mtls.cert, mtls.key, mtls.client_ca, allowed))
    async with calling(served.address, CA.issue(*names)) as call:
        assert await status_of(call) is status
        assert await status_of(call) is status


async def test_new_connections_are_shown_the_changed_certificate_and_calls_of_old_ones_finish(serve, tls, tmp_path):
    handler = Waiting()
    served = await serve({WAIT: handler, ECHO: echo}, tls=tls, drain_timeout=DEADLINE)
    first, second = tls.cert.read_bytes(), CA.issue(HOST)
    assert same(await certificate_of(served.address), first)
    async with calling(served.address) as call:
        in_flight = [asyncio.create_task(call(WAIT)) for _ in range(10)]
        await until(lambda: handler.calls == 10)
        put(tmp_path, *second)
        await until_shown(served.address, second[0])
        async with calling(served.address) as newer:
            assert await newer(ECHO) == b"hello"
        handler.go.set()
        assert await asyncio.gather(*in_flight) == [b"hello"] * 10
        assert await call(ECHO) == b"hello"


async def test_certificates_may_change_again_and_again_while_calls_are_served(serve, tls, tmp_path):
    served = await serve({ECHO: echo}, tls=tls)
    async with calling(served.address) as call:
        for _ in range(3):
            certificate = CA.issue(HOST)
            put(tmp_path, *certificate)
            changed = asyncio.create_task(until_shown(served.address, certificate[0]))
            while not changed.done():
                assert await status_of(call) is grpc.StatusCode.OK
            await changed


async def until_shown(address: str, cert: bytes) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            if same(await certificate_of(address), cert):
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("broken", ["key of another", "no certificate", "missing"])
async def test_broken_certificates_do_not_replace_good_ones(serve, tls, tmp_path, broken):
    served = await serve({ECHO: echo}, tls=tls)
    first = tls.cert.read_bytes()
    cert, _ = CA.issue(HOST)
    _, other_key = CA.issue(HOST)
    put(tmp_path, b"no certificate" if broken == "no certificate" else cert, other_key)
    if broken == "missing":
        tls.cert.unlink()
    await until(lambda: served.reports.not_loaded)
    assert same(await certificate_of(served.address), first)
    async with calling(served.address) as call:
        assert await call(ECHO) == b"hello"


async def test_why_and_until_when_changed_files_are_not_in_force_is_reported(serve, mtls, tmp_path):
    """Whatever is wrong with them, the certificates of clients' authorities included."""
    served = await serve({ECHO: echo}, tls=mtls)
    until_then = f"the last good certificate stays, which expires at {expiry_text(mtls.cert.read_bytes())}"
    mtls.client_ca.write_bytes(b"no certificate")
    await until(lambda: served.reports.not_loaded)
    (first,) = served.reports.not_loaded
    assert first.startswith(f"changed files are not in force: {mtls.client_ca} holds no certificate, expected ")
    assert first.endswith(f"; {until_then}")
    mtls.client_ca.write_bytes(CA.pem)
    await until(lambda: served.reports.not_loaded[-1] == "")
    mtls.key.unlink()
    await until(lambda: served.reports.not_loaded[-1])
    missing = f"{mtls.key} cannot be read (No such file or directory), expected a file in PEM"
    assert served.reports.not_loaded[-1].endswith(f"{missing}; {until_then}")


async def test_when_the_certificate_in_force_expires_is_known(serve, tls, tmp_path):
    served = await serve({ECHO: echo}, tls=tls)
    assert served.certificate.expires_at == expiry(tls.cert.read_bytes())
    assert served.reports.expired == [""]
    expired = CA.issue(HOST, days=-0.5)
    put(tmp_path, *expired)
    await until(lambda: served.certificate.expires_at == expiry(expired[0]))
    await until(lambda: served.reports.expired[-1])
    assert served.reports.expired[-1] == f"the certificate expired at {expiry_text(expired[0])}; clients refuse it"
    put(tmp_path, *CA.issue(HOST))
    await until(lambda: served.reports.expired[-1] == "")


async def test_files_that_failed_are_tried_again_though_they_look_the_same(tls, tmp_path):
    """As where there was no file descriptor to read them with. One failure is not reported: the next look may do."""
    reports: list[str] = []
    certificates = Certificates(tls, lambda _, context: context, CertificateStatus(reports.append))
    first = certificates.newest
    put(tmp_path, *CA.issue(HOST))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        await certificates.look()
        assert reports == []
        await certificates.look()
        await certificates.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(set(reports)) == 1
    assert "Too many open files" in reports[0]
    assert certificates.newest is first
    await certificates.look()
    assert certificates.newest is not first
    assert reports[-1] == ""


async def test_last_good_files_that_come_back_end_the_report(tls, tmp_path):
    reports: list[str] = []
    certificates = Certificates(tls, lambda _, context: context, CertificateStatus(reports.append))
    good = (tmp_path / "..data").readlink()
    put(tmp_path, b"no certificate", b"no key")
    for _ in range(2):
        await certificates.look()
    assert len(reports) == 1
    (tmp_path / "..data").unlink()
    (tmp_path / "..data").symlink_to(good)
    await certificates.look()
    assert reports[1:] == [""]


def expiry(cert: bytes) -> float:
    return x509.load_pem_x509_certificate(cert).not_valid_after_utc.timestamp()


def expiry_text(cert: bytes) -> str:
    return x509.load_pem_x509_certificate(cert).not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_expiry_is_found_whatever_the_version(tls, version):
    context = make_context(tls)
    context.minimum_version = context.maximum_version = version
    assert expiry_of(context) == expiry(tls.cert.read_bytes())


def test_expiry_is_not_known_where_the_handshake_fails(mtls):
    """A client must show its certificate before TLS 1.2 is agreed upon."""
    context = make_context(mtls)
    assert expiry_of(context) == expiry(mtls.cert.read_bytes())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert expiry_of(context) is None


async def test_encrypted_key_is_refused_at_the_start(serve, tls):
    key = serialization.load_pem_private_key(tls.key.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    tls.key.write_bytes(encrypted)
    with pytest.raises(SettingsError, match=f"cannot serve TLS: {tls.key}: the private key is encrypted"):
        await serve({ECHO: echo}, tls=tls)


async def test_certificates_that_cannot_be_used_are_refused_at_the_start(serve, tls, tmp_path):
    missing = tmp_path / "missing.crt"
    with pytest.raises(SettingsError, match=f"cannot serve TLS: .*{missing}"):
        await serve({ECHO: echo}, tls=Tls(missing, tls.key))


async def test_key_of_another_certificate_is_refused_at_the_start(serve, tls, tmp_path):
    cert, _ = CA.issue(HOST)
    _, other_key = CA.issue(HOST)
    put(tmp_path, cert, other_key)
    with pytest.raises(SettingsError, match=f"cannot serve TLS: {tls.cert} and {tls.key} do not belong together"):
        await serve({ECHO: echo}, tls=tls)


async def test_tls_is_refused_on_a_unix_socket(serve, tls, tmp_path):
    with pytest.raises(SettingsError, match=r"cannot serve TLS on unix:.*: only on TCP"):
        await serve({ECHO: echo}, tls=tls, address=f"unix:{tmp_path}/rls.sock")
