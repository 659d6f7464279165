"""A check, and the status that it comes to."""

from __future__ import annotations

from dataclasses import dataclass

from rls.core.model import FIXED_WINDOW, Code, Descriptor, RateLimit
from rls.core.rules import Rule, RuleId

OVERRIDE = "(override)"
"""The path of what stands for a rule where a request brings a limit."""


@dataclass(slots=True)
class Check:
    """One limit that one descriptor of a request is checked against. A value: nobody changes it once it is made.

    Attributes:
        descriptor: The descriptor.
        rule: The rule that matched; None where none did, where it was replaced, or where the request overrides it.
        limit: The limit to count against; None where nothing is counted.
        requests_per_unit: Of *limit*; 0 where nothing is counted.
        amount: Hits to add; negative to give back, 0 to look.
        key: Counter key without its window's start.
        window_seconds: Length of the window.
        near_limit: Count above which hits are near the limit.
        value: See `Match.value`.
        algorithm: Of *limit*; see `rls.core.algorithms`.
        index: Which descriptor of the request it belongs to, from 0 on. A descriptor may have several checks.
        rule_id: `CounterUpdate.rule` of its counters.
        cache_over: `CounterUpdate.cache_over` of its counters.
        replaced: Whether another rule of the request replaces the rule that matched.
    """

    descriptor: Descriptor
    rule: Rule | None = None
    limit: RateLimit | None = None
    requests_per_unit: int = 0
    amount: int = 0
    key: bytes = b""
    window_seconds: int = 1
    near_limit: int = 0
    value: str = ""
    algorithm: str = FIXED_WINDOW
    index: int = 0
    rule_id: str = ""
    cache_over: bool = True
    replaced: bool = False

    @property
    def unlimited(self) -> bool:
        """Whether the rule lets everything pass, uncounted."""
        return self.rule is not None and self.limit is None

    @property
    def path(self) -> str:
        """`RuleId.path` of what it is checked against."""
        return OVERRIDE if self.rule is None else self.rule.path

    @property
    def policy_name(self) -> str:
        """What clients know its limit by, in fields such as `RateLimit-Policy`: the rule's name, else its path."""
        return OVERRIDE if self.rule is None else self.rule.name or self.rule.path

    def id(self, domain: str) -> RuleId:
        """What it is checked against in *domain*."""
        return RuleId(domain, OVERRIDE) if self.rule is None else self.rule.id

    def at(self, index: int) -> Check:
        """The same check of the descriptor at *index*."""
        return Check(
            self.descriptor,
            self.rule,
            self.limit,
            self.requests_per_unit,
            self.amount,
            self.key,
            self.window_seconds,
            self.near_limit,
            self.value,
            self.algorithm,
            index,
            self.rule_id,
            self.cache_over,
            self.replaced,
        )


@dataclass(slots=True, eq=False)
class Status:
    """What one check comes to (rls.proto: DescriptorStatus), and how its hits are accounted for.

    Attributes:
        code: OVER_LIMIT where its limit is exceeded and not in shadow mode.
        check: The check.
        limit: The limit that was counted against; None where nothing was.
        limit_remaining: Hits left in the window; 2³²−1 where the rule is unlimited, 0 where no rule matched.
        seconds_until_reset: Seconds until the window ends; 0 where nothing was counted.
        over_limit: Hits of this request above the limit, in shadow mode too.
        near_limit: Hits of this request below the limit but above its near-limit share.
        within_limit: Hits of this request, where all of them were below the limit.
        count: Hits that were compared with the limit, where they exceed it.
    """

    code: Code
    check: Check
    limit: RateLimit | None = None
    limit_remaining: int = 0
    seconds_until_reset: int = 0
    over_limit: int = 0
    near_limit: int = 0
    within_limit: int = 0
    count: int = 0


class BlankStatus(Status):
    """A status that is filled in field by field: a third of the cost of `Status(…)`, which counts for every check."""

    __slots__ = ()
    __init__ = object.__init__
