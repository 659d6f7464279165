"""What is kept of a replay: numbers, and of whoever was refused the most frequent, all in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rls.core.check import Check
from rls.core.model import Entry
from rls.core.rules import RuleId
from rls.observe.entries import bounded
from rls.observe.heavy_hitters import HeavyHitters

SLOTS = 10_000
"""Combinations of a rule and entries that are counted exactly."""
MOST_BUCKETS = 240
_WIDTHS = (1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400, 604_800)
"""Seconds of a bucket of the timeline; each is a multiple of the one before."""


class Span:
    """How often something happened, and when first and last, in Unix seconds."""

    __slots__ = ("count", "first", "last")

    def __init__(self, at: float) -> None:
        self.count = 0
        self.first = self.last = at

    def note(self, at: float) -> None:
        """It happened once more."""
        self.count += 1
        if at > self.last:
            self.last = at
        elif at < self.first:
            self.first = at


class RuleTally:
    """What one rule did.

    Attributes:
        rule: What it is called.
        limit: Its limit, as `5/minute`.
        refused: Requests that it refused; None where it refused none.
        shadow: Requests over its limit that passed, since it or the server is in shadow mode, or for its quota mode.
    """

    __slots__ = ("limit", "refused", "rule", "shadow")

    def __init__(self, rule: RuleId, limit: str) -> None:
        self.rule = rule
        self.limit = limit
        self.refused: Span | None = None
        self.shadow: Span | None = None


class Who(NamedTuple):
    """Requests that were refused by one rule for the same entries.

    Attributes:
        rule: The rule.
        entries: Entries of the descriptor, bounded.
        requests: How many, at least.
        first: When the first of them was, as far as is known.
        last: When the last was.
    """

    rule: RuleId
    entries: tuple[Entry, ...]
    requests: int
    first: float
    last: float


class Refused:
    """Who was refused.

    Attributes:
        total: Requests.
        first: When the first was; None without any.
        last: When the last was.
    """

    def __init__(self) -> None:
        self.total = 0
        self.first: float | None = None
        self.last = 0.0
        self._most = HeavyHitters[tuple[str, tuple[Entry, ...]]](SLOTS)
        self._spans: dict[tuple[str, tuple[Entry, ...]], tuple[RuleId, Span]] = {}

    @property
    def error(self) -> int:
        """What a count lacks at most; 0 as long as there are few."""
        return self._most.error

    def note(self, domain: str, check: Check, at: float) -> None:
        """A request was refused at the Unix second *at* for *check*."""
        self.total += 1
        if self.first is None or at < self.first:
            self.first = at
        self.last = max(self.last, at)
        key = check.rule_id, bounded(check.descriptor.entries)
        self._most.add(key, 1)
        known = self._spans.get(key)
        if known is None:
            if len(self._spans) > 2 * SLOTS:
                self._spans = {key: span for key, span in self._spans.items() if key in self._most.counts}
            known = self._spans[key] = check.id(domain), Span(at)
        known[1].note(at)

    def top(self, most: int) -> Iterator[Who]:
        """The *most* frequent, the most frequent first; of equal ones the one that was first."""
        found = sorted(self._most.counts.items(), key=lambda item: (-item[1], self._spans[item[0]][1].first))
        for (rule_id, entries), count in found[:most]:
            rule, span = self._spans[rule_id, entries]
            yield Who(rule, entries, count, span.first, span.last)


class Bucket:
    """Requests of a part of the time.

    Attributes:
        requests: All of them.
        refused: Those refused, under each of the rule sets.
    """

    __slots__ = ("refused", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.refused = [0, 0]

    def add(self, other: Bucket) -> None:
        """Count what *other* has, too."""
        self.requests += other.requests
        self.refused = [mine + its for mine, its in zip(self.refused, other.refused, strict=True)]


class Timeline:
    """Requests over time, in at most `MOST_BUCKETS` buckets.

    Attributes:
        width: Seconds of a bucket.
        buckets: By the number of their time: Unix seconds by *width*.
    """

    def __init__(self) -> None:
        self.width = _WIDTHS[0]
        self.buckets: dict[int, Bucket] = {}
        self._low = self._high = 0

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(bucket.requests for bucket in self.buckets.values())

    def at(self, at: float) -> Bucket:
        """The bucket of the Unix second *at*. What it returns is valid until the next call."""
        number = int(at) // self.width
        bucket = self.buckets.get(number)
        if bucket is None:
            self._low = min(self._low, number) if self.buckets else number
            self._high = max(self._high, number) if self.buckets else number
            bucket = self.buckets[number] = Bucket()
            if self._high - self._low >= MOST_BUCKETS and self.width != _WIDTHS[-1]:
                self.widen()
                return self.at(at)
        return bucket

    def widen(self) -> None:
        """Make buckets of the next width."""
        wider = next((width for width in _WIDTHS if width > self.width), 2 * self.width)
        by = wider // self.width
        merged: dict[int, Bucket] = {}
        for number, bucket in self.buckets.items():
            merged.setdefault(number // by, Bucket()).add(bucket)
        self.width, self.buckets = wider, merged
        self._low, self._high = self._low // by, self._high // by

    def rows(self) -> list[tuple[int, Bucket]]:
        """Unix second at which each bucket begins, and the bucket, without a gap."""
        if not self.buckets:
            return []
        numbers = range(min(self.buckets), max(self.buckets) + 1)
        return [(number * self.width, self.buckets.get(number) or Bucket()) for number in numbers]
