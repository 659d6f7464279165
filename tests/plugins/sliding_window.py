"""An algorithm from outside: a sliding window, estimated from two fixed ones. All of it stands in this file."""

from __future__ import annotations

from collections.abc import Sequence

from rls.core.algorithms import Window
from rls.core.algorithms.fixed_window import judge, window_start
from rls.core.check import Check, Status
from rls.core.update import CounterUpdate, keep_above


class SlidingWindow:
    """Of the window before this one as much counts as a window that ends now overlaps."""

    name = "sliding_window"
    updates = 2

    def plan(self, check: Check, now: int) -> Window:
        length = check.window_seconds
        start = window_start(now, length)
        previous, current = self._update(check, start - length, 0), self._update(check, start, check.amount)
        return Window((previous, current), start, start + length)

    def _update(self, check: Check, start: int, amount: int) -> CounterUpdate:
        return CounterUpdate(
            b"%bsliding|%d" % (check.key, start),
            amount,
            check.requests_per_unit,
            expires_at=start + 2 * check.window_seconds,  # it is read in the next window, too
            window_seconds=check.window_seconds,
            rule=check.rule_id,
            keep_above=keep_above(check.requests_per_unit, check.near_limit),
            cache_over=check.cache_over,
        )

    def judge(self, check: Check, counts: Sequence[int], now: int) -> Status:
        previous, current = counts
        length = check.window_seconds
        overlap = length - now % length
        passed = min(previous, check.requests_per_unit)  # refused hits are counted, but did not pass
        return judge(check, current + passed * overlap // length, now)

    def refund(self, updates: Sequence[CounterUpdate]) -> list[CounterUpdate]:
        return [update.with_amount(-update.amount) for update in updates if update.amount > 0]


SLIDING_WINDOW = SlidingWindow()
