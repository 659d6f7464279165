"""A client that sends what it is told, frame by frame: HTTP/2 as no library would send it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Self

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PREFIX = Struct(">BI")
DEADLINE = 10.0
LARGE_WINDOW = 1 << 24
LARGEST_FRAME = 1 << 14


def message(payload: bytes, flag: int = 0) -> bytes:
    """A length-prefixed message."""
    return PREFIX.pack(flag, len(payload)) + payload


def call_headers(path: str, **others: str | None) -> list[tuple[str, str]]:
    """Headers of a gRPC call; *others*, with dashes for underscores, replace or, by None, remove them."""
    headers: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "rls",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    for name, value in others.items():
        headers[f":{name}" if name in ("method", "scheme") else name.replace("_", "-")] = value
    return [(name, value) for name, value in headers.items() if value is not None]


def _cut(data: bytes) -> list[bytes]:
    return [data[at : at + LARGEST_FRAME] for at in range(0, max(1, len(data)), LARGEST_FRAME)]


@dataclass
class Response:
    """What came back on one stream: header blocks in their order, data, and how it ended."""

    blocks: list[dict[str, str]] = field(default_factory=list)
    data: bytes = b""
    reset: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def http_status(self) -> int:
        return int(self.blocks[0][":status"])

    @property
    def grpc_status(self) -> int | None:
        status = self.blocks[-1].get("grpc-status") if self.blocks else None
        return None if status is None else int(status)

    @property
    def messages(self) -> list[bytes]:
        found, rest = [], self.data
        while rest:
            _, length = PREFIX.unpack_from(rest)
            found.append(rest[5 : 5 + length])
            rest = rest[5 + length :]
        return found


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.encoder = Encoder()
        self.responses: dict[int, Response] = {}
        self.goaway: GoAwayFrame | None = None
        self.closed = asyncio.Event()
        self.settings: dict[int, int] = {}
        self._next_stream = 1
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, address: str, settings: dict[int, int] | None = None) -> AsyncIterator[Self]:
        """A connection with its preface sent; windows are large unless *settings* say otherwise."""
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        client = cls(reader, writer)
        client.greet(settings)
        try:
            yield client
        finally:
            client._reading.cancel()
            await asyncio.wait([client._reading])
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def greet(self, settings: dict[int, int] | None = None) -> None:
        """Send the preface."""
        window = SettingsFrame.INITIAL_WINDOW_SIZE
        self.write(PREFACE, SettingsFrame(0, settings={window: LARGE_WINDOW} | (settings or {})))
        self.write(WindowUpdateFrame(0, window_increment=LARGE_WINDOW))

    def write(self, *frames: Frame | bytes) -> None:
        """Send as it is."""
        self.writer.write(b"".join(f if isinstance(f, bytes) else f.serialize() for f in frames))

    def headers(self, headers: Sequence[tuple[str, str]], *, end: bool = False) -> int:
        """Begin a stream; returns its number."""
        stream = self._next_stream
        self._next_stream += 2
        self.responses[stream] = Response()
        first, *others = _cut(self.encoder.encode(headers))
        frames: list[Frame] = [HeadersFrame(stream, first, flags=["END_STREAM"] if end else [])]
        frames += [ContinuationFrame(stream, block) for block in others]
        frames[-1].flags.add("END_HEADERS")
        self.write(*frames)
        return stream

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send *data*; in more than one frame where it must be."""
        frames = [DataFrame(stream, chunk) for chunk in _cut(data)]
        if end:
            frames[-1].flags.add("END_STREAM")
        self.write(*frames)

    def call(self, path: str, *chunks: bytes, end: bool = True, **headers: Any) -> int:
        """Begin a call and send *chunks*, a DATA frame each; returns its stream."""
        stream = self.headers(call_headers(path, **headers))
        for i, chunk in enumerate(chunks):
            self.data(stream, chunk, end=end and i == len(chunks) - 1)
        return stream

    def reset(self, stream: int, error_code: int = 8) -> None:
        """End a stream; by default with CANCEL."""
        self.write(RstStreamFrame(stream, error_code))

    async def response(self, stream: int) -> Response:
        """What came back, when the stream has ended; fails when it takes too long."""
        response = self.responses[stream]
        await asyncio.wait_for(response.ended.wait(), DEADLINE)
        return response

    async def ask(self, path: str, *chunks: bytes, **headers: Any) -> Response:
        """Call and return what came back."""
        return await self.response(self.call(path, *chunks, **headers))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decoder = Decoder(max_header_list_size=1 << 20)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame, length = Frame.parse_frame_header(memoryview(await reader.readexactly(9)))
                frame.parse_body(memoryview(await reader.readexactly(length)))
                self._take(frame, decoder)
        for response in self.responses.values():
            response.ended.set()
        self.closed.set()

    def _take(self, frame: Frame, decoder: Decoder) -> None:
        response = self.responses.get(frame.stream_id, Response())
        if isinstance(frame, HeadersFrame):
            response.blocks.append({str(name): str(value) for name, value in decoder.decode(frame.data)})
        elif isinstance(frame, DataFrame):
            response.data += frame.data
        elif isinstance(frame, RstStreamFrame):
            response.reset = frame.error_code
            response.ended.set()
        elif isinstance(frame, GoAwayFrame):
            # A later one may take back, but not add (RFC 9113, section 6.8).
            if self.goaway is None or frame.last_stream_id <= self.goaway.last_stream_id:
                self.goaway = frame
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.write(PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.settings |= frame.settings
            if (size := frame.settings.get(SettingsFrame.HEADER_TABLE_SIZE)) is not None:
                self.encoder.header_table_size = size
            self.write(SettingsFrame(0, flags=["ACK"]))
        if "END_STREAM" in frame.flags:
            response.ended.set()
