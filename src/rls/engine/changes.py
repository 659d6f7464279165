"""What differs between two rule sets, rule by rule."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TypeVar

from rls.core.rules import RuleId, RuleSet, TrieNode
from rls.engine.digests import said_by
from rls.slices import STEP, Steps

K = TypeVar("K")

MAX_LISTED = 20
"""Rules that `Changes` names; it counts all."""


class Kind(StrEnum):
    """What happened to a rule."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Change(NamedTuple):
    """One rule that is new, gone, or says something else."""

    kind: Kind
    rule: RuleId

    def __str__(self) -> str:
        return f"{self.kind} {self.rule}"


class Changes(NamedTuple):
    """What a revision changed.

    Attributes:
        added: Number of new rules.
        changed: Number of rules at the same place of the trie that say something else.
        removed: Number of rules that are gone.
        listed: The first `MAX_LISTED` of them.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    listed: tuple[Change, ...] = ()

    def __str__(self) -> str:
        """One sentence, which names the rules that it can."""
        numbers = ((self.added, Kind.ADDED), (self.changed, Kind.CHANGED), (self.removed, Kind.REMOVED))
        counted = ", ".join(f"{number} {kind}" for number, kind in numbers if number)
        if not counted:
            return "no rule changed"
        more = self.added + self.changed + self.removed - len(self.listed)
        return f"{counted}: {', '.join(map(str, self.listed))}" + (f", and {more} more" if more else "")


def compare(before: RuleSet, after: RuleSet) -> Steps[tuple[Changes, Mapping[str, int]]]:
    """What differs between two rule sets that have their digests, and the number of rules of *after* by domain.

    Args:
        before: A rule set with its counts.
        after: One without.
    """
    found = _Found()
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

    def __init__(self) -> None:
        self._numbers = dict.fromkeys(Kind, 0)
        self._listed: list[Change] = []
        self._steps = 0

    @property
    def growth(self) -> int:
        return self._numbers[Kind.ADDED] - self._numbers[Kind.REMOVED]

    def changes(self) -> Changes:
        numbers = self._numbers
        return Changes(numbers[Kind.ADDED], numbers[Kind.CHANGED], numbers[Kind.REMOVED], tuple(self._listed))

    def compare(self, before: TrieNode | None, after: TrieNode | None) -> Steps[None]:
        """Compare two nodes at one place of the trie, and all below them."""
        self._compare_rules(before, after)
        old, new = before or _NOTHING, after or _NOTHING
        yield from self._compare_children(old.exact, new.exact)
        yield from self._compare_children(old.defaults, new.defaults)

    def _compare_children(self, before: Mapping[K, TrieNode], after: Mapping[K, TrieNode]) -> Steps[None]:
        for entry, old in before.items():
            new = after.get(entry)
            if new is None or old.digest != new.digest:
                yield from self.compare(old, new)
            if self._is_step():
                yield
        for entry, added in after.items():
            if entry not in before:
                yield from self.compare(None, added)
            if self._is_step():
                yield

    def _compare_rules(self, before: TrieNode | None, after: TrieNode | None) -> None:
        old, new = before.rule if before else None, after.rule if after else None
        if new is None:
            if old is not None:
                self._add(Kind.REMOVED, old.id)
        elif old is None:
            self._add(Kind.ADDED, new.id)
        elif before and after and said_by(before) != said_by(after):
            self._add(Kind.CHANGED, new.id)

    def _add(self, kind: Kind, rule: RuleId) -> None:
        self._numbers[kind] += 1
        if len(self._listed) < MAX_LISTED:
            self._listed.append(Change(kind, rule))

    def _is_step(self) -> bool:
        self._steps += 1
        return self._steps % STEP == 0


_NOTHING = TrieNode()
