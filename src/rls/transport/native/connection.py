"""One connection of the native transport: the HTTP/2 core on asyncio's transport."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

from rls.transport.base import Closed
from rls.transport.handshakes import NO_ALPN
from rls.transport.http2 import Connection, ConnectionState, ErrorCode
from rls.transport.native.call import peer_of
from rls.transport.status import StatusCode
from rls.transport.tls import names_of, speaks_http2

if TYPE_CHECKING:
    from rls.transport.native.hub import Hub

_LOG = logging.getLogger(__name__)

HIGH_WATER = 65_536
"""Bytes that the client has not taken, from which on nothing is read from it: so no new answers come up. And bytes that it
has sent while others have their turn."""
MOST_UNSENT = 1_048_576
"""With so many of them the connection is given up: answers of calls in progress that are small, or one that is not."""
SLOW_SECONDS = 5.0
"""And when a client takes nothing for so long. As the core's `answer_seconds`."""
LINGER_SECONDS = 1.0
"""A connection that is over is closed when its client has closed it, but no later than that: what a client sends to a closed
socket makes the kernel throw away what has been sent to it (RFC 9112, section 9.6 has it for HTTP/1.1)."""
LINGER_BYTES = 1_048_576
LONGEST_TURN = 0.002
"""What is read later in a turn of the loop waits for the next one: answers of Redis and timers have their turn before."""

clock = time.monotonic


class _State(Enum):
    """What becomes of what is read.

    READY: it is handled at once. DEFERRED: some waits for the next turn of the loop. BEHIND: the core has more to do with
    what it has got, so nothing is read. LINGERING: it is thrown away; all is said, and the client is to close.
    """

    READY = auto()
    DEFERRED = auto()
    BEHIND = auto()
    LINGERING = auto()


class NativeConnection(asyncio.Protocol):
    """The shell of one connection.

    Attributes:
        connection: The core. Only after `connection_made`.
        context: With what TLS was begun; None without TLS.
        age_at: When it is to be drained.
        stalled_since: When the client stopped to take what is sent; None while it does.
    """

    __slots__ = (
        "_cut_at", "_delayed", "_discarded", "_hub", "_in_turn", "_linger_until", "_paused_at", "_paused_for", "_reading", "_state",
        "_transport", "_unread", "_unread_since", "age_at", "connection", "context", "stalled_since",
    )  # fmt: skip

    connection: Connection
    _transport: asyncio.Transport

    def __init__(self, hub: Hub, context: ssl.SSLContext | None) -> None:
        self.context = context
        self.age_at = self._cut_at = float("inf")
        self.stalled_since: float | None = None
        self._hub = hub
        self._state = _State.READY
        self._reading = True
        # When reading was paused; and for how long it was, before what is read now.
        self._paused_at = self._paused_for = 0.0
        # Bytes that the core has not been given; and since when some wait, there or in the core.
        self._unread = b""
        self._unread_since = 0.0
        self._delayed = False
        # Whether all that comes up is sent when the core has read.
        self._in_turn = False
        self._linger_until = 0.0
        self._discarded = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        hub, now = self._hub, clock()
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        allowed = tls is None or hub.names is None or hub.names.allow(names_of(tls))
        routes, patterns = (hub.routes, hub.patterns) if allowed else (hub.refusing_routes, None)
        self.connection = Connection(routes, hub.limits, now, self._wake, hub.memory, patterns)
        self.connection.peer = peer_of(transport, tls)
        self.age_at = hub.add(self, now)
        if tls is not None and not speaks_http2(tls):
            hub.handshake_failed(self.connection.peer.address, NO_ALPN, Closed.NO_ALPN)
            self.connection.lost()
            transport.close()
        elif hub.draining:
            self.drain(now)
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.connection.lost()
        self._hub.remove(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._state is _State.LINGERING:
            self._discard(data)
            return
        now = clock()
        began = self._hub.turn_began
        waited = now - began if began else self._hub.begin_turn(now)
        if self._state is _State.READY and waited <= LONGEST_TURN:
            self._receive(data, now, waited)
            return
        if self._state is _State.READY:
            self._state = _State.DEFERRED
            self._unread_since = now - waited
        self._unread += data
        self._go_on_later()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.stalled_since = clock()
        self._hub.streams.stall(self.connection)
        self._read_or_not()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.stalled_since = None
        self._hub.streams.resume(self.connection)
        if self._state in (_State.DEFERRED, _State.BEHIND):
            self._hub.go_on_later(self)
        self._read_or_not()

    def go_on(self, now: float) -> None:
        """Take another turn with what has been read."""
        if self._state is not _State.LINGERING and self.stalled_since is None:
            data, self._unread = self._unread, b""
            self._receive(data, now, now - self._unread_since)

    def read_again(self) -> None:
        """Its reads were delayed for long enough."""
        self._delayed = False
        self.flush()
        self._read_or_not()

    def flush(self) -> None:
        """Send what has come up outside of `go_on` and `data_received`."""
        if self._state is not _State.LINGERING:
            self.connection.let_go()
            self._send()

    def tick(self, now: float) -> None:
        """Do what is overdue."""
        if self._state is _State.LINGERING:
            if now > self._linger_until:
                self._transport.abort()
        elif self.stalled_since is not None and now - self.stalled_since > SLOW_SECONDS:
            self._give_up(Closed.SLOW_READER)
        elif now >= self._cut_at:
            self.cut()
        else:
            if now >= self.age_at:
                self.age_at = float("inf")
                self._hub.closed[Closed.AGE] += 1
                self._cut_at = now + self._hub.grace if self._hub.grace else float("inf")
                self.connection.drain(now)
            self.connection.tick(now)
            if self.connection.state is ConnectionState.DRAINING:
                self._hub.streams.end(self.connection)
            self._hub.tasks.sweep(self.connection)
            self._send()

    def drain(self, now: float) -> None:
        """Let it go, once its calls have been answered."""
        if self._state is not _State.LINGERING:
            self.connection.drain(now)
            self._hub.streams.end(self.connection)
            self._send()

    def cut(self) -> None:
        """Let it go at once: its calls had their time."""
        if self._state is not _State.LINGERING:
            for stream_id in [*self.connection.calls, *self.connection.streams]:
                self.connection.fail(stream_id, StatusCode.UNAVAILABLE, "the server is shutting down")
            self.connection.terminate(ErrorCode.NO_ERROR, "shutting down")
            self._hub.tasks.sweep(self.connection)
            self._send()

    def abort(self) -> None:
        """Close it, whatever is under way."""
        self.connection.lost()
        self._transport.abort()

    def _receive(self, data: bytes, now: float, waited: float) -> None:
        hub, connection = self._hub, self.connection
        shed = hub.gate.shed
        hub.gate.begin(connection, waited)
        self._in_turn = True
        behind = connection.receive(data, now, waited + self._paused_for)
        if hub.gate.shed > shed and not self._delayed and connection.state is ConnectionState.OPEN:
            # What is to be said of calls that were shed goes with the next answer, or when it is read again.
            connection.keep_back()
            self._delayed = True
            hub.delayed_reads.add(self)
            self._read_or_not()
        hub.starts.begin(connection)
        if hub.tasks.running:
            hub.tasks.sweep(connection)
        self._in_turn = False
        self._send()
        if self._state is _State.LINGERING:
            return
        if behind:
            if self._state is _State.READY:
                self._unread_since = now - waited
            self._state = _State.BEHIND
            self._go_on_later()
            return
        self._paused_for = 0.0
        if self._state is not _State.READY:
            self._state = _State.READY
            self._read_or_not()

    def _go_on_later(self) -> None:
        """Go on in the next turn of the loop."""
        self._hub.go_on_later(self)
        self._read_or_not()

    def _send(self) -> None:
        connection = self.connection
        out = connection.data_to_send()
        if out:
            self._transport.write(out)
        self._hub.gate.count(connection)
        if self.stalled_since is not None and self._transport.get_write_buffer_size() > MOST_UNSENT:
            self._give_up(Closed.SLOW_READER)
        elif connection.state is not ConnectionState.OPEN and connection.is_drained:
            self._finish()

    def _wake(self, _: Connection) -> None:
        if not self._in_turn:
            self._hub.flush_later(self)

    def _read_or_not(self) -> None:
        has_room = len(self._unread) < HIGH_WATER and not self._delayed
        reads = has_room and self._state is not _State.BEHIND and self.stalled_since is None
        if reads is not self._reading and not self._transport.is_closing():
            self._reading = reads
            if reads:
                self._paused_for = clock() - self._paused_at
                self._transport.resume_reading()
            else:
                self._paused_at = clock()
                self._transport.pause_reading()

    def _give_up(self, why: Closed) -> None:
        if not self._transport.is_closing():  # else it was given up before, in this turn of the loop
            self._hub.closed[why] += 1
        self.abort()

    def _finish(self) -> None:
        """All is said: end our side, and wait for the client to end its own."""
        if self._state is _State.LINGERING or self._transport.is_closing():
            return
        self._state = _State.LINGERING
        self._linger_until = clock() + LINGER_SECONDS
        self._unread = b""
        if self.connection.error is not None:
            code, text = self.connection.error
            self._hub.closed[Closed.CLIENT_ERROR] += 1
            _LOG.debug("a connection was closed: %s: %s", code.name, text)
        self.connection.lost()
        self._hub.tasks.sweep(self.connection)
        self._hub.gate.count(self.connection)
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._read_or_not()
        else:
            self._transport.close()  # TLS has its own way to say so

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > LINGER_BYTES:
            self._transport.abort()
