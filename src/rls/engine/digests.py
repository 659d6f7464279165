"""What rules say, as numbers: equal where the rules are equal, on every pod and in every process.

The digest of a node covers all below it. Digests of siblings are added up, so their order does not count, except among
wildcards, of which the first that matches wins. Where a rule stands does not count either: the same rules in other files
have the same digests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from itertools import chain
from operator import attrgetter

from rls.core.model import Entry
from rls.core.overrides import Override
from rls.core.rules import Domain, Rule, TrieNode
from rls.slices import STEP, Steps

_MASK = (1 << 64) - 1
_REVISION_DIGITS = 12


def digest_children(node: TrieNode) -> Steps[int]:
    """Compute the digests of all nodes below *node* that lack one; returns the sum of those of its children."""
    total = 0
    entries = chain(node.exact.items(), ((Entry(key, ""), child) for key, child in node.defaults.items()))
    for number, ((key, value), child) in enumerate(entries):
        if not child.digest:
            below = (yield from digest_children(child)) if child.exact or child.defaults else 0
            child.digest = _hash((key, value, said_by(child), below)) or 1
        total += child.digest
        if number % STEP == 0:
            yield
    for key, wildcards in node.wildcards.items():
        if len(wildcards) > 1:
            total += _hash((key, [wildcard.text for wildcard, _ in wildcards]))
            yield
    return total & _MASK


def digest_domain(domain: Domain) -> Steps[int]:
    """The digest of a domain."""
    children = yield from digest_children(domain.root)
    return _hash((domain.name, domain.refund_over_limit, children))


def revision_of(digests: Mapping[str, int], overrides: Sequence[Override] = ()) -> str:
    """The id of a rule set whose domains have *digests*, with *overrides*."""
    of_overrides = sorted((one.domain, one.entries, one.limit.text) for one in overrides)
    return f"{_hash((*sorted(digests.items()), *of_overrides)):016x}"[:_REVISION_DIGITS]


def said_by(node: TrieNode) -> tuple[object, ...]:
    """What *node* itself says, without those below it and without its place."""
    return node.share_threshold, node.value_to_metric, None if node.rule is None else _said_by_rule(node.rule)


_FIELDS = tuple(
    found.name
    for found in fields(Rule)
    if found.name not in {"domain", "limit", "replaces", "on_backend_error", "place"}
)
"""Fields of a rule whose representation says what they say."""
_fields_of = attrgetter(*_FIELDS)


def _said_by_rule(rule: Rule) -> tuple[object, ...]:
    limit = None if rule.limit is None else (rule.limit[0], rule.limit[1].name, *rule.limit[2:])
    policy = None if rule.on_backend_error is None else rule.on_backend_error.value
    return limit, sorted(rule.replaces), policy, _fields_of(rule)


def _hash(said: object) -> int:
    # repr is exact for all that rules hold: texts, numbers, and lists and mappings of these.
    return int.from_bytes(blake2b(repr(said).encode("utf-8", "surrogatepass"), digest_size=8).digest())
