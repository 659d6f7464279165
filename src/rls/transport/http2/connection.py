"""The connection: bytes in, calls out, bytes out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from rls.transport.grpc_framing import PREFIX, PREFIXES, SHORT
from rls.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from rls.transport.http2.frames import (
    DEFAULT_MAX_FRAME,
    DEFAULT_WINDOW,
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    MAX_STREAM_ID,
    PREFACE,
    Flag,
    FrameType,
    Setting,
    settings,
    window_update,
)
from rls.transport.http2.handler import RejectedHandler, Routes, UnaryHandler
from rls.transport.http2.lifetime import Lifetime
from rls.transport.http2.limits import ConnectionLimits
from rls.transport.http2.memory import Memory
from rls.transport.http2.patterns import SharedPatterns
from rls.transport.http2.rejecting import Alike, whole_calls
from rls.transport.http2.request import Request
from rls.transport.http2.stream import ConnectionState

_LOG = logging.getLogger(__name__)

# Plain numbers: an enumeration costs a look-up each time.
_DATA: Final = int(FrameType.DATA)
_HEADERS: Final = int(FrameType.HEADERS)
_END_STREAM: Final = int(Flag.END_STREAM)
_END_HEADERS: Final = int(Flag.END_HEADERS)
_SHORT: Final = PREFIX.size + SHORT
_CLOSED: Final = ConnectionState.CLOSED
_unpack = FRAME_HEADER.unpack_from

# By name: a dictionary of bound methods would tie every connection to itself, and leave it to the garbage collector.
_FRAME_HANDLERS: Final[dict[int, str]] = {kind: f"_on_{kind.name.lower()}" for kind in FrameType}


class Connection(Lifetime):
    """The server's side of one HTTP/2 connection. See the package for how it is used.

    Attributes:
        alike: The calls that `reject_alike` was last called for.
        rejecting: While it is `alike`, neither the rest of their field blocks nor their messages are read: that would cost
            more than to reject them. Only calls in the flat path are like that, whose blocks depend on no others.
    """

    def __init__(
        self,
        routes: Routes,
        limits: ConnectionLimits,
        now: float,
        wake: Callable[[Connection], None] | None = None,
        memory: Memory | None = None,
        patterns: SharedPatterns | None = None,
    ) -> None:
        """*wake* is called with the connection when there is `data_to_send` while `receive` is not under way. *memory* is
        shared with other connections, *patterns* with those that have the same *routes*.
        """
        super().__init__(limits, routes, now, wake, memory)
        if patterns is not None:
            self._blocks.shared = patterns
        self._buffer = b""
        self._position = 0
        self._greeted = False
        self.alike: Alike | None = None
        self.rejecting: Alike | None = None
        self._out.append(_greeting(limits))

    def receive(self, data: bytes, now: float, waited: float = 0.0) -> bool:
        """Take what the transport has read; b"" to go on with what is left.

        One turn: about 64 calls, or fewer that cost more. Handlers are called meanwhile. Nothing is raised.

        Args:
            data: What was read. While this returns True, read nothing more.
            now: Seconds, of any clock that does not go back.
            waited: Seconds that *data* may have lain unread: how long the loop has been busy. A call that was reset
                meanwhile is not held against the client.

        Returns:
            Whether there is more to do at once: call again, after others have had their turn.
        """
        assert not self._receiving, "a handler must not feed its own connection"
        if self.state is _CLOSED:
            return False
        self._receiving = True
        self._now = now
        self._waited = waited
        if data:
            self._heard = now
            self._asked = None
            self._buffer = self._buffer[self._position :] + data if self._buffer else data
            self._position = 0
        try:
            return self._turn(now)
        except ConnectionFault as fault:
            self.terminate(fault.code, fault.text)
        except Exception:  # noqa: BLE001 - no input and no bug of ours may end more than its connection
            _LOG.exception("a connection failed")
            self.terminate(ErrorCode.INTERNAL_ERROR, "internal error")
        finally:
            self._receiving = False
        return False

    def reject_alike(self, request: Request, handler: UnaryHandler, many: RejectedHandler | None = None) -> None:
        """From now on reject calls whose field blocks begin like that of *request*; see `rejecting`.

        Args:
            request: What a call asked that was rejected.
            handler: Gets such calls one by one.
            many: Gets those that come whole, many at a time; where None, *handler* gets them too.
        """
        alike = self.alike
        if alike is None or alike.head is not request.head:
            start = self._blocks.start_of(request)
            if not start:
                return
            head = request.head
            lengths = head.content_length is not None
            alike = Alike(start, head, Request(head.with_handler(handler)), None if lengths else many)
        self.rejecting = self.alike = alike

    def _close(self) -> None:
        super()._close()
        self._buffer = b""
        self._position = 0

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take one frame.

        Raises:
            ConnectionFault: A connection error.
        """
        if self._headed:
            self._open_headed()
        stream_id &= MAX_STREAM_ID  # section 4.1: the reserved bit is ignored
        if self._settings_due and (kind != FrameType.SETTINGS or flags & Flag.ACK):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the preface has no SETTINGS")
        if self._block is not None and (kind != FrameType.CONTINUATION or stream_id != self._block.stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a field block that is not continued")
        try:
            name = _FRAME_HANDLERS.get(kind)
            if name is None:
                self._spend(1)
            else:
                getattr(self, name)(flags, stream_id, payload)
        except StreamFault as fault:
            self._stream_error(stream_id, fault)

    def end_turn(self) -> None:
        """See `Responder`."""
        self._stop = True

    def _turn(self, now: float) -> bool:  # noqa: C901 - every call comes through here: flat, with nothing made twice
        data, position = self._buffer, self._position
        size = len(data)
        if not self._greeted:
            position = self._read_preface(data)
            if not self._greeted:
                return False
        complete = size - FRAME_HEADER_BYTES
        left = self._limits.turn_frames
        most = self._limits.max_concurrent_streams
        calls, streams, headed, known = self.calls, self.streams, self._headed, self._blocks.known
        next_id = self._next_id()
        begun = 0
        self._stop = False
        while position <= complete and left > 0:
            high, low, kind, flags, stream_id = _unpack(data, position)
            start = position + FRAME_HEADER_BYTES
            end = start + (high << 16 | low)
            # The flat path: HEADERS that came before, and then all of a short message in one DATA frame.
            if kind == _HEADERS:
                if (
                    stream_id == next_id
                    and flags == _END_HEADERS
                    and end <= size
                    and len(calls) + len(streams) + len(headed) < most
                ):
                    rejecting = self.rejecting
                    request: Request | None
                    if rejecting is not None and end - start <= DEFAULT_MAX_FRAME and rejecting.has(data, start, end):
                        rejected, position = self._reject_whole(rejecting, position, next_id, left // 2)
                        if rejected:
                            next_id += 2 * rejected
                            begun += rejected
                            left -= 2 * rejected
                            continue
                        request = rejecting.request
                    else:
                        block = data[start:end]
                        request = known.get(block) or self._blocks.match(block)
                    if request is not None and request.head.unary is not None:
                        self._last_stream_id = stream_id
                        headed[stream_id] = request
                        next_id += 2
                        left -= 1
                        position = end
                        continue
            elif kind == _DATA and flags == _END_STREAM and stream_id in headed:
                length = end - start
                head = headed[stream_id].head
                if (
                    PREFIX.size <= length < _SHORT
                    and end <= size
                    and data.startswith(PREFIXES[length - PREFIX.size], start)
                    and length <= self._receive_window
                    and (head.content_length is None or head.content_length == length)
                ):
                    whole = headed.pop(stream_id)
                    self._receive_window -= length
                    calls[stream_id] = now
                    begun += 1
                    try:
                        head.unary(self, stream_id, whole, data[start + PREFIX.size : end], now)  # type: ignore[misc]
                    except Exception:  # noqa: BLE001 - it ends one call
                        self._handler_failed(stream_id)
                    left -= 1
                    position = end
                    if self._stop:
                        break
                    continue
            if end - start > DEFAULT_MAX_FRAME:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {end - start} bytes")
            if end > size:
                break
            self._on_frame(kind, flags, stream_id, data[start:end])
            position = end
            left -= 1 + self._cost
            self._cost = 0
            next_id = self._next_id()
            if self._stop:
                break
        self._begun += begun
        return self._end_turn(position, more=left <= 0 or self._stop)

    def _reject_whole(self, alike: Alike, position: int, stream_id: int, most: int) -> tuple[int, int]:
        """Reject the calls at *position* that are *alike* and whole; returns how many, and where something else begins."""
        if alike.many is None:
            return 0, position
        run = whole_calls(self._buffer, position, alike, stream_id, self._receive_window, most)
        if run.stream_ids:
            self._last_stream_id, self._receive_window = run.stream_ids[-1], run.window
            alike.many(self, run.stream_ids)
        return len(run.stream_ids), run.end

    def _end_turn(self, position: int, *, more: bool) -> bool:
        """Keep what is left, give the client its window back."""
        if self.state is _CLOSED:
            return False
        size = len(self._buffer)
        if more and size - position >= FRAME_HEADER_BYTES:
            self._position = position
            self._frame_began = None
        else:
            more = False
            if position or self._frame_began is None:
                self._frame_began = self._now if position < size else None
            self._buffer = self._buffer[position:]
            self._position = 0
        if self._receive_window < self._half_window:
            self._return_window()
        return more

    def _next_id(self) -> int:
        """The stream that the flat path takes next; -1 where it must not take any."""
        last = self._last_stream_id
        if self._settings_due or self._block is not None or last + 2 * self._limits.turn_frames > self._max_stream_id:
            return -1
        return last + 2 if last else 1

    def _read_preface(self, data: bytes) -> int:
        """Section 3.4. Returns where the first frame begins, or may begin."""
        preface = data[: len(PREFACE)]
        if not PREFACE.startswith(preface):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface")
        if len(preface) < len(PREFACE):
            return 0
        self._greeted = True
        return len(PREFACE)


def _greeting(limits: ConnectionLimits) -> bytes:
    """Our preface (section 3.4): without a dynamic table, a client's field blocks depend on nothing but their bytes."""
    values = {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
        Setting.MAX_HEADER_LIST_SIZE: limits.max_header_list_bytes,
    }
    return settings(values) + window_update(0, limits.connection_window - DEFAULT_WINDOW)
