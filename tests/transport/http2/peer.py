"""A client that hands its frames to the core, one by one and as wrong as they may be, and reads what comes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hpack import Decoder, Encoder

from benches.frames import FRAME, frame
from rls.transport.http2 import (
    Connection,
    ConnectionLimits,
    Memory,
    Receiver,
    Request,
    Responder,
    Routes,
    Streaming,
    Unary,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY_FLAG = 0x4, 0x8, 0x20
UNARY, LATER, BOOM, STREAM, WATCH = "/echo/Unary", "/echo/Later", "/echo/Boom", "/echo/Stream", "/echo/Watch"


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def settings(*values: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(name.to_bytes(2, "big") + number(value) for name, value in values))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, number(increment))


def rst_stream(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream, number(code))


def message(payload: bytes = b"hello", flag: int = 0) -> bytes:
    return bytes([flag]) + number(len(payload)) + payload


def data(stream: int, payload: bytes, flags: int = END_STREAM) -> bytes:
    return frame(DATA, flags, stream, payload)


def fields(path: str = UNARY, **others: str | None) -> list[tuple[str, str]]:
    """Header fields of a call; *others*, with dashes for underscores, replace or, by None, remove them."""
    found: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "rls",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    for name, value in others.items():
        found[f":{name}" if f":{name}" in found else name.replace("_", "-")] = value
    return [(name, value) for name, value in found.items() if value is not None]


def block(list_of_fields: Iterable[tuple[str | bytes, str | bytes]], *, huffman: bool = True) -> bytes:
    """A field block that needs no dynamic table and does not speak of one."""
    encoder = Encoder()
    encoder.header_table_size = 0
    encoder.table_size_changes = []
    return encoder.encode(list_of_fields, huffman=huffman)


def headers(
    stream: int, list_of_fields: Iterable[tuple[str | bytes, str | bytes]] | None = None, flags: int = 0
) -> bytes:
    """HEADERS in one frame; *flags* beside END_HEADERS."""
    return frame(HEADERS, END_HEADERS | flags, stream, block(fields() if list_of_fields is None else list_of_fields))


def call(stream: int, path: str = UNARY, payload: bytes = b"hello", **others: str | None) -> bytes:
    """A whole unary call."""
    return headers(stream, fields(path, **others)) + data(stream, message(payload))


@dataclass
class Response:
    """What came back on one stream."""

    blocks: list[dict[str, str]] = field(default_factory=list)
    data: bytes = b""
    reset: int | None = None
    ended: bool = False

    @property
    def status(self) -> str | None:
        return self.blocks[-1].get("grpc-status") if self.blocks else None

    @property
    def text(self) -> str | None:
        return self.blocks[-1].get("grpc-message")

    @property
    def messages(self) -> list[bytes]:
        found, rest = [], self.data
        while rest:
            length = int.from_bytes(rest[1:5], "big")
            found.append(rest[5 : 5 + length])
            rest = rest[5 + length :]
        return found


class Sender(Receiver):
    """A streaming call that sends when there is room."""

    def __init__(self, connection: Responder, stream_id: int) -> None:
        self.connection, self.stream_id = connection, stream_id
        self.unsent = bytearray()
        self.finishes = False

    def send(self, payload: bytes) -> None:
        self.unsent += message(payload)
        self.sendable()

    def finish(self) -> None:
        self.finishes = True
        self.sendable()

    def sendable(self) -> None:
        sent = self.connection.send_part(self.stream_id, bytes(self.unsent))
        del self.unsent[: max(0, sent)]
        if self.finishes and not self.unsent:
            self.connection.finish(self.stream_id)

    def message(self, message: bytes, now: float) -> None:
        pass

    def end(self, now: float) -> None:
        pass

    def lost(self) -> None:
        pass


class Echo(Sender):
    """A streaming call that answers every message with itself, or does nothing by itself."""

    def __init__(self, peer: Peer, connection: Responder, stream_id: int, request: Request, *, quiet: bool) -> None:
        super().__init__(connection, stream_id)
        self.peer, self.request, self.quiet = peer, request, quiet
        self.messages: list[bytes] = []
        self.ended = False
        self.was_lost = 0

    def message(self, message: bytes, now: float) -> None:
        self.messages.append(message)
        if message == b"boom":
            raise ValueError(message)
        if not self.quiet:
            self.send(message)

    def end(self, now: float) -> None:
        self.ended = True
        if not self.quiet:
            self.finish()

    def lost(self) -> None:
        self.was_lost += 1


class Peer:
    """A client of one `Connection`.

    Attributes:
        calls: Unary calls that reached a handler: stream, path, message.
        streams: Receivers of streaming calls by stream.
        responses: What came back, by stream.
        others: All other frames that came back: type, flags, stream, payload.
        goaways: Last stream and error code of each GOAWAY.
        wakes: How often the connection asked to be written.
        begin_fails: Whether streaming handlers fail at once.
    """

    def __init__(
        self,
        limits: ConnectionLimits | None = None,
        *,
        greet: bool = True,
        acknowledge: bool = True,
        values: Mapping[int, int] | None = None,
        now: float = 0.0,
        memory: Memory | None = None,
    ) -> None:
        self.limits = limits or ConnectionLimits()
        self.now = now
        self.calls: list[tuple[int, bytes, bytes]] = []
        self.requests: list[Request] = []
        self.streams: dict[int, Echo] = {}
        self.responses: dict[int, Response] = {}
        self.others: list[tuple[int, int, int, bytes]] = []
        self.goaways: list[tuple[int, int]] = []
        self.wakes = 0
        self.begin_fails = False
        self.decoder = Decoder()
        self.connection = Connection(self._routes(), self.limits, now, self._wake, memory)
        if greet:
            self.send(PREFACE, settings(*(values or {}).items()), frame(SETTINGS, ACK, 0) if acknowledge else b"")

    def send(self, *frames: bytes, waited: float = 0.0, turns: int = 1_000_000) -> None:
        """Send, and read what comes back; at most so many *turns*."""
        more = self.connection.receive(b"".join(frames), self.now, waited)
        self.read()
        while more and turns > 1:
            turns -= 1
            more = self.connection.receive(b"", self.now, waited)
            self.read()

    def warm(self, path: str = LATER) -> int:
        """Let the connection know the field blocks of *path*, so that calls take the flat path; the next free stream."""
        self.send(*(headers(stream, fields(path)) + rst_stream(stream) for stream in (1, 3, 5)))
        assert self.connection._blocks.known
        self.responses.clear()
        self.streams.clear()
        self.wakes = 0
        return 7

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass."""
        self.now += seconds
        self.connection.tick(self.now)
        self.read()

    def read(self) -> None:
        sent = self.connection.data_to_send()
        at = 0
        while at < len(sent):
            high, low, kind, flags, stream = FRAME.unpack_from(sent, at)
            payload = sent[at + 9 : at + 9 + (high << 16 | low)]
            assert len(payload) == (high << 16 | low), "half a frame was sent"
            at += 9 + len(payload)
            self._take(kind, flags, stream, payload)

    def response(self, stream: int) -> Response:
        return self.responses.get(stream, Response())

    @property
    def code(self) -> int | None:
        """The error that ended the connection."""
        return self.goaways[-1][1] if self.goaways else None

    def works(self, stream: int) -> bool:
        """Whether a further call is answered."""
        self.send(call(stream, payload=b"still there"))
        return self.response(stream).messages == [b"still there"] and self.response(stream).status == "0"

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        response = self.responses.setdefault(stream, Response()) if stream else Response()
        if kind in (DATA, HEADERS):
            assert not response.ended, "a frame after the end"
            response.ended = bool(flags & END_STREAM)
        if kind == DATA:
            assert response.blocks, "DATA before HEADERS"
            response.data += payload
        elif kind == HEADERS:
            assert flags & END_HEADERS
            response.blocks.append({str(name): str(value) for name, value in self.decoder.decode(payload)})
        elif kind == RST_STREAM:
            assert response.reset is None, "reset twice"
            response.reset = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaways.append((int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")))
        else:
            self.others.append((kind, flags, stream, payload))

    def _wake(self, connection: Connection) -> None:
        self.wakes += 1

    def _routes(self) -> Routes:
        def echo(connection: Responder, stream: int, request: Request, message: bytes, now: float) -> None:
            later(connection, stream, request, message, now)
            connection.respond(stream, message)

        def later(connection: Responder, stream: int, request: Request, message: bytes, now: float) -> None:
            self.calls.append((stream, request.head.path, message))
            self.requests.append(request)

        def boom(connection: Responder, stream: int, request: Request, message: bytes, now: float) -> None:
            raise ValueError(message)

        def stream(*, quiet: bool) -> Streaming:
            def begin(connection: Responder, stream: int, request: Request, now: float) -> Echo:
                if self.begin_fails:
                    raise ValueError
                self.streams[stream] = Echo(self, connection, stream, request, quiet=quiet)
                return self.streams[stream]

            return Streaming(begin)

        return {
            UNARY.encode(): Unary(echo),
            LATER.encode(): Unary(later),
            BOOM.encode(): Unary(boom),
            STREAM.encode(): stream(quiet=False),
            WATCH.encode(): stream(quiet=True),
        }
