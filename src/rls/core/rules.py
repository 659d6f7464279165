"""Rules: what a configuration says, compiled into a read-only trie per domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from rls.core.model import Entry, RateLimit
from rls.errors import SourceLocation

Metadata: TypeAlias = Mapping[str, "MetadataValue"]
MetadataValue: TypeAlias = "bool | int | float | str | Sequence[MetadataValue] | Metadata | None"


class OnBackendError(StrEnum):
    """What decides a check whose count cannot be had.

    LOCAL: it is counted in this process. ALLOW: it passes. DENY: it is refused. ERROR: the request ends with an error, so
    that Envoy's `failure_mode_deny` decides.
    """

    LOCAL = "local"
    ALLOW = "allow"
    DENY = "deny"
    ERROR = "error"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """What is enforced where a path of entries ends. Compared and hashed by identity: one rule, one object.

    Attributes:
        domain: Domain it belongs to.
        path: Its place in the configuration, as the reference writes it: each level's `key` or `key_value`, joined by
            dots. Unique in a domain unless keys hold dots or underscores; fit to be a metric label.
        limit: The rate limit; None where the rule is *unlimited*.
        name: `rate_limit.name`; what `replaces` refers to. "" where none was given.
        replaces: Names of the rules that this one takes out of the same request.
        metadata: Free-form values for the response's dynamic metadata; None where none were given.
        on_backend_error: What decides while its counters cannot be had; None where the server's default does.
        place: Where its descriptor stands; None where it was not read from a file.
    """

    domain: str
    path: str
    limit: RateLimit | None
    name: str = ""
    replaces: frozenset[str] = frozenset()
    shadow_mode: bool = False
    quota_mode: bool = False
    detailed_metric: bool = False
    metadata: Metadata | None = None
    on_backend_error: OnBackendError | None = None
    place: SourceLocation | None = None

    @property
    def label(self) -> str:
        """What users know the rule by: its name, else its path."""
        return self.name or self.path


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A value pattern in which `*` stands for any text, the empty one included; nothing else is special."""

    text: str
    pieces: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Wildcard:
        """Split *text*, which holds at least one `*`."""
        return cls(text, tuple(text.split("*")))

    def matches(self, value: str) -> bool:
        """Whether *value* begins with the first piece, ends with the last and has the others in order between."""
        first, *middle, last = self.pieces
        if len(value) < sum(map(len, self.pieces)) or not value.startswith(first) or not value.endswith(last):
            return False
        at, end = len(first), len(value) - len(last)
        for piece in middle:
            found = value.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


@dataclass(slots=True, eq=False)
class TrieNode:
    """One level of a domain's trie. Filled while loading, read-only afterwards.

    Attributes:
        exact: Children with a value, by key and value; wildcards stand here too, under their literal text.
        wildcards: Children whose value holds a `*`, by key, in the order of the file.
        defaults: Children without a value, by key.
        rule: The rule of a descriptor that ends here.
        share_threshold: Whether all values that this node's wildcard matches share one counter.
        value_to_metric: Whether the matched value becomes part of the rule's metric label.
        text: `key` or `key_value`, as in `Rule.path`.
        place: Where the descriptor stands; None at the root.
    """

    text: str = ""
    exact: dict[tuple[str, str], TrieNode] = field(default_factory=dict)
    wildcards: dict[str, list[tuple[Wildcard, TrieNode]]] = field(default_factory=dict)
    defaults: dict[str, TrieNode] = field(default_factory=dict)
    rule: Rule | None = None
    share_threshold: bool = False
    value_to_metric: bool = False
    place: SourceLocation | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """One domain: its trie, and what holds for the whole of it.

    Attributes:
        refund_over_limit: Whether a request over a limit gets its hits on its other limits back; None for the server's
            default.
    """

    name: str
    root: TrieNode
    refund_over_limit: bool | None = None

    def rules(self) -> Iterator[Rule]:
        """Every rule, once, parents before their children."""
        nodes = [self.root]
        while nodes:
            node = nodes.pop()
            if node.rule is not None:
                yield node.rule
            # Wildcards are among the exact ones.
            nodes += [*reversed(node.defaults.values()), *reversed(node.exact.values())]

    def example(self) -> list[Entry]:
        """Entries of a descriptor that leads to one of its rules, with *acme* for any value; none where there is none."""
        return _entries_below(self.root)


def _entries_below(node: TrieNode) -> list[Entry]:
    children = [(Entry(key, "acme"), child) for key, child in node.defaults.items()]
    children += [(Entry(key, value.replace("*", "acme")), child) for (key, value), child in node.exact.items()]
    for entry, child in children:
        below = [] if child.rule is not None else _entries_below(child)
        if child.rule is not None or below:
            return [entry, *below]
    return []


@dataclass(frozen=True, slots=True, eq=False)
class RuleSet:
    """All domains that are in force at one time."""

    domains: Mapping[str, Domain] = field(default_factory=dict)
