"""What a test wants to know of a limiter that no answer shows: the hits that its backend got, and its decision."""

from __future__ import annotations

from typing import Any

from rls.core.decide import Decision
from rls.engine.events import Judged, Observer, RequestContext, RulesLoaded, RulesRejected, StoreFailed
from rls.tools.rule_tests.recorded import Recorded

__all__ = ["Decisions", "Events", "Recorded", "decided"]


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
