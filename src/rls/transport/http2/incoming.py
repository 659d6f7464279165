"""What a connection takes in: the windows that it gives (RFC 9113, section 5.2), and messages that are not whole.

A stream begins with the window that HTTP/2 gives by default. The connection's window has room for many of these, so a message
that fits in its stream's window, as nearly all do, waits for nothing. A longer one tells its length at its beginning. It is
given a window for all that is left of it, in the order in which such messages began, as long as the connection has room for
all that has been given: the rest wait in line with what they could send before. Whatever clients send in whatever order, a
message that has been given its window can come whole. Where messages that are not whole take up the room that this needs,
those that began last are shed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rls.transport.http2.control import Control
from rls.transport.http2.frames import DEFAULT_WINDOW, MAX_WINDOW, window_update
from rls.transport.http2.handler import Routes
from rls.transport.http2.limits import STREAM_BYTES, ConnectionLimits
from rls.transport.http2.memory import Memory
from rls.transport.http2.stream import Stream, StreamState
from rls.transport.status import StatusCode

_SLACK: Final = 16_384
"""Padding takes window and holds nothing. The window for the rest of a message is so much larger, and is given again when
padding has used that up.
"""


class Incoming(Control):
    """A connection that bounds what it holds, without keeping any message waiting for ever."""

    def __init__(
        self,
        limits: ConnectionLimits,
        routes: Routes,
        now: float,
        wake: Callable[[Any], None] | None,
        memory: Memory | None,
    ) -> None:
        super().__init__(limits, routes, now, wake)
        self._memory = memory or Memory(limits.held_bytes_of_all)
        self._whole_window = limits.connection_window
        self._half_window = self._whole_window // 2
        self._receive_window = self._whole_window
        self._max_held = limits.held_bytes
        self._max_granted = limits.held_bytes // 3
        # Bytes of incomplete messages. Those messages, the oldest first; and those of them that wait for a window.
        self._held = 0
        self._incomplete: dict[int, Stream] = {}
        self._in_line: dict[int, Stream] = {}
        # Bytes of messages that have been given a window for all of them, and how much of it is still to come.
        self._granted = 0
        self._outstanding = 0
        self._shedding = False

    def shed_newest(self) -> bool:
        """See `Holder`."""
        stream = self._newest() or next(reversed(self._incomplete.values()), None)
        if stream is None:
            return False
        self._shed(stream)
        return True

    def keep(self, stream_id: int, change: int) -> None:
        """See `Responder`."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.state is not StreamState.OPEN:
            return
        stream.kept += change
        if change < 0:
            # The rest of a message could not come before.
            stream.granted_at = self._now
            self._replenish(stream)

    def _hold(self, stream: Stream) -> None:
        """Note what *stream* holds by now. It may be over afterwards, as may other calls."""
        reader = stream.reader
        assert reader is not None
        more = reader.held - stream.held
        if not more:
            return
        taken = more
        if not stream.held:
            self._incomplete[stream.id] = stream
            taken += STREAM_BYTES
        stream.held += more
        self._held += more
        if stream.granted:
            self._outstanding -= more
        self._memory.change(self, taken)
        if stream.reader is None:
            return
        if reader.size > DEFAULT_WINDOW and not stream.granted and stream.id not in self._in_line:
            self._in_line[stream.id] = stream
            self._grant()
        self._make_room()

    def _release(self, stream: Stream) -> None:
        """*stream* holds nothing any more: others may use the room."""
        held = stream.held
        if not held:
            return
        if stream.granted:
            self._granted -= stream.granted
            self._outstanding -= stream.granted - held
        self._held -= held
        stream.held = stream.granted = 0
        del self._incomplete[stream.id]
        self._in_line.pop(stream.id, None)
        self._memory.change(self, -held - STREAM_BYTES)
        if self.is_closed:
            return
        if self._in_line:
            self._grant()
            self._make_room()
        if not self._receiving:
            self._return_window()

    def _done(self, stream: Stream) -> None:
        super()._done(stream)
        self._release(stream)

    def _grant(self) -> None:
        """Give windows to the messages that have waited longest, as far as there is room; to one there always is."""
        while self._in_line:
            stream_id, stream = next(iter(self._in_line.items()))
            assert stream.reader is not None
            size = stream.reader.size
            left = size - stream.held
            if self._granted and (
                self._granted + size > self._max_granted or self._held + self._outstanding + left > self._max_held
            ):
                return
            del self._in_line[stream_id]
            stream.granted = size
            stream.granted_at = self._now
            self._granted += size
            self._outstanding += left
            self._replenish(stream)

    def _replenish(self, stream: Stream) -> None:
        """Give *stream* its window back, in bulk, but for what it holds."""
        window = stream.receive_window
        if stream.granted:
            left = stream.granted - stream.held
            whole, low = left + _SLACK, left
        else:
            whole = DEFAULT_WINDOW - stream.held - stream.kept
            low = (whole + 1) // 2
        if window < low:
            increment = min(whole, MAX_WINDOW) - window
            stream.receive_window += increment
            self._write(window_update(stream.id, increment))

    def _return_window(self) -> None:
        """Give the connection its window back, in bulk, but for what it holds."""
        window = self._receive_window
        credit = self._whole_window - window - self._held
        if window < self._half_window and credit > window:
            self._receive_window += credit
            self._write(window_update(0, credit))

    def _make_room(self) -> None:
        """Shed the newest calls until all that has been given a window can come."""
        if self._shedding:
            return
        self._shedding = True
        try:
            while self._held + self._outstanding > self._max_held and (stream := self._newest()) is not None:
                self._shed(stream)
        finally:
            self._shedding = False

    def _newest(self) -> Stream | None:
        """The call whose message began last, of those that have no window for all of it."""
        return next((stream for stream in reversed(self._incomplete.values()) if not stream.granted), None)

    def _shed(self, stream: Stream) -> None:
        self._memory.on_shed()
        self._abort(stream.id, StatusCode.RESOURCE_EXHAUSTED, "too many messages are half sent")
