"""As much of HTTP/2 (RFC 9113) and gRPC as a load needs: calls from prepared bytes, answers distinguished.

Header blocks are sent without the dynamic table, and SETTINGS tell the server to do without it too: then a block means the same
every time, and is decoded once.
"""

from __future__ import annotations

from struct import Struct

from hpack import Decoder, HPACKError

PATH = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
CANCEL_CODE = (0x8).to_bytes(4, "big")
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 0x3, 0x4

# RFC 9113, 4.1: 24 bits of length, type, flags, stream.
FRAME = Struct(">BHBBI")
_SETTING = Struct(">HI")
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def settings(payload: bytes) -> dict[int, int]:
    return dict(_SETTING.iter_unpack(payload))


# No dynamic table, no push, and windows that no run uses up.
GREETING = (
    _PREFACE
    + frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in ((1, 0), (2, 0), (4, _LARGEST_WINDOW))))
    + frame(WINDOW_UPDATE, 0, 0, (_LARGEST_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big"))
)


class Call:
    """A unary call, all of its bytes but the stream's number.

    Attributes:
        size: Bytes that it takes of the connection's window.
    """

    def __init__(self, message: bytes, timeout_milliseconds: int = 0) -> None:
        headers = _header_block(timeout_milliseconds)
        body = b"\0" + len(message).to_bytes(4, "big") + message
        head = frame(HEADERS, END_HEADERS, 0, headers)
        data = frame(DATA, END_STREAM, 0, body)
        self._parts = head[:5], head[9:] + data[:5], data[9:]
        self.size = len(body)

    def on(self, stream: int) -> tuple[bytes, ...]:
        """Its parts, on *stream*."""
        first, second, third = self._parts
        number = stream.to_bytes(4, "big")
        return first, number, second, number, third


class Get(Call):
    """A GET, for what stands behind a proxy."""

    def __init__(self, path: str) -> None:
        block = _block(_GET, [(":path", path), (":authority", "users")])
        head = frame(HEADERS, END_HEADERS | END_STREAM, 0, block)
        self._head, self._block = head[:5], head[9:]
        self.size = 0

    def on(self, stream: int) -> tuple[bytes, ...]:
        return self._head, stream.to_bytes(4, "big"), self._block


# RFC 7541, appendix A: indexes of ":method: GET", ":method: POST" and ":scheme: http".
_GET, _POST = b"\x82\x86", b"\x83\x86"


def _header_block(timeout_milliseconds: int) -> bytes:
    fields = [(":path", PATH), (":authority", "ratelimit"), ("content-type", "application/grpc"), ("te", "trailers")]
    if timeout_milliseconds:
        fields.append(("grpc-timeout", f"{timeout_milliseconds}m"))
    return _block(_POST, fields)


def _block(start: bytes, fields: list[tuple[str, str]]) -> bytes:
    return start + b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(value: str) -> bytes:
    assert len(value) < 127
    return bytes([len(value)]) + value.encode()


class Outcomes:
    """What header blocks say about a call: "" is an answer, anything else the reason of its failure."""

    def __init__(self, *, grpc: bool) -> None:
        self._grpc = grpc
        self._known: dict[bytes, tuple[str, str]] = {}

    def of(self, block: bytes) -> tuple[str, str]:
        """HTTP's part and gRPC's: what is wrong with each, "" where nothing is, and "?" where *block* has none."""
        known = self._known.get(block)
        if known is None:
            known = self._known[block] = self._decode(block)
        return known

    def _decode(self, block: bytes) -> tuple[str, str]:
        try:
            fields: dict[str, str] = {str(name): str(value) for name, value, *_ in Decoder().decode(block)}
        except HPACKError as error:
            return f"HPACK: {error}", "?"
        status, code = fields.get(":status", "?"), fields.get("grpc-status", "?" if self._grpc else "0")
        return {"200": "", "?": "?"}.get(status, f"HTTP {status}"), {"0": "", "?": "?"}.get(code, f"grpc-status {code}")
