"""What a test wants to know of a limiter that no answer shows: the hits that its backend got, and its decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rls.core.update import CounterUpdate
from rls.engine.events import Decided
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
        return [hit.key.decode() for hit in self.hits]

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int] | None:
        self._reach()
        self.hits += updates
        return self.backend.submit(updates, done)

    async def ping(self) -> None:
        self._reach()
        await self.backend.ping()

    def _reach(self) -> None:
        if self.away:
            raise BackendError("away")

    async def aclose(self) -> None:
        await self.backend.aclose()


class Decisions:
    """Keeps the last decision: what a response does not show stands there."""

    def __init__(self) -> None:
        self.last: Decided | None = None

    def forget(self) -> None:
        self.last = None

    def decided(self, event: Decided) -> None:
        self.last = event

    def judged(self, event: object) -> None: ...

    def backend_failed(self, event: object) -> None: ...

    def rules_loaded(self, event: object) -> None: ...

    def rules_rejected(self, event: object) -> None: ...
