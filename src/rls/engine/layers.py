"""Layers of rules, and what they come to together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rls.core.rules import Domain, RuleSet, TrieNode
from rls.errors import Diagnostic
from rls.slices import STEP, Steps

K = TypeVar("K")


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What one source of rules says at one time. Read-only once it is published.

    Attributes:
        rules: All of its rules, to be put in force whole. A domain that did not change since the last layer should be the
            same object: then it is neither compared nor hashed again.
        revision: The source's own name for this version, such as a commit or an ETag; "" where it has none.
        generation: Counts the loads of the source by when they began. The rulebook drops a layer that comes after one
            with a higher generation. 0 in all layers: they count in the order in which they are published.
        rejected: Whether *rules* cannot be used at all: then the source's last good layer stays in force.
        files: Where the rules come from, for the log.
        mistakes: What is wrong in the rules' text, by place.
        lost: What had rules, and has none now, by place.
        unread: What cannot be read, by place.
        empty: What should have rules and has none, by place.
        warnings: What is valid, but probably not meant, by place.
    """

    rules: RuleSet = field(default_factory=RuleSet)
    revision: str = ""
    generation: int = 0
    rejected: bool = False
    files: tuple[str, ...] = ()
    mistakes: tuple[Diagnostic, ...] = ()
    lost: tuple[Diagnostic, ...] = ()
    unread: tuple[Diagnostic, ...] = ()
    empty: tuple[Diagnostic, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All that keeps rules from being in force as written: mistakes first, each kind by place."""
        return (*self.mistakes, *self.lost, *self.unread, *self.empty)


def merge(layers: Sequence[RuleSet]) -> Steps[dict[str, Domain]]:
    """The domains of all *layers*: a later layer adds rules to an earlier one, and overrides rules at the same entries.

    What only one layer has stays the same object.
    """
    merged: dict[str, Domain] = {}
    for layer in layers:
        for name, domain in layer.domains.items():
            below = merged.get(name)
            if below is None:
                merged[name] = domain
            else:
                root = yield from _merge_nodes(below.root, domain.root)
                said = below.refund_over_limit if domain.refund_over_limit is None else domain.refund_over_limit
                merged[name] = Domain(name, root, said)
            yield
    return merged


def _merge_nodes(below: TrieNode, above: TrieNode) -> Steps[TrieNode]:
    """One node for two at the same entries; *above* overrides what *below* says itself, and both keep their children."""
    said = above if above.rule is not None or below.rule is None else below
    node = TrieNode(
        said.text,
        rule=said.rule,
        share_threshold=said.share_threshold,
        value_to_metric=said.value_to_metric,
        place=said.place,
    )
    node.exact = yield from _merge_children(below.exact, above.exact)
    node.defaults = yield from _merge_children(below.defaults, above.defaults)
    for key in {**below.wildcards, **above.wildcards}:
        # Their order decides. Those of the earlier layer come first, as they would in an earlier file.
        patterns = {wildcard: None for part in (below, above) for wildcard, _ in part.wildcards.get(key, ())}
        node.wildcards[key] = [(wildcard, node.exact[key, wildcard.text]) for wildcard in patterns]
    return node


def _merge_children(below: Mapping[K, TrieNode], above: Mapping[K, TrieNode]) -> Steps[dict[K, TrieNode]]:
    merged = dict[K, TrieNode]()
    for number, (entry, node) in enumerate(below.items()):
        merged[entry] = node
        if number % STEP == 0:
            yield
    for number, (entry, node) in enumerate(above.items()):
        other = merged.get(entry)
        merged[entry] = node if other is None else (yield from _merge_nodes(other, node))
        if number % STEP == 0:
            yield
    return merged
