"""What a test wants to know of a limiter that no answer shows: the hits that its backend got, and its decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rls.core.decide import Decision
from rls.core.update import CounterUpdate
from rls.engine.events import Judged, Observer, RequestContext, RulesLoaded, RulesRejected, StoreFailed
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


class Events(list[Any], Observer):
    """All events, in their order."""

    def decided(self, request: RequestContext) -> None:
        self.append(request)

    def judged(self, event: Judged) -> None:
        self.append(event)

    def store_failed(self, event: StoreFailed) -> None:
        self.append(event)

    def rules_loaded(self, event: RulesLoaded) -> None:
        self.append(event)

    def rules_rejected(self, event: RulesRejected) -> None:
        self.append(event)


class Decisions(Observer):
    """Keeps the last decision: what a response does not show stands there."""

    def __init__(self) -> None:
        self.last: RequestContext | None = None

    def forget(self) -> None:
        self.last = None

    def decided(self, request: RequestContext) -> None:
        self.last = request


def decided(decision: Decision, seconds: float = 0.0) -> RequestContext:
    """The request that a decision was made on."""
    context = RequestContext()
    context.began, context.decision, context.seconds, context.at_once = 1000.0, decision, seconds, False
    return context
