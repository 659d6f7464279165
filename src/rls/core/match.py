"""Descriptor → rule.

The entries of a descriptor are walked from the left; at each level the exact value wins over wildcards (in the order of
the file), and these over the key alone. There is no way back up: an exact match that leads nowhere ends the search. The
rule is that of the node where the last entry ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rls.core.model import Entry
from rls.core.pseudonyms import Hide, plain
from rls.core.rules import Domain, Rule, TrieNode

_new = tuple.__new__


class Match(NamedTuple):
    """The rule that applies to a descriptor.

    Attributes:
        rule: The rule.
        shared: For each entry the wildcard's text where all values of that wildcard share one counter, else None.
        value: The rule's path with values of the request, where `detailed_metric` or `value_to_metric` ask for them; else
            "". Clients choose it, so a subscriber must bound the number of those that it keeps.
    """

    rule: Rule
    shared: tuple[str | None, ...]
    value: str


def match(domain: Domain, entries: tuple[Entry, ...], hide: Hide = plain) -> Match | None:
    """Find the rule for *entries*; None where none applies. *hide* is for `Match.value`."""
    node = domain.root
    steps: list[tuple[TrieNode, str | None]] = []
    is_plain = True
    for entry in entries:
        step = child_for(node, entry)
        if step is None:
            return None
        steps.append(step)
        node = step[0]
        if node.share_threshold or node.value_to_metric:
            is_plain = False
    rule = node.rule
    if rule is None:
        return None
    if is_plain and not rule.detailed_metric:
        return _new(Match, (rule, (None,) * len(steps), ""))
    shared = tuple(pattern if step.share_threshold else None for step, pattern in steps)
    return Match(
        rule, shared, _value(rule, steps, entries, hide, shares=any(pattern is not None for pattern in shared))
    )


def child_for(node: TrieNode, entry: Entry) -> tuple[TrieNode, str | None] | None:
    """The child that *entry* leads to, and the text of the wildcard that matched, "" for a default, None for neither.

    A value that is the text of a wildcard belongs to that wildcard.
    """
    child = node.exact.get(entry)
    if child is not None:
        return child, entry.value if "*" in entry.value else None
    key, value = entry
    if node.wildcards:
        for wildcard, child in node.wildcards.get(key, ()):
            if wildcard.matches(value):
                return child, wildcard.text
    child = node.defaults.get(key)
    return None if child is None else (child, "")


def exact_beside(domain: Domain, entries: tuple[Entry, ...]) -> Mapping[tuple[str, str], TrieNode] | None:
    """Where a rule matches *entries*, and would for any last value but those in the result: the exact ones beside it.

    None where it would not, or where values of wildcards share a counter or become a part of the metric's labels.
    """
    node = domain.root
    *leading, last = entries
    for entry in leading:
        step = child_for(node, entry)
        if step is None or step[0].share_threshold or step[0].value_to_metric:
            return None
        node = step[0]
    child = node.defaults.get(last.key)
    if (
        child is None
        or child.share_threshold
        or child.value_to_metric
        or last.key in node.wildcards
        or last in node.exact
    ):
        return None
    return node.exact


def _value(
    rule: Rule, steps: list[tuple[TrieNode, str | None]], entries: tuple[Entry, ...], hide: Hide, *, shares: bool
) -> str:
    """See `Match.value`; *shares*: whether a wildcard on the way shares its counter."""
    # As in the reference: an empty value leaves its underscore only where no wildcard on the way is shared.
    underscore = rule.detailed_metric and not shares
    parts = []
    has_values = False
    for (step, pattern), entry in zip(steps, entries, strict=True):
        # The pattern's text wins over both flags, as in the reference: a shared counter has one metric.
        runtime = rule.detailed_metric or (step.value_to_metric and pattern is not None)
        if step.share_threshold or not runtime:
            parts.append(step.text)
        else:
            has_values = True
            value = hide(*entry) if entry.value else ""
            parts.append(f"{entry.key}_{value}" if value or underscore else entry.key)
    return ".".join(parts) if has_values else ""
