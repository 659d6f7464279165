"""Calls that are rejected without a look at their messages: those that are like one that was rejected, many at a time."""

from __future__ import annotations

from typing import Final, NamedTuple

from rls.transport.grpc_framing import PREFIX, PREFIXES, SHORT
from rls.transport.http2.frames import DEFAULT_MAX_FRAME, FRAME_HEADER, FRAME_HEADER_BYTES, Flag, FrameType
from rls.transport.http2.handler import RejectedHandler
from rls.transport.http2.request import Head, Request

_DATA: Final = int(FrameType.DATA)
_HEADERS: Final = int(FrameType.HEADERS)
_END_STREAM: Final = int(Flag.END_STREAM)
_END_HEADERS: Final = int(Flag.END_HEADERS)
_SHORT: Final = PREFIX.size + SHORT
_unpack = FRAME_HEADER.unpack_from
# As they are, and in Huffman's code (RFC 7541, appendix B).
_TIMEOUT: Final = (b"grpc-timeout", b"\x9a\xca\xc8\xb2MIOj\x7f")
_ENCODING: Final = (b"grpc-encoding", b"\x9a\xca\xc8\xb1j!\xe45S\x7f")


class Alike(NamedTuple):
    """Calls that are rejected.

    Attributes:
        start: What their field blocks begin with.
        head: Of the call that was rejected. Theirs has the same grpc-timeout, or none either.
        request: What the handler gets that rejects calls one by one.
        many: Rejects calls many at a time. None where there is no such handler, or where content-length says something of
            messages, which has to be checked.
    """

    start: bytes
    head: Head
    request: Request
    many: RejectedHandler | None

    def has(self, data: bytes, block: int, end: int) -> bool:
        """Whether the field block from *block* to *end* in *data* is one of theirs, and says nothing more of its message."""
        if not data.startswith(self.start, block, end):
            return False
        rest = block + len(self.start)
        if self.head.timeout is None and _has(_TIMEOUT, data, rest, end):
            return False
        return not _has(_ENCODING, data, rest, end)


class Run(NamedTuple):
    """Calls that stand one behind another.

    Attributes:
        stream_ids: Theirs, in their order.
        end: Where something else begins.
        window: What is left of the connection's window.
    """

    stream_ids: list[int]
    end: int
    window: int


def _has(name: tuple[bytes, bytes], data: bytes, start: int, end: int) -> bool:
    """Whether there is such a field from *start* to *end*: no table has its *name*, so it is spelt out."""
    plain, coded = name
    return data.find(plain, start, end) >= 0 or data.find(coded, start, end) >= 0


def whole_calls(data: bytes, position: int, alike: Alike, stream_id: int, window: int, most: int) -> Run:
    """The calls at *position* that are *alike* and whole: HEADERS and one short DATA frame each, not compressed.

    Args:
        data: What was read.
        position: Of a frame in it.
        alike: What their field blocks are like.
        stream_id: Of the first call; those behind it follow.
        window: Bytes that the client may send on the connection.
        most: Calls at most.
    """
    size = len(data)
    complete = size - FRAME_HEADER_BYTES
    start, length_of_start = alike.start, len(alike.start)
    untimed = alike.head.timeout is None
    found: list[int] = []
    while len(found) < most and position <= complete:
        high, low, kind, flags, stream = _unpack(data, position)
        block = position + FRAME_HEADER_BYTES
        block_end = block + (high << 16 | low)
        if (
            kind != _HEADERS
            or flags != _END_HEADERS
            or stream != stream_id
            or block_end > complete
            or block_end - block > DEFAULT_MAX_FRAME
            or not data.startswith(start, block, block_end)
            or (untimed and _has(_TIMEOUT, data, block + length_of_start, block_end))
        ):
            break
        high, low, kind, flags, stream = _unpack(data, block_end)
        message = block_end + FRAME_HEADER_BYTES
        length = high << 16 | low
        if (
            kind != _DATA
            or flags != _END_STREAM
            or stream != stream_id
            or message + length > size
            or not PREFIX.size <= length < _SHORT
            or length > window
            or not data.startswith(PREFIXES[length - PREFIX.size], message)
        ):
            break
        found.append(stream_id)
        stream_id += 2
        window -= length
        position = message + length
    return Run(found, position, window)
