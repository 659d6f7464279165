"""One HTTP/1.1 connection: uvicorn's protocol, with bounds on what a client may send, hold and leave unread."""

from __future__ import annotations

import asyncio
import http
import re
from enum import Enum, auto
from typing import Protocol

import h11
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from rls.transport.base import Closed

HEAD_BYTES, HEAD_LINES = 16_384, 100
"""Of a request line and headers. h11 takes up to 5 µs for a line."""
SECONDS_FOR_REQUEST, SECONDS_FOR_ANSWER, SECONDS_IDLE = 5.0, 30.0, 75.0

# As h11 finds it: it takes a bare line feed for the end of a line.
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_OTHER_VERSION = re.compile(rb"[^\n]* HTTP/(?!1\.)")
_LINE_ENDS = b"\r\n"
_SLICE = 512
"""Bytes of a body that h11 gets at one time: a chunk of one byte takes six of them, and 5 µs."""
_CLOSING_SECONDS = 5.0


class Phase(Enum):
    """What a connection waits for.

    REQUEST: a request that has not come whole. ANSWER: the application. IDLE: the next request. CLOSING: its client, which
    is to take what was sent and to close.
    """

    REQUEST = auto()
    ANSWER = auto()
    IDLE = auto()
    CLOSING = auto()


_SECONDS = {
    Phase.CLOSING: _CLOSING_SECONDS,
    Phase.REQUEST: SECONDS_FOR_REQUEST,
    Phase.IDLE: SECONDS_IDLE,
    Phase.ANSWER: SECONDS_FOR_ANSWER,
}


class _Flow(FlowControl):
    """Reads on only where little waits: uvicorn's application asks for more with each piece that it gets."""

    def __init__(self, transport: asyncio.Transport, unfed: bytearray) -> None:
        super().__init__(transport)
        self._unfed = unfed

    def resume_reading(self) -> None:
        if len(self._unfed) <= HEAD_BYTES:
            super().resume_reading()


class Owner(Protocol):
    """Knows all connections of a listener."""

    def opened(self, connection: Connection) -> None:
        """*connection* is there."""

    def closed(self, connection: Connection) -> None:
        """*connection* is gone."""

    def gave_up(self, why: Closed) -> None:
        """A connection is closed although its client kept it open."""

    def feed_soon(self, connection: Connection) -> None:
        """Call `feed` when it is the turn of *connection*."""

    @property
    def crowded(self) -> bool:
        """Whether connections are to be closed after their next answers."""


class Connection(H11Protocol):
    """One request at a time goes to h11: what comes behind it waits here.

    Attributes:
        phase: What it waits for.
        since: When that began, by the loop's clock.
    """

    def __init__(
        self, owner: Owner, config: uvicorn.Config, state: ServerState, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config, state, {"connection": self}, loop)
        self._owner = owner
        self._unfed = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self.phase = Phase.REQUEST
        self.since = 0.0

    @property
    def stalled(self) -> bool:
        """Whether the client leaves its answer unread."""
        return self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self._unfed)
        self._owner.opened(self)
        self._enter(Phase.REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        self._unfed.clear()
        self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.phase is Phase.CLOSING:
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.REQUEST)
        self._unfed += data
        if len(self._unfed) > HEAD_BYTES:
            self.flow.pause_reading()
        self._owner.feed_soon(self)

    def feed(self) -> bool:
        """Give the next piece to h11: a whole head, or a slice of a body; returns whether there is more to give."""
        if self.phase is Phase.CLOSING or self.transport.is_closing():
            return False
        size = self._next_head() if self.conn.their_state is h11.IDLE else _SLICE
        if not size or self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            return False
        piece = bytes(self._unfed[:size])
        del self._unfed[:size]
        super().data_received(piece)
        self.flow.resume_reading()
        self._settle()
        return bool(self._unfed) and self.phase is Phase.REQUEST

    def _next_head(self) -> int:
        """Bytes that are missing of the head that comes next; 0 where they have not come, or are refused."""
        unfed = self._unfed
        # h11 has got its beginning where that came with the end of a body.
        before, _ = self.conn.trailing_data
        if not before:
            del unfed[: len(unfed) - len(unfed.lstrip(_LINE_ENDS))]  # RFC 9112, 2.2
        head = before + unfed
        if head and head[0] <= 0x20:  # as of TLS: no method begins so
            self._refuse(400, "this is not HTTP/1.1")
            return 0
        end = _END_OF_HEAD.search(head)
        size = len(head) if end is None else end.end()
        if size > HEAD_BYTES or head.count(b"\n", 0, size) > HEAD_LINES:
            self._refuse(431, f"the head of the request has more than {HEAD_BYTES} bytes or {HEAD_LINES} lines")
            return 0
        if end is not None and _OTHER_VERSION.match(head):
            self._refuse(505, "this is not HTTP/1.1")
            return 0
        return 0 if end is None else size - len(before)

    def on_response_complete(self) -> None:
        """The answer has been handed to the socket."""
        if self.conn.their_state is h11.SEND_BODY or self.transport.is_closing():
            self._close()
            return
        super().on_response_complete()
        self._enter(Phase.IDLE)
        self._settle()
        if self._unfed:
            self._owner.feed_soon(self)

    def timeout_keep_alive_handler(self) -> None:
        """Do nothing: `SECONDS_IDLE` is kept here."""

    def _settle(self) -> None:
        """Enter the phase that h11 is in."""
        state = self.conn.their_state
        if self.phase is Phase.CLOSING or self.transport.is_closing():
            self._enter(Phase.CLOSING)
        elif state is h11.IDLE:
            self._enter(Phase.REQUEST if self._unfed or self.conn.trailing_data[0] else Phase.IDLE)
        elif state is h11.SEND_BODY:
            self._enter(Phase.REQUEST)
        else:
            self._enter(Phase.ANSWER)
            self.cycle.keep_alive = not self._owner.crowded

    def send_400_response(self, msg: str) -> None:
        """What h11 found is no request."""
        self._refuse(400, msg)

    def finish(self) -> None:
        """Close, after the answer that is under way."""
        if self.phase is Phase.ANSWER:
            self.cycle.keep_alive = False
        else:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def give_up(self, why: Closed) -> None:
        """Close at once, although the client keeps it open."""
        self._owner.gave_up(why)
        self.abort()

    def _refuse(self, status: int, text: str) -> None:
        """Answer and close, unless an answer has been begun."""
        self._owner.gave_up(Closed.TIMEOUT if status == http.HTTPStatus.REQUEST_TIMEOUT else Closed.CLIENT_ERROR)
        cycle: RequestResponseCycle | None = self.cycle  # there is none before the first request
        if cycle is not None and not cycle.response_complete:
            # Its application waits for the rest of the body.
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.abort()
                return
        body = f"{text}\n".encode()
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, http.HTTPStatus(status).phrase.encode(), len(body), body)
        )
        self._close()

    def _close(self) -> None:
        """Say that nothing more will come, and let the client close: what it still sends would cost it its answer."""
        if not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
        self._unfed.clear()
        self._enter(Phase.CLOSING)

    def _enter(self, phase: Phase) -> None:
        if self.phase is phase and self._timer is not None:
            return
        self.phase = phase
        self.since = self.loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(_SECONDS[phase], self._expire)

    def _expire(self) -> None:
        if self.phase is Phase.REQUEST:
            self._refuse(408, f"the request did not come whole within {SECONDS_FOR_REQUEST:g} s")
        elif self.phase is Phase.IDLE:
            self.finish()
        elif self.phase is Phase.ANSWER:
            self.give_up(Closed.SLOW_READER)
        else:
            self.abort()
