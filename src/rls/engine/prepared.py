"""Requests that are planned, and ready to be counted in any window."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rls.core.plan import Check, Plan
from rls.core.update import CounterUpdate, keep_above

FOREVER = sys.maxsize


class PreparedCheck:
    """A check that counts, with its update in the last window that was asked for. Requests that have it may share it.

    Args:
        check: What counts.
        domain: Of its request.
        refund_over_limit: See `Plan`.

    Attributes:
        update: What to count from the second *since* until before *until*. Only after `renew`.
    """

    __slots__ = ("_cache_over", "_check", "_keep_above", "_limit", "_rule", "since", "until", "update")

    update: CounterUpdate

    def __init__(self, check: Check, domain: str, *, refund_over_limit: bool) -> None:
        limit = check.requests_per_unit
        self.since = self.until = 0
        self._check = check
        self._limit = limit
        self._cache_over = not refund_over_limit
        self._rule = f"{domain}|{check.rule_path}"
        self._keep_above = keep_above(limit, check.near_limit)

    def renew(self, now: int) -> None:
        """Make the update for the window that holds the second *now*."""
        check = self._check
        length = check.window_seconds
        start = self.since = now - now % length
        end = self.until = start + length
        key = b"%b%d" % (check.key, start)
        self.update = CounterUpdate(
            key, check.amount, self._limit, end, length, self._rule, self._keep_above, self._cache_over
        )


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
        self.since = self.until = 0
        self._counted = counted or [
            PreparedCheck(check, plan.domain, refund_over_limit=plan.refund_over_limit) for check in plan.counted
        ]

    def at(self, now: int) -> Sequence[CounterUpdate]:
        """What to count at the second *now*: a update for each check that counts, in their order.

        Kept as `updates`, which stay the same from `since` until `until`.
        """
        since, until = 0, FOREVER
        updates = []
        for one in self._counted:
            if not one.since <= now < one.until:
                one.renew(now)
            if one.since > since:  # noqa: PLR1730 - a call of max costs as much as all of this
                since = one.since
            if one.until < until:  # noqa: PLR1730
                until = one.until
            updates.append(one.update)
        self.since, self.until, self.updates = since, until, updates
        return updates
