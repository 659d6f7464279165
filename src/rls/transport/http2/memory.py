"""Messages that are not whole, over all connections of a server: how many bytes they hold together."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol


class Holder(Protocol):
    """A connection, as `Memory` sees it."""

    def shed_newest(self) -> bool:
        """End the call whose message began last. False where no message is incomplete."""


class Memory:
    """Counts the bytes that incomplete messages hold. Over the limit, the connection that holds most loses its newest call.

    So a client that opens many connections, or holds much on one, is shed before those that hold little. Room is made for
    an eighth of the limit at once: to look at all connections costs milliseconds where there are thousands.

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

    def change(self, holder: Holder, amount: int) -> None:
        """*holder* holds *amount* bytes more, or fewer. More may end calls, of this connection or of others."""
        self.held += amount
        held = self._by_holder.get(holder, 0) + amount
        if held:
            self._by_holder[holder] = held
        else:
            del self._by_holder[holder]
        if amount > 0 and self.held > self._limit:
            self._make_room()

    def _make_room(self) -> None:
        enough = self._limit - self._limit // 8
        # The number breaks ties: connections have no order.
        heap = [(-held, number, holder) for number, (holder, held) in enumerate(self._by_holder.items())]
        heapq.heapify(heap)
        while self.held > enough and heap:
            _, number, holder = heap[0]
            if holder.shed_newest() and holder in self._by_holder:
                heapq.heapreplace(heap, (-self._by_holder[holder], number, holder))
            else:
                heapq.heappop(heap)
