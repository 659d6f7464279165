"""All streaming calls of the native transport: bounded by method, ended when the server or a connection drains."""

from __future__ import annotations

import time
from collections.abc import Callable

from rls.transport.base import Dropped
from rls.transport.grpc_framing import PREFIX
from rls.transport.handler import Bidirectional, ServerStreaming, Turn
from rls.transport.http2 import Receiver, Request, Responder
from rls.transport.http2 import StreamHandler as Begin
from rls.transport.native.stream import Stream
from rls.transport.permits import StreamPermits
from rls.transport.status import Aborted, StatusCode


class StreamCalls:
    """The streaming calls of one server.

    Args:
        turn: Of the loop.
        max_message_bytes: Of a message that is received.
        clock: The one that connections are given the time of.
    """

    def __init__(self, turn: Turn, max_message_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.turn = turn
        self.clock = clock
        self.max_kept = 2 * (max_message_bytes + PREFIX.size)
        self.stalled: set[Responder] = set()
        """Connections whose clients do not read."""
        self._open: dict[Responder, dict[Stream, None]] = {}
        self._closed = False

    def handler(self, method: ServerStreaming | Bidirectional) -> Begin:
        """Serve the calls of *method*."""
        permits = StreamPermits(method.max_calls, lambda: self.turn.on_drop(Dropped.STREAM))
        one_message = isinstance(method, ServerStreaming)

        def begin(connection: Responder, stream_id: int, request: Request, now: float) -> Receiver:
            stream = Stream(self, method.handler, permits, connection, stream_id, request, now, one_message=one_message)
            if not one_message:
                stream.begin()
            return stream

        return begin

    def end(self, connection: Responder) -> None:
        """End the calls of *connection*: it drains."""
        for stream in list(self._open.get(connection, ())):
            stream.end_with(StatusCode.UNAVAILABLE, "the server is shutting down")

    def close(self) -> None:
        """End all calls, and all to come: the server drains."""
        self._closed = True
        for connection in list(self._open):
            self.end(connection)

    def stall(self, connection: Responder) -> None:
        """The client of *connection* does not read: nothing more is to be sent there."""
        self.stalled.add(connection)

    def resume(self, connection: Responder) -> None:
        """It reads again."""
        self.stalled.discard(connection)
        for stream in self._open.get(connection, ()):
            stream.sendable()

    def forget(self, connection: Responder) -> None:
        """*connection* is gone."""
        self.stalled.discard(connection)

    def check_open(self) -> None:
        """Refuse new calls when the server drains.

        Raises:
            Aborted: UNAVAILABLE.
        """
        if self._closed:
            raise Aborted(StatusCode.UNAVAILABLE, "the server is shutting down")

    def add(self, stream: Stream) -> None:
        """Its handler begins."""
        self._open.setdefault(stream.connection, {})[stream] = None

    def remove(self, stream: Stream) -> None:
        """Its handler has ended."""
        streams = self._open[stream.connection]
        del streams[stream]
        if not streams:
            del self._open[stream.connection]
