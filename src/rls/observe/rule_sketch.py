"""Who hits one rule, and whom it refuses: over the last minutes, and since it was first near its limit."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from rls.core.check import Check, Status
from rls.core.model import Entry
from rls.core.rules import Rule
from rls.observe.entries import bounded
from rls.observe.heavy_hitters import HeavyHitters
from rls.observe.refusals import RuleRefusals

SLOTS = 100
"""Entries that each table keeps: an entry with more than a fiftieth of all hits of the table's time is surely among them."""
SHOWN = SLOTS // 2
HALF_SECONDS = 300.0
"""The last minutes are this half, which has begun, and the one before."""
EMPTY_BYTES = 4_000
# Of what is kept under one key: the key, the entries, and its place in some tables.
_LABEL_BYTES = 700
_FIRST_PRUNE = 4 * SLOTS
LONGEST_KEY = 1_024
"""Bytes: a longer key is kept as its digest."""


class By(StrEnum):
    """What entries are ordered by.

    REFUSED: hits that were refused. HITS: all hits. SHADOW: hits over the limit that passed, since the rule or the server is
    in shadow mode, or not all quotas of the request were used up. NEAR: the highest share of the limit that was used by those
    who were near it.
    """

    REFUSED = "refused"
    HITS = "hits"
    SHADOW = "shadow"
    NEAR = "near"


class Use(NamedTuple):
    """How much of a limit was used: hits, the limit, and when, in Unix seconds."""

    used: int
    limit: int
    at: float


class Period:
    """The tables of some minutes. *began*: Unix seconds."""

    __slots__ = ("began", "hits", "near", "refused", "shadow")

    def __init__(self, began: float) -> None:
        self.began = began
        self.hits = HeavyHitters[bytes](SLOTS)
        self.refused = HeavyHitters[bytes](SLOTS)
        self.shadow = HeavyHitters[bytes](SLOTS)
        self.near: dict[bytes, Use] = {}

    def table(self, by: By) -> HeavyHitters[bytes]:
        """The table of hits that *by* names; NEAR has none."""
        return {By.REFUSED: self.refused, By.HITS: self.hits, By.SHADOW: self.shadow}[by]

    def merge(self, other: Period) -> None:
        """Take in what another period has."""
        self.began = min(self.began, other.began)
        for by in (By.HITS, By.REFUSED, By.SHADOW):
            self.table(by).merge(other.table(by))
        for key, use in other.near.items():
            self.note_near(key, use)

    def note_near(self, key: bytes, use: Use) -> None:
        """*key* is near its limit; the highest share of each is kept.

        What is forgotten had a lower share than `SHOWN` others, whose shares only grow: the first ones are always right.
        """
        near = self.near
        before = near.get(key)
        if before is not None and before.used * use.limit > use.used * before.limit:
            return
        near[key] = use
        if len(near) > SLOTS:
            kept = sorted(near.items(), key=lambda item: item[1].used / item[1].limit, reverse=True)
            self.near = dict(kept[:SHOWN])


def kept_key(key: bytes) -> bytes:
    """What the entries of the counter *key* are kept under."""
    return key if len(key) <= LONGEST_KEY else sha256(key).digest()


class RuleSketch:
    """The tables of one rule, in three periods.

    Args:
        domain: Of the rule.
        rule: The rule; None for limits that requests bring themselves.
        now: Unix seconds.

    Attributes:
        rule: As it was when it last refused or was near its limit.
        current: The half that has begun.
        until: When it ends.
        refusals: Of the rule; None before the first.
        size: Bytes that all of this takes, about.
    """

    __slots__ = (
        "_labels",
        "_older",
        "_over_since",
        "_previous",
        "_prune_at",
        "current",
        "domain",
        "refusals",
        "rule",
        "size",
        "until",
    )

    def __init__(self, domain: str, rule: Rule | None, now: float) -> None:
        self.domain = domain
        self.rule = rule
        self.refusals: RuleRefusals | None = None
        self._begin(now)
        self.size = EMPTY_BYTES
        self._previous: Period | None = None
        self._older: Period | None = None
        self._labels: dict[bytes, tuple[Entry, ...]] = {}
        self._over_since: dict[bytes, float] = {}
        self._prune_at = _FIRST_PRUNE

    def rotate(self, now: float) -> None:
        """Begin a new half where this one is over."""
        if now < self.until:
            return
        is_recent = now < self.until + HALF_SECONDS
        self._grow_old(self._previous)
        if not is_recent:
            self._grow_old(self.current)
        self._previous = self.current if is_recent else None
        self._begin(now)
        self._prune()

    def _begin(self, now: float) -> None:
        """Begin a half."""
        self.current = Period(now)
        self.until = now + HALF_SECONDS

    def _grow_old(self, period: Period | None) -> None:
        if self._older is None:
            self._older = period
        elif period is not None:
            self._older.merge(period)

    def add(self, table: HeavyHitters[bytes], check: Check, amount: int, now: float) -> None:
        """Count *amount* for the entries of *check* in *table*, one of those of `current`."""
        key = check.key
        if key not in self._labels:
            key = self._label(check)
        if table is not self.current.hits:
            self._over_since.setdefault(key, now)
        table.add(key, amount)

    def note_near(self, check: Check, status: Status, now: float) -> None:
        """*check* is near its limit."""
        key = check.key
        if key not in self._labels:
            key = self._label(check)
        limit = check.requests_per_unit
        self.current.note_near(key, Use(limit - status.limit_remaining, limit, now))

    def periods(self, *, recent: bool) -> list[Period]:
        """Those of the last minutes, or all, the newest first."""
        found = (self.current, self._previous, None if recent else self._older)
        return [period for period in found if period is not None]

    def entries(self, key: bytes) -> tuple[Entry, ...]:
        """The entries of what is kept under *key*."""
        return self._labels.get(key, ())

    def over_since(self, key: bytes) -> float:
        """When what is kept under *key* was first over the limit, in Unix seconds; 0 where that is not known."""
        return self._over_since.get(key, 0.0)

    def _label(self, check: Check) -> bytes:
        """Keep the entries of *check*; returns what it is kept under: the key of its counter, without the window."""
        key, entries = check.key, check.descriptor.entries
        if len(key) > LONGEST_KEY or b"#" in key:  # some value is long; see `core.keys`
            entries = bounded(entries)
            key = kept_key(key)
        if key not in self._labels:
            self._labels[key] = entries
            self.size += _LABEL_BYTES + 2 * len(key)
            if len(self._labels) > self._prune_at:
                self._prune(key)
        return key

    def _prune(self, *used: bytes) -> None:
        """Forget the entries of what is in no table any more."""
        periods = self.periods(recent=False)
        tables: list[Mapping[bytes, object]] = []
        for period in periods:
            tables += period.hits.counts, period.refused.counts, period.shadow.counts, period.near
        kept = set(used).union(*tables)
        self._labels = labels = {key: label for key, label in self._labels.items() if key in kept}
        self._over_since = {key: since for key, since in self._over_since.items() if key in labels}
        self._prune_at = 2 * len(labels) + _FIRST_PRUNE
        self.size = EMPTY_BYTES + _LABEL_BYTES * len(labels) + 2 * sum(map(len, labels))
