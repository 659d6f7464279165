"""A client that sends messages as far as the core's windows allow, in whatever order a test likes."""

from __future__ import annotations

from collections.abc import Iterable

from benches.frames import frame
from tests.transport.http2.peer import DATA, END_STREAM, LATER, PADDED, WINDOW_UPDATE, Peer, fields, headers, message

FRAME_BYTES = 16_384


class Sender:
    """Messages of one connection.

    Attributes:
        left: What each stream still has to send; only the streams that are neither through nor over.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.left: dict[int, bytes] = {}
        self._window = 65_535
        self._windows: dict[int, int] = {}
        self._seen = 0

    def begin(self, stream: int, payload: bytes, path: str = LATER) -> None:
        """Send HEADERS; *payload* is to follow."""
        self.peer.send(headers(stream, fields(path)))
        self.left[stream] = payload
        self._windows[stream] = 65_535

    def able(self) -> list[int]:
        """The streams that may send something."""
        self._read()
        return [stream for stream in self.left if min(self._window, self._windows[stream]) > 0]

    def send(self, stream: int, size: int = FRAME_BYTES, padding: int = 0) -> None:
        """Send one frame, of *size* bytes or as many as the windows allow; padding first gives way."""
        room = min(self._window, self._windows[stream], FRAME_BYTES)
        padding = padding if padding and padding + 2 <= room else 0
        taken = padding + 1 if padding else 0
        payload = self.left[stream][: min(size, room - taken)]
        rest = self.left[stream][len(payload) :]
        flags = 0 if rest else END_STREAM
        self._window -= taken + len(payload)
        self._windows[stream] -= taken + len(payload)
        if rest:
            self.left[stream] = rest
        else:
            del self.left[stream]
        if padding:
            self.peer.send(frame(DATA, flags | PADDED, stream, bytes([padding]) + payload + bytes(padding)))
        else:
            self.peer.send(frame(DATA, flags, stream, payload))

    def send_in_turns(self) -> None:
        """Send all: of every stream a frame, over and over. Returns early only where nothing may be sent any more."""
        while able := self.able():
            for stream in able:
                if stream in self.left and min(self._window, self._windows[stream]) > 0:
                    self.send(stream)
                    self._read()

    def window_of(self, stream: int) -> int:
        """Bytes that may be sent; stream 0 is the connection."""
        self._read()
        return self._windows[stream] if stream else self._window

    def _read(self) -> None:
        self._answer()
        others = self.peer.others
        for kind, _, stream, payload in others[self._seen :]:
            if kind == WINDOW_UPDATE:
                if stream:
                    self._windows[stream] += int.from_bytes(payload, "big")
                else:
                    self._window += int.from_bytes(payload, "big")
        self._seen = len(others)
        for stream in [stream for stream in self.left if self._is_over(stream)]:
            del self.left[stream]

    def _answer(self) -> None:
        """Answer what came whole, with a few bytes: the messages that come are what is looked at."""
        connection = self.peer.connection
        for stream in list(connection.calls):
            connection.respond(stream, b"taken")
        for stream, open_stream in list(connection.streams.items()):
            if open_stream.handed_over:
                connection.respond(stream, b"taken")
            elif open_stream.receiver is not None and self.peer.streams[stream].ended:
                connection.finish(stream)
        self.peer.read()

    def _is_over(self, stream: int) -> bool:
        response = self.peer.response(stream)
        return response.ended or response.reset is not None


def large(sizes: Iterable[int]) -> dict[int, bytes]:
    """Messages of these sizes, for streams from 1 on."""
    return {1 + 2 * i: message(bytes([i % 256]) * size) for i, size in enumerate(sizes)}
