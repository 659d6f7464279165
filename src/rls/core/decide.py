"""Checks × counts → statuses and an overall code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rls.core.model import UINT32_MAX, Code, RateLimit
from rls.core.plan import Check, Plan
from rls.core.rules import OnBackendError


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
        limited_by: The enforced status over its limit whose window ends last; None where the overall code is OK.
        shadowed: Whether only the global shadow mode turned the overall code to OK.
    """

    code: Code
    statuses: Sequence[Status]
    plan: Plan
    limited_by: Status | None = None
    shadowed: bool = False


class Fallback(Decision):
    """A decision for which some counts could not be had.

    Attributes:
        policies: What decided the checks that lacked one.
        denied: Whether it is a policy that refuses, not a count.
    """

    policies: frozenset[OnBackendError] = frozenset()
    denied: bool = False


_OK = Code.OK
_OVER_LIMIT = Code.OVER_LIMIT
# A NamedTuple's own constructor is a Python function; this makes the same value at half the cost, for every check.
_new = tuple.__new__


def decide(plan: Plan, counts: Sequence[int], now: int, modes: Modes) -> Decision:
    """Judge *counts*, which holds one count after the hit for each of *plan.counted*, in their order."""
    statuses = []
    left = iter(counts)
    over = False
    for check in plan.checks:
        _, _, limit, requests_per_unit, amount, _, window_seconds, near, _, _ = check
        if limit is None:
            statuses.append(uncounted(check))
            continue
        after = next(left)
        if after <= near and amount >= 0:  # what `judge` says of nearly all, without a call
            reset = window_seconds - now % window_seconds
            statuses.append(_new(Status, (_OK, check, limit, requests_per_unit - after, reset, 0, 0, amount)))
            continue
        status = judge(check, after, now)
        statuses.append(status)
        if status[0] is _OVER_LIMIT:
            over = True
    if over:
        return _overall(plan, statuses, modes)
    return _new(Decision, (_OK, statuses, plan, None, False))


def decide_without(
    plan: Plan, statuses: Sequence[Status], policies: Sequence[OnBackendError | None], modes: Modes
) -> Fallback:
    """The decision that *statuses* come to, of which *policies* decided those where it has one instead of a count."""
    over = any(status.code is _OVER_LIMIT for status in statuses)
    fallback = Fallback(*(_overall(plan, statuses, modes) if over else (_OK, statuses, plan)))
    fallback.policies = frozenset(policy for policy in policies if policy is not None)
    limited_by = fallback.limited_by
    fallback.denied = any(
        status is limited_by and policy is OnBackendError.DENY
        for status, policy in zip(statuses, policies, strict=True)
    )
    return fallback


def uncounted(check: Check) -> Status:
    """The status of a *check* that no limit holds for."""
    return Status(_OK, check, limit_remaining=UINT32_MAX if check.unlimited else 0)


def judge(check: Check, after: int, now: int) -> Status:
    """The status of *check*, which counts, and whose counter stands at *after* with its hit."""
    _, rule, limit, requests_per_unit, amount, _, window_seconds, near, _, _ = check
    reset = window_seconds - now % window_seconds
    if amount < 0:  # ratelimit.proto: is_negative_hits; who gives back is never refused
        return Status(_OK, check, limit, max(0, requests_per_unit - after), reset)
    if after <= requests_per_unit:
        near_hits = 0 if after <= near else min(amount, after - near)
        return _new(Status, (_OK, check, limit, requests_per_unit - after, reset, 0, near_hits, amount))
    before = after - amount
    if before >= requests_per_unit:
        over_hits, near_hits = amount, 0
    else:
        over_hits, near_hits = after - requests_per_unit, requests_per_unit - max(near, before)
    code = _OK if rule is not None and rule.shadow_mode else _OVER_LIMIT
    return _new(Status, (code, check, limit, 0, reset, over_hits, near_hits, 0))


def is_quota(check: Check, modes: Modes) -> bool:
    """Whether *check* refuses only together with all other quota checks of its request."""
    if check.unlimited:
        return False
    return modes.quota_mode or (check.rule is not None and check.rule.quota_mode)


class Overall:
    """The overall code of a request whose statuses come in slices; see `Decision` for what it comes to."""

    __slots__ = ("_modes", "_quotas", "_quotas_over", "_refusing")

    def __init__(self, modes: Modes) -> None:
        self._modes = modes
        self._refusing: Status | None = None
        self._quotas = 0
        self._quotas_over: list[Status] = []

    def add(self, statuses: Sequence[Status]) -> None:
        """Take some more statuses into account, in the request's order."""
        for status in statuses:
            quota = is_quota(status.check, self._modes)
            self._quotas += quota
            if status.code is not _OVER_LIMIT:
                continue
            if quota:
                self._quotas_over.append(status)
            elif self._refusing is None or status.seconds_until_reset > self._refusing.seconds_until_reset:
                self._refusing = status

    def decision(self, plan: Plan, statuses: Sequence[Status]) -> Decision:
        """The decision on *plan*; *statuses* are those to answer with."""
        limited_by = self._refusing
        if limited_by is None and self._quotas_over and len(self._quotas_over) == self._quotas:
            limited_by = max(self._quotas_over, key=lambda status: status.seconds_until_reset)
        if limited_by is None:
            return Decision(_OK, statuses, plan)
        if self._modes.shadow_mode:
            return Decision(_OK, statuses, plan, shadowed=True)
        return Decision(_OVER_LIMIT, statuses, plan, limited_by)


def _overall(plan: Plan, statuses: Sequence[Status], modes: Modes) -> Decision:
    """At least one status is over its limit: find out whether that refuses the request."""
    overall = Overall(modes)
    overall.add(statuses)
    return overall.decision(plan, statuses)
