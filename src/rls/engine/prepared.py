"""Requests that are planned, and ready to be counted in any window."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rls.core.algorithms import algorithm_of
from rls.core.check import Check
from rls.core.plan import Plan
from rls.core.update import CounterUpdate

FOREVER = sys.maxsize


class PreparedCheck:
    """A check that counts, with its updates in the last window that was asked for. Requests that have it may share it.

    Attributes:
        check: The check.
        updates: What to count from the second *since* until before *until*; nothing before it is asked for.
    """

    __slots__ = ("check", "since", "until", "updates")

    updates: Sequence[CounterUpdate]

    def __init__(self, check: Check) -> None:
        self.check = check
        self.since = self.until = 0


class PreparedRequest:
    """A request planned under one set of rules, to be run any number of times; it keeps the updates of its last window.

    Args:
        plan: What it comes to.
        counted: One for each of *plan.counted*, in their order; made where there are none.
    """

    __slots__ = ("_counted", "plan", "since", "until", "updates")

    def __init__(self, plan: Plan, counted: Sequence[PreparedCheck] | None = None) -> None:
        self.plan = plan
        self.updates: Sequence[CounterUpdate] = ()
        # As times are given: to compare a float with an int takes as long as several of floats.
        self.since = self.until = 0.0
        self._counted = counted or [PreparedCheck(check) for check in plan.counted]

    def at(self, now: int) -> Sequence[CounterUpdate]:
        """What to count at the second *now*: the updates of each check that counts, in their order.

        Kept as `updates`, which stay the same from `since` until `until`.
        """
        since, until = 0, FOREVER
        updates: list[CounterUpdate] = []
        for one in self._counted:
            if not one.since <= now < one.until:
                check = one.check
                one.updates, one.since, one.until = algorithm_of(check).plan(check, now)
            if one.since > since:  # noqa: PLR1730 - a call of max costs as much as all of this
                since = one.since
            if one.until < until:  # noqa: PLR1730
                until = one.until
            updates += one.updates
        self.since, self.until, self.updates = float(since), float(until), updates
        return updates
