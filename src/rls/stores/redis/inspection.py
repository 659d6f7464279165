"""Facts about nodes that make limits weaker: a clock that differs from ours, and counters that are evicted.

Each node gets three commands every 30 seconds, with the next write. Where our user lacks the right to `TIME` or `INFO`, or the
service has no `INFO`, nothing is known and nothing is reported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from rls.errors import BackendError
from rls.stores.redis.clocks import Clocks
from rls.stores.redis.evictions import Evictions
from rls.stores.redis.node import Node

INTERVAL_SECONDS = 30.0


class Inspected(Protocol):
    """A store in Redis."""

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes that count."""


class Inspection:
    """Queries all nodes in turn, every 30 seconds.

    Args:
        on_skew: Called after each round with the nodes whose clocks differ from ours; "" where none does.
        on_evictions: Called after each round with the nodes that evict counters or will soon; "" where none does.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        on_skew: Callable[[str], None],
        on_evictions: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clocks = Clocks(on_skew, clock)
        self._evictions = Evictions(on_evictions)
        self._stores: list[Inspected] = []

    def add(self, stores: Iterable[Inspected]) -> None:
        """Query the nodes of these *stores*, too."""
        self._stores += stores

    async def run(self) -> None:
        """Query until cancelled."""
        while True:
            await self.query_all()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def query_all(self) -> None:
        """Query each node once, and report."""
        for inspector in (self.clocks, self._evictions):
            nodes = [node for store in self._stores for node in store.nodes]
            for node in nodes:
                try:
                    await inspector.query(node)
                except (
                    BackendError,
                    LookupError,
                    ValueError,
                    TypeError,
                    AttributeError,
                ):  # a proxy may reply anything
                    inspector.forget(node.endpoint.address)
            inspector.report({node.endpoint.address for node in nodes})
