"""All three listeners on an IPv6 address, and on both families at once."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from pathlib import Path

import pytest

from rls.addresses import join_address
from rls.api.client import Client
from tests.redis_server import missing
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

IPV4, IPV6 = "127.0.0.1", "::1"
TOKEN = "a-token-of-these-tests"
"""Whoever is not on the server's machine needs one."""
PATHS = {"http": "/healthz", "admin": "/rlconfig"}


def answers(kind: str, host: str, port: int) -> bool:
    """Whether the listener of *kind* answers there."""
    if kind == "grpc":
        with Client(join_address(host, port)) as client:
            asked = request(descriptor(("company_id", "acme"), hits_addend=0), domain="mesh")
            return client.check(asked, timeout=20).code == "OK"
    with closing(http.client.HTTPConnection(host, port, timeout=20)) as connection:
        connection.request("GET", PATHS[kind], headers={"Authorization": f"Bearer {TOKEN}"})
        return connection.getresponse().status == 200


@pytest.mark.parametrize("transport", ["native", "grpcio"])
@pytest.mark.parametrize(
    ("address", "hosts"),
    [("[::1]", {IPV6}), ("[::]", {IPV4, IPV6}), ("0.0.0.0", {IPV4}), ("::", {IPV4, IPV6})],
    ids=["IPv6 only", "both", "IPv4 only", "both, as Istio's sample has it"],
)
def test_every_listener_answers_where_it_was_told_to(
    tmp_path: Path, transport: str, address: str, hosts: set[str]
) -> None:
    if not socket.has_dualstack_ipv6():
        missing("needs IPv6")
    options = [word for kind in ("grpc", "http", "admin") for word in (f"--{kind}", f"{address}:0")]
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    with RlsProcess(tmp_path, *options, "--transport", transport, "--admin-token-file", str(tokens)) as process:
        for kind, shown in process.addresses.items():
            port = int(shown.rpartition(":")[2])
            for host in hosts:
                assert answers(kind, host, port), (kind, host)
            if (kind, transport, address) == ("grpc", "grpcio", "0.0.0.0"):
                continue  # grpc's core takes it for all addresses of both families: docs/operations.md
            for host in {IPV4, IPV6} - hosts:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((host, port), 20).close()
