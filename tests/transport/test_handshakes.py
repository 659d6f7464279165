"""TLS handshakes that fail: the server reports the client and the cause of each, by real clients' mistakes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.mesh.processes import wait_for
from rls.transport.base import Closed, Tls
from rls.transport.handler import Call
from rls.transport.native import accept
from tests.certs import Authority, put
from tests.rls_process import RlsProcess
from tests.transport.conftest import Serve, until

HOST = "rls.example"
CA, OTHER_CA = Authority(), Authority()


@pytest.fixture
def kind() -> str:
    """grpcio's core does not tell: docs/operations.md."""
    return "native"


async def echo(call: Call) -> bytes:
    return call.message


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    put(tmp_path, *CA.issue(HOST))
    client_ca = tmp_path / "ca.crt"
    client_ca.write_bytes(CA.pem)
    return Tls(tmp_path / "tls.crt", tmp_path / "tls.key", client_ca)


def context(trusted: Authority, client: Authority | None = None, folder: Path | None = None) -> ssl.SSLContext:
    """Of a client that trusts *trusted*, with a certificate of *client*'s whose files are in *folder*."""
    made = ssl.create_default_context(cadata=trusted.pem.decode())
    made.set_alpn_protocols(["h2"])
    if client is not None and folder is not None:
        for name, pem in zip(("client.crt", "client.key"), client.issue("client"), strict=True):
            (folder / name).write_bytes(pem)
        made.load_cert_chain(folder / "client.crt", folder / "client.key")
    return made


def plain(client: socket.socket, _: Path) -> None:
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    client.recv(1)


def http2_without_tls(client: socket.socket, _: Path) -> None:
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    client.recv(1)


def shaking_hands(make: Callable[[Path], ssl.SSLContext]) -> Callable[[socket.socket, Path], None]:
    def act(client: socket.socket, folder: Path) -> None:
        with make(folder).wrap_socket(client, server_hostname=HOST) as wrapped:
            wrapped.recv(1)

    return act


def old(folder: Path) -> ssl.SSLContext:
    made = context(CA, CA, folder)
    made.minimum_version, made.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    made.set_ciphers("ALL:@SECLEVEL=0")
    return made


def without_alpn(folder: Path) -> ssl.SSLContext:
    made = context(CA, CA, folder)
    made.set_alpn_protocols(["http/1.1"])
    return made


def weak_cipher(folder: Path) -> ssl.SSLContext:
    made = context(CA, CA, folder)
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    return made


def abandoned(client: socket.socket, _: Path) -> None:
    client.sendall(b"\x16\x03\x01")


NO_TLS = "the client does not speak TLS, or the server must not: see --tls-cert"
MISTAKES = [
    (plain, NO_TLS),
    (http2_without_tls, NO_TLS),
    (shaking_hands(lambda _: context(OTHER_CA)), "the client does not trust the certificate of --tls-cert"),
    (shaking_hands(lambda _: context(CA)), "the client sent no certificate, and --tls-client-ca demands one"),
    (
        shaking_hands(lambda folder: context(CA, OTHER_CA, folder)),
        "the client's certificate does not come from --tls-client-ca (unable to get local issuer certificate)",
    ),
    (shaking_hands(old), "the client speaks no TLS from 1.2 on"),
    (shaking_hands(weak_cipher), "the client offers no cipher that HTTP/2 allows (RFC 9113, section 9.2.2)"),
    (shaking_hands(without_alpn), "the client did not agree to HTTP/2 (ALPN `h2`)"),
    (abandoned, "the client closed the connection before the handshake was over"),
]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
@pytest.mark.parametrize(
    ("act", "reason"), MISTAKES, ids=[f"{at}: {reason}" for at, (_, reason) in enumerate(MISTAKES)]
)
async def test_a_handshake_that_fails_is_told(
    serve: Serve, tls: Tls, tmp_path: Path, act: Callable[[socket.socket, Path], None], reason: str
) -> None:
    served = await serve({"/t/echo": echo}, tls=tls)
    port = int(served.address.rpartition(":")[2])

    def one() -> str:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            host, own = client.getsockname()
            with contextlib.suppress(OSError):
                act(client, tmp_path)
        return f"{host}:{own}"

    client = await asyncio.to_thread(one)
    await until(lambda: served.reports.handshakes)
    assert served.reports.handshakes == [(client, reason)]
    assert served.connections.closed[Closed.NO_ALPN if "ALPN" in reason else Closed.HANDSHAKE] == 1


async def test_a_client_that_is_silent_is_told_of_and_a_probe_of_the_port_is_not(
    serve: Serve, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubelet's TCP probes and load balancers connect, and go at once."""
    monkeypatch.setattr(accept, "HANDSHAKE_SECONDS", 0.3)
    served = await serve({"/t/echo": echo}, tls=tls)
    port = int(served.address.rpartition(":")[2])
    for _ in range(3):
        socket.create_connection(("127.0.0.1", port)).close()
    with socket.create_connection(("127.0.0.1", port)):
        await until(lambda: served.reports.handshakes)
    assert [reason for _, reason in served.reports.handshakes] == ["the client sent nothing for 0.3 s"]
    assert served.connections.closed[Closed.HANDSHAKE] == 1


def test_of_many_failures_of_one_kind_few_are_logged(tls: Tls, tmp_path: Path) -> None:
    """In the form of the other lines; the metric counts all."""
    options = ["--tls-cert", str(tls.cert), "--tls-key", str(tls.key), "--log-format", "json"]
    with RlsProcess(tmp_path, *options) as process:
        port = int(process.addresses["grpc"].rpartition(":")[2])
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port)) as client:
                plain(client, tmp_path)
        wait_for(
            lambda: process.metric("rls_connections_closed_total", listener="grpc", reason="handshake") == 50, "all"
        )
        lines = [json.loads(line) for line in process.output().splitlines() if "tls_handshake_failed" in line]
    assert 1 <= len(lines) < 50
    assert (lines[0]["level"], lines[0]["reason"], lines[0]["more_since_last"]) == ("warning", NO_TLS, 0)
    assert lines[0]["client"].startswith("127.0.0.1:")
