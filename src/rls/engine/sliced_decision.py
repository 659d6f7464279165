"""The decision on a request of many descriptors, which are judged in slices."""

from __future__ import annotations

from collections.abc import Sequence

from rls.core.check import Status
from rls.core.decide import Decision, Modes, Overall
from rls.core.rules import OnBackendError
from rls.core.update import CounterUpdate


class SlicedDecision:
    """What the slices of a request come to.

    Attributes:
        updates: All updates, counts and statuses; kept only where a refused request gets its hits back.
    """

    def __init__(self, modes: Modes) -> None:
        self.updates: list[CounterUpdate] = []
        self.counts: list[int | None] = []
        self.statuses: list[Status] = []
        self._overall = Overall(modes)
        self._first: Decision | None = None
        self._policies: set[OnBackendError] = set()
        self._denied: list[Status | None] = []

    def add(self, updates: Sequence[CounterUpdate], counts: Sequence[int | None], decision: Decision) -> None:
        """Take in one slice."""
        self._overall.add(decision.statuses)
        if decision.plan.refund_over_limit:
            self.updates += updates
            self.counts += counts
            self.statuses += decision.statuses
        if self._first is None:
            self._first = decision
        self._policies |= decision.policies
        if decision.denied:
            self._denied.append(decision.limited_by)

    def decision(self) -> Decision:
        """The decision on the request, with plan and statuses of its first slice, and the status that refuses it."""
        first = self._first
        assert first is not None  # a request has a descriptor
        decided = self._overall.decision(first.plan, first.statuses)
        limited_by = decided.limited_by
        if limited_by is not None and not any(status is limited_by for status in first.statuses):
            decided.statuses = [*first.statuses, limited_by]
        decided.policies = frozenset(self._policies)
        decided.denied = limited_by is not None and any(status is limited_by for status in self._denied)
        return decided
