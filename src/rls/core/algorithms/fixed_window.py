"""Fixed windows, aligned to the Unix epoch: at most so many hits in each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rls.core.algorithms.base import Window
from rls.core.check import Check, Status
from rls.core.model import FIXED_WINDOW, Code
from rls.core.update import CounterUpdate, keep_above

# A NamedTuple's own constructor is a Python function; this makes the same value at half the cost.
_new = tuple.__new__
_blank = object.__new__
# Many counters begin together.
_digits = lru_cache(maxsize=4096)(b"%d".__mod__)


class FixedWindow:
    """One counter for each window. See `Algorithm`.

    `decide` has the usual case of `judge` inlined: a change here may be one there.
    """

    name = FIXED_WINDOW
    updates = 1

    def plan(self, check: Check, now: int) -> Window:
        """See `Algorithm.plan`."""
        length, limit, near = check.window_seconds, check.requests_per_unit, check.near_limit
        start = now - now % length
        # Every new descriptor makes one: a constructor would cost as much as all of this.
        update = _blank(CounterUpdate)
        update.key = check.key + _digits(start)
        update.amount = check.amount
        update.limit = limit
        update.expires_at = end = start + length
        update.window_seconds = length
        update.rule = check.rule_id
        update.keep_above = near if near < limit else keep_above(limit, near)
        update.cache_over = check.cache_over
        return _new(Window, ((update,), start, end))

    def judge(self, check: Check, counts: Sequence[int], now: int) -> Status:
        """See `Algorithm.judge`."""
        return judge(check, counts[0], now)

    def refund(self, updates: Sequence[CounterUpdate]) -> list[CounterUpdate]:
        """See `Algorithm.refund`."""
        return [update.with_amount(-update.amount) for update in updates if update.amount > 0]


def judge(check: Check, after: int, now: int) -> Status:
    """The status of *check*, whose counter stands at *after* with its hits."""
    limit, amount, near = check.requests_per_unit, check.amount, check.near_limit
    reset = seconds_until_reset(now, check.window_seconds)
    if amount < 0:  # ratelimit.proto: is_negative_hits; who gives back is never refused
        return Status(Code.OK, check, check.limit, max(0, limit - after), reset)
    if after <= limit:
        near_hits = 0 if after <= near else min(amount, after - near)
        return Status(Code.OK, check, check.limit, limit - after, reset, 0, near_hits, amount)
    before = after - amount
    if before >= limit:
        over_hits, near_hits = amount, 0
    else:
        over_hits, near_hits = after - limit, limit - max(near, before)
    code = Code.OK if check.rule is not None and check.rule.shadow_mode else Code.OVER_LIMIT
    return Status(code, check, check.limit, 0, reset, over_hits, near_hits, count=after)


def window_start(now: int, length: int) -> int:
    """First second of the window of *length* seconds that holds the second *now*."""
    return now - now % length


def seconds_until_reset(now: int, length: int) -> int:
    """Seconds from *now* to the next window, 1 to *length*."""
    return length - now % length
