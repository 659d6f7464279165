"""Counts of an outage: by them this process decides, and from them the backend learns what it missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from rls.backends.base import Hit
from rls.backends.windows import ByWindow


class LocalCounters:
    """Counters of this process, and for each the hits that the backend has not got.

    What the backend has not got is kept as two numbers, however many hits it was: what they add up to, and what they
    would have left in a counter that began at 0. They differ where hits were given back that had been counted elsewhere.
    Any count is right again after giving back the difference and adding the second, as if each hit had been sent.

    Args:
        capacity: Counters at the most. Where more are in use, those whose window ends first are forgotten.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counters = ByWindow[_Counter](capacity)

    def __len__(self) -> int:
        return len(self._counters)

    def hit(self, hit: Hit, now: int, *, in_doubt: bool = False) -> int:
        """The count after *hit*; where it is *in_doubt*, the backend may have got it, so it is not kept for it."""
        counters = self._counters
        counters.sweep(now)
        group = counters.groups.get(hit.expires_at)
        counter = None if group is None else group.get(hit.key)
        if counter is None:
            if not hit.amount:
                return 0
            counter = _Counter(hit)
            counters.put(hit.expires_at, hit.key, counter)
        counter.count = max(0, counter.count + hit.amount)
        if not in_doubt:
            counter.missed(hit.amount)
        return counter.count

    def take(self, now: int, at_most: int) -> Iterator[list[Hit]]:
        """The hits that the backend has not got, of windows that are still open, some at a time.

        They are taken: what becomes of them is to be told to `settle`.
        """
        self._counters.sweep(now)
        missing = iter([counter for group in self._counters.groups.values() for counter in group.values()])
        while some := list(islice(missing, at_most)):
            if hits := [hit for counter in some for hit in counter.take()]:
                yield hits

    def settle(self, hits: Sequence[Hit], unsent: Sequence[Hit] = ()) -> None:
        """Of *hits*, which were taken, all have reached the backend, or may have, but those that are *unsent*."""
        back: dict[tuple[int, bytes], list[int]] = {(hit.expires_at, hit.key): [] for hit in hits}
        for hit in unsent:
            back[hit.expires_at, hit.key].append(hit.amount)
        for (expires_at, key), amounts in back.items():
            counter = self._counters.groups.get(expires_at, {}).get(key)
            if counter is not None and counter.put_back(amounts):
                self._counters.discard(expires_at, key)  # some at a time: to drop all at once takes too long

    def clear(self) -> None:
        """Forget all of them."""
        self._counters = ByWindow(self._capacity)


class _Counter:
    """One counter.

    Attributes:
        hit: One that it was made for: its key, its window.
        count: Where it stands for this process.
        total: What the hits that the backend has not got add up to.
        alone: What they would leave in a counter that began at 0; at least *total*, and never negative.
    """

    __slots__ = ("alone", "count", "hit", "total")

    def __init__(self, hit: Hit) -> None:
        self.hit = hit
        self.count = self.total = self.alone = 0

    def missed(self, amount: int) -> None:
        """The backend has not got *amount*."""
        self.total += amount
        self.alone = max(0, self.alone + amount)

    def take(self) -> list[Hit]:
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
