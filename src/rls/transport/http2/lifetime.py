"""What time does to a connection: deadlines, keepalive, drain. There is no clock in here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from rls.transport.http2.errors import ErrorCode
from rls.transport.http2.frames import MAX_STREAM_ID, FrameType, frame, goaway
from rls.transport.http2.handler import Routes
from rls.transport.http2.limits import ConnectionLimits
from rls.transport.http2.memory import Memory
from rls.transport.http2.requests import Requests
from rls.transport.http2.stream import ConnectionState, Stream, StreamState
from rls.transport.http2.streams import nobody
from rls.transport.status import StatusCode

_KEEPALIVE: Final = b"alive?\0\0"
_LAST_CALL: Final = b"goaway\0\0"


class Lifetime(Requests):
    """A connection that is asked, from time to time, what is overdue."""

    def __init__(
        self,
        limits: ConnectionLimits,
        routes: Routes,
        now: float,
        wake: Callable[[Any], None] | None,
        memory: Memory | None,
    ) -> None:
        super().__init__(limits, routes, now, wake, memory)
        self._began = now
        self._heard = now
        self._idle_since = now
        self._idle_stream_id = 0
        self._asked: float | None = None
        self._drain_began: float | None = None
        # When a frame began that has not come whole.
        self._frame_began: float | None = None

    @property
    def next_deadline(self) -> float:
        """When `tick` will have something to do, if nothing else happens. Costs a look at every stream."""
        return min(at for at, _ in self._deadlines())

    def tick(self, now: float) -> None:
        """Do what is overdue. To be called about once a second; later does no harm but that it is done later."""
        self._now = now
        if self._headed:
            self._open_headed()
        if self.calls or self.streams or self._last_stream_id != self._idle_stream_id:
            self._idle_since = now
            self._idle_stream_id = self._last_stream_id
        # What is done may bring up more, such as GOAWAY after a drain's PING. All that is overdue is done in one pass: a
        # client can let a thousand calls be overdue together.
        while overdue := [act for at, act in self._deadlines() if at <= now]:
            for act in overdue:
                if self.is_closed:
                    return
                act()

    def drain(self, now: float) -> None:
        """Stop, in two steps (section 6.8): say that no stream above 2^31-1 is taken, which is true of all; once the
        client has heard that, name the last one that was. Then `is_drained` when it has been answered. Idempotent.
        """
        if self.state is ConnectionState.PREFACE:
            self.terminate(ErrorCode.NO_ERROR, "shutting down")
        if self.state is not ConnectionState.OPEN:
            return
        self._now = now
        self.state = ConnectionState.DRAINING
        self._drain_began = now
        self._write(goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR, "shutting down"))
        self._write(frame(FrameType.PING, 0, 0, _LAST_CALL))

    @property
    def is_drained(self) -> bool:
        """Whether nothing is left to do: send `data_to_send`, then close."""
        if self.is_closed:
            return True
        if self.state is not ConnectionState.DRAINING or self._drain_began is not None:
            return False
        return not (self.calls or self.streams or self._headed)

    def lost(self) -> None:
        """The transport is gone. Idempotent."""
        self._close()
        self._out.clear()
        self._kept_back.clear()
        self.wake = nobody

    def _on_ping_ack(self, payload: bytes) -> None:
        if payload == _LAST_CALL:
            self._last_goaway()

    def _last_goaway(self) -> None:
        if self._drain_began is not None:
            self._drain_began = None
            self._max_stream_id = self._last_stream_id
            self._write(goaway(self._last_stream_id, ErrorCode.NO_ERROR, "shutting down"))

    def _deadlines(self) -> Iterator[tuple[float, Callable[[], None]]]:
        """What becomes overdue when, and what is done then."""
        limits = self._limits
        if self._settings_due:
            yield self._began + limits.preface_seconds, self._no_preface
        elif not self._settings_acked:
            yield self._began + limits.settings_seconds, self._no_acknowledgement
        if self._frame_began is not None:
            yield self._frame_began + limits.header_block_seconds, self._no_rest_of_block
        if self._block is not None:
            yield self._block.began + limits.header_block_seconds, self._no_rest_of_block
        for stream in self.streams.values():
            if stream.state is StreamState.OPEN and stream.trailers is None:
                reader = stream.reader
                began = stream.began if stream.receiver is None or reader is None else reader.since
                if began is not None and not stream.kept:
                    overdue = self._no_room if stream.id in self._in_line else self._no_message
                    yield max(began, stream.granted_at) + limits.message_seconds, partial(overdue, stream)
        for stream_id, since in self._blocked.items():
            yield since + limits.answer_seconds, partial(self._slow_reader, stream_id)
        if self._drain_began is not None:
            yield self._drain_began + limits.goaway_seconds, self._last_goaway
        if self._asked is not None:
            yield self._asked + limits.keepalive_timeout_seconds, self._dead
        else:
            yield self._heard + limits.keepalive_seconds, self._ask
        if self.state is ConnectionState.OPEN and not self.calls and not self.streams and not self._headed:
            yield self._idle_since + limits.idle_seconds, self._idle

    def _no_preface(self) -> None:
        self.terminate(ErrorCode.PROTOCOL_ERROR, "no preface in time")

    def _no_acknowledgement(self) -> None:
        self.terminate(ErrorCode.SETTINGS_TIMEOUT, "SETTINGS not acknowledged in time")

    def _no_rest_of_block(self) -> None:
        self.terminate(ErrorCode.ENHANCE_YOUR_CALM, "a frame or field block that did not come whole in time")

    def _no_message(self, stream: Stream) -> None:
        self._abort(stream.id, StatusCode.DEADLINE_EXCEEDED, "the message did not come in time")

    def _no_room(self, stream: Stream) -> None:
        """It waited for us; a window that others left to it a moment ago comes too late."""
        if stream.held:
            self._shed(stream)

    def _slow_reader(self, stream_id: int) -> None:
        if stream_id in self._blocked:
            self._reset(stream_id, ErrorCode.CANCEL)

    def _dead(self) -> None:
        self.terminate(ErrorCode.NO_ERROR, "no answer to PING")

    def _ask(self) -> None:
        self._asked = self._now
        self._write(frame(FrameType.PING, 0, 0, _KEEPALIVE))

    def _idle(self) -> None:
        self.drain(self._now)
