"""Requests that are planned, and ready to be counted in any window."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rls.core.plan import Check, Plan
from rls.stores.base import CounterUpdate, keep_above

FOREVER = sys.maxsize
NEVER_OVER = sys.maxsize
# A NamedTuple's own constructor is a Python function; this makes the same value at half the cost.
_new = tuple.__new__


class PreparedCheck:
    """A check that counts, with its hit in the last window that was asked for. Requests that have it may share it.

    Args:
        check: What counts.
        domain: Of its request.
        refund_over_limit: See `Plan`.

    Attributes:
        hit: What to count from the second *since* until before *until*. Only after `renew`.
    """

    __slots__ = ("_check", "_keep_above", "_limit", "_rule", "hit", "since", "until")

    hit: CounterUpdate

    def __init__(self, check: Check, domain: str, *, refund_over_limit: bool) -> None:
        limit = check.requests_per_unit
        self.since = self.until = 0
        self._check = check
        # A counter may be over its limit only until requests that are over other limits get their hits back.
        self._limit = NEVER_OVER if refund_over_limit else limit
        self._rule = f"{domain}|{check.rule_path}"
        self._keep_above = keep_above(limit, check.near_limit)

    def renew(self, now: int) -> None:
        """Make the hit for the window that holds the second *now*."""
        _, _, _, _, amount, key, length, _, _, _ = self._check
        start = self.since = now - now % length
        end = self.until = start + length
        self.hit = _new(
            CounterUpdate, (b"%b%d" % (key, start), amount, self._limit, end, length, self._rule, self._keep_above)
        )


class PreparedRequest:
    """A request planned under one set of rules, to be run any number of times; it keeps the hits of its last window.

    Args:
        plan: What it comes to.
        counted: One for each of *plan.counted*, in their order; made where there are none.
    """

    __slots__ = ("_counted", "hits", "plan", "since", "until")

    def __init__(self, plan: Plan, counted: Sequence[PreparedCheck] | None = None) -> None:
        self.plan = plan
        self.hits: Sequence[CounterUpdate] = ()
        self.since = self.until = 0
        self._counted = counted or [
            PreparedCheck(check, plan.domain, refund_over_limit=plan.refund_over_limit) for check in plan.counted
        ]

    def at(self, now: int) -> Sequence[CounterUpdate]:
        """What to count at the second *now*: a hit for each check that counts, in their order.

        Kept as `hits`, which stay the same from `since` until `until`.
        """
        since, until = 0, FOREVER
        hits = []
        for one in self._counted:
            if not one.since <= now < one.until:
                one.renew(now)
            if one.since > since:  # noqa: PLR1730 - a call of max costs as much as all of this
                since = one.since
            if one.until < until:  # noqa: PLR1730
                until = one.until
            hits.append(one.hit)
        self.since, self.until, self.hits = since, until, hits
        return hits
