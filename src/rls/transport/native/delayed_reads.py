"""Connections that are not read for a while, since some of their calls were shed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class DelayedReads(Generic[T]):
    """Delays reads until calls are wanted.

    What a connection sends meanwhile comes in one read, and is answered in one write: each of these costs more than to shed a call.

    Those of one turn of the loop are read again together, and those that have waited longest are the first.

    Args:
        most_seconds: By which the reads of a connection are delayed.
        read_again: Called with each connection when that is over.
    """

    def __init__(self, most_seconds: float, read_again: Callable[[T], None]) -> None:
        self._most_seconds = most_seconds
        self._read_again = read_again
        # Of this turn; and of each turn, where an empty one has been read again.
        self._group: list[T] = []
        self._groups: deque[list[T]] = deque()

    def add(self, connection: T) -> None:
        """Delay the reads of *connection*."""
        group = self._group
        if not group:
            self._groups.append(group)
            asyncio.get_running_loop().call_later(self._most_seconds, self._release, group)
        group.append(connection)

    def end_turn(self, *, wanted: bool) -> None:
        """The turn is over. Where calls are *wanted*, those of one turn are read again."""
        if self._group:
            self._group = []
        if wanted and self._groups:
            self._release(self._groups[0])

    def _release(self, group: list[T]) -> None:
        if group is self._group:  # the turn is a long one, and not over yet
            self._group = []
        connections = group[:]
        group.clear()
        while self._groups and not self._groups[0]:
            self._groups.popleft()
        for connection in connections:
            self._read_again(connection)
