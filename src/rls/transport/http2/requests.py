"""Requests in full (RFC 9113, sections 6.1, 6.2, 6.10 and 8): what does not take the flat path of `Connection`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from rls.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from rls.transport.http2.frames import DEFAULT_WINDOW, Flag, strip_padding
from rls.transport.http2.handler import Routes
from rls.transport.http2.incoming import Incoming
from rls.transport.http2.limits import ConnectionLimits
from rls.transport.http2.memory import Memory
from rls.transport.http2.messages import StreamingReader, UnaryReader
from rls.transport.http2.request import Head
from rls.transport.http2.stream import Stream, StreamState
from rls.transport.status import Aborted

T = TypeVar("T")

_END_STREAM = int(Flag.END_STREAM)
_END_HEADERS = int(Flag.END_HEADERS)
_TINY: Final = 64
"""DATA frames with less than so many bytes, that do not end their stream, are paid for as if they were empty."""
_MAX_GAPS: Final = 16


class _Block:
    """A field block that CONTINUATION frames go on with."""

    __slots__ = ("began", "data", "flags", "frames", "stream_id")

    def __init__(self, stream_id: int, flags: int, data: bytes, began: float) -> None:
        self.stream_id = stream_id
        self.flags = flags
        self.data = bytearray(data)
        self.began = began
        self.frames = 0


class Requests(Incoming):
    """A connection that takes requests of any shape."""

    def __init__(
        self,
        limits: ConnectionLimits,
        routes: Routes,
        now: float,
        wake: Callable[[Any], None] | None,
        memory: Memory | None,
    ) -> None:
        super().__init__(limits, routes, now, wake, memory)
        self._block: _Block | None = None
        # Identifiers that were passed over lately: they have never been used (section 5.1.1).
        self._gaps: deque[tuple[int, int]] = deque(maxlen=_MAX_GAPS)

    def _open_headed(self) -> None:
        """Remember in full the calls of which only the HEADERS have come: something else than their DATA comes first."""
        limits = self._limits
        for stream_id, request in self._headed.items():
            stream = Stream(stream_id, self._now, DEFAULT_WINDOW, self._peer_window)
            stream.request = request
            stream.content_length = request.head.content_length
            stream.reader = UnaryReader(limits.max_message_bytes, request.head.encoding)
            self.streams[stream_id] = stream
        self._headed.clear()

    # DATA (section 6.1)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0")
        size = len(payload)
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
        if size > self._receive_window:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
        self._receive_window -= size
        data = strip_padding(flags, payload)
        ends = bool(flags & _END_STREAM)
        if len(data) < _TINY and not ends:
            self._spend(1)
        stream = self.streams.get(stream_id)
        if stream is None or stream.state is not StreamState.OPEN:
            if stream is None and (stream_id in self._ignored or stream_id > self._last_stream_id):
                # It ended before the client knew, or a drain came before it (section 6.8).
                return
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA on a stream that the client had closed")
        if size > stream.receive_window:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        stream.receive_window -= size
        stream.received += len(data)
        self._check_length(stream, ends=ends)
        self._content(stream, data, ends=ends)
        if not ends and stream_id in self.streams:
            self._replenish(stream)

    def _check_length(self, stream: Stream, *, ends: bool) -> None:
        """Section 8.1.1: content-length is the sum of all DATA."""
        length = stream.content_length
        if length is not None and (stream.received > length or (ends and stream.received != length)):
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "malformed: content-length is not the length of the content")

    def _content(self, stream: Stream, data: bytes, *, ends: bool) -> None:
        """Hand on what *data* completes, and the end."""
        if ends:
            stream.state = StreamState.HALF_CLOSED_REMOTE
        if stream.trailers is not None:
            # It is answered, and the answer waits for a window.
            return
        if stream.request is not None and stream.request.head.refusal:
            if ends:
                self._refuse(stream, stream.request.head)
            return
        reader = stream.reader
        assert reader is not None
        try:
            messages = reader.feed(data, self._now)
            if ends:
                messages += reader.end()
        except Aborted as error:
            self._abort(stream.id, error.code, error.text)
            return
        if messages or ends:
            self._release(stream)
        if ends:
            stream.reader = None
        self._deliver(stream, messages, ends=ends)
        if stream.reader is not None:
            self._hold(stream)

    def _deliver(self, stream: Stream, messages: list[bytes], *, ends: bool) -> None:
        """Give a handler what is whole."""
        if messages:
            self._cost += sum(1 + (len(message) >> 13) for message in messages)
            self._begun += 1
            self._spend(len(messages) // 4)
        if stream.receiver is None:
            if ends:
                self._begin_unary(stream, messages[0])
            return
        for message in messages:
            self._tell(stream, stream.receiver.message, message, self._now)
        if ends:
            self._tell(stream, stream.receiver.end, self._now)

    def _begin_unary(self, stream: Stream, message: bytes) -> None:
        """The request of a unary call is whole."""
        request, stream.request = stream.request, None
        assert request is not None
        assert request.head.unary is not None
        self._hand_over(stream)
        try:
            request.head.unary(self, stream.id, request, message, self._now)
        except Exception:  # noqa: BLE001 - it ends one call
            self._handler_failed(stream.id)

    # HEADERS and CONTINUATION (sections 6.2 and 6.10)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id % 2:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that is not the client's")
        payload = strip_padding(flags, payload)
        if flags & Flag.PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS with no room for its priority")
            payload = payload[5:]
        if flags & Flag.END_HEADERS:
            self._on_block(stream_id, flags, payload)
        else:
            self._block = _Block(stream_id, flags, payload, self._now)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        block.data += payload
        block.frames += 1
        if block.frames > self._limits.max_continuations or len(block.data) > self._limits.max_header_block_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a field block that does not end")
        if flags & Flag.END_HEADERS:
            self._block = None
            self._on_block(stream_id, block.flags, bytes(block.data))

    def _on_block(self, stream_id: int, flags: int, block: bytes) -> None:
        """A whole field block: a new stream, trailers, or what comes late."""
        ends = bool(flags & _END_STREAM)
        if stream_id > self._last_stream_id:
            self._on_new_stream(stream_id, block, ends=ends)
            return
        stream = self.streams.get(stream_id)
        if stream is not None and stream.state is StreamState.OPEN:
            self._read(self._blocks.trailers, block)
            if not ends:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "malformed: trailers that do not end the stream")
            self._check_length(stream, ends=True)
            self._content(stream, b"", ends=True)
            return
        if stream is None and stream_id not in self.calls and stream_id not in self._ignored:
            if any(first <= stream_id <= last for first, last in self._gaps):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that was passed over")
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
        # Section 4.3: it belongs to the state of the decoder, whatever comes of the stream.
        self._read(self._blocks.decode, block)
        if stream is not None or stream_id in self.calls:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that the client had closed")
        self._spend(1)

    def _on_new_stream(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        if stream_id > self._max_stream_id:
            # Section 6.8: a drain has named the last stream. The client will try elsewhere.
            self._read(self._blocks.decode, block)
            self._spend(1)
            return
        if stream_id > self._last_stream_id + 2:
            self._gaps.append((self._last_stream_id + 1, stream_id - 2))
        self._last_stream_id = stream_id
        if len(self.calls) + len(self.streams) >= self._limits.max_concurrent_streams:
            self._read(self._blocks.decode, block)
            self._refuse_stream(stream_id)
            return
        request = self._read(self._blocks.request, block)
        head = request.head
        if ends and head.content_length:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "malformed: content-length is not the length of the content")
        stream = Stream(stream_id, self._now, DEFAULT_WINDOW, self._peer_window)
        stream.content_length = head.content_length
        self.streams[stream_id] = stream
        if head.refusal:
            stream.request = request
            if ends:
                stream.state = StreamState.HALF_CLOSED_REMOTE
            # A gRPC client may wait for the answer before it sends more; others read it when they have sent all.
            if ends or not head.refusal_body:
                self._refuse(stream, head)
            return
        reader = UnaryReader if head.streaming is None else StreamingReader
        stream.reader = reader(self._limits.max_message_bytes, head.encoding)
        if head.streaming is None:
            stream.request = request
        else:
            try:
                stream.receiver = head.streaming(self, stream_id, request, self._now)
            except Exception:  # noqa: BLE001 - it ends one call
                self._handler_failed(stream_id)
            if stream_id not in self.streams:
                return
        if ends:
            self._content(stream, b"", ends=True)

    def _read(self, read: Callable[[bytes, float], T], block: bytes) -> T:
        """Decode; what it costs is taken off the turn."""
        try:
            return read(block, self._now)
        finally:
            self._cost += self._blocks.cost

    def _refuse(self, stream: Stream, head: Head) -> None:
        """Answer a request that has no handler."""
        stream.lost = stream.answered = True
        if not head.refusal_body:
            self._headers(stream.id, head.refusal, _END_HEADERS | _END_STREAM)
            self._ended(stream)
            return
        self._headers(stream.id, head.refusal, _END_HEADERS)
        self._enqueue(stream, head.refusal_body, b"")

    def _refuse_stream(self, stream_id: int) -> None:
        """Section 5.1.2: one stream too many. A client that knows of the limit should not; the others may repeat it."""
        fault = StreamFault(ErrorCode.REFUSED_STREAM, "more streams than allowed")
        if self._settings_acked:
            raise fault
        self._reset(stream_id, fault.code)
        self._spend(4)
