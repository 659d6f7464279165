"""Field blocks of responses. Nothing of them enters the client's dynamic table, so they are the same on every connection."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from hpack.hpack import encode_integer

from rls.transport.grpc_framing import ACCEPT_ENCODING, PREFIXES, SHORT, encode_message
from rls.transport.http2.frames import FRAME_HEADER, Flag, FrameType
from rls.transport.status import StatusCode

# RFC 7541, appendix A: indexes of `:status: 200`, `:status`, `allow` and `content-type`.
_STATUS_200: Final = b"\x88"
_STATUS, _ALLOW, _CONTENT_TYPE = 8, 22, 31
_MAX_TEXT_BYTES = 1_024

NO_TABLE: Final = b"\x20"
"""A dynamic table size update to 0 (RFC 7541, section 6.3)."""


def _literal(name: int | bytes, value: bytes) -> bytes:
    """A literal field without indexing (RFC 7541, section 6.2.2); *name* may be its index."""
    start = encode_integer(name, 4) if isinstance(name, int) else b"\0" + encode_integer(len(name), 7) + name
    return bytes(start) + encode_integer(len(value), 7) + value


HEADERS: Final = _STATUS_200 + _literal(_CONTENT_TYPE, b"application/grpc")
"""Of every gRPC response that has a message."""

TRAILERS_OK: Final = _literal(b"grpc-status", b"0")


@lru_cache(maxsize=256)
def trailers(code: StatusCode, text: str) -> bytes:
    """The block that ends a gRPC response with a status."""
    if code is StatusCode.OK:
        return TRAILERS_OK
    block = _literal(b"grpc-status", b"%d" % code)
    message = encode_message(text[:_MAX_TEXT_BYTES])[: 3 * _MAX_TEXT_BYTES]
    if message:
        block += _literal(b"grpc-message", message)
    if code is StatusCode.UNIMPLEMENTED:
        block += _literal(b"grpc-accept-encoding", ACCEPT_ENCODING)
    return block


def trailers_only(code: StatusCode, text: str) -> bytes:
    """The block of a gRPC response without a message."""
    return HEADERS + trailers(code, text)


@lru_cache(maxsize=256)
def failure(code: StatusCode, text: str) -> tuple[bytes, bytes]:
    """The frame that ends a call without a message: what stands before the stream identifier, and what stands after it."""
    block = trailers_only(code, text)
    return _start(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, len(block)), block


def http_refusal(status: int) -> bytes:
    """The block that refuses what is not gRPC; `NOT_GRPC` follows."""
    block = _literal(_STATUS, b"%d" % status) + _literal(_CONTENT_TYPE, b"text/plain")
    return block + _literal(_ALLOW, b"POST") if status == 405 else block


NOT_GRPC: Final = b"this port speaks gRPC: POST, content-type application/grpc, te trailers\n"


def _start(kind: FrameType, flags: int, size: int) -> bytes:
    """A frame header up to the stream identifier."""
    return FRAME_HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, 0)[:5]


# A short unary answer is these parts, with the stream identifier after each but the last two: see `Outgoing.respond`.
ANSWER_START: Final = _start(FrameType.HEADERS, Flag.END_HEADERS, len(HEADERS))
ANSWER_MIDDLE: Final = tuple(HEADERS + _start(FrameType.DATA, 0, 5 + length) for length in range(SHORT))
ANSWER_PREFIX: Final = PREFIXES
ANSWER_END: Final = _start(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, len(TRAILERS_OK))
