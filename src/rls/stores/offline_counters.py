"""Counts of an outage: by them this process decides, and from them the store learns what it missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from rls.core.update import CounterUpdate
from rls.stores.counter_table import CounterTable


class OfflineCounters:
    """Counters of this process, and for each the updates that the store has not got.

    What the store has not got is kept as two numbers, however many updates it was: what they add up to, and what they
    would have left in a counter that began at 0. They differ where updates were given back that had been counted elsewhere.
    Any count is right again after giving back the difference and adding the second, as if each update had been sent.

    Args:
        capacity: Counters that it holds. Where more are in use, see `CounterTable` for those that are forgotten.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._counters = CounterTable[_Counter](capacity)

    def __len__(self) -> int:
        return len(self._counters)

    def update(self, update: CounterUpdate, now: int, *, in_doubt: bool = False) -> int | None:
        """The count after *update*; None where there is no room for its counter.

        Args:
            update: What to apply.
            now: Unix seconds.
            in_doubt: The store may have counted it, so it is not kept for the store.
        """
        counters = self._counters
        counters.sweep(now)
        counter = counters.find(update.key)
        if counter is None:
            if not update.amount:
                return 0
            counter = _Counter(update)
        count = max(0, counter.count + update.amount)
        if not counters.put(update.rule, update.expires_at, update.key, counter, keep=count > update.keep_above):
            return None
        counter.count = count
        if not in_doubt:
            counter.missed(update.amount)
        return count

    def take(self, now: int, at_most: int) -> Iterator[list[CounterUpdate]]:
        """The updates that the store has not got, of windows that are still open, some at a time.

        The caller reports to `settle` what became of them.
        """
        self._counters.sweep(now)
        missing = iter([counter for counter in self._counters.values() if counter.update.expires_at > now])
        while some := list(islice(missing, at_most)):
            if updates := [update for counter in some for update in counter.take()]:
                yield updates

    def settle(self, updates: Sequence[CounterUpdate], unsent: Sequence[CounterUpdate] = ()) -> None:
        """Of *updates*, which were taken, all have reached the store, or may have, but those that are *unsent*."""
        back: dict[bytes, list[int]] = {update.key: [] for update in updates}
        for update in unsent:
            back[update.key].append(update.amount)
        for key, amounts in back.items():
            counter = self._counters.find(key)
            if counter is not None and counter.put_back(amounts):
                self._counters.discard(key)  # some at a time: to drop all at once takes too long

    def clear(self) -> None:
        """Forget all of them."""
        self._counters = CounterTable(self.capacity)


class _Counter:
    """One counter.

    Attributes:
        update: One that it was made for: its key, its window.
        count: Where it stands for this process.
        total: What the updates that the store has not got add up to.
        alone: What they would leave in a counter that began at 0; at least *total*, and never negative.
    """

    __slots__ = ("alone", "count", "total", "update")

    def __init__(self, update: CounterUpdate) -> None:
        self.update = update
        self.count = self.total = self.alone = 0

    def missed(self, amount: int) -> None:
        """The store has not got *amount*."""
        self.total += amount
        self.alone = max(0, self.alone + amount)

    def take(self) -> list[CounterUpdate]:
        """What to send to the store, in this order."""
        given_back, added = self.total - self.alone, self.alone
        self.total = self.alone = 0
        return [self.update.with_amount(amount) for amount in (given_back, added) if amount]

    def put_back(self, amounts: Sequence[int]) -> bool:
        """Of what was taken, the store has not got *amounts*; if it has all of it, that counts here no more.

        Returns:
            Whether nothing is left.
        """
        since = self.total - self.alone, self.alone
        self.total = self.alone = 0
        for amount in (*amounts, *since):
            self.missed(amount)
        if not amounts:
            self.count = self.alone
        return not (self.count or self.total or self.alone)
