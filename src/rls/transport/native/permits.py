"""Permits of the native transport: what is in progress is counted when connections read and write, not call by call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from rls.transport.base import Dropped
from rls.transport.handler import Turn
from rls.transport.http2 import Connection, Request, Responder, UnaryHandler
from rls.transport.native.starts import Start
from rls.transport.permits import Permits
from rls.transport.status import StatusCode

_TOO_MANY = "too many calls are in progress"
_NONE = -1.0


class Gate:
    """Counts the unary calls that are whole and not answered: neither those that are half sent, nor streaming ones.

    Connections are counted when they have read or written. A call is refused before its message is looked at.

    Args:
        permits: Says which are let in.
        turn: Of the loop; knows how long callers wait.

    Attributes:
        in_progress: Calls in progress, as last counted.
        shed: Calls that got no permit so far.
    """

    def __init__(self, permits: Permits, turn: Turn) -> None:
        self.in_progress = self.shed = 0
        self._permits = permits
        self._turn = turn
        self._default_deadline = turn.policy.default_deadline
        self._on_drop = turn.on_drop
        # Of connections that have any.
        self._counted: dict[Connection, int] = {}
        # While a connection reads: what others have in progress; and how many more calls with this grpc-timeout are let in.
        self._others = 0
        self._timeout: float | None = _NONE
        self._room = 0

    def begin(self, connection: Connection, waited: float) -> None:
        """*connection* is about to read what has *waited* for so many seconds."""
        self._turn.waited = waited
        self._timeout = _NONE
        self._others = self.in_progress - self._counted.get(connection, 0)
        alike = connection.alike
        if alike is not None:
            mine, permits = _in_progress(connection), self._permits
            total = self._others + mine
            full = permits.late or total >= permits.free
            has_room = not full or self._measure(connection, total, alike.head.timeout, mine=mine)
            connection.rejecting = None if has_room else alike

    def count(self, connection: Connection) -> None:
        """*connection* has read, or answered."""
        found = _in_progress(connection)
        before = self._counted.get(connection, 0)
        if found != before:
            self.in_progress += found - before
            if found:
                self._counted[connection] = found
            else:
                del self._counted[connection]

    def forget(self, connection: Connection) -> None:
        """*connection* is gone."""
        self.in_progress -= self._counted.pop(connection, 0)

    def gate(self, handler: UnaryHandler, shed_answer: bytes | None, starts: list[Start]) -> UnaryHandler:
        """Puts calls that have a permit to *starts*, for *handler*; the others get *shed_answer*, or an error where it is None."""
        permits, free, begin = self._permits, self._permits.free, starts.append

        def shed(connection: Responder, stream_id: int, _request: Request, _message: bytes, _now: float) -> None:
            self.shed += 1
            self._on_drop(Dropped.SHED)
            if shed_answer is None:
                connection.fail(stream_id, StatusCode.RESOURCE_EXHAUSTED, _TOO_MANY)
            else:
                connection.respond(stream_id, shed_answer)

        def shed_all(connection: Responder, stream_ids: Sequence[int]) -> None:
            self.shed += len(stream_ids)
            self._on_drop(Dropped.SHED, len(stream_ids))
            connection.fail_all(stream_ids, StatusCode.RESOURCE_EXHAUSTED, _TOO_MANY)

        shed_many = shed_all if shed_answer is None else None

        def gated(connection: Responder, stream_id: int, request: Request, message: bytes, now: float) -> None:
            # This one is among them. A cast is a call, and this runs for every check.
            total = self._others + len(connection.calls) + connection.handed_over  # type: ignore[attr-defined]
            if permits.late or total > free:
                known = cast("Connection", connection)
                head = request.head
                if head.timeout != self._timeout:
                    self._measure(known, total - 1, head.timeout, mine=_in_progress(known) - 1)
                if not self._room:
                    known.reject_alike(request, shed, shed_many)
                    shed(connection, stream_id, request, message, now)
                    return
                self._room -= 1
                if not self._room and known.alike is not None and known.alike.head is head:
                    known.rejecting = known.alike  # calls like this one need not be read
            begin((handler, stream_id, request, message, now))

        return gated

    def _measure(self, connection: Connection, total: int, timeout: float | None, *, mine: int) -> int:
        """How many more calls with *timeout* are let in, beside *mine* of *connection* and *total* in all."""
        seconds = (self._default_deadline if timeout is None else timeout) - self._turn.waited
        self._timeout = timeout
        self._room = self._permits.room(mine, total, len(self._counted) or 1, seconds)
        return self._room


def _in_progress(connection: Connection) -> int:
    return len(connection.calls) + connection.handed_over
