"""What a connection sends: answers, as far as the client's flow control allows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from rls.transport.grpc_framing import PREFIX
from rls.transport.http2 import responses
from rls.transport.http2.errors import ErrorCode
from rls.transport.http2.frames import Flag, FrameType, frame
from rls.transport.http2.limits import STREAM_BYTES
from rls.transport.http2.responses import ANSWER_END, ANSWER_MIDDLE, ANSWER_PREFIX, ANSWER_START, TRAILERS_OK
from rls.transport.http2.stream import Stream
from rls.transport.http2.streams import Streams
from rls.transport.status import StatusCode

_LOG = logging.getLogger(__name__)

_END_HEADERS = int(Flag.END_HEADERS)
_END_STREAM = int(Flag.END_HEADERS | Flag.END_STREAM)


class Outgoing(Streams):
    """A connection that answers: see `Responder`."""

    def respond(self, stream_id: int, message: bytes) -> bool:
        """See `Responder`. Flat where it can be: every check comes through here."""
        began = self.calls.pop(stream_id, None)
        if began is None:
            whole = self._unanswered(stream_id)
            return whole is not None and self._send(whole, message)
        size = len(message)
        if size > self._short or size + 5 > self._send_window:
            stream = self._stream_of(stream_id, began)
            return self._send(stream, message)
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

    def fail_all(self, stream_ids: Sequence[int], code: StatusCode, text: str) -> None:
        """See `Responder`."""
        start, block = responses.failure(code, text)
        if self._table_update:
            for stream_id in stream_ids:
                self._headers(stream_id, block, _END_STREAM)
        else:
            numbers = [stream_id.to_bytes(4, "big") for stream_id in stream_ids]
            self._write(start + (block + start).join(numbers) + block)

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

    def _send(self, stream: Stream, message: bytes) -> bool:
        """Send a message and the end, or let them wait for a window."""
        if not stream.answered:
            stream.answered = True
            self._headers(stream.id, responses.HEADERS, _END_HEADERS)
        return self._enqueue(stream, PREFIX.pack(0, len(message)) + message, TRAILERS_OK)

    def _enqueue(self, stream: Stream, data: bytes, trailers: bytes) -> bool:
        """Send the content of an answer, and then *trailers*."""
        stream.waiting += data
        self._waiting_bytes += len(data)
        stream.trailers = trailers
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
