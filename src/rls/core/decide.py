"""Checks × counts → statuses and an overall code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rls.core.model import UINT32_MAX, Code, RateLimit
from rls.core.plan import Check, Plan
from rls.core.window import seconds_until_reset


@dataclass(frozen=True, slots=True)
class Modes:
    """What holds for all decisions of a server.

    Attributes:
        shadow_mode: Answer OK whatever the statuses say.
        quota_mode: Treat every descriptor as if its rule had `quota_mode`, those without a rule too.
    """

    shadow_mode: bool = False
    quota_mode: bool = False


class Status(NamedTuple):
    """What one descriptor comes to (rls.proto: DescriptorStatus), and how its hits are accounted for.

    Attributes:
        code: OVER_LIMIT where its limit is exceeded and not in shadow mode.
        check: The check that it answers.
        limit: The limit that was counted against; None where nothing was.
        limit_remaining: Hits left in the window; 2³²−1 where the rule is unlimited, 0 where no rule matched.
        seconds_until_reset: Seconds until the window ends; 0 where nothing was counted.
        over_limit: Hits of this request above the limit, in shadow mode too.
        near_limit: Hits of this request below the limit but above its near-limit share.
        within_limit: Hits of this request, where all of them were below the limit.
    """

    code: Code
    check: Check
    limit: RateLimit | None = None
    limit_remaining: int = 0
    seconds_until_reset: int = 0
    over_limit: int = 0
    near_limit: int = 0
    within_limit: int = 0


class Decision(NamedTuple):
    """The answer to a request.

    Attributes:
        code: Overall code; this alone is what Envoy acts on.
        statuses: One for each descriptor, in the request's order.
        plan: What was asked.
        refused_by: The enforced status over its limit whose window ends last; None where the overall code is OK.
        shadowed: Whether only the global shadow mode turned the overall code to OK.
    """

    code: Code
    statuses: Sequence[Status]
    plan: Plan
    refused_by: Status | None = None
    shadowed: bool = False


_OK = Code.OK
_OVER_LIMIT = Code.OVER_LIMIT


def decide(plan: Plan, counts: Sequence[int], now: int, modes: Modes) -> Decision:
    """Judge *counts*, which holds one count after the hit for each of *plan.counted*, in their order."""
    counts_left = iter(counts)
    statuses = []
    over = False
    for check in plan.checks:
        if check.limit is None:
            remaining = UINT32_MAX if check.unlimited else 0
            statuses.append(Status(_OK, check, limit_remaining=remaining))
            continue
        status = judge(check, check.limit, next(counts_left), now)
        over = over or status.code is _OVER_LIMIT
        statuses.append(status)
    if not over:
        return Decision(_OK, statuses, plan)
    return _overall(plan, statuses, modes)


def judge(check: Check, limit: RateLimit, after: int, now: int) -> Status:
    """The status of *check*, whose counter stands at *after* with its hit."""
    reset = seconds_until_reset(now, check.window_seconds)
    requests_per_unit = limit.requests_per_unit
    amount = check.amount
    if amount < 0:  # ratelimit.proto: is_negative_hits; who gives back is never refused
        return Status(_OK, check, limit, max(0, requests_per_unit - after), reset)
    near = check.near_limit
    if after <= requests_per_unit:
        near_hits = 0 if after <= near else min(amount, after - near)
        return Status(_OK, check, limit, requests_per_unit - after, reset, 0, near_hits, amount)
    before = after - amount
    if before >= requests_per_unit:
        over_hits, near_hits = amount, 0
    else:
        over_hits, near_hits = after - requests_per_unit, requests_per_unit - max(near, before)
    code = _OK if check.rule is not None and check.rule.shadow_mode else _OVER_LIMIT
    return Status(code, check, limit, 0, reset, over_hits, near_hits, 0)


def is_quota(check: Check, modes: Modes) -> bool:
    """Whether *check* refuses only together with all other quota checks of its request."""
    if modes.quota_mode:
        return not check.unlimited
    return check.rule is not None and check.rule.quota_mode


def _overall(plan: Plan, statuses: Sequence[Status], modes: Modes) -> Decision:
    """At least one status is over its limit: find out whether that refuses the request."""
    over = [status for status in statuses if status.code is _OVER_LIMIT]
    refusing = [status for status in over if not is_quota(status.check, modes)]
    if not refusing:
        if sum(is_quota(check, modes) for check in plan.checks) > len(over):
            return Decision(_OK, statuses, plan)
        refusing = over
    refused_by = max(refusing, key=lambda status: status.seconds_until_reset)
    if modes.shadow_mode:
        return Decision(_OK, statuses, plan, shadowed=True)
    return Decision(_OVER_LIMIT, statuses, plan, refused_by)
