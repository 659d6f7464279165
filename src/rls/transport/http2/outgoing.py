"""What a connection sends: answers, as far as the client's flow control allows, and how streams end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from rls.transport.grpc_framing import PREFIX, SHORT
from rls.transport.http2 import responses
from rls.transport.http2.errors import ErrorCode
from rls.transport.http2.frames import DEFAULT_MAX_FRAME, DEFAULT_WINDOW, Flag, FrameType, frame, goaway, rst_stream
from rls.transport.http2.limits import STREAM_BYTES, Limits
from rls.transport.http2.request import Request
from rls.transport.http2.responses import ANSWER_END, ANSWER_MIDDLE, ANSWER_PREFIX, ANSWER_START, TRAILERS_OK
from rls.transport.http2.stream import ConnectionState, Stream, StreamState
from rls.transport.status import StatusCode

_LOG = logging.getLogger(__name__)

_END_HEADERS = int(Flag.END_HEADERS)
_END_STREAM = int(Flag.END_HEADERS | Flag.END_STREAM)


def nobody(_: object) -> None:
    """There is a shell that looks by itself."""


class Outgoing:
    """The sending half of a connection, and its streams.

    Attributes:
        calls: When each unary call began that is whole, handed over and not answered, by stream.
        streams: All other streams that are not closed, but those whose DATA is about to come.
        handed_over: How many of `streams` are as those of `calls`, but did not come in one piece.
        state: See `ConnectionState`.
        error: Why the connection was closed by us: code and text. None where nothing was wrong.
        wake: Told, with the connection, when there is something to send and `receive` is not under way.
        peer: What the shell says of the client, for handlers.
    """

    def __init__(self, limits: Limits, now: float, wake: Callable[[Any], None] | None) -> None:
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
        """All that is to be sent, in one piece; b"" where there is nothing."""
        out, self._out = self._out, []
        return b"".join(out)

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

    def respond(self, stream_id: int, message: bytes) -> bool:
        """See `Responder`. Flat where it can be: every check comes through here."""
        began = self.calls.pop(stream_id, None)
        if began is None:
            whole = self._unanswered(stream_id)
            return whole is not None and self._send(whole, message, TRAILERS_OK)
        size = len(message)
        if size > self._short or size + 5 > self._send_window:
            stream = self._stream_of(stream_id, began)
            return self._send(stream, message, TRAILERS_OK)
        self._send_window -= size + 5
        out = self._out
        if not out and not self._receiving:
            self.wake(self)
        sid = stream_id.to_bytes(4, "big")
        out += (
            ANSWER_START, sid, ANSWER_MIDDLE[size], sid, ANSWER_PREFIX[size], message, ANSWER_END, sid, TRAILERS_OK
        )  # fmt: skip
        return True

    def fail(self, stream_id: int, code: StatusCode, text: str) -> bool:
        """See `Responder`."""
        if self.calls.pop(stream_id, None) is not None:
            start, block = responses.failure(code, text)
            if self._table_update:
                self._headers(stream_id, block, _END_STREAM)
            else:
                self._write(start + stream_id.to_bytes(4, "big") + block)
            return True
        return (stream := self._unanswered(stream_id)) is not None and self._end(stream, code, text)

    def send_message(self, stream_id: int, message: bytes) -> bool:
        """See `Responder`."""
        stream = self._unanswered(stream_id)
        return stream is not None and self._send(stream, message, None)

    def send_part(self, stream_id: int, part: bytes | memoryview) -> int:
        """See `Responder`."""
        stream = self._unanswered(stream_id)
        if stream is None:
            return -1
        if not stream.answered:
            stream.answered = True
            self._headers(stream_id, responses.HEADERS, _END_HEADERS)
        sent = 0
        while sent < len(part):
            size = min(len(part) - sent, stream.send_window, self._send_window, self._peer_max_frame)
            if size <= 0:
                self._blocked.setdefault(stream_id, self._now)
                return sent
            self._write(frame(FrameType.DATA, 0, stream_id, bytes(part[sent : sent + size])))
            stream.send_window -= size
            self._send_window -= size
            sent += size
        self._blocked.pop(stream_id, None)
        return sent

    def finish(self, stream_id: int) -> bool:
        """See `Responder`."""
        return self.fail(stream_id, StatusCode.OK, "")

    def reset(self, stream_id: int) -> bool:
        """See `Responder`."""
        if stream_id not in self.calls and stream_id not in self.streams:
            return False
        self._reset(stream_id, ErrorCode.CANCEL)
        return True

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

    def _abort(self, stream_id: int, code: StatusCode, text: str) -> None:
        """End a call with a status, not by its handler's will."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._lose(stream)
        self.fail(stream_id, code, text)

    def _end(self, stream: Stream, code: StatusCode, text: str) -> bool:
        stream.lost = True
        if stream.answered:
            stream.trailers = responses.trailers(code, text)
            self._done(stream)
            self._pump(stream)
        else:
            self._headers(stream.id, responses.trailers_only(code, text), _END_STREAM)
            self._ended(stream)
        return True

    def _send(self, stream: Stream, message: bytes, trailers: bytes | None) -> bool:
        """Send a message, and the end where there are *trailers*, or let them wait for a window."""
        if not stream.answered:
            stream.answered = True
            self._headers(stream.id, responses.HEADERS, _END_HEADERS)
        return self._enqueue(stream, PREFIX.pack(0, len(message)) + message, trailers)

    def _enqueue(self, stream: Stream, data: bytes, trailers: bytes | None) -> bool:
        stream.waiting += data
        self._waiting_bytes += len(data)
        stream.trailers = trailers
        if trailers is not None:
            self._done(stream)
        self._pump(stream)
        if self._waiting_bytes + STREAM_BYTES * len(self._blocked) > self._limits.max_waiting_bytes:
            self._reset(stream.id, ErrorCode.ENHANCE_YOUR_CALM)
            return False
        return True

    def _pump(self, stream: Stream) -> None:
        """Send of an answer what windows allow; end the stream where that is all."""
        waiting = stream.waiting
        if not waiting and stream.trailers is None:
            # What waits is with the handler. The time to take all of it goes on.
            if stream.receiver is not None:
                self._tell(stream, stream.receiver.sendable)
            return
        while waiting:
            size = min(len(waiting), stream.send_window, self._send_window, self._peer_max_frame)
            if size <= 0:
                self._blocked.setdefault(stream.id, self._now)
                return
            self._write(frame(FrameType.DATA, 0, stream.id, bytes(waiting[:size])))
            del waiting[:size]
            stream.send_window -= size
            self._send_window -= size
            self._waiting_bytes -= size
        self._blocked.pop(stream.id, None)
        if stream.trailers is not None:
            if stream.trailers:
                self._headers(stream.id, stream.trailers, _END_STREAM)
            else:
                self._write(frame(FrameType.DATA, Flag.END_STREAM, stream.id))
            self._ended(stream)

    def _pump_all(self) -> None:
        """The connection's window has opened: answers go on, the longest waiting first."""
        for stream_id in list(self._blocked):
            if self._send_window <= 0:
                return
            stream = self.streams.get(stream_id)
            if stream is not None and stream.send_window > 0:
                self._pump(stream)

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

    def _tell(self, stream: Stream, what: Callable[..., None], *args: object) -> None:
        """Call the receiver of a stream that is still there."""
        if not stream.lost:
            try:
                what(*args)
            except Exception:  # noqa: BLE001 - it ends one call
                self._handler_failed(stream.id)

    def _handler_failed(self, stream_id: int) -> None:
        """An exception in a handler ends its call, and nothing else."""
        _LOG.exception("a handler failed")
        self._abort(stream_id, StatusCode.INTERNAL, "internal error")

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
