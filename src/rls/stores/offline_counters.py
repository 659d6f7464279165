"""Counts of an outage: this process decides by them, and sends the store what it missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from rls.core.update import CounterUpdate
from rls.stores.counter_table import CounterTable


class OfflineCounters:
    """Counters of this process, and for each the updates that the store has missed.

    The missed updates of a counter are kept as two numbers, however many they are: their sum, and what they would leave in a
    counter that began at 0. The two differ if hits were given back that had been counted elsewhere. Applied to any count,
    first the difference and then the second number have the effect of all the updates one by one.

    Args:
        capacity: The most counters that it holds; `CounterTable` says which are evicted for others.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._counters = CounterTable[_Counter](capacity)
        self._evicted_before = 0

    def __len__(self) -> int:
        return len(self._counters)

    @property
    def evicted(self) -> int:
        """Counters that have made room for others so far."""
        return self._evicted_before + self._counters.evicted

    def update(self, update: CounterUpdate, now: int, *, in_doubt: bool = False) -> int | None:
        """The count after *update*; None where there is no room for its counter.

        Args:
            update: What to apply.
            now: Unix seconds.
            in_doubt: Whether the store may have applied it; then it is not kept for the store.
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

    def drain(self, now: int, at_most: int) -> Iterator[list[CounterUpdate]]:
        """Take out the updates that the store has missed, of windows that are open at *now*, in lists for the store.

        Each list has the updates of *at_most* counters. Pass it to `acknowledge` once it is known what the store has.
        """
        self._counters.sweep(now)
        missing = iter([counter for counter in self._counters.values() if counter.update.expires_at > now])
        while some := list(islice(missing, at_most)):
            if updates := [update for counter in some for update in counter.drain()]:
                yield updates

    def acknowledge(self, updates: Sequence[CounterUpdate], unsent: Sequence[CounterUpdate] = ()) -> None:
        """Of the drained *updates*, the store has, or may have, all but those that are *unsent*."""
        missing: dict[bytes, list[int]] = {update.key: [] for update in updates}
        for update in unsent:
            missing[update.key].append(update.amount)
        for key, amounts in missing.items():
            counter = self._counters.find(key)
            if counter is not None and counter.requeue(amounts):
                self._counters.discard(key)  # some at a time: to drop all at once takes too long

    def clear(self) -> None:
        """Forget all of them."""
        self._evicted_before = self.evicted
        self._counters = CounterTable(self.capacity)


class _Counter:
    """One counter.

    Attributes:
        update: The one that it was made for: its key, its window.
        count: Its count in this process.
        net: The sum of the updates that the store has missed.
        floor_sum: What they would leave in a counter that began at 0 and stops there; at least *net*.
    """

    __slots__ = ("count", "floor_sum", "net", "update")

    def __init__(self, update: CounterUpdate) -> None:
        self.update = update
        self.count = self.net = self.floor_sum = 0

    def missed(self, amount: int) -> None:
        """The store has missed an update by *amount*."""
        self.net += amount
        self.floor_sum = max(0, self.floor_sum + amount)

    def drain(self) -> list[CounterUpdate]:
        """Take out what the store has missed, in the order to send it in."""
        given_back, added = self.net - self.floor_sum, self.floor_sum
        self.net = self.floor_sum = 0
        return [self.update.with_amount(amount) for amount in (given_back, added) if amount]

    def requeue(self, amounts: Sequence[int]) -> bool:
        """Of what was drained, the store has missed *amounts*. If there are none, the store counts all of it, and not we.

        Returns:
            Whether nothing is left.
        """
        since = self.net - self.floor_sum, self.floor_sum
        self.net = self.floor_sum = 0
        for amount in (*amounts, *since):
            self.missed(amount)
        if not amounts:
            self.count = self.floor_sum
        return not (self.count or self.net or self.floor_sum)
