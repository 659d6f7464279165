"""Counts of an outage: by them this process decides, and from them the backend learns what it missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from rls.stores.base import CounterUpdate
from rls.stores.counter_table import CounterTable


class OfflineCounters:
    """Counters of this process, and for each the hits that the backend has not got.

    What the backend has not got is kept as two numbers, however many hits it was: what they add up to, and what they
    would have left in a counter that began at 0. They differ where hits were given back that had been counted elsewhere.
    Any count is right again after giving back the difference and adding the second, as if each hit had been sent.

    Args:
        capacity: Counters that it holds. Where more are in use, see `CounterTable` for those that are forgotten.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._counters = CounterTable[_Counter](capacity)

    def __len__(self) -> int:
        return len(self._counters)

    def hit(self, hit: CounterUpdate, now: int, *, in_doubt: bool = False) -> int | None:
        """The count after *hit*; None where there is no room for its counter.

        Args:
            hit: What to count.
            now: Unix seconds.
            in_doubt: The backend may have counted it, so it is not kept for the backend.
        """
        counters = self._counters
        counters.sweep(now)
        counter = counters.find(hit.key)
        if counter is None:
            if not hit.amount:
                return 0
            counter = _Counter(hit)
        count = max(0, counter.count + hit.amount)
        if not counters.put(hit.rule, hit.expires_at, hit.key, counter, keep=count > hit.keep_above):
            return None
        counter.count = count
        if not in_doubt:
            counter.missed(hit.amount)
        return count

    def take(self, now: int, at_most: int) -> Iterator[list[CounterUpdate]]:
        """The hits that the backend has not got, of windows that are still open, some at a time.

        They are taken: what becomes of them is to be told to `settle`.
        """
        self._counters.sweep(now)
        missing = iter([counter for counter in self._counters.values() if counter.hit.expires_at > now])
        while some := list(islice(missing, at_most)):
            if hits := [hit for counter in some for hit in counter.take()]:
                yield hits

    def settle(self, hits: Sequence[CounterUpdate], unsent: Sequence[CounterUpdate] = ()) -> None:
        """Of *hits*, which were taken, all have reached the backend, or may have, but those that are *unsent*."""
        back: dict[bytes, list[int]] = {hit.key: [] for hit in hits}
        for hit in unsent:
            back[hit.key].append(hit.amount)
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
        hit: One that it was made for: its key, its window.
        count: Where it stands for this process.
        total: What the hits that the backend has not got add up to.
        alone: What they would leave in a counter that began at 0; at least *total*, and never negative.
    """

    __slots__ = ("alone", "count", "hit", "total")

    def __init__(self, hit: CounterUpdate) -> None:
        self.hit = hit
        self.count = self.total = self.alone = 0

    def missed(self, amount: int) -> None:
        """The backend has not got *amount*."""
        self.total += amount
        self.alone = max(0, self.alone + amount)

    def take(self) -> list[CounterUpdate]:
        """What to send to the backend, in this order."""
        given_back, added = self.total - self.alone, self.alone
        self.total = self.alone = 0
        return [self.hit._replace(amount=amount) for amount in (given_back, added) if amount]

    def put_back(self, amounts: Sequence[int]) -> bool:
        """Of what was taken, the backend has not got *amounts*; if it has all of it, that counts here no more.

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
