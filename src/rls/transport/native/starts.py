"""When calls of the native transport begin that have a permit: connections take turns."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from rls.transport.base import Dropped
from rls.transport.handler import Turn
from rls.transport.http2 import Connection, Request, UnaryHandler
from rls.transport.status import StatusCode

_LOG = logging.getLogger(__name__)

_LOOK_AFTER = 8
"""Calls begun between two looks at the clock, or of one connection before it is the turn of the next."""
Start: TypeAlias = tuple[UnaryHandler, int, Request, bytes, float]


class Starts:
    """Begins calls once all that was read with them has been seen, connections taking turns.

    A caller that gave up has sent its reset by then, which lies behind the call: where a server stood still, all of its
    calls may be like that. They are not begun, so they are not charged.

    Args:
        turn: Of the loop; is told CANCELLED of each call that is not begun.
        clock: The one that connections are given the time of.

    Attributes:
        until: When calls that were read in this turn of the loop are to wait for the next.
        begun: Calls so far.
        read: What the connection that is read now has begun to ask.
    """

    def __init__(self, turn: Turn, clock: Callable[[], float] = time.monotonic) -> None:
        self.until = float("inf")
        self.begun = 0
        self._turn = turn
        self._on_drop = turn.on_drop
        self._clock = clock
        self.read: list[Start] = []
        # By connection, in the order of their turns: how long each call had waited when it was read.
        self._waiting: dict[Connection, deque[tuple[Start, float]]] = {}

    @property
    def is_late(self) -> bool:
        """Whether calls wait for their turn."""
        return bool(self._waiting)

    def begin(self, connection: Connection) -> None:
        """Begin what *connection* has read, as far as there is time for it."""
        read = self.read
        if not read:
            return
        if not self._waiting:
            begun = 0
            while begun < len(read) and self._clock() <= self.until:
                self._begin(connection, read[begun : begun + _LOOK_AFTER])
                begun += _LOOK_AFTER
            if begun >= len(read):
                read.clear()
                return
            del read[:begun]
        waited = self._turn.waited
        self._waiting.setdefault(connection, deque()).extend((start, waited) for start in read)
        read.clear()

    def go_on(self, until: float) -> None:
        """Begin calls that wait, until then."""
        waiting = self._waiting
        while waiting and self._clock() < until:
            connection, starts = next(iter(waiting.items()))
            del waiting[connection]
            for _ in range(min(len(starts), _LOOK_AFTER)):
                start, self._turn.waited = starts.popleft()
                self._begin(connection, (start,))
            if starts:
                waiting[connection] = starts

    def _begin(self, connection: Connection, starts: Sequence[Start]) -> None:
        self.begun += len(starts)
        calls = connection.calls
        for handler, stream_id, request, message, now in starts:
            if stream_id in calls or connection.is_live(stream_id):
                try:
                    handler(connection, stream_id, request, message, now)
                except Exception:  # noqa: BLE001 - it ends one call
                    _LOG.exception("a handler failed")
                    connection.fail(stream_id, StatusCode.INTERNAL, "internal error")
            else:
                self.begun -= 1
                self._on_drop(Dropped.CANCELLED)
