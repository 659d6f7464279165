"""What differs between two rule sets, rule by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import chain, islice
from typing import NamedTuple, TypeVar

from rls.core.model import Entry
from rls.core.rules import RuleId, RuleSet, TrieNode
from rls.engine.digests import said_by
from rls.engine.enforced import Enforced, differing, fields_that_differ, said_otherwise
from rls.slices import STEP, Steps

K = TypeVar("K", str, tuple[str, str])

MAX_LISTED = 20
"""Rules that `Changes` names; it counts all."""


class Kind(StrEnum):
    """What happened to a rule."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Change(NamedTuple):
    """One rule that is new, gone, or says something else.

    Attributes:
        kind: What happened to it.
        rule: As it is called now; of a removed one, as it was called.
        before: What it let pass; None of an added rule.
        after: What it lets pass now; None of a removed rule.
        entries: Keys and values on the way to it; "" is any value.
        others: What else a changed rule says otherwise: fields that let neither more nor less pass.
    """

    kind: Kind
    rule: RuleId
    before: Enforced | None = None
    after: Enforced | None = None
    entries: tuple[Entry, ...] = ()
    others: tuple[str, ...] = ()

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
        before, after = str(self.before), str(self.after)
        text += f": {after} as before" if before == after else f": {before} → {after}"
        text += ", stricter" if self.stricter else ""
        return f"{text}; {said_otherwise(self.others)}" if self.others else text


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
                self._add(Kind.REMOVED, before, None)
        elif old is None:
            self._add(Kind.ADDED, None, after)
        elif before and after and (old.limit != new.limit or said_by(before) != said_by(after)):
            self._add(Kind.CHANGED, before, after)

    def _add(self, kind: Kind, before: TrieNode | None, after: TrieNode | None) -> None:
        self._numbers[kind] += 1
        was, now = _enforced(before), _enforced(after)
        rank = 2
        if was is not None and now is not None:
            is_stricter = now.is_stricter_than(was)
            self._stricter += is_stricter
            rank = 0 if now.begins_to_block(was) else 1 if is_stricter else 2
        listed = self._by_rank[rank]
        old, new = before.rule if before else None, after.rule if after else None
        rule = new or old
        if len(listed) < self._most and rule is not None:
            if was is not None and now is not None:
                was, now = differing(was, now)
            listed.append(Change(kind, rule.id, was, now, tuple(self._way), _others(before, after)))

    def _is_step(self) -> bool:
        self._steps += 1
        return self._steps % STEP == 0


def _enforced(node: TrieNode | None) -> Enforced | None:
    return None if node is None or node.rule is None else Enforced.by(node.rule, shared=node.share_threshold)


def _others(before: TrieNode | None, after: TrieNode | None) -> tuple[str, ...]:
    if before is None or after is None or before.rule is None or after.rule is None:
        return ()
    shown = {*Enforced._fields}
    names = tuple(name for name in fields_that_differ(before.rule, after.rule) if name not in shown)
    return (*names, "value_to_metric") if before.value_to_metric != after.value_to_metric else names


_NOTHING = TrieNode()
