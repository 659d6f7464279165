"""Counting in this process while the store fails: each check against this process' part of its limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rls.core.algorithms import algorithm_of
from rls.core.check import Check, Status
from rls.core.update import CounterUpdate
from rls.stores.offline_counters import OfflineCounters


class LocalCounts:
    """The counts of this process, and its part of the limits.

    Args:
        capacity: Counters of this process.
        replicas: How many processes share the limits, 0 while it is not known.

    Attributes:
        counters: Where they are; what the store has missed is taken from there.
        in_doubt: Hits counted here so far that the store may have counted itself.
    """

    def __init__(self, capacity: int, replicas: Callable[[], int]) -> None:
        self.counters = OfflineCounters(capacity)
        self.in_doubt = 0
        self._replicas = replicas
        self._most_replicas = 1

    def __len__(self) -> int:
        return len(self.counters)

    def note_replicas(self) -> int:
        """How many processes share the limits now, 0 while it is not known; the most that there were are remembered."""
        replicas = self._replicas()
        self._most_replicas = max(self._most_replicas, replicas)
        return replicas

    def clear(self) -> None:
        """The store is back: forget all."""
        self.counters.clear()
        self._most_replicas = 1

    def count(self, check: Check, counts: Sequence[int | None], now: int, *, in_doubt: bool) -> Status | None:
        """Count *check* here; None where there is no room for its counters.

        Args:
            check: What to count.
            counts: What the store said, None for each update that it has not counted. The others it does not get again.
            now: Unix seconds.
            in_doubt: Whether the store may have counted those without a count all the same.
        """
        share = self._share(check)
        algorithm = algorithm_of(check)
        updates = algorithm.plan(share, now).updates
        here: list[int] = []
        for update, count in zip(updates, counts, strict=True):
            after = self.counters.update(update, now, in_doubt=in_doubt or count is not None)
            if after is None:
                self.refund(check, updates[: len(here)], counts[: len(here)], now, in_doubt=in_doubt)
                return None
            here.append(after)
        if in_doubt:
            missing = zip(updates, counts, strict=True)
            self.in_doubt += sum(abs(update.amount) for update, count in missing if count is None)
        return algorithm.judge(share, here, now)

    def refund(
        self,
        check: Check,
        updates: Sequence[CounterUpdate],
        counts: Sequence[int | None],
        now: int,
        *,
        in_doubt: bool,
    ) -> list[int]:
        """Take back *updates*, which `count` has applied for *check*; the rest is as there. Returns the counts after that."""
        refund = algorithm_of(check).refund
        here = []
        for update, count in zip(updates, counts, strict=True):
            after = None
            for refunded in refund([update]) or [update.with_amount(0)]:
                after = self.counters.update(refunded, now, in_doubt=in_doubt or count is not None)
            here.append(after or 0)
        return here

    def remaining(self, check: Check, counts: Sequence[int], now: int) -> int:
        """What remains of this process' part of the limit of *check*, whose counters here stand at *counts*."""
        return algorithm_of(check).judge(self._share(check), counts, now).limit_remaining

    def _share(self, check: Check) -> Check:
        """*check* against this process' part of its limit, rounded up; against the smallest while it is not known.

        While the store fails the part never grows: those that are gone have let theirs pass.
        """
        whole = check.requests_per_unit
        replicas = self.note_replicas()
        part = -(-whole // self._most_replicas) if replicas else min(1, whole)
        if part == whole:
            return check
        return replace(check, requests_per_unit=part, near_limit=check.near_limit * part // whole)
