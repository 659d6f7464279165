"""Frames of HTTP/2 (RFC 9113, sections 4 to 7): numbers, layout, and how each one of ours is built."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

from rls.transport.http2.errors import ConnectionFault, ErrorCode

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

FRAME_HEADER: Final = Struct(">BHBBI")
"""Length (24 bits, in two parts), type, flags, reserved bit and stream identifier (section 4.1)."""

FRAME_HEADER_BYTES: Final = 9
MAX_STREAM_ID: Final = 2**31 - 1
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
DEFAULT_MAX_FRAME: Final = 16_384
DEFAULT_TABLE: Final = 4_096
_MAX_DEBUG_BYTES: Final = 128


class FrameType(IntEnum):
    """Section 6. Frames of any other type are ignored (section 5.5)."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


class Flag(IntFlag):
    """END_STREAM of DATA and HEADERS and ACK of SETTINGS and PING share a bit."""

    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting(IntEnum):
    """Section 6.5.2. Other settings are ignored."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


_SETTING = Struct(">HI")
_INT = Struct(">I")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return FRAME_HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """SETTINGS with *values*."""
    return frame(FrameType.SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values.items()))


SETTINGS_ACK: Final = frame(FrameType.SETTINGS, Flag.ACK, 0)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Identifiers and values in their order.

    Raises:
        ConnectionFault: The payload is no multiple of 6 bytes (section 6.5).
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a length that is no multiple of 6")
    return list(_SETTING.iter_unpack(payload))


def window_update(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return frame(FrameType.WINDOW_UPDATE, 0, stream_id, _INT.pack(increment))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """RST_STREAM."""
    return frame(FrameType.RST_STREAM, 0, stream_id, _INT.pack(code))


def goaway(last_stream_id: int, code: ErrorCode, text: str = "") -> bytes:
    """GOAWAY, with *text* for the log of the other side."""
    payload = _INT.pack(last_stream_id) + _INT.pack(code) + text.encode()[:_MAX_DEBUG_BYTES]
    return frame(FrameType.GOAWAY, 0, 0, payload)


def read_int(payload: bytes, name: str) -> int:
    """The one 32-bit number of RST_STREAM and WINDOW_UPDATE.

    Raises:
        ConnectionFault: The payload has another size (sections 6.4 and 6.9).
    """
    if len(payload) != _INT.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{name} of {len(payload)} bytes")
    number: int = _INT.unpack(payload)[0]
    return number


def strip_padding(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without its padding (section 6.1).

    Raises:
        ConnectionFault: The padding is as long as the payload, or longer.
    """
    if not flags & Flag.PADDED:
        return payload
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "no room for the pad length")
    end = len(payload) - payload[0]
    if end < 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding longer than the payload")
    return payload[1:end]
