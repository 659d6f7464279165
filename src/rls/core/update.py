"""One change of one counter: what an algorithm asks of a store."""

from __future__ import annotations

import sys
from dataclasses import dataclass

NEVER_KEPT = sys.maxsize
"""`CounterUpdate.keep_above` of a counter that a bounded store may always forget."""


@dataclass(slots=True)
class CounterUpdate:
    """One change of one counter. A value: nobody changes it once it is made.

    It is not frozen, since each field of a frozen class takes a call to set, and a new descriptor makes an update.

    Attributes:
        key: Name of the counter, its window's start included; so a counter lives for one window.
        amount: Hits to add; 0 only reads, a negative amount gives hits back.
        limit: Count above which the counter is over its limit.
        expires_at: Unix second from which on the counter may be forgotten; the same in all updates of one counter.
        window_seconds: Length of the window.
        rule: Identity of the rule that the counter belongs to. A bounded store shares its room out by rule.
        keep_above: Count above which the counter is near or over its limit, so that a bounded store must not forget it.
        cache_over: Whether a store may answer from memory that the counter is over its limit. It may not where refused
            requests get their hits back: the counter may be over its limit for a moment only.
    """

    key: bytes
    amount: int
    limit: int
    expires_at: int
    window_seconds: int
    rule: str = ""
    keep_above: int = NEVER_KEPT
    cache_over: bool = True

    def with_amount(self, amount: int) -> CounterUpdate:
        """The same counter, changed by *amount*."""
        return CounterUpdate(
            self.key,
            amount,
            self.limit,
            self.expires_at,
            self.window_seconds,
            self.rule,
            self.keep_above,
            self.cache_over,
        )


def keep_above(limit: int, near_limit: int) -> int:
    """`CounterUpdate.keep_above` for a *limit*: a count above it is near the limit, or uses the limit up.

    A limit of 0 refuses everything, so it needs no count.
    """
    return min(near_limit, limit - 1) if limit else NEVER_KEPT
