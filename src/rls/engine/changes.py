"""What differs between two rule sets, rule by rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import chain, islice
from typing import NamedTuple, Self, TypeVar

from rls.core.model import Entry, RateLimit
from rls.core.rules import Rule, RuleId, RuleSet, TrieNode
from rls.engine.digests import said_by
from rls.slices import STEP, Steps

K = TypeVar("K", str, tuple[str, str])

MAX_LISTED = 20
"""Rules that `Changes` names; it counts all."""


class Kind(StrEnum):
    """What happened to a rule."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Enforced(NamedTuple):
    """What one revision of a rule lets pass.

    Attributes:
        limit: The rate limit; None where the rule is unlimited.
        shadow_mode: Whether the rule only counts.
    """

    limit: RateLimit | None
    shadow_mode: bool = False

    @classmethod
    def by(cls, rule: Rule) -> Self:
        """What *rule* lets pass."""
        return cls(rule.limit, rule.shadow_mode)

    @property
    def blocks(self) -> bool:
        """Whether nothing passes."""
        return self.limit is not None and not self.limit.requests_per_unit and not self.shadow_mode

    @property
    def strictness(self) -> tuple[float, int]:
        """Of two revisions of a rule, the smaller one lets less pass: over time first, then at once."""
        if self.limit is None or self.shadow_mode:
            return math.inf, 0
        return self.limit.requests_per_unit / self.limit.window_seconds, self.limit.requests_per_unit

    def is_stricter_than(self, before: Enforced) -> bool:
        """Whether it lets less pass."""
        return self.strictness < before.strictness

    def begins_to_block(self, before: Enforced) -> bool:
        """Whether nothing passes, and something did *before*."""
        return self.blocks and not before.blocks

    def __str__(self) -> str:
        """The limit, as `500/minute`."""
        if self.limit is None:
            return "unlimited"
        return f"{self.limit.text} in shadow mode" if self.shadow_mode else self.limit.text


class Change(NamedTuple):
    """One rule that is new, gone, or says something else.

    Attributes:
        kind: What happened to it.
        rule: As it is called now; of a removed one, as it was called.
        before: What it let pass; None of an added rule.
        after: What it lets pass now; None of a removed rule.
        entries: Keys and values on the way to it; "" is any value.
    """

    kind: Kind
    rule: RuleId
    before: Enforced | None = None
    after: Enforced | None = None
    entries: tuple[Entry, ...] = ()

    @property
    def stricter(self) -> bool:
        """Whether the rule was there before and lets less pass now."""
        return self.before is not None and self.after is not None and self.after.is_stricter_than(self.before)

    @property
    def warning(self) -> str:
        """A warning where the rule began to refuse everything, since a limit of 0 may be a slip; else ""."""
        if self.before is None or self.after is None or not self.after.begins_to_block(self.before):
            return ""
        return (
            f"the limit of {self.rule.domain} {self.rule.path} is {self.after}, and was {self.before}: every request that it "
            "matches is refused"
        )

    def __str__(self) -> str:
        """As `changed mesh company at rules.yaml:4: 500/minute → 5/minute, stricter`."""
        text = f"{self.kind} {self.rule}"
        if self.before is None or self.after is None:
            return f"{text}: {self.after or self.before}" if self.after or self.before else text
        if self.before == self.after:
            return f"{text}: {self.after} as before"
        return f"{text}: {self.before} → {self.after}{', stricter' if self.stricter else ''}"


class Changes(NamedTuple):
    """What a revision changed.

    Attributes:
        added: Number of new rules.
        changed: Number of rules at the same place of the trie that say something else.
        removed: Number of rules that are gone.
        stricter: Number of the changed rules that let less pass now.
        listed: Some of them, up to `MAX_LISTED` unless all were asked for: those with a warning first, then those that are stricter now.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    stricter: int = 0
    listed: tuple[Change, ...] = ()

    @property
    def warnings(self) -> Sequence[Change]:
        """Those of *listed* that have a warning."""
        return [change for change in self.listed if change.warning]

    @property
    def counted(self) -> str:
        """The numbers, as `1 added, 2 changed (1 stricter)`."""
        stricter = f" ({self.stricter} stricter)" if self.stricter else ""
        numbers = (
            (self.added, Kind.ADDED, ""),
            (self.changed, Kind.CHANGED, stricter),
            (self.removed, Kind.REMOVED, ""),
        )
        return ", ".join(f"{number} {kind}{more}" for number, kind, more in numbers if number) or "no rule changed"

    @property
    def unlisted(self) -> int:
        """How many are not *listed*."""
        return self.added + self.changed + self.removed - len(self.listed)

    def __str__(self) -> str:
        """One sentence, which names the rules that it can."""
        if not self.listed:
            return self.counted
        more = f", and {self.unlisted} more" if self.unlisted else ""
        return f"{self.counted}: {', '.join(map(str, self.listed))}{more}"


def compare(before: RuleSet, after: RuleSet, most: int = MAX_LISTED) -> Steps[tuple[Changes, Mapping[str, int]]]:
    """What differs between two rule sets that have their digests, and the number of rules of *after* by domain.

    Args:
        before: A rule set with its counts.
        after: One without.
        most: Changes to be listed.
    """
    found = _Found(most)
    counts = {}
    for name in {**before.domains, **after.domains}:
        old, new = before.domains.get(name), after.domains.get(name)
        grown = found.growth
        if old is not new:
            yield from found.compare(old.root if old else None, new.root if new else None)
        if new is not None:
            counts[name] = before.counts.get(name, 0) + found.growth - grown
        yield
    return found.changes(), counts


class _Found:
    """Changes that are found so far."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._way: list[Entry] = []
        self._numbers = dict.fromkeys(Kind, 0)
        self._stricter = 0
        self._by_rank: tuple[list[Change], ...] = ([], [], [])
        self._steps = 0

    @property
    def growth(self) -> int:
        return self._numbers[Kind.ADDED] - self._numbers[Kind.REMOVED]

    def changes(self) -> Changes:
        listed = tuple(islice(chain(*self._by_rank), self._most))
        added, changed, removed = (self._numbers[kind] for kind in (Kind.ADDED, Kind.CHANGED, Kind.REMOVED))
        return Changes(added, changed, removed, self._stricter, listed)

    def compare(self, before: TrieNode | None, after: TrieNode | None) -> Steps[None]:
        """Compare two nodes at one place of the trie, and all below them."""
        self._compare_rules(before, after)
        old, new = before or _NOTHING, after or _NOTHING
        if old.exact or new.exact:
            yield from self._compare_children(old.exact, new.exact)
        if old.defaults or new.defaults:
            yield from self._compare_children(old.defaults, new.defaults)

    def _compare_children(self, before: Mapping[K, TrieNode], after: Mapping[K, TrieNode]) -> Steps[None]:
        for entry, old in before.items():
            new = after.get(entry)
            if new is None or old.digest != new.digest:
                yield from self._compare_child(entry, old, new)
            if self._is_step():
                yield
        for entry, added in after.items():
            if entry not in before:
                yield from self._compare_child(entry, None, added)
            if self._is_step():
                yield

    def _compare_child(
        self, entry: str | tuple[str, str], before: TrieNode | None, after: TrieNode | None
    ) -> Steps[None]:
        self._way.append(Entry(entry, "") if isinstance(entry, str) else Entry(*entry))
        yield from self.compare(before, after)
        self._way.pop()

    def _compare_rules(self, before: TrieNode | None, after: TrieNode | None) -> None:
        old, new = before.rule if before else None, after.rule if after else None
        if new is None:
            if old is not None:
                self._add(Kind.REMOVED, old, None)
        elif old is None:
            self._add(Kind.ADDED, None, new)
        elif before and after and (old.limit != new.limit or said_by(before) != said_by(after)):
            self._add(Kind.CHANGED, old, new)

    def _add(self, kind: Kind, old: Rule | None, new: Rule | None) -> None:
        self._numbers[kind] += 1
        rank = 2
        if old is not None and new is not None:
            was, now = Enforced.by(old), Enforced.by(new)
            is_stricter = now.is_stricter_than(was)
            self._stricter += is_stricter
            rank = 0 if now.begins_to_block(was) else 1 if is_stricter else 2
        listed = self._by_rank[rank]
        rule = new or old
        if len(listed) < self._most and rule is not None:
            before, after = (None if one is None else Enforced.by(one) for one in (old, new))
            listed.append(Change(kind, rule.id, before, after, tuple(self._way)))

    def _is_step(self) -> bool:
        self._steps += 1
        return self._steps % STEP == 0


_NOTHING = TrieNode()
