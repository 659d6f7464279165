"""The streams of a connection, how they end, and what waits to be sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from rls.transport.grpc_framing import PREFIX, SHORT
from rls.transport.http2 import responses
from rls.transport.http2.errors import ErrorCode
from rls.transport.http2.frames import DEFAULT_MAX_FRAME, DEFAULT_WINDOW, FrameType, frame, goaway, rst_stream
from rls.transport.http2.limits import ConnectionLimits
from rls.transport.http2.request import Request
from rls.transport.http2.stream import ConnectionState, Stream, StreamState

_LOG = logging.getLogger(__name__)


def nobody(_: object) -> None:
    """There is a shell that looks by itself."""


class Streams:
    """A connection's streams, and what every layer needs to send.

    Attributes:
        calls: When each unary call began that is whole, handed over and not answered, by stream.
        streams: All other streams that are not closed, but those whose DATA is about to come.
        handed_over: How many of `streams` are as those of `calls`, but did not come in one piece.
        state: See `ConnectionState`.
        error: Why the connection was closed by us: code and text. None where nothing was wrong.
        wake: Told, with the connection, when there is something to send and `receive` is not under way.
        peer: What the shell says of the client, for handlers.
    """

    def __init__(self, limits: ConnectionLimits, now: float, wake: Callable[[Any], None] | None) -> None:
        self.calls: dict[int, float] = {}
        self.streams: dict[int, Stream] = {}
        self.handed_over = 0
        # Unary calls of which nothing but usual HEADERS has come, and nothing else on the connection since then.
        self._headed: dict[int, Request] = {}
        self.state = ConnectionState.PREFACE
        self.error: tuple[ErrorCode, str] | None = None
        self.wake = wake or nobody
        self.peer: object = None
        self._limits = limits
        self._now = now
        # Within `receive`; and whether it has to return.
        self._receiving = self._stop = False
        self._out: list[bytes] = []
        self._kept_back: list[bytes] = []
        # The client's side of flow control (section 5.2).
        self._send_window = self._peer_window = DEFAULT_WINDOW
        self._peer_max_frame = DEFAULT_MAX_FRAME
        # Bytes of a unary answer that needs no more than to be sent; -1 where none is like that.
        self._short = SHORT - 1
        # RFC 9113, section 4.3.1: our next block has to say that we use no dynamic table.
        self._table_update = False
        # When the answer of each stream began to wait for a window, and how many bytes wait in all.
        self._blocked: dict[int, float] = {}
        self._waiting_bytes = 0
        # Streams that ended before the client had sent all: what is on its way is ignored.
        self._ignored: dict[int, None] = {}
        self._last_stream_id = 0

    def data_to_send(self) -> bytes:
        """All that is to be sent, in one piece; b"" where there is nothing but what is kept back."""
        out = self._out
        if not out:
            return b""
        self._out = []
        if self._kept_back:
            out, self._kept_back = self._kept_back + out, []
        return b"".join(out)

    def keep_back(self) -> None:
        """Let what is to be sent go with what comes up next, or after `let_go`. `wake` is called when something comes up."""
        self._kept_back += self._out
        self._out = []

    def let_go(self) -> None:
        """Keep nothing back any more."""
        if self._kept_back:
            self._out, self._kept_back = self._kept_back + self._out, []

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over: send `data_to_send`, then close the transport."""
        return self.state is ConnectionState.CLOSED

    def is_live(self, stream_id: int) -> bool:
        """See `Responder`."""
        return stream_id in self.calls or self._unanswered(stream_id) is not None

    def began(self, stream_id: int) -> float | None:
        """See `Responder`."""
        at = self.calls.get(stream_id)
        if at is None and (stream := self._unanswered(stream_id)) is not None:
            return stream.began
        return at

    def terminate(self, code: ErrorCode, text: str) -> None:
        """A connection error (section 5.4.1): GOAWAY, and all calls are over. Idempotent."""
        if self.is_closed:
            return
        if code is not ErrorCode.NO_ERROR:
            self.error = (code, text)
        self._write(goaway(self._last_stream_id, code, text))
        self._close()

    def _close(self) -> None:
        self.state = ConnectionState.CLOSED
        self._stop = True
        self.calls.clear()
        self._headed.clear()
        while self.streams:
            self._forget(next(iter(self.streams)))
        self._ignored.clear()

    def _unanswered(self, stream_id: int) -> Stream | None:
        """A stream, if there is one, whose answer is not complete."""
        stream = self.streams.get(stream_id)
        return stream if stream is not None and stream.trailers is None else None

    def _stream_of(self, stream_id: int, began: float) -> Stream:
        """A stream for a unary call that has been handed over: more has come up than its answer."""
        stream = Stream(stream_id, began, 0, self._peer_window)
        stream.state = StreamState.HALF_CLOSED_REMOTE
        self.streams[stream_id] = stream
        self._hand_over(stream)
        return stream

    def _ended(self, stream: Stream) -> None:
        """We have sent END_STREAM; ask the client to send no more (section 8.1)."""
        if stream.state is StreamState.OPEN:
            self._write(rst_stream(stream.id, ErrorCode.NO_ERROR))
            self._ignore(stream.id)
        self._forget(stream.id)

    def _reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream at once, on both sides."""
        self._write(rst_stream(stream_id, code))
        self._ignore(stream_id)
        self._forget(stream_id)

    def _forget(self, stream_id: int) -> None:
        """A stream is closed."""
        self.calls.pop(stream_id, None)
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            return
        self._waiting_bytes -= len(stream.waiting)
        self._done(stream)
        self._blocked.pop(stream_id, None)
        self._lose(stream)

    def _hand_over(self, stream: Stream) -> None:
        """A unary call is whole."""
        stream.handed_over = True
        self.handed_over += 1

    def _done(self, stream: Stream) -> None:
        """The answer of a stream is complete, or will never be: what the client still sends for it is thrown away."""
        if stream.handed_over:
            stream.handed_over = False
            self.handed_over -= 1
        stream.reader = None

    def _lose(self, stream: Stream) -> None:
        """Tell a receiver that its call is over."""
        if stream.receiver is not None and not stream.lost:
            stream.lost = True
            try:
                stream.receiver.lost()
            except Exception:  # noqa: BLE001 - it is over anyway
                _LOG.exception("a handler failed when its call was lost")

    def _ignore(self, stream_id: int) -> None:
        """Frames that are still on their way for this stream are no error."""
        ignored = self._ignored
        ignored[stream_id] = None
        if len(ignored) > self._limits.remembered_streams:
            del ignored[next(iter(ignored))]

    def _headers(self, stream_id: int, block: bytes, flags: int) -> None:
        if self._table_update:
            self._table_update = False
            self._refresh()
            block = responses.NO_TABLE + block
        self._write(frame(FrameType.HEADERS, flags, stream_id, block))

    def _write(self, data: bytes) -> None:
        if not self._out and not self._receiving:
            self.wake(self)
        self._out.append(data)

    def _refresh(self) -> None:
        """Work out again which answers take the flat path."""
        self._short = -1 if self._table_update else min(SHORT - 1, self._peer_window - PREFIX.size)
