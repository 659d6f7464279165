"""Decisions in the words of logs and traces: which rule, what it came to, who answered."""

from __future__ import annotations

from rls.core.check import Check, Status
from rls.core.decide import Decision, tightest
from rls.core.model import Code
from rls.core.rules import OnBackendError, RuleId
from rls.engine.events import RequestContext
from rls.observe.entries import as_text, bounded, shown

REDIS, MEMORY, CACHE, POLICY, NOBODY = "redis", "memory", "cache", "policy", ""


def deciding(decision: Decision) -> Status | None:
    """The status that refuses, else the one with the least left; None of a request that was judged in slices and passes."""
    if decision.limited_by is not None:
        return decision.limited_by
    statuses = decision.statuses
    if len(statuses) < 2:
        return statuses[0] if statuses else None
    limited = [status for status in tightest(statuses) if status.limit is not None]
    over = [status for status in limited if status.over_limit]
    return (over or sorted(limited, key=lambda status: status.limit_remaining) or statuses)[0]


def rule_of(domain: str, check: Check) -> RuleId | None:
    """The rule of *check*; None where none matched, or another rule replaces it."""
    return None if check.rule is None and check.limit is None else check.id(domain)


def outcome_of(status: Status) -> str:
    """What *status* comes to: `over_limit`, `shadow` (over the limit, which a rule in shadow mode lets pass), `near_limit`,
    `ok`, `unlimited`, or `no_rule`.
    """
    check = status.check
    if check.limit is None:
        return "unlimited" if check.unlimited else "no_rule"
    if status.code is Code.OVER_LIMIT:
        return "over_limit"
    if status.over_limit:
        return "shadow"
    return "near_limit" if status.near_limit else "ok"


def count_of(decision: Decision, status: Status) -> int | None:
    """The counter's count after the request; None where nothing was counted, or the count is not known."""
    if status.limit is None or (status.over_limit and not status.count):
        return None
    if decision.policies and OnBackendError.LOCAL not in decision.policies:
        return None
    return status.count or status.check.requests_per_unit - status.limit_remaining


def answered_by(request: RequestContext, store: str) -> str:
    """Who knew the counts of a request that was decided: REDIS, MEMORY, CACHE (the over-limit cache), POLICY
    (`on_backend_error`), or NOBODY where nothing was counted.

    Where the cache knew some of the counts, and Redis was asked for the others, it is REDIS.

    Args:
        request: What was decided.
        store: MEMORY, REDIS, or the scheme of a store from elsewhere.
    """
    decision = request.decision
    if decision.policies:
        return POLICY
    if not decision.plan.counted:
        return NOBODY
    return counted_by(request, store)


def counted_by(request: RequestContext, store: str) -> str:
    """As `answered_by`, of a check that was counted: REDIS, MEMORY, CACHE, or the *store* from elsewhere."""
    if request.at_once:
        return CACHE if store == REDIS else store
    return REDIS if store == MEMORY else store  # what is not in memory is in the backend of one-second windows


def policies_of(decision: Decision) -> str:
    """The policies that decided, joined by commas; "" where counts did."""
    return ",".join(sorted(decision.policies))


def entries_of(check: Check) -> list[str]:
    """The entries of its descriptor, `key=value` each, bounded."""
    return as_text(shown(bounded(check.descriptor.entries)))
