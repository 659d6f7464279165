"""One call of the native transport, as its handler sees it: read from the request when it is asked for."""

from __future__ import annotations

import asyncio
import binascii
import ssl
from collections.abc import Iterable, Iterator

from rls.transport.handler import Call, Metadata, Peer
from rls.transport.http2 import Request, Responder
from rls.transport.tls import names_of

_NOT_CUSTOM = frozenset({b"te", b"content-type", b"content-length"})
"""Fields of HTTP and gRPC, beside those whose names begin with ":" or "grpc-"."""


class NativeCall(Call):
    """See `Call`."""

    __slots__ = ("_connection", "_request", "deadline", "message", "path")

    def __init__(self, connection: Responder, request: Request, message: bytes, deadline: float | None) -> None:
        self._connection = connection
        self._request = request
        self.path = request.head.path.decode("latin-1")
        self.message = message
        self.deadline = deadline

    @property
    def metadata(self) -> Metadata:
        """See `Call`."""
        return Metadata(decode(self._request.fields))

    @property
    def peer(self) -> Peer:
        """See `Call`."""
        peer = self._connection.peer
        assert isinstance(peer, Peer)
        return peer

    @property
    def traceparent(self) -> str | None:
        """See `Call`."""
        value = self._request.value(b"traceparent")
        return None if value is None else text_of(value)


def decode(fields: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str | bytes]]:
    """The custom metadata among the *fields* of a request. A value that should be base64 and is not is left out."""
    for name, value in fields:
        if name in _NOT_CUSTOM or name[:1] == b":" or name[:5] == b"grpc-":
            continue
        known = name.decode("latin-1")
        if not name.endswith(b"-bin"):
            yield known, text_of(value)
            continue
        for part in value.split(b","):  # PROTOCOL-HTTP2.md: values of one name may have been joined
            try:
                yield known, binascii.a2b_base64(part + b"=" * (-len(part) % 4), strict_mode=True)
            except binascii.Error:
                continue


def text_of(value: bytes) -> str:
    """ASCII by gRPC's rules; UTF-8 if it is that, and else each byte for itself, as grpcio has it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def peer_of(transport: asyncio.BaseTransport, tls: ssl.SSLObject | None) -> Peer:
    """The client at the other end."""
    address = transport.get_extra_info("peername")
    if not isinstance(address, tuple):
        shown = "unix"
    else:
        host, port = address[:2]
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Peer(shown, tuple if tls is None else lambda: names_of(tls))
