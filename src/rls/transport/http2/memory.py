"""Messages that are not whole, over all connections of a server: how many bytes they hold together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

_CLASS_BITS: Final = 14
"""Connections that hold the same number of 16 KiB are taken to hold as much as each other."""


class Holder(Protocol):
    """A connection, as `Memory` sees it."""

    def shed_newest(self) -> bool:
        """End the call whose message began last. False where no message is incomplete."""


class Memory:
    """Counts the bytes that incomplete messages hold. Over the limit, the connection that holds most loses its newest call.

    So a client that opens many connections, or holds much on one, is shed before those that hold little.

    Args:
        limit: Bytes.
        on_shed: Called for each call that is shed, whether for this limit or for that of its connection.

    Attributes:
        held: Bytes that are held now.
    """

    def __init__(self, limit: int, on_shed: Callable[[], None] = lambda: None) -> None:
        self.held = 0
        self.on_shed = on_shed
        self._limit = limit
        self._by_holder: dict[Holder, int] = {}
        # Those that hold as much as each other, by how much that is; the one that came last is the last.
        self._classes: dict[int, dict[Holder, None]] = {}

    def change(self, holder: Holder, amount: int) -> None:
        """*holder* holds *amount* bytes more, or fewer. More may end calls, of this connection or of others."""
        self.held += amount
        before = self._by_holder.get(holder, 0)
        held = before + amount
        if not before or before >> _CLASS_BITS != held >> _CLASS_BITS or not held:
            self._move(holder, before, held)
        if held:
            self._by_holder[holder] = held
        else:
            del self._by_holder[holder]
        while self.held > self._limit and amount > 0:
            most = next(reversed(self._classes[max(self._classes)]))
            if not most.shed_newest():
                return

    def _move(self, holder: Holder, before: int, held: int) -> None:
        """Put *holder* into its class."""
        if before:
            left = self._classes[before >> _CLASS_BITS]
            del left[holder]
            if not left:
                del self._classes[before >> _CLASS_BITS]
        if held:
            self._classes.setdefault(held >> _CLASS_BITS, {})[holder] = None
