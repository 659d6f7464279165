"""What nodes say of themselves that makes limits weaker: a clock that differs from ours, and counters that are evicted.

It costs each node three commands every 30 seconds, which go out with the next write. A user may lack the right to `TIME` or
`INFO`, and some services have no `INFO`: then nothing is known, and nothing is reported.
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

LOOK_SECONDS = 30.0


class Inspected(Protocol):
    """A backend in Redis."""

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes that count."""


class Inspection:
    """Asks all nodes in turn, every 30 seconds.

    Args:
        on_skew: Called after each look with the nodes whose clocks differ from ours; "" where none does.
        on_evictions: Called after each look with the nodes that evict counters, or are about to; "" where none does.
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
        self._backends: list[Inspected] = []

    def add(self, backends: Iterable[Inspected]) -> None:
        """Ask the nodes of these *backends*, too."""
        self._backends += backends

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Ask each node that answers once, and report."""
        for question in (self.clocks, self._evictions):
            asked = [node for backend in self._backends for node in backend.nodes]
            for node in asked:
                try:
                    await question.ask(node)
                except (
                    BackendError,
                    LookupError,
                    ValueError,
                    TypeError,
                    AttributeError,
                ):  # a proxy may answer something else
                    question.forget(node.endpoint.address)
            question.report({node.endpoint.address for node in asked})
