"""Requests that are planned, and ready to be counted in any window."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rls.backends.base import Hit, keep_above
from rls.core.plan import Plan
from rls.core.window import window_start

FOREVER = sys.maxsize
NEVER_OVER = sys.maxsize
# A NamedTuple's own constructor is a Python function; this makes the same value at half the cost.
_new = tuple.__new__


class Prepared:
    """A request planned under one set of rules, to be run any number of times; it keeps the hits of its last window."""

    __slots__ = ("hits", "plan", "since", "until")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hits: Sequence[Hit] = ()
        self.since = self.until = 0

    def at(self, now: int) -> Sequence[Hit]:
        """What to count at the second *now*: a hit for each check that counts, in their order.

        Kept as `hits`, which stay the same from `since` until `until`.
        """
        self.since, self.until = 0, FOREVER
        hits = []
        domain = self.plan.domain + "|"
        # A counter that is over its limit may be so only until requests that others refuse get their hits back.
        never_over = NEVER_OVER if not self.plan.charge_refused else 0
        for check in self.plan.counted:
            length = check.window_seconds
            start = window_start(now, length)
            end = start + length
            self.since, self.until = max(self.since, start), min(self.until, end)
            limit = check.requests_per_unit
            key = b"%b%d" % (check.key, start)
            kept = keep_above(limit, check.near_limit)
            rule = domain + check.rule_path
            hits.append(_new(Hit, (key, check.amount, never_over or limit, end, length, rule, kept)))
        self.hits = hits
        return hits
