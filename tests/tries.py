"""Rule sets by hand, for tests of what works on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rls.core.model import Descriptor, Entry, RateLimit, Request, Unit
from rls.core.plan import CountingOptions, Plan, Planner
from rls.core.rules import Domain, Rule, RuleSet, TrieNode, Wildcard


class Step(NamedTuple):
    """One level on the way to a rule: a key, and a value, a wildcard or nothing."""

    key: str
    value: str = ""
    share_threshold: bool = False
    value_to_metric: bool = False


def rule(path: str = "path", requests: int | None = 10, unit: Unit = Unit.MINUTE, **more: Any) -> Rule:
    """A rule; unlimited where *requests* is None."""
    limit = (
        None if requests is None else RateLimit(requests, unit, more.pop("unit_multiplier", 1), more.get("name", ""))
    )
    more["replaces"] = frozenset(more.pop("replaces", ()))
    return Rule("domain", path, limit, **more)


def rule_set(rules: Mapping[tuple[Step, ...], Rule | None], domain: str = "domain") -> RuleSet:
    """One domain that holds *rules* by their place."""
    root = TrieNode()
    for steps, found in rules.items():
        node = root
        for step in steps:
            node = _child(node, step)
        node.rule = found
    return RuleSet({domain: Domain(domain, root)})


def _child(node: TrieNode, step: Step) -> TrieNode:
    child = TrieNode(f"{step.key}_{step.value}" if step.value else step.key)
    child.share_threshold, child.value_to_metric = step.share_threshold, step.value_to_metric
    if not step.value:
        return node.defaults.setdefault(step.key, child)
    known = node.exact.get((step.key, step.value))
    if known is not None:
        return known
    node.exact[step.key, step.value] = child
    if "*" in step.value:
        node.wildcards.setdefault(step.key, []).append((Wildcard.parse(step.value), child))
    return child


def descriptor(*entries: tuple[str, str], **more: Any) -> Descriptor:
    return Descriptor(tuple(Entry(*entry) for entry in entries), **more)


def request(*descriptors: Descriptor, hits_addend: int = 0, domain: str = "domain") -> Request:
    return Request(domain, descriptors, hits_addend)


def plan(asked: Request, rules: RuleSet, counting: CountingOptions) -> Plan:
    """What *asked* comes to under *rules*."""
    return Planner(rules, counting).plan(asked)
