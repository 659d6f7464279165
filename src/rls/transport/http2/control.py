"""Frames that steer a connection: SETTINGS, PING, WINDOW_UPDATE and the like (RFC 9113, sections 6.3 to 6.9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rls.transport.http2.blocks import Blocks
from rls.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from rls.transport.http2.frames import (
    DEFAULT_TABLE,
    MAX_STREAM_ID,
    MAX_WINDOW,
    SETTINGS_ACK,
    Flag,
    FrameType,
    Setting,
    frame,
    read_int,
    read_settings,
)
from rls.transport.http2.handler import Routes
from rls.transport.http2.limits import Budget, ConnectionLimits
from rls.transport.http2.outgoing import Outgoing
from rls.transport.http2.stream import ConnectionState


class Control(Outgoing):
    """A connection with its settings, windows and resets."""

    def __init__(
        self, limits: ConnectionLimits, routes: Routes, now: float, wake: Callable[[Any], None] | None
    ) -> None:
        super().__init__(limits, now, wake)
        self._blocks = Blocks(limits, routes, now)
        self._settings_due = True
        self._settings_acked = False
        # The highest stream that may still be opened; lower once a drain has named the last one.
        self._max_stream_id = MAX_STREAM_ID
        self._resets = Budget(limits.resets, now)
        self._control = Budget(limits.control, now)
        self._faults = Budget(limits.faults, now)
        # Calls whose share of `control` has not been added yet.
        self._begun = 0
        self._waited = 0.0
        # What the present frame took beyond the usual, in frames of a turn.
        self._cost = 0
        self._no_table = False

    def _on_priority(self, _: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._spend(1)
        if len(payload) != 5:
            if self._is_idle(stream_id):
                # RST_STREAM must not be sent for what has never been opened (section 6.4).
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
            raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")

    def _on_rst_stream(self, _: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on stream 0")
        read_int(payload, "RST_STREAM")
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        began = self.calls.get(stream_id)
        stream = self.streams.get(stream_id)
        if stream is not None and stream.trailers is None:
            began = stream.began
        self._forget(stream_id)
        if began is None:
            # Shed, answered or ended before: that it is reset as well says nothing about the client.
            self._spend(1)
        elif self._now - began + self._waited < self._limits.late_seconds and not self._resets.spend(self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many calls reset")

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & Flag.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS acknowledged with a payload")
            if self._settings_acked:
                self._spend(1)
            else:
                self._settings_acked = True
                self._blocks.agree()
            return
        values = read_settings(payload)
        # Each may change the windows of all streams.
        self._spend(1 + len(values) + len(self.streams) // 8)
        self._cost += (len(values) + len(self.streams)) // 8
        for name, value in values:
            self._on_setting(name, value)
        self._settings_due = False
        if self.state is ConnectionState.PREFACE:
            self.state = ConnectionState.OPEN
        self._write(SETTINGS_ACK)
        windows = [value for name, value in values if name == Setting.INITIAL_WINDOW_SIZE]
        if windows:
            self._on_initial_window(max(windows), windows[-1])

    def _on_setting(self, name: int, value: int) -> None:
        if name == Setting.HEADER_TABLE_SIZE:
            if value < DEFAULT_TABLE and not self._no_table:
                self._no_table = self._table_update = True
                self._refresh()
        elif name == Setting.ENABLE_PUSH:
            if value > 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH is {value}")
        elif name == Setting.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE is {value}")
        elif name == Setting.MAX_FRAME_SIZE:
            if not 16_384 <= value < 2**24:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE is {value}")
            self._peer_max_frame = value

    def _on_initial_window(self, highest: int, last: int) -> None:
        """Section 6.9.2: it changes the windows of all streams, which may fall below 0."""
        change = last - self._peer_window
        rise = highest - self._peer_window
        self._peer_window = last
        self._refresh()
        for stream in self.streams.values():
            if stream.send_window + rise > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS makes a stream's window overflow")
            stream.send_window += change
        if change > 0:
            self._pump_all()

    def _on_push_promise(self, _: int, __: int, ___: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE by a client")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        self._spend(1)
        if flags & Flag.ACK:
            self._on_ping_ack(payload)
        else:
            self._write(frame(FrameType.PING, Flag.ACK, 0, payload))

    def _on_ping_ack(self, payload: bytes) -> None:
        """The client has read all that was sent before the PING."""

    def _on_goaway(self, _: int, stream_id: int, payload: bytes) -> None:
        """The client opens no more streams, or so it says: nothing for us to do but to note it."""
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
        self._spend(1)

    def _on_window_update(self, _: int, stream_id: int, payload: bytes) -> None:
        increment = read_int(payload, "WINDOW_UPDATE") & MAX_WINDOW
        self._spend(1)
        if not stream_id:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._send_window += increment
            if self._send_window > MAX_WINDOW:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the connection's window overflow"
                )
            self._cost += len(self._blocked) // 16
            self._pump_all()
            return
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
        stream = self.streams.get(stream_id)
        if stream is None:
            began = self.calls.get(stream_id)
            if began is None:
                return
            stream = self._stream_of(stream_id, self.calls.pop(stream_id))
        if not increment:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes a stream's window overflow")
        if stream_id in self._blocked:
            self._pump(stream)

    def _is_idle(self, stream_id: int) -> bool:
        """Section 5.1: never opened, by us or the client. After a drain's last word the client may have opened more."""
        if not stream_id % 2:
            return True
        return self._last_stream_id < stream_id <= self._max_stream_id

    def _stream_error(self, stream_id: int, fault: StreamFault) -> None:
        """A stream error (section 5.4.2), by the client's doing. One RST_STREAM is enough for a stream."""
        if stream_id not in self._ignored:
            self._reset(stream_id, fault.code)
        if not self._faults.spend(self._now):
            self.terminate(ErrorCode.ENHANCE_YOUR_CALM, f"too many stream errors, at last: {fault.text}")

    def _spend(self, cost: float) -> None:
        if self._begun:
            self._control.add(self._begun * self._limits.control_per_call)
            self._begun = 0
        if not self._control.spend(self._now, cost):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry nothing")
