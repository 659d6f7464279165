"""What rules cost: what a check of each writes, and what its counters take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rls.core.algorithms import ALGORITHMS
from rls.core.keys import CounterKeys, KeyFormat
from rls.core.model import Entry
from rls.core.rules import Domain, Rule, TrieNode

VALUE_BYTES = 16
"""Of a value whose length nobody knows: that of a name or an address."""
OVERHEAD_BYTES = 113
"""Of a counter in Redis 7.0, besides its name: docs/scaling.md has the measurement, with the tables of keys and of expiry times."""
JITTER_SECONDS = 300
"""The default of `--expiration-jitter`."""
_WINDOW_START_BYTES = 10


class Cost(NamedTuple):
    """What one rule costs.

    Attributes:
        updates: Counters that a check of it writes.
        key_bytes: Of the name of a counter.
        counter_bytes: Of a counter in Redis, with its name.
        keys: The entries whose values have counters of their own; without any, there is one counter.
        window_seconds: From the begin of a counter's window to its end.
        kept_seconds: From the begin of the window to when Redis removes the counter, at most.
    """

    rule: Rule
    updates: int
    key_bytes: int
    counter_bytes: int
    keys: tuple[str, ...]
    window_seconds: int
    kept_seconds: int


def costs(domain: Domain) -> Iterator[Cost]:
    """Of each rule of *domain* that counts."""
    keys = CounterKeys(KeyFormat.V1, "", domain.name)
    pending: list[tuple[TrieNode, tuple[tuple[Entry, TrieNode], ...]]] = [(domain.root, ())]
    while pending:
        node, way = pending.pop()
        if node.rule is not None and node.rule.limit is not None:
            yield _cost(node.rule, way, keys)
        below = [(Entry(key, "x" * VALUE_BYTES), child) for key, child in node.defaults.items()]
        below += [(Entry(*entry), child) for entry, child in node.exact.items()]
        pending += [(child, (*way, (entry, child))) for entry, child in reversed(below)]


def _cost(rule: Rule, way: tuple[tuple[Entry, TrieNode], ...], keys: CounterKeys) -> Cost:
    assert rule.limit is not None
    entries = tuple(Entry(entry.key, entry.value.replace("*", "x" * VALUE_BYTES)) for entry, _ in way)
    shared = tuple(entry.value if step.share_threshold else None for entry, step in way)
    name = len(keys.key(entries, shared, rule.limit.window_seconds)) + _WINDOW_START_BYTES
    updates = ALGORITHMS[rule.limit.algorithm].updates
    various = tuple(
        entry.key
        for entry, step in way
        if not step.share_threshold and (entry.value == "x" * VALUE_BYTES or "*" in entry.value)
    )
    window = rule.limit.window_seconds
    kept = window + min(window, JITTER_SECONDS)
    return Cost(rule, updates, name, name + OVERHEAD_BYTES, various, window, kept)
