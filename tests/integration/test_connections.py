"""Whoever runs `rls` sees what happens to connections and certificates: metrics, the state and one line of the log."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h2.connection
import pytest
from cryptography import x509

from tests.app.test_app import check
from tests.certs import Authority, put
from tests.rls_process import RlsProcess

AUTHORITY = Authority()
NATIVE, GRPCIO = ("--transport", "native"), ("--transport", "grpcio")
MOST = 5
REFUSED = {"listener": "grpc", "reason": "too_many"}

Start = Callable[..., RlsProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers with a log in JSON, and stops them in the end."""
    with contextlib.ExitStack() as stack:

        def one(*options: str, **more: object) -> RlsProcess:
            process = RlsProcess(tmp_path, "--log-format", "json", *options, **more)  # type: ignore[arg-type]
            stack.callback(process.kill)
            return process

        yield one


@pytest.fixture
def tls(tmp_path: Path) -> list[str]:
    """Options for TLS with files in `tmp_path`."""
    put(tmp_path, *AUTHORITY.issue("localhost"))
    return ["--tls-cert", f"{tmp_path}/tls.crt", "--tls-key", f"{tmp_path}/tls.key"]


def connect(address: str, *, silent: bool = False) -> socket.socket:
    """A client of HTTP/2 that has sent its preface, unless it is *silent*."""
    if address.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.connect(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        client = socket.create_connection((host, int(port)))
    client.settimeout(10)
    if silent:
        return client
    preface = h2.connection.H2Connection()
    preface.initiate_connection()
    with contextlib.suppress(ConnectionError):
        client.sendall(preface.data_to_send())
    return client


def shake_hands(address: str) -> socket.socket:
    context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    client = socket.create_connection((host, int(port)), 10)
    return context.wrap_socket(client, server_hostname="localhost")


def is_closed(client: socket.socket) -> bool:
    """Whether the server closes *client* instead of sending its first frame."""
    try:
        return not client.recv(9)
    except ConnectionError:
        return True


def lines(process: RlsProcess, reason: str) -> list[dict[str, str]]:
    """The lines of the log that tell that *reason* begins or changes."""
    # grpc's core has a form of its own.
    said = [json.loads(line) for line in process.output().splitlines() if line.startswith("{")]
    return [line for line in said if line.get("reason") == reason and line["event"] == "enforcement_weakened"]


def text_of(process: RlsProcess, reason: str) -> str:
    """What `/readyz` says of *reason*; "" where it does not hold."""
    found = {one["reason"]: one["text"] for one in process.get("/readyz").json()["reasons"]}
    return str(found.get(reason, ""))


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_connections_over_the_bound_are_seen(start: Start, tmp_path: Path, kind: str) -> None:
    """Whether or not those that are open have said a word."""
    address = ("--grpc", f"unix:{tmp_path}/rls.sock") if kind == "unix" else ()
    process = start(*NATIVE, *address, "--max-connections", str(MOST))
    grpc = f"unix:{tmp_path}/rls.sock" if kind == "unix" else process.addresses["grpc"]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(grpc, silent=n % 2 == 1)) for n in range(12)]
        assert [is_closed(client) for client in clients] == [False] * MOST + [True] * (12 - MOST)
        assert process.metric("rls_connections", listener="grpc") == MOST
        assert process.metric("rls_connections_limit", listener="grpc") == MOST
        assert process.metric("rls_connections_closed_total", **REFUSED) == 12 - MOST
        text = f"{MOST} connections are open, as many as --max-connections allows; new ones are closed"
        assert text_of(process, "connections_refused") == text
    (line,) = lines(process, "connections_refused")
    assert (line["level"], line["detail"]) == ("warning", text)
    process.wait_until(lambda: process.metric("rls_connections", listener="grpc") == 0, "they are gone")
    assert "\nrls_certificate_expiry_timestamp_seconds " not in process.get("/metrics").body.decode(), "it has none"


def test_tls_connections_over_the_bound_are_seen(start: Start, tls: list[str]) -> None:
    """Those that have not begun a handshake count as well."""
    process = start(*NATIVE, *tls, "--max-connections", "2")
    grpc = process.addresses["grpc"]
    host, _, port = grpc.rpartition(":")
    with shake_hands(grpc), socket.create_connection((host, int(port)), 10):
        process.wait_until(lambda: process.metric("rls_connections", listener="grpc") == 2, "both are open")
        with pytest.raises(OSError):  # noqa: PT011 - of two kinds
            shake_hands(grpc)
    assert process.metric("rls_connections_closed_total", **REFUSED) == 1
    assert len(lines(process, "connections_refused")) == 1


@pytest.mark.parametrize("encrypted", [False, True], ids=["plaintext", "TLS"])
def test_grpcio_says_that_connections_are_refused(start: Start, tls: list[str], encrypted: bool) -> None:
    """Its core does not, so the server finds out as a client of itself."""
    process = start(*GRPCIO, *(tls if encrypted else ()), "--max-connections", str(MOST))
    host, _, port = process.addresses["grpc"].rpartition(":")
    with contextlib.ExitStack() as stack:

        def is_found_out() -> str:
            # Again and again, as the server itself may have been there first for a moment.
            stack.enter_context(socket.create_connection((host, int(port)), 10))
            return text_of(process, "connections_refused")

        text = process.wait_until(is_found_out, "it has found out")
        assert text == (
            f"a new connection was closed, as when {MOST} are open, which is as many as --max-connections allows"
        )
        assert 'rls_connections{listener="grpc"}' not in process.get("/metrics").body.decode(), "it does not know"
    assert len(lines(process, "connections_refused")) == 1


def few_files(number: int) -> tuple[str, ...]:
    """What a server runs under, so that it can open *number* files."""
    return ("prlimit", f"--nofile={number}", sys.executable)


def test_the_limit_on_open_files_bounds_connections_and_says_so(start: Start) -> None:
    """Half of the files are for connections of gRPC, so that probes and Redis still get theirs."""
    process = start(*NATIVE, python=few_files(64))
    assert process.metric("rls_connections_limit", listener="grpc") == 32
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(process.addresses["grpc"])) for _ in range(34)]
        assert [is_closed(client) for client in clients].count(True) == 2
        assert process.get("/readyz").status == 200
        assert text_of(process, "connections_refused") == (
            "32 connections are open, as many as the limit on open files (ulimit -n) allows; new ones are closed"
        )


@pytest.mark.parametrize("transport", [NATIVE, GRPCIO], ids=["native", "grpcio"])
def test_a_process_without_file_descriptors_says_so_once_and_goes_on(start: Start, transport: Sequence[str]) -> None:
    """Here clients of HTTP use them up."""
    process = start(*transport, python=few_files(64))
    host, _, port = process.addresses["http"].rpartition(":")
    with contextlib.ExitStack() as stack:

        def is_full() -> bool:
            stack.enter_context(socket.create_connection((host, int(port)), 10)).sendall(b"GET /")
            return bool(lines(process, "file_descriptors_exhausted"))

        process.wait_until(is_full, "it has said so")
    (line,) = lines(process, "file_descriptors_exhausted")
    assert "no connection can be accepted on 127.0.0.1:" in line["detail"]
    assert line["detail"].endswith(": Too many open files")
    assert text_of(process, "file_descriptors_exhausted")
    assert process.metric("rls_accept_errors_total") > 0
    assert check(process).code == "OK"
    assert len(process.output().splitlines()) < 20


def test_grpcio_says_that_files_are_missing(start: Start) -> None:
    """Its core logs a line a second in its own form, and tells nobody."""
    process = start(*GRPCIO)
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, hard))
    process.wait_until(lambda: lines(process, "file_descriptors_exhausted"), "it has said so")
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    grpc = process.addresses["grpc"]
    assert text_of(process, "file_descriptors_exhausted") == (
        f"no connection can be accepted on {grpc}: Too many open files"
    )
    assert process.metric("rls_accept_errors_total", listener="grpc") > 0
    assert check(process).code == "OK"
    assert process.stop() == 0
    assert not lines(process, "connections_refused"), "none was"


@pytest.mark.parametrize("transport", [NATIVE, GRPCIO], ids=["native", "grpcio"])
def test_certificates_that_expire_or_are_not_loaded_are_seen_until_others_are(
    start: Start, tmp_path: Path, tls: list[str], transport: Sequence[str]
) -> None:
    put(tmp_path, *AUTHORITY.issue("localhost", days=-0.5))
    process = start(*transport, *tls)
    address = process.addresses["grpc"].replace("127.0.0.1", "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        shake_hands(address)
    assert "the certificate expired at " in text_of(process, "certificate_expired")
    assert len(lines(process, "certificate_expired")) == 1

    cert, key = AUTHORITY.issue("localhost")
    put(tmp_path, cert, key)
    process.wait_until(lambda: not text_of(process, "certificate_expired"), "it has taken the new one over")
    shake_hands(address).close()
    expiry = x509.load_pem_x509_certificate(cert).not_valid_after_utc
    assert process.metric("rls_certificate_expiry_timestamp_seconds") == expiry.timestamp()

    put(tmp_path, AUTHORITY.issue("localhost")[0], key)
    text = process.wait_until(lambda: text_of(process, "certificate_not_loaded"), "/readyz says so")
    assert "expected the private key of the certificate" in text
    assert text.endswith(f"; the last good certificate stays, which expires at {expiry:%Y-%m-%dT%H:%M:%SZ}")
    shake_hands(address).close()
    (tmp_path / "tls.key").unlink()  # a reason that changes is reported again
    process.wait_until(lambda: "No such file" in text_of(process, "certificate_not_loaded"), "/readyz says so")
    assert len(lines(process, "certificate_not_loaded")) == 2

    (tmp_path / "tls.key").symlink_to("..data/tls.key")
    put(tmp_path, *AUTHORITY.issue("localhost", days=2))
    process.wait_until(lambda: not text_of(process, "certificate_not_loaded"), "it has taken them over")
    later = process.metric("rls_certificate_expiry_timestamp_seconds")
    assert later > expiry.timestamp() + 50_000
    assert not text_of(process, "connections_refused"), "none was"
