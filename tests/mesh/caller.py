"""A client in the mesh: HTTP over mTLS to a proxy, and through a tunnel (HBONE) that the proxy ends."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path

from examples.mesh.http import Answer, ask_on
from tests.certs import Authority
from tests.mesh.world import HOST


class Caller:
    """Calls as *identity*, with a certificate whose files are in *folder*."""

    def __init__(self, authority: Authority, identity: str, folder: Path) -> None:
        cert, key = authority.issue(identity)
        file = folder / "caller.pem"
        file.write_bytes(cert + key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Of proxies istiod's clusters look at the identity, which is no host name.
        self._context.check_hostname = False
        self._context.load_verify_locations(cadata=authority.pem.decode())
        self._context.load_cert_chain(file)
        self._context.set_alpn_protocols(["http/1.1"])

    def connect(self, port: int, tunnel: str = "") -> Connection:
        """A connection to a port of this machine, or by it to *tunnel* (`IP:port`)."""
        return Connection(port, self._context, tunnel)


class Connection(HTTPConnection):
    """One on which any number of requests may be sent."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None, tunnel: str = "", source: str = "") -> None:
        super().__init__("127.0.0.1", port, timeout=20, source_address=(source, 0) if source else None)
        self._context = context
        self._to = tunnel

    def connect(self) -> None:
        super().connect()
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock)
        if self._to:
            _tunnel(self.sock, self._to)

    def ask(self, headers: Mapping[str, str]) -> Answer:
        """Ask for the users."""
        return ask_on(self, "/users", {"host": HOST, **headers})


def _tunnel(sock: socket.socket, to: str) -> None:
    """CONNECT of HTTP/1.1, which the listener takes as it takes that of HTTP/2."""
    sock.sendall(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        # Nothing comes behind the answer before something was sent.
        if not (part := sock.recv(65_536)):
            raise ConnectionError(f"no tunnel to {to}: {answer!r}")
        answer += part
    if b" 200 " not in answer.partition(b"\r\n")[0]:
        raise ConnectionError(f"no tunnel to {to}: {answer!r}")
