"""Checks × counts → statuses and an overall code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rls.core.algorithms import algorithm_of, by_check
from rls.core.algorithms.fixed_window import judge
from rls.core.check import BlankStatus, Check, Status
from rls.core.model import UINT32_MAX, Code
from rls.core.plan import Plan
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


@dataclass(slots=True, eq=False)
class Decision:
    """The answer to a request.

    Attributes:
        code: Overall code; this alone is what Envoy acts on.
        statuses: One for each check of *plan*, in their order.
        plan: What was asked.
        limited_by: The enforced status over its limit whose window ends last; None where the overall code is OK.
        shadowed: Whether only the global shadow mode turned the overall code to OK.
        policies: What decided the checks whose counts could not be had; empty where all could.
        denied: Whether a policy refuses, not a count.
        well_within: Whether the plan is `simple`, each check was counted, and none is near its limit or over it.
        lone_refusal: Whether the plan is one check, in a fixed window that is over its limit. What can be said of that, but for
            the count, stays the same until the second is over.
    """

    code: Code
    statuses: Sequence[Status]
    plan: Plan
    limited_by: Status | None = None
    shadowed: bool = False
    policies: frozenset[OnBackendError] = frozenset()
    denied: bool = False
    well_within: bool = False
    lone_refusal: bool = False


class _BlankDecision(Decision):
    """See `BlankStatus`."""

    __slots__ = ()
    __init__ = object.__init__


_OK = Code.OK
_OVER_LIMIT = Code.OVER_LIMIT
_NO_POLICIES: frozenset[OnBackendError] = frozenset()


def decide(plan: Plan, counts: Sequence[int], now: int, modes: Modes) -> Decision:
    """Judge *counts*, which holds the count after each update of *plan.counted*, in their order."""
    if not plan.fixed_windows:
        apart = zip(plan.checks, by_check(plan.checks, counts), strict=True)
        statuses = [algorithm_of(check).judge(check, own, now) if own else uncounted(check) for check, own in apart]
        return _overall(plan, statuses, modes)
    statuses = []
    left = iter(counts)
    over = False
    well_within = plan.simple
    for check in plan.checks:
        limit = check.limit
        if limit is None:
            statuses.append(uncounted(check))
            continue
        after = next(left)
        amount = check.amount
        if after <= check.near_limit and amount >= 0:  # what `judge` says of nearly all, without a call
            length = check.window_seconds
            status: Status = BlankStatus()
            status.code = _OK
            status.check = check
            status.limit = limit
            status.limit_remaining = check.requests_per_unit - after
            status.seconds_until_reset = length - now % length
            status.over_limit = status.near_limit = status.count = 0
            status.within_limit = amount
            statuses.append(status)
            continue
        status = judge(check, after, now)
        statuses.append(status)
        well_within = False
        if status.code is _OVER_LIMIT:
            over = True
    lone_refusal = over and len(statuses) == 1 and not modes.shadow_mode
    if over and not lone_refusal:
        return _overall(plan, statuses, modes)
    decision: Decision = _BlankDecision()
    decision.code = _OVER_LIMIT if over else _OK
    decision.statuses = statuses
    decision.plan = plan
    decision.limited_by = statuses[0] if over else None
    decision.shadowed = decision.denied = False
    decision.policies = _NO_POLICIES
    decision.well_within = well_within
    decision.lone_refusal = lone_refusal
    return decision


def decide_without(
    plan: Plan, statuses: Sequence[Status], policies: Sequence[OnBackendError | None], modes: Modes
) -> Decision:
    """The decision that *statuses* come to, of which *policies* decided those where it has one instead of a count."""
    decision = _overall(plan, statuses, modes)
    decision.policies = frozenset(policy for policy in policies if policy is not None)
    limited_by = decision.limited_by
    decision.denied = any(
        status is limited_by and policy is OnBackendError.DENY
        for status, policy in zip(statuses, policies, strict=True)
    )
    return decision


def uncounted(check: Check) -> Status:
    """The status of a *check* that no limit holds for."""
    return Status(_OK, check, limit_remaining=UINT32_MAX if check.unlimited else 0)


def tightest(statuses: Sequence[Status]) -> list[Status]:
    """One status for each descriptor, in their order: of its checks one that is over its limit, else that with least left."""
    found: dict[int, Status] = {}
    for status in statuses:
        index = status.check.index
        if index not in found or _slack(status) < _slack(found[index]):
            found[index] = status
    return [found[index] for index in sorted(found)]


def _slack(status: Status) -> tuple[bool, bool, int]:
    return status.code is not _OVER_LIMIT, status.limit is None, status.limit_remaining


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
    """Find out whether *statuses* refuse the request."""
    overall = Overall(modes)
    overall.add(statuses)
    return overall.decision(plan, statuses)
