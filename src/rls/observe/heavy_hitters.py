"""The most frequent keys of a stream, in fixed memory and with a known error: the summary of Misra and Gries.

J. Misra, D. Gries, "Finding repeated elements" (1982), in the form for amounts, with a median in place of the minimum:
D. Anderson et al., "A High-Performance Algorithm for Identifying Frequent Items in Data Streams" (IMC 2017). Two summaries
add up to one with the same bound: P. Agarwal et al., "Mergeable summaries" (PODS 2012).

Bounds, where nothing is left out, whatever comes and in whatever order: with *total* as the sum of all amounts, the true
amount of a key is at least `counts.get(key, 0)`, and at most that plus `error`; and `error` is less than 2 · *total* / *slots*.
So each key with more than that share of the total is in `counts`. `error` is the actual one: for a stream with few frequent
keys it is far smaller.

Under load, callers may add only one in N amounts of keys that are not in `counts`: "sample and hold" of C. Estan, G. Varghese,
"New Directions in Traffic Measurement and Accounting" (SIGCOMM 2002). A count is still never too high. On average
a key lacks N amounts more, those before it was taken; the chance that it lacks c · N is e^-c.

Or they may add only one in N amounts of all keys, N times. A count is an estimate then, which may be too high as well: its
standard error is at most √(N · count).
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import nlargest
from operator import itemgetter
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class HeavyHitters(Generic[K]):
    """Counts amounts by key; keeps at most *slots* keys.

    A key that is there costs one write to a dict. A new one costs that, and each *slots* / 2 of them cost one sort: less
    than a microsecond each.

    Attributes:
        counts: What each key that is kept has at least; always the same object. Callers in a hurry may add to a key that is
            there.
        error: What is missing at most: of a key that is kept, and of one that is not; beside what was left out.
        left_out: The sum of the amounts that were left out; whoever leaves them out adds them here.
        one_in: Where amounts are samples, each of which stands for up to so many; 1 where they are all there were. Whoever
            samples sets it.
    """

    __slots__ = ("_dropped", "_slots", "counts", "error", "left_out", "one_in")

    def __init__(self, slots: int) -> None:
        self.counts: dict[K, int] = {}
        self.error = self.left_out = 0
        self.one_in = 1
        self._slots = slots
        self._dropped = 0

    @property
    def total(self) -> int:
        """The sum of all amounts, with what was left out."""
        return sum(self.counts.values()) + self._dropped + self.left_out

    def add(self, key: K, amount: int) -> None:
        """Count *amount*, which is positive, for *key*."""
        counts = self.counts
        counts[key] = counts.get(key, 0) + amount
        if len(counts) > self._slots:
            self._shrink()

    def merge(self, other: HeavyHitters[K]) -> None:
        """Count what *other* has counted, too."""
        counts = self.counts
        for key, count in other.counts.items():
            counts[key] = counts.get(key, 0) + count
        self.error += other.error
        self.left_out += other.left_out
        self.one_in = max(self.one_in, other.one_in)
        self._dropped += other._dropped
        if len(counts) > self._slots:
            self._shrink()

    def top(self, most: int) -> list[tuple[K, int]]:
        """The keys with the largest counts, and these, the largest first."""
        return nlargest(most, self.counts.items(), key=itemgetter(1))

    def _shrink(self) -> None:
        """Take the median from all: half of the keys go.

        More than *slots* / 2 counts lose as much as `error` grows, so that is less than 2 / *slots* of what all have lost.
        """
        counts = self.counts
        amounts = sorted(counts.values(), reverse=True)
        median = amounts[self._slots // 2]
        kept = {key: count - median for key, count in counts.items() if count > median}
        counts.clear()
        counts.update(kept)
        self._dropped += sum(amounts) - sum(kept.values())
        self.error += median
