"""Decision → the dynamic metadata that the reference returns: what was asked, and the metadata of the rules passed."""

from __future__ import annotations

from rls.core.decide import Decision
from rls.core.model import Code, Descriptor, RateLimit, Unit
from rls.core.rules import Metadata, MetadataValue
from rls.printable import printable


def request_metadata(decision: Decision) -> Metadata:
    """`domain`, `descriptors`, `hitsAddend` where the request gave one, and `metadata` where a passed rule has any.

    Texts of the request are `printable`; those of rules are as they are written.
    """
    plan = decision.plan
    described: dict[str, MetadataValue] = {
        "domain": printable(plan.domain),
        "descriptors": [_descriptor(one) for one in {check.index: check.descriptor for check in plan.checks}.values()],
    }
    if plan.hits_addend:
        described["hitsAddend"] = plan.hits_addend
    merged: Metadata = {}
    for status in decision.statuses:
        rule = status.check.rule
        if status.code is Code.OK and status.limit is not None and rule is not None and rule.metadata is not None:
            merged = merge(merged, rule.metadata)
    if merged:
        described["metadata"] = merged
    return described


def merge(first: Metadata, second: Metadata) -> Metadata:
    """Both, deeply; where they disagree *first* stays. Neither is changed."""
    merged = dict(first)
    for key, value in second.items():
        ours = merged.get(key)
        if key not in merged:
            merged[key] = value
        elif isinstance(ours, dict) and isinstance(value, dict):
            merged[key] = merge(ours, value)
    return merged


def _descriptor(descriptor: Descriptor) -> Metadata:
    described: dict[str, MetadataValue] = {
        "entries": [printable(f"{entry.key}={entry.value}") for entry in descriptor.entries]
    }
    if descriptor.limit is not None:
        described["limit"] = _limit_text(descriptor.limit)
    if descriptor.hits_addend is not None:
        described["hitsAddend"] = descriptor.hits_addend
    return described


def _limit_text(limit: RateLimit) -> str:
    """An override in protobuf's text format, which is what the reference puts here."""
    parts = [f"requests_per_unit:{limit.requests_per_unit}"] if limit.requests_per_unit else []
    # envoy.type.v3.RateLimitUnit has no WEEK: it is the answer's enum that has.
    parts.append(f"unit:{int(limit.unit) if limit.unit is Unit.WEEK else limit.unit.name}")
    if limit.unit_multiplier != 1:
        parts.append(f"unit_multiplier:{{value:{limit.unit_multiplier}}}")
    return " ".join(parts)
