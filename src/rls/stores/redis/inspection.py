"""Facts about nodes that make limits weaker: a clock that differs from ours, counters that are evicted, or were lost.

Each node gets five commands every 30 seconds, and when its counters may have been lost; each goes out with the next write.
Where our user lacks the right to `TIME`, `INFO` or `SET`, or the service has no `INFO`, nothing is known and nothing is
reported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from rls.errors import BackendError
from rls.stores.redis.clocks import Clocks
from rls.stores.redis.evictions import Evictions
from rls.stores.redis.losses import Losses
from rls.stores.redis.node import Node

INTERVAL_SECONDS = 30.0
_POLL_SECONDS = 1.0
_STRANGE = (BackendError, LookupError, ValueError, TypeError, AttributeError)  # a proxy may reply anything


class Inspected(Protocol):
    """A store in Redis."""

    @property
    def up(self) -> Mapping[str, bool]:
        """Whether each node can be used, by its address."""

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes that count."""

    def own_key(self, node: Node, name: bytes) -> bytes | None:
        """A key of ours, and of no counter, that *node* serves; None where it serves none.

        Of one *name*, all processes that count in *node* use the same key. A node that takes over from it serves that key.
        """


class Inspection:
    """Queries all nodes in turn: every 30 seconds, and within a second when their counters may have been lost.

    Args:
        on_skew: Called after each round with the nodes whose clocks differ from ours; "" where none does.
        on_evictions: Called after each round with the nodes that evict counters or will soon; "" where none does.
        on_lost: Called every second with the nodes that lost counters lately; "" where none did.
        clock: Unix seconds.

    Attributes:
        clocks: How far the nodes' clocks are from ours.
        evictions: How many keys nodes have evicted.
        losses: How often nodes lost counters.
    """

    def __init__(
        self,
        *,
        on_skew: Callable[[str], None],
        on_evictions: Callable[[str], None],
        on_lost: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clocks = Clocks(on_skew, clock)
        self.evictions = Evictions(on_evictions)
        self.losses = Losses(on_lost, self.evictions.evicts, clock)
        self._stores: list[Inspected] = []
        self._doubts: dict[Node, int] = {}

    def add(self, stores: Iterable[Inspected]) -> None:
        """Query the nodes of these *stores*, too."""
        self._stores += stores

    @property
    def up(self) -> Mapping[str, bool]:
        """Whether each node can be used, by its address."""
        return {address: up for store in self._stores for address, up in store.up.items()}

    async def run(self) -> None:
        """Query until cancelled."""
        while True:
            await self.query_all()
            until = time.monotonic() + INTERVAL_SECONDS
            while time.monotonic() < until and not self._is_in_doubt():
                await asyncio.sleep(_POLL_SECONDS)
                self.losses.report(self._addresses())

    async def query_all(self) -> None:
        """Query each node once, and report."""
        nodes = self._nodes()
        self._doubts = {node: node.doubts for node in nodes}
        for inspector in (self.clocks, self.evictions):
            for node in nodes:
                try:
                    await inspector.query(node)
                except _STRANGE:
                    inspector.forget(node.endpoint.address)
            inspector.report(self._addresses())
        await self._look_for_losses()

    async def _look_for_losses(self) -> None:
        name = self.losses.marker()
        for number, store in enumerate(self._stores):
            for node in store.nodes:
                key = store.own_key(node, name)
                if key is not None:
                    try:
                        await self.losses.query(number, node, key)
                    except _STRANGE:
                        continue  # it may be back later, without its counters
        self.losses.report(self._addresses())

    def _is_in_doubt(self) -> bool:
        """Whether the counters of a node that answers may have been lost since its last query."""
        return any(node.is_answering and self._doubts.get(node) != node.doubts for node in self._nodes())

    def _nodes(self) -> list[Node]:
        return [node for store in self._stores for node in store.nodes]

    def _addresses(self) -> set[str]:
        return {node.endpoint.address for node in self._nodes()}
