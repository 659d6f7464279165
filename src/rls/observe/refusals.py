"""The last refusals one by one, and for each rule the first, the last and how many."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import NamedTuple

from rls.core.check import Check, Status
from rls.core.model import Entry
from rls.core.rules import Rule
from rls.engine.events import RequestContext
from rls.observe.entries import bounded
from rls.observe.rate_sampler import RateSampler
from rls.observe.trace_context import trace_context, trace_id_text

KEPT = 1_000
"""Refusals that are kept."""
KEPT_A_SECOND = 100
"""Above so many refusals a second, only one in N is kept: those that are kept reach ten seconds back, whoever hammers."""
RULES = 10_000
"""Rules whose first and last refusals are kept: those that refused last."""


class Refusal(NamedTuple):
    """One hit that was refused.

    Attributes:
        at: When the request came, in Unix seconds.
        domain: Of the request.
        rule: The rule; None where the request brought the limit itself.
        entries: Of the descriptor, bounded.
        limit: Requests per window.
        window_seconds: Length of the window.
        used: Hits that were compared with the limit; 0 where a policy refused without a count.
        reset_seconds: Until the window ends.
        answered_by: What knew the count: `redis`, `memory`, `cache` (the over-limit cache), or `policy`.
        policy: The policy that decided instead, `local` or `deny`; "" where a count did.
        trace_id: Of the caller's trace, in hex; "" without one.
        stands_for: Refusals that this one stands for: more than 1 where they were sampled.
    """

    at: float
    domain: str
    rule: Rule | None
    entries: tuple[Entry, ...]
    limit: int
    window_seconds: int
    used: int
    reset_seconds: int
    answered_by: str
    policy: str
    trace_id: str
    stands_for: int


class OverLimitHits:
    """Hits, and the times of the first and the last, in Unix seconds; 0 before there are any."""

    __slots__ = ("first", "hits", "last")

    def __init__(self) -> None:
        self.hits = 0
        self.first = self.last = 0.0


class RuleRefusals:
    """Of one rule: what it *refused*, and what it would have refused if it, or the server, were not in *shadow* mode."""

    __slots__ = ("domain", "refused", "rule", "shadow")

    def __init__(self, domain: str, rule: Rule | None) -> None:
        self.domain = domain
        self.rule = rule
        self.refused = OverLimitHits()
        self.shadow = OverLimitHits()


class Refusals:
    """Keeps what was refused.

    Attributes:
        by_rule: By `Check.rule_id`, those that refused last at the end.
        sampler: Says which refusals are kept one by one.
    """

    def __init__(self) -> None:
        self.by_rule: OrderedDict[str, RuleRefusals] = OrderedDict()
        self.sampler = RateSampler(KEPT_A_SECOND)
        self._ring: deque[Refusal] = deque(maxlen=KEPT)

    def of(self, domain: str, check: Check) -> RuleRefusals:
        """Those of the rule of *check*, which is the last one to refuse."""
        found = self.by_rule.get(check.rule_id)
        if found is None:
            found = self.by_rule[check.rule_id] = RuleRefusals(domain, check.rule)
            if len(self.by_rule) > RULES:
                self.by_rule.popitem(last=False)
        else:
            self.by_rule.move_to_end(check.rule_id)
            found.rule = check.rule
        return found

    def keep(self, domain: str, status: Status, request: RequestContext, answered_by: str, policy: str) -> None:
        """Keep one refusal, or not, as `sampler` says."""
        stands_for = self.sampler.take(request.began)
        if not stands_for:
            return
        check = status.check
        self._ring.append(
            Refusal(
                request.began,
                domain,
                check.rule,
                bounded(check.descriptor.entries),
                check.requests_per_unit,
                check.window_seconds,
                status.count,
                status.seconds_until_reset,
                answered_by,
                policy,
                trace_id_text(trace_context(request.metadata)),
                stands_for,
            )
        )

    def latest(self) -> Iterator[Refusal]:
        """The last `KEPT`, the newest first."""
        return reversed(self._ring)
