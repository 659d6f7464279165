"""How many calls may be in progress: the one place where the native transport refuses a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from rls.transport.http2 import Connection, Request, Responder, UnaryHandler
from rls.transport.wire import StatusCode

_TOO_MANY = "too many calls are in progress"


class Permits:
    """Counts the unary calls that are handed over and not answered; those that are half sent, and streams, are not among them.

    Connections are counted when they have read or written. A call is refused before its message is looked at.

    Args:
        limit: Calls in progress; 0 for no limit.
        on_shed: Called for each that is refused.

    Attributes:
        in_progress: Calls in progress, as last counted.
    """

    def __init__(self, limit: int, on_shed: Callable[[], None]) -> None:
        self.in_progress = 0
        self._limit = limit
        self._on_shed = on_shed
        self._counted: dict[Connection, int] = {}
        # What else is in progress while a connection reads.
        self._others = 0

    def begin(self, connection: Connection) -> None:
        """*connection* is about to read."""
        self._others = self.in_progress - self._counted.get(connection, 0) + connection.handed_over

    def count(self, connection: Connection) -> None:
        """*connection* has read, or answered."""
        found = len(connection.calls) + connection.handed_over
        before = self._counted.get(connection, 0)
        if found != before:
            self.in_progress += found - before
            self._counted[connection] = found

    def forget(self, connection: Connection) -> None:
        """*connection* is gone."""
        self.in_progress -= self._counted.pop(connection, 0)

    def gate(self, handler: UnaryHandler) -> UnaryHandler:
        """*handler*, for calls that there is a permit for."""
        if not self._limit:
            return handler

        def gated(connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
            calls = cast("Connection", connection).calls
            if stream_id not in calls:
                self._others += 1
            if self._others + len(calls) > self._limit:
                self._on_shed()
                connection.fail(stream_id, StatusCode.RESOURCE_EXHAUSTED, _TOO_MANY)
            else:
                handler(connection, stream_id, request, message, now)

        return gated
