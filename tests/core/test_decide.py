from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.algorithms.fixed_window import judge
from rls.core.check import Check, Status
from rls.core.decide import Decision, Modes, decide, is_quota
from rls.core.model import UINT32_MAX, Code, Descriptor, RateLimit, Unit
from rls.core.plan import Plan
from rls.core.rules import Rule
from tests.tries import rule

NOW = 1_700_000_000  # 20 s into a minute
OK, OVER = Code.OK, Code.OVER_LIMIT


def check(found: Rule | None, amount: int = 1, limit: RateLimit | None = None, near_limit: int | None = None) -> Check:
    """A check as a plan makes it, of a rule or of an override."""
    limit = limit or (found.limit if found else None)
    if limit is None:
        return Check(Descriptor(()), found)
    near = int(limit.requests_per_unit * 0.8) if near_limit is None else near_limit
    return Check(
        Descriptor(()),
        found,
        limit,
        requests_per_unit=limit.requests_per_unit,
        amount=amount,
        window_seconds=limit.window_seconds,
        near_limit=near,
    )


def decided(*asked: tuple[Check, int], modes: Modes | None = None) -> Decision:
    """The decision on checks, with the count of each; it is not looked at where nothing is counted."""
    checks = tuple(check for check, _ in asked)
    counted = tuple(check for check in checks if check.limit is not None)
    counts = [count for check, count in asked if check.limit is not None]
    return decide(Plan("domain", True, checks, counted, 0), counts, NOW, modes or Modes())


class Accounts(NamedTuple):
    over: int
    near: int
    within: int


def one_by_one(limit: int, near: int, amount: int, after: int) -> Accounts:
    """The accounts of a request, from each of its hits: which count it takes, and where that lies."""
    taken = range(after - amount + 1, after + 1)
    return Accounts(
        over=sum(count > limit for count in taken),
        near=sum(near < count <= limit for count in taken),
        within=amount if after <= limit else 0,
    )


@pytest.mark.parametrize(
    ("limit", "amount", "after", "accounts"),
    [
        (20, 7, 22, Accounts(over=2, near=4, within=0)),
        (8, 2, 7, Accounts(over=0, near=1, within=2)),
        (10, 3, 30, Accounts(over=3, near=0, within=0)),
        (5, 5, 7, Accounts(over=2, near=1, within=0)),
        (10, 1, 8, Accounts(over=0, near=0, within=1)),
        (10, 1, 9, Accounts(over=0, near=1, within=1)),
        (10, 1, 10, Accounts(over=0, near=1, within=1)),
        (10, 1, 11, Accounts(over=1, near=0, within=0)),
        (0, 1, 1, Accounts(over=1, near=0, within=0)),
        (0, 0, 0, Accounts(over=0, near=0, within=0)),
    ],
)
def test_worked_examples_of_the_reference(limit: int, amount: int, after: int, accounts: Accounts) -> None:
    status = judge(check(rule(requests=limit), amount), after, NOW)
    assert (status.over_limit, status.near_limit, status.within_limit) == accounts


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 60), st.booleans())
def test_accounts_are_those_of_each_hit(limit: int, near: int, amount: int, before: int, shadow: bool) -> None:
    """Over, near and within are counted as if each hit of a request came alone; in shadow mode too."""
    near = min(near, limit)
    after = before + amount
    found = rule(requests=limit, shadow_mode=shadow)
    status = judge(check(found, amount, near_limit=near), after, NOW)
    assert (status.over_limit, status.near_limit, status.within_limit) == one_by_one(limit, near, amount, after)


@given(st.integers(0, UINT32_MAX), st.integers(-100, UINT32_MAX), st.integers(0, 2**62), st.booleans())
def test_a_status_says_what_is_left(limit: int, amount: int, before: int, shadow: bool) -> None:
    """Over the limit means refused unless in shadow mode; what is left is what may still come, never below 0."""
    after = max(0, before + amount)
    found = rule(requests=limit, shadow_mode=shadow)
    status = judge(check(found, amount), after, NOW)
    refused = amount >= 0 and after > limit and not shadow
    assert status.code == (OVER if refused else OK)
    assert status.limit_remaining == max(0, limit - after)
    assert status.seconds_until_reset == 40


@given(st.integers(0, 100), st.integers(-100, -1), st.integers(0, 200))
def test_giving_back_is_never_refused(limit: int, amount: int, after: int) -> None:
    """However full the counter still is, and without a hit in the accounts."""
    status = judge(check(rule(requests=limit), amount), after, NOW)
    assert status.code is OK
    assert (status.over_limit, status.near_limit, status.within_limit) == (0, 0, 0)


@pytest.mark.parametrize(("after", "code"), [(10, OK), (11, OVER)])
def test_looking_is_refused_only_by_what_is_over(after: int, code: Code) -> None:
    """An addend of 0 on a full counter still passes, as in the reference."""
    assert decided((check(rule(requests=10), 0), after)).code is code


def test_counts_belong_to_what_is_counted() -> None:
    """Statuses are in the request's order, with whatever is not counted in between."""
    unmatched, unlimited = check(None), check(rule(requests=None))
    a, b = check(rule("a", 10)), check(rule("b", 20))
    decision = decided((unmatched, -1), (a, 3), (unlimited, -1), (b, 4))
    assert [status.check for status in decision.statuses] == [unmatched, a, unlimited, b]
    assert [status.limit_remaining for status in decision.statuses] == [0, 7, UINT32_MAX, 16]
    assert [status.seconds_until_reset for status in decision.statuses] == [0, 40, 0, 40]
    assert [status.limit for status in decision.statuses] == [None, a.limit, None, b.limit]
    assert decision.code is OK


def test_one_status_over_its_limit_refuses() -> None:
    decision = decided((check(rule("a")), 1), (check(rule("b")), 11), (check(None), 0))
    assert decision.code is OVER
    assert [status.code for status in decision.statuses] == [OK, OVER, OK]
    assert decision.limited_by is decision.statuses[1]


def test_the_rule_that_is_told_is_the_one_that_refuses_longest() -> None:
    """Among several, the one whose window ends last: a client who comes back earlier is refused again."""
    minute, day, hour = (rule(unit.name, 1, unit) for unit in (Unit.MINUTE, Unit.DAY, Unit.HOUR))
    decision = decided((check(minute), 2), (check(day), 2), (check(hour), 2))
    assert decision.limited_by is not None
    assert decision.limited_by.check.rule is day


def test_a_rule_in_shadow_mode_refuses_nobody() -> None:
    decision = decided((check(rule(shadow_mode=True)), 11))
    (status,) = decision.statuses
    assert (decision.code, decision.limited_by, decision.shadowed) == (OK, None, False)
    assert (status.code, status.limit_remaining, status.over_limit) == (OK, 0, 1)


def test_the_global_shadow_mode_leaves_the_statuses() -> None:
    """Only the overall code is turned, for overrides too, and it is told that it was."""
    override = check(None, limit=RateLimit(10, Unit.MINUTE))
    decision = decided((override, 11), modes=Modes(shadow_mode=True))
    assert (decision.code, decision.limited_by, decision.shadowed) == (OK, None, True)
    assert decision.statuses[0].code is OVER
    decision = decided((override, 10), modes=Modes(shadow_mode=True))
    assert not decision.shadowed


QUOTA = rule("quota", quota_mode=True)
PLAIN = rule("plain")
QUOTA_SHADOW = rule("quota_shadow", quota_mode=True, shadow_mode=True)
UNLIMITED_QUOTA = rule("unlimited", None, quota_mode=True)


@pytest.mark.parametrize(
    ("asked", "code", "limited_by"),
    [
        ([(QUOTA, 11)], OVER, 0),
        ([(QUOTA, 10)], OK, None),
        ([(QUOTA, 11), (QUOTA, 11)], OVER, 0),
        ([(QUOTA, 11), (QUOTA, 10)], OK, None),
        ([(QUOTA, 11), (PLAIN, 10)], OVER, 0),
        ([(QUOTA, 11), (None, 0)], OVER, 0),
        ([(QUOTA, 11), (UNLIMITED_QUOTA, 0)], OVER, 0),
        ([(QUOTA, 10), (PLAIN, 11)], OVER, 1),
        ([(QUOTA, 11), (PLAIN, 11)], OVER, 1),
        ([(QUOTA, 11), (QUOTA_SHADOW, 11)], OK, None),
        ([(QUOTA_SHADOW, 11)], OK, None),
    ],
)
def test_quota_rules_refuse_together(
    asked: Sequence[tuple[Rule | None, int]], code: Code, limited_by: int | None
) -> None:
    """A request is refused by its quota rules when all of them are over; by any other rule alone."""
    decision = decided(*((check(found), count) for found, count in asked))
    assert decision.code is code
    assert decision.limited_by is (None if limited_by is None else decision.statuses[limited_by])
    over = [count > 10 and found is not QUOTA_SHADOW for found, count in asked]
    assert [status.code is OVER for status in decision.statuses] == over


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ([(PLAIN, 11)], OVER),
        ([(PLAIN, 11), (PLAIN, 10)], OK),
        ([(PLAIN, 11), (None, 0)], OK),
        ([(PLAIN, 11), (UNLIMITED_QUOTA, 0)], OVER),
    ],
)
def test_in_the_global_quota_mode_every_descriptor_is_one(asked: Sequence[tuple[Rule | None, int]], code: Code) -> None:
    """Those that no rule matched too, but not those of unlimited rules."""
    decision = decided(*((check(found), count) for found, count in asked), modes=Modes(quota_mode=True))
    assert decision.code is code


rules = st.builds(
    rule,
    requests=st.just(10) | st.none(),
    shadow_mode=st.booleans(),
    quota_mode=st.booleans(),
    unit=st.sampled_from(Unit),
)
modes = st.builds(Modes, st.booleans(), st.booleans())


@given(st.lists(st.tuples(st.none() | rules, st.integers(1, 20)), min_size=1, max_size=5), modes)
def test_the_overall_code_follows_from_the_statuses(asked: list[tuple[Rule | None, int]], modes: Modes) -> None:
    """Refused, if any that is no quota is over, or there are quotas and all of them are; then somebody is named."""
    decision = decided(*((check(found), count) for found, count in asked), modes=modes)
    quotas: list[Status] = [status for status in decision.statuses if is_quota(status.check, modes)]
    others = [status for status in decision.statuses if not is_quota(status.check, modes)]
    refused = any(status.code is OVER for status in others) or (
        bool(quotas) and all(status.code is OVER for status in quotas)
    )
    assert (decision.code is OVER) == (refused and not modes.shadow_mode)
    assert decision.shadowed == (refused and modes.shadow_mode)
    if decision.limited_by is None:
        assert decision.code is OK
    else:
        assert decision.limited_by.code is OVER
        assert decision.limited_by in (others if any(status.code is OVER for status in others) else quotas)
