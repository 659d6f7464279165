"""Why a descriptor leads to its rule, and why no other rule applies: the walk of `match`, with all that it passes over."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from enum import StrEnum
from typing import NamedTuple

from rls.core.match import child_for
from rls.core.model import Entry
from rls.core.rules import Domain, Rule, TrieNode, Wildcard
from rls.errors import SourceLocation

MOST_CONSIDERED = 50
"""Nodes that are listed for one level. Others are counted."""
_STEP = 50


class Verdict(StrEnum):
    """What became of a node of the rules."""

    TAKEN = "taken"
    OTHER_KEY = "other key"
    OTHER_VALUE = "other value"
    NO_MATCH = "pattern does not match"
    PASSED_OVER = "passed over"
    GOES_ON = "request goes on"
    NEEDS_MORE = "needs more entries"


class End(StrEnum):
    """Where a walk ended."""

    RULE = "rule"
    NO_NODE = "no descriptor for the entry"
    NO_LIMIT = "no rate limit where the descriptor ends"
    NO_ENTRIES = "no entries"


class Considered(NamedTuple):
    """A node of the rules that a walk came by.

    Attributes:
        level: Which entry of the descriptor it was compared with, from 1 on.
        key: Its key.
        value: Its value, which may be a wildcard; "" where it takes all values.
        path: As `Rule.path`.
        verdict: What became of it.
        why: The same in a sentence.
        place: Where it stands in the files.
        rule: Its rate limit; None without one.
    """

    level: int
    key: str
    value: str
    path: str
    verdict: Verdict
    why: str
    place: SourceLocation | None
    rule: Rule | None

    @property
    def taken(self) -> bool:
        """Whether it is on the way."""
        return self.verdict in (Verdict.TAKEN, Verdict.GOES_ON)

    @property
    def text(self) -> str:
        """`key=value`, or the key alone."""
        return f"{self.key}={self.value}" if self.value else self.key


class Walk(NamedTuple):
    """What a descriptor came by in the rules of a domain.

    Attributes:
        end: Where it ended.
        why: The same in a sentence.
        considered: What it came by: level by level, at each level first what was taken, then nodes with the same key,
            then others; in the order of the files.
        unlisted: How many more there are, by level.
    """

    end: End
    why: str
    considered: tuple[Considered, ...]
    unlisted: dict[int, int]


def walk(domain: Domain, entries: tuple[Entry, ...]) -> Generator[None, None, Walk]:
    """Walk as `match` does. In steps: a level may have a hundred thousand nodes."""
    considered: list[Considered] = []
    unlisted: dict[int, int] = {}
    node, path = domain.root, ""
    for level, entry in enumerate(entries, 1):
        step = child_for(node, entry)
        taken = None if step is None else step[0]
        listed, more = yield from _level(node, taken, path, level, entry)
        if taken is not None and taken.rule is not None and level < len(entries):
            listed[0] = listed[0]._replace(verdict=Verdict.GOES_ON, why=_goes_on(entries[level]))
        considered += listed
        unlisted.update({level: more} if more else {})
        if taken is None:
            why = f"no descriptor at level {level} takes {entry.key}={entry.value}, and the search does not go back"
            return Walk(End.NO_NODE, why, tuple(considered), unlisted)
        node, path = taken, _below(path, taken.text)
    below, more = yield from _deeper(node, path, len(entries) + 1)
    unlisted.update({len(entries) + 1: more} if more else {})
    found = tuple(considered + below)
    if not entries:
        return Walk(End.NO_ENTRIES, "the descriptor has no entries", found, unlisted)
    if node.rule is None:
        needs = "; the limits below it need further entries" if below else ""
        return Walk(End.NO_LIMIT, f"the descriptor ends at {path}, which has no rate limit{needs}", found, unlisted)
    return Walk(End.RULE, f"the descriptor ends at {path}", found, unlisted)


def _level(
    node: TrieNode, taken: TrieNode | None, path: str, level: int, entry: Entry
) -> Generator[None, None, tuple[list[Considered], int]]:
    """The children of *node*, each with what became of it, and how many more there are."""
    first: list[Considered] = []
    same_key: list[Considered] = []
    other_key: list[Considered] = []
    more = 0
    for number, (key, value, child) in enumerate(_children(node)):
        if number % _STEP == 0:
            yield
        into = first if child is taken else same_key if key == entry.key else other_key
        if len(into) >= MOST_CONSIDERED:
            more += 1
            continue
        verdict, why = _verdict(key, value, entry, child, taken)
        into.append(Considered(level, key, value, _below(path, child.text), verdict, why, child.place, child.rule))
    kept = max(0, MOST_CONSIDERED - len(first) - len(same_key))
    return [*first, *same_key, *other_key[:kept]], more + len(other_key[kept:])


def _deeper(node: TrieNode, path: str, level: int) -> Generator[None, None, tuple[list[Considered], int]]:
    """The children of the *node* at which the descriptor ends."""
    found: list[Considered] = []
    more = 0
    for number, (key, value, child) in enumerate(_children(node)):
        if number % _STEP == 0:
            yield
        if len(found) >= MOST_CONSIDERED:
            more += 1
            continue
        why = f"the descriptor has no {_ordinal(level)} entry"
        below = _below(path, child.text)
        found.append(Considered(level, key, value, below, Verdict.NEEDS_MORE, why, child.place, child.rule))
    return found, more


def _children(node: TrieNode) -> Iterator[tuple[str, str, TrieNode]]:
    """Key, value and node of each child; those that take all values last, as `match` asks them last."""
    for (key, value), child in node.exact.items():
        yield key, value, child
    for key, child in node.defaults.items():
        yield key, "", child


def _verdict(key: str, value: str, entry: Entry, child: TrieNode, taken: TrieNode | None) -> tuple[Verdict, str]:
    if child is taken:
        return Verdict.TAKEN, _why_taken(value, entry)
    if key != entry.key:
        return Verdict.OTHER_KEY, f"the entry's key is {entry.key}"
    if "*" in value and not Wildcard.parse(value).matches(entry.value):
        return Verdict.NO_MATCH, f"{value} does not match {entry.value}"
    if value and "*" not in value:
        return Verdict.OTHER_VALUE, f"the entry's value is {entry.value}"
    assert taken is not None, "it would have been taken"
    first = f"{entry.key}={taken.text.removeprefix(f'{entry.key}_')}"
    return Verdict.PASSED_OVER, f"{first} comes first: {_precedence(taken, value, entry)}"


def _why_taken(value: str, entry: Entry) -> str:
    if value == entry.value and value:
        return "the value itself"
    return "the first pattern that matches" if value else "any value"


def _precedence(taken: TrieNode, value: str, entry: Entry) -> str:
    """Why *taken* is taken before a node with *value*, which matches as well."""
    if taken.text == f"{entry.key}_{entry.value}":
        return "an exact value"
    return "it stands earlier in the file" if value else "a pattern"


def _goes_on(entry: Entry) -> str:
    return f"its limit does not apply: the descriptor goes on with {entry.key}={entry.value}"


def _below(path: str, text: str) -> str:
    return f"{path}.{text}" if path else text


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th") if number > 1 else "first"
