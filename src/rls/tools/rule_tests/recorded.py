"""A store that notes what reaches it, and that can be taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.base import CounterStore, Done


@dataclass
class Recorded(CounterStore):
    """A backend, and the hits that reached it; none do while it is away."""

    backend: CounterStore
    hits: list[CounterUpdate] = field(default_factory=list)
    away: bool = False

    @property
    def keys(self) -> list[str]:
        """Keys of the counters that were hit."""
        return [hit.key.decode() for hit in self.hits]

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        """See `CounterStore`."""
        self._reach()
        self.hits += updates
        return self.backend.submit(updates, done)

    async def ping(self) -> None:
        """See `CounterStore`."""
        self._reach()
        await self.backend.ping()

    def _reach(self) -> None:
        if self.away:
            raise BackendError("away")

    async def aclose(self) -> None:
        """See `CounterStore`."""
        await self.backend.aclose()
