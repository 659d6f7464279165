"""gRPC over HTTP/2 (PROTOCOL-HTTP2.md): what a call's headers and bytes say. Pure functions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from struct import Struct

from rls.transport.status import Aborted, StatusCode

ACCEPT_ENCODING = b"identity,gzip"
PREFIX = Struct(">BI")
"""Length-Prefixed-Message: compressed flag and length."""
SHORT = 1024
PREFIXES = tuple(PREFIX.pack(0, length) for length in range(SHORT))
"""Prefixes of the uncompressed messages that have less than *SHORT* bytes, which is nearly all, by their length."""
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_GZIP = 16 + zlib.MAX_WBITS


@lru_cache(maxsize=4096)
def parse_timeout(value: bytes) -> float:
    """Seconds of a grpc-timeout: at most eight digits and a unit.

    Raises:
        Aborted: INTERNAL, as gRPC does it, where it is anything else.
    """
    unit = _SECONDS.get(value[-1:])
    digits = value[:-1]
    if unit is None or len(digits) > 8 or not digits.isdigit():
        raise Aborted(StatusCode.INTERNAL, "malformed grpc-timeout")
    return int(digits) * unit


def only_message(body: bytes, headers: Mapping[bytes, bytes], max_bytes: int) -> bytes:
    """The one message of a unary call whose whole *body* is this.

    Raises:
        Aborted: It is not exactly one message, is malformed, or has more than *max_bytes*, sent or inflated.
    """
    if not body:
        raise Aborted(StatusCode.UNIMPLEMENTED, "the call carries no message")
    if len(body) < PREFIX.size:
        raise Aborted(StatusCode.INTERNAL, "the message ends within its prefix")
    flag, length = PREFIX.unpack_from(body)
    if flag > 1:
        raise Aborted(StatusCode.INTERNAL, f"the message's compressed flag is {flag}: expected 0 or 1")
    check_length(length, max_bytes)
    end = PREFIX.size + length
    if len(body) < end:
        raise Aborted(StatusCode.INTERNAL, "the message is shorter than its prefix says")
    if len(body) > end:
        raise Aborted(StatusCode.UNIMPLEMENTED, "the call carries more than one message")
    message = body[PREFIX.size :]
    return inflate(message, headers.get(b"grpc-encoding", b"identity"), max_bytes) if flag else message


def check_length(length: int, max_bytes: int) -> None:
    """Refuse a message by its prefix.

    Raises:
        Aborted: RESOURCE_EXHAUSTED.
    """
    if length > max_bytes:
        raise Aborted(StatusCode.RESOURCE_EXHAUSTED, f"the message has {length} bytes: at most {max_bytes} are allowed")


def inflate(message: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """A message whose compressed flag is set.

    Raises:
        Aborted: *encoding* is not gzip, or the message is not one whole gzip stream of at most *max_bytes*.
    """
    if encoding == b"identity":
        raise Aborted(StatusCode.INTERNAL, "the message is flagged as compressed, but grpc-encoding is identity")
    if encoding != b"gzip":
        raise Aborted(StatusCode.UNIMPLEMENTED, f"grpc-encoding {encoding.decode('latin-1')} is not supported")
    inflator = zlib.decompressobj(_GZIP)
    try:
        # One byte more than allowed tells what is too large from what just fits.
        inflated = inflator.decompress(message, max_bytes + 1)
    except zlib.error:
        raise Aborted(StatusCode.INTERNAL, "the message is not gzip") from None
    if len(inflated) > max_bytes:
        raise Aborted(StatusCode.RESOURCE_EXHAUSTED, f"the message inflates to more than {max_bytes} bytes")
    if not inflator.eof or inflator.unused_data:
        raise Aborted(StatusCode.INTERNAL, "the message is not one whole gzip stream")
    return inflated


def encode_message(text: str) -> bytes:
    """*text* as grpc-message: UTF-8, percent-encoded but for printable ASCII; of a half of a pair, its escape."""
    encoded = text.encode(errors="backslashreplace")
    return b"".join(bytes([byte]) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in encoded)
