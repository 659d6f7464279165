"""Request × rules → what to count, and in which window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rls.core.check import OVERRIDE, Check
from rls.core.keys import CounterKeys, KeyFormat, is_plain
from rls.core.match import exact_beside, match
from rls.core.model import FIXED_WINDOW, UINT32_MAX, Descriptor, Entry, RateLimit, Request, near_limit
from rls.core.overrides import Entries, Override
from rls.core.pseudonyms import Hide, plain
from rls.core.rules import Domain, Rule, RuleId, RuleSet
from rls.core.siblings import Siblings

MOST_ADDED = UINT32_MAX + 1
"""Hits that one check adds at most: over every limit, and no two billion of them overflow a counter in Redis (int64)."""
MOST_GIVEN_BACK = 2**63 - 1
_new = tuple.__new__
_blank = object.__new__
_Known: TypeAlias = tuple[RateLimit, int, int, str]
_NO_OVERRIDES: Mapping[Entries, Override] = {}


@dataclass(frozen=True, slots=True)
class CountingOptions:
    """How a server counts: what holds for all of its rules.

    Attributes:
        near_limit_ratio: Share of a limit above which hits count as near it.
        key_format: How counters are named.
        key_prefix: Put before every counter's key.
        refund_over_limit: Whether a request over a limit gets its hits on its other limits back; a domain may differ.
        hide: What stands for values of requests in counter keys and in all that is shown. Matching sees the values.
    """

    near_limit_ratio: float = 0.8
    key_format: KeyFormat = KeyFormat.V1
    key_prefix: str = ""
    refund_over_limit: bool = False
    hide: Hide = plain


@dataclass(slots=True)
class Plan:
    """What a request comes to under one set of rules, whatever the time. A value: nobody changes it once it is made.

    Attributes:
        domain: The request's domain.
        known: Whether the rules know the domain.
        checks: One or more for each descriptor, in the order of the descriptors. Values in them are hidden already.
        counted: Those of *checks* that count, in their order.
        hits_addend: The request's own addend, 0 where it gave none.
        refund_over_limit: Whether it gets hits back when it is over a limit; see `CountingOptions`.
        fixed_windows: Whether all of *counted* count by fixed windows: one update for each.
        simple: Whether each of *checks* adds hits to a limit of a rule, and none has a `value`: as nearly all do.
        several: Whether a descriptor has more than one check.
    """

    domain: str
    known: bool
    checks: tuple[Check, ...]
    counted: tuple[Check, ...]
    hits_addend: int
    refund_over_limit: bool = False
    fixed_windows: bool = field(init=False)
    simple: bool = field(init=False)
    several: bool = field(init=False)

    def __post_init__(self) -> None:
        checks, counted = self.checks, self.counted
        fixed_windows, simple = True, len(counted) == len(checks)
        for check in counted:
            if check.algorithm != FIXED_WINDOW:
                fixed_windows = False
            if check.rule is None or check.value or check.amount <= 0:
                simple = False
        self.fixed_windows, self.simple = fixed_windows, simple
        self.several = len(checks) > 1 and checks[-1].index - checks[0].index < len(checks) - 1


class Planner:
    """Plans requests under one set of *rules*; what it finds out about them once is kept."""

    def __init__(self, rules: RuleSet, counting: CountingOptions) -> None:
        self.rules = rules
        self._counting = counting
        self._domains: dict[str, DomainPlanner] = {}

    def plan(self, request: Request, replaced: AbstractSet[str] | None = None, first: int = 0) -> Plan:
        """Match every descriptor of *request*, apply overrides, addends and `replaces`.

        Args:
            request: What is asked.
            replaced: Names of the rules that count nothing; where None, those that rules of this request replace.
            first: Index of its first descriptor, where it is a slice of a request.
        """
        domain = self.domain(request.domain)
        addend = request.hits_addend
        asked = enumerate(request.descriptors, first)
        if domain is None:
            checks = [self.unknown(descriptor, index) for index, descriptor in asked]
        else:
            checks = [domain.check(descriptor, addend, index) for index, descriptor in asked]
        return self.join(request.domain, checks, addend, replaced)

    def join(
        self, name: str, checks: Sequence[Check], hits_addend: int, replaced: AbstractSet[str] | None = None
    ) -> Plan:
        """The plan of a request for the domain *name* whose descriptors come to *checks*; see `plan`."""
        domain = self.domain(name)
        counted = []
        for check in checks:
            rule = check.rule
            if rule is not None and rule.replaces and replaced is None:
                replaced = _replaced(checks)
            if check.limit is not None:
                counted.append(check)
        if replaced:
            checks = [_without_replaced(check, replaced) for check in checks]
            counted = [check for check in checks if check.limit is not None]
        refund = self._counting.refund_over_limit if domain is None else domain.refund_over_limit
        return Plan(name, domain is not None, tuple(checks), tuple(counted), hits_addend, refund)

    def alone(self, name: str, check: Check, hits_addend: int) -> Plan:
        """As `join`, of a request whose one descriptor comes to *check*: most requests are like that."""
        rule = check.rule
        if rule is None or rule.replaces or check.limit is None:
            return self.join(name, (check,), hits_addend)
        plan = _blank(Plan)
        plan.domain = name
        plan.known = True
        plan.checks = plan.counted = (check,)
        plan.hits_addend = hits_addend
        plan.refund_over_limit = self._domains[name].refund_over_limit
        plan.fixed_windows = check.algorithm == FIXED_WINDOW
        plan.simple = not check.value and check.amount > 0
        plan.several = False
        return plan

    def replaced_by(self, request: Request) -> AbstractSet[str]:
        """Names of the rules that rules of *request* replace."""
        domain = self.rules.domains.get(request.domain)
        if domain is None:
            return frozenset()
        found = [match(domain, descriptor.entries) for descriptor in request.descriptors if descriptor.limit is None]
        return {name for one in found if one is not None for name in one.rule.replaces}

    def unknown(self, descriptor: Descriptor, index: int) -> Check:
        """What the *descriptor* at *index* of a request for a domain comes to that the rules do not know."""
        return Check(hidden(descriptor, self._counting.hide), index=index)

    def caches(self) -> list[dict[Rule, Any]]:
        """What it remembers of rules. Whoever replaces it may empty these step by step, even while requests use it."""
        return [planner.known for planner in self._domains.values()]

    def domain(self, name: str) -> DomainPlanner | None:
        """What plans for the domain *name*; None where the rules do not know it."""
        planner = self._domains.get(name)
        if planner is None and (domain := self.rules.domains.get(name)) is not None:
            overrides = self.rules.overrides.get(name, _NO_OVERRIDES)
            planner = self._domains[name] = DomainPlanner(domain, self._counting, overrides)
        return planner


class DomainPlanner:
    """Plans the descriptors of one domain.

    Attributes:
        name: Of the domain.
        refund_over_limit: Whether a request over a limit gets its hits on its other limits back.
    """

    __slots__ = ("_counting", "_domain", "_keys", "_overrides", "known", "name", "refund_over_limit")

    def __init__(
        self, domain: Domain, counting: CountingOptions, overrides: Mapping[Entries, Override] = _NO_OVERRIDES
    ) -> None:
        own = domain.refund_over_limit
        self.refund_over_limit = counting.refund_over_limit if own is None else own
        self.name = domain.name
        self._domain = domain
        self._counting = counting
        self._overrides = overrides
        self._keys = CounterKeys(counting.key_format, counting.key_prefix, domain.name)
        # Of each rule that was met: its limit, and the window, near limit and identity of that.
        self.known: dict[Rule, _Known] = {}

    def check(self, descriptor: Descriptor, hits_addend: int, index: int = 0) -> Check:
        """What the *descriptor* at *index* comes to in a request with *hits_addend*, before `replaces`."""
        hide = self._counting.hide
        limit = descriptor.limit
        if limit is not None:
            # ratelimit.proto: RateLimitDescriptor.limit. The rules are not asked: it holds for whatever its domain is sent.
            shared: Sequence[str | None] = (None,) * len(descriptor.entries)
            rule, value = None, ""
            _, window_seconds, near_limit, rule_id = self._known(limit, OVERRIDE)
        else:
            found = match(self._domain, descriptor.entries, hide)
            if found is None:
                return Check(hidden(descriptor, hide), index=index)
            rule, shared, value = found
            override = self._overrides.get(hidden(descriptor, hide).entries) if self._overrides else None
            if override is not None:
                limit, window_seconds, near_limit, rule_id = self._known(_in_place_of(rule, override), rule.path)
                shared = (None,) * len(descriptor.entries)  # it holds for these values alone
            elif rule.limit is None:
                return Check(hidden(descriptor, hide), rule, value=value, index=index)
            else:
                known = self.known.get(rule)
                if known is None:
                    known = self.known[rule] = self._known(rule.limit, rule.path)
                limit, window_seconds, near_limit, rule_id = known
        own_addend, is_negative_hits = descriptor.hits_addend, descriptor.is_negative_hits
        # ratelimit.proto: RateLimitDescriptor.hits_addend may be 0; rls.proto: RateLimitRequest.hits_addend 0 means 1.
        amount = own_addend if own_addend is not None else hits_addend or 1
        if amount > UINT32_MAX:
            amount = min(amount, MOST_GIVEN_BACK if is_negative_hits else MOST_ADDED)
        if is_negative_hits:
            amount = -amount
        if hide is not plain:
            descriptor = hidden(descriptor, hide)
        return Check(
            descriptor,
            rule,
            limit,
            limit.requests_per_unit,
            amount,
            self._keys.key(descriptor.entries, shared, window_seconds),
            window_seconds,
            near_limit,
            value,
            limit.algorithm,
            index,
            rule_id,
            # A counter may be over its limit only until requests that are over other limits get their hits back.
            not self.refund_over_limit,
        )

    def siblings(self, check: Check) -> Siblings | None:
        """Of the descriptor of *check*, whose limit is a rule's: None where its last value decides more than the counter."""
        rule, entries, key = check.rule, check.descriptor.entries, check.key
        last = entries[-1].value
        if (
            rule is None
            or rule.detailed_metric
            or self._overrides
            or self._counting.hide is not plain
            or not is_plain(last)
        ):
            return None
        exact = exact_beside(self._domain, entries)
        return None if exact is None else Siblings(check, self._keys.around(key, last, check.window_seconds), exact)

    def _known(self, limit: RateLimit, path: str) -> _Known:
        near = near_limit(limit.requests_per_unit, self._counting.near_limit_ratio)
        return limit, limit.window_seconds, near, RuleId(self.name, path).key


def _in_place_of(rule: Rule, override: Override) -> RateLimit:
    """The limit of *override*, with the name and the algorithm of the rule's."""
    if rule.limit is None:
        return override.limit
    return override.limit._replace(name=rule.limit.name, algorithm=rule.limit.algorithm)


def hidden(descriptor: Descriptor, hide: Hide) -> Descriptor:
    """*descriptor* with what stands for its values."""
    if hide is plain:
        return descriptor
    entries = tuple([_new(Entry, (key, hide(key, value))) for key, value in descriptor.entries])
    return _new(Descriptor, (entries, *descriptor[1:]))


def _replaced(checks: Sequence[Check]) -> AbstractSet[str]:
    return {name for check in checks if check.rule is not None for name in check.rule.replaces}


def _without_replaced(check: Check, replaced: AbstractSet[str]) -> Check:
    """A check whose rule another rule of the request replaces counts nothing; an unlimited one cannot be replaced."""
    if check.rule is None or check.limit is None or check.rule.name not in replaced:
        return check
    return Check(check.descriptor, index=check.index, replaced=True)
