"""Rules: what a configuration says, compiled into a read-only trie per domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from rls.core.model import Entry, RateLimit
from rls.core.overrides import Overrides
from rls.errors import SourceLocation

Metadata: TypeAlias = Mapping[str, "MetadataValue"]
MetadataValue: TypeAlias = "bool | int | float | str | Sequence[MetadataValue] | Metadata | None"


class OnBackendError(StrEnum):
    """What decides a check whose count is unavailable.

    LOCAL: it is counted in this process. ALLOW: it passes. DENY: it is refused. ERROR: the request ends with an error, so
    that Envoy's `failure_mode_deny` decides.
    """

    LOCAL = "local"
    ALLOW = "allow"
    DENY = "deny"
    ERROR = "error"


class RuleId(NamedTuple):
    """What a rule is called everywhere: in events, metrics, logs, errors and `/rlconfig`.

    Attributes:
        domain: Domain of the rule.
        path: See `Rule.path`; *domain* and *path* name a rule across revisions.
        name: See `Rule.name`.
        place: See `Rule.place`.
    """

    domain: str
    path: str
    name: str = ""
    place: SourceLocation | None = None

    @property
    def key(self) -> str:
        """Domain and path as one text: counters with the same key share their rule's part of a bounded store."""
        return f"{self.domain}|{self.path}"

    @property
    def where(self) -> str:
        """`file:line` of its descriptor; "" where the rule comes from no file."""
        return f"{self.place.file}:{self.place.line}" if self.place else ""

    @property
    def fields(self) -> dict[str, str]:
        """What JSON, logs and metadata say of it: `domain`, `rule`, and `name` and `place` where it has them."""
        found = {"domain": self.domain, "rule": self.path, "name": self.name, "place": self.where}
        return {key: text for key, text in found.items() if text or key in ("domain", "rule")}

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        return f"{self.domain} {self.path}{name}" + (f" at {self.where}" if self.place else "")


@dataclass(slots=True, eq=False)
class Rule:
    """What is enforced where a path of entries ends. Compared and hashed by identity: one rule, one object.

    Read-only, but not frozen: that would make each of 100,000 rules four times as slow to build.

    Attributes:
        domain: Domain it belongs to.
        path: Its place in the configuration, as the reference writes it: each level's `key` or `key_value`, joined by
            dots. Unique in a domain unless keys hold dots or underscores; fit to be a metric label.
        limit: The rate limit; None where the rule is *unlimited*.
        name: `rate_limit.name`; what `replaces` refers to. "" where none was given.
        replaces: Names of the rules that this one takes out of the same request.
        metadata: Free-form values for the response's dynamic metadata; None where none were given.
        on_backend_error: What decides while its counters are unavailable; None where the server's default does.
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
    def id(self) -> RuleId:
        """What the rule is called."""
        return RuleId(self.domain, self.path, self.name, self.place)


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


NO_CHILDREN: dict[Any, Any] = {}
"""The children of nodes that have none, and never will: most nodes. Never written to."""


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
        digest: Hash of this node and all below it, as `engine.digests` computes it; 0 before.
    """

    text: str = ""
    exact: dict[tuple[str, str], TrieNode] = field(default_factory=dict)
    wildcards: dict[str, list[tuple[Wildcard, TrieNode]]] = field(default_factory=dict)
    defaults: dict[str, TrieNode] = field(default_factory=dict)
    rule: Rule | None = None
    share_threshold: bool = False
    value_to_metric: bool = False
    place: SourceLocation | None = None
    digest: int = 0

    def children(self) -> Iterator[TrieNode]:
        """Its children, each once."""
        return chain(self.exact.values(), self.defaults.values())  # wildcards are among the exact ones


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
        # Iterators, not lists: a node may have a hundred thousand children.
        levels = [iter((self.root,))]
        while levels:
            node = next(levels[-1], None)
            if node is None:
                levels.pop()
                continue
            if node.rule is not None:
                yield node.rule
            levels.append(node.children())

    def example(self) -> list[Entry]:
        """Entries of a descriptor that leads to one of its rules, with *acme* for any value; empty without a rule."""
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
    """All domains that are in force at one time.

    Attributes:
        domains: By name.
        revision: Id of what the rules say, from the rulebook: equal on every pod with the same rules. "" before.
        counts: Number of rules by domain, from the rulebook; empty before.
        overrides: Limits that people set for a time, from the rulebook.
    """

    domains: Mapping[str, Domain] = field(default_factory=dict)
    revision: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=dict)

    def rules(self) -> Iterator[Rule]:
        """Every rule of every domain, once."""
        for domain in self.domains.values():
            yield from domain.rules()

    def count(self, domain: str) -> int:
        """Number of rules in *domain*; walks through them where the rulebook has not counted them."""
        known = self.counts.get(domain)
        return sum(1 for _ in self.domains[domain].rules()) if known is None else known

    def size(self) -> int:
        """Number of rules."""
        return sum(map(self.count, self.domains))
