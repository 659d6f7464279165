"""Request × rules → what to count, and in which window."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from rls.core.keys import KeyFormat, counter_key
from rls.core.match import match
from rls.core.model import UINT32_MAX, Descriptor, RateLimit, Request
from rls.core.rules import Domain, Rule, RuleSet

OVERRIDE_LABEL = "(override)"
MOST_ADDED = UINT32_MAX + 1
"""Hits that one check adds at most: over every limit, and no two billion of them overflow a counter in Redis (int64)."""
MOST_GIVEN_BACK = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Counting:
    """How a server counts: what holds for all of its rules.

    Attributes:
        near_limit_ratio: Share of a limit above which hits count as near it.
        key_format: How counters are named.
        key_prefix: Put before every counter's key.
        charge_refused: Whether a refused request spends on limits that did not refuse; a domain may differ.
    """

    near_limit_ratio: float = 0.8
    key_format: KeyFormat = KeyFormat.V1
    key_prefix: str = ""
    charge_refused: bool = True


class Check(NamedTuple):
    """What one descriptor of a request comes to.

    Attributes:
        descriptor: The descriptor.
        rule: The rule that matched; None where none did, where it was replaced, or where the request overrides it.
        limit: The limit to count against; None where nothing is counted.
        requests_per_unit: Of *limit*; 0 where nothing is counted.
        amount: Hits to add; negative to give back, 0 to look.
        key: Counter key without its window's start.
        window_seconds: Length of the window.
        near_limit: Count above which hits are near the limit.
        label: Metric label of the rule.
        has_values: Whether *label* holds values of the request.
    """

    descriptor: Descriptor
    rule: Rule | None = None
    limit: RateLimit | None = None
    requests_per_unit: int = 0
    amount: int = 0
    key: bytes = b""
    window_seconds: int = 1
    near_limit: int = 0
    label: str = ""
    has_values: bool = False

    @property
    def unlimited(self) -> bool:
        """Whether the rule lets everything pass, uncounted."""
        return self.rule is not None and self.rule.limit is None

    @property
    def rule_path(self) -> str:
        """Which rule of its domain it belongs to."""
        return self.label if self.rule is None else self.rule.path

    @property
    def rule_label(self) -> str:
        """What users know its rule by."""
        return self.label if self.rule is None else self.rule.label


class Plan(NamedTuple):
    """What a request comes to under one set of rules, whatever the time.

    Attributes:
        domain: The request's domain.
        known: Whether the rules know the domain.
        checks: One for each descriptor, in their order.
        counted: Those of *checks* that count, in their order.
        hits_addend: The request's own addend, 0 where it gave none.
        charge_refused: Whether it spends what it counts when it is refused.
    """

    domain: str
    known: bool
    checks: tuple[Check, ...]
    counted: tuple[Check, ...]
    hits_addend: int
    charge_refused: bool = True


def plan(request: Request, rules: RuleSet, counting: Counting, replaced: AbstractSet[str] | None = None) -> Plan:
    """Match every descriptor of *request*, apply overrides, addends and `replaces`.

    Args:
        replaced: Names of the rules that count nothing; where None, those that rules of this request replace.
    """
    domain = rules.domains.get(request.domain)
    if domain is None:
        checks: Sequence[Check] = [Check(descriptor) for descriptor in request.descriptors]
    else:
        checks = [_check(request, domain, descriptor, counting) for descriptor in request.descriptors]
        if replaced is None:
            replaced = {name for check in checks if check.rule is not None for name in check.rule.replaces}
        if replaced:
            checks = [_without_replaced(check, replaced) for check in checks]
    counted = tuple(check for check in checks if check.limit is not None)
    charge_refused = counting.charge_refused
    if domain is not None and domain.charge_refused is not None:
        charge_refused = domain.charge_refused
    return Plan(request.domain, domain is not None, tuple(checks), counted, request.hits_addend, charge_refused)


def replaced_by(request: Request, rules: RuleSet) -> AbstractSet[str]:
    """Names of the rules that rules of *request* replace."""
    domain = rules.domains.get(request.domain)
    if domain is None:
        return frozenset()
    found = [match(domain, descriptor.entries) for descriptor in request.descriptors if descriptor.limit is None]
    return {name for one in found if one is not None for name in one.rule.replaces}


def _check(request: Request, domain: Domain, descriptor: Descriptor, counting: Counting) -> Check:
    if descriptor.limit is not None:
        # ratelimit.proto: RateLimitDescriptor.limit. The rules are not asked: an override holds for whatever its domain is sent.
        private = (None,) * len(descriptor.entries)
        return _counted(request, descriptor, None, descriptor.limit, private, OVERRIDE_LABEL, False, counting)
    found = match(domain, descriptor.entries)
    if found is None:
        return Check(descriptor)
    if found.rule.limit is None:
        return Check(descriptor, found.rule, label=found.label, has_values=found.has_values)
    rule, shared, label, has_values = found
    return _counted(request, descriptor, rule, found.rule.limit, shared, label, has_values, counting)


def _counted(
    request: Request,
    descriptor: Descriptor,
    rule: Rule | None,
    limit: RateLimit,
    shared: tuple[str | None, ...],
    label: str,
    has_values: bool,
    counting: Counting,
) -> Check:
    # ratelimit.proto: RateLimitDescriptor.hits_addend may be 0; rls.proto: RateLimitRequest.hits_addend 0 means 1.
    addend = descriptor.hits_addend if descriptor.hits_addend is not None else request.hits_addend or 1
    if addend > UINT32_MAX:
        addend = min(addend, MOST_GIVEN_BACK if descriptor.is_negative_hits else MOST_ADDED)
    length = limit.window_seconds
    return Check(
        descriptor=descriptor,
        rule=rule,
        limit=limit,
        requests_per_unit=limit.requests_per_unit,
        amount=-addend if descriptor.is_negative_hits else addend,
        key=counter_key(counting.key_format, counting.key_prefix, request.domain, descriptor.entries, shared, length),
        window_seconds=length,
        near_limit=int(limit.requests_per_unit * counting.near_limit_ratio),
        label=label,
        has_values=has_values,
    )


def _without_replaced(check: Check, replaced: AbstractSet[str]) -> Check:
    """A check whose rule another rule of the request replaces counts nothing; an unlimited one cannot be replaced."""
    if check.rule is None or check.rule.limit is None or check.rule.name not in replaced:
        return check
    return Check(check.descriptor)
