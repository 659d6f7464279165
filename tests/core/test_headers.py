from typing import Any, cast

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.check import Check, Status
from rls.core.decide import Decision, Modes
from rls.core.headers import Header, HeaderNames, ietf_headers, tightest_headers
from rls.core.model import UINT32_MAX, Code, Descriptor, RateLimit, Unit
from rls.core.plan import Plan
from rls.core.rules import Rule
from tests.tries import rule


def status(
    found: Rule | None, remaining: int, reset: int = 30, *, over: bool = False, limit: RateLimit | None = None
) -> Status:
    limit = limit or (found.limit if found else None)
    checked = Check(Descriptor(()), found, limit)
    return Status(Code.OVER_LIMIT if over else Code.OK, checked, limit, remaining, reset)


def decision(*statuses: Status) -> Decision:
    return Decision(Code.OK, statuses, Plan("domain", True, (), (), 0))


def tightest(*statuses: Status, modes: Modes | None = None) -> tuple[str, ...]:
    """Limit, remaining and reset, or nothing."""
    headers = tightest_headers(decision(*statuses), HeaderNames(), modes or Modes())
    assert [header.name for header in headers] in ([], ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"])
    return tuple(header.value for header in headers)


def limited(requests: int, remaining: int, *, over: bool = False, quota: bool = False) -> Status:
    return status(rule(requests=requests, quota_mode=quota), remaining, over=over)


def test_the_limit_with_least_left_is_told() -> None:
    assert tightest(limited(10, 5), limited(20, 3), limited(30, 4)) == ("20", "3", "30")


def test_of_equally_tight_limits_the_first_is_told() -> None:
    assert tightest(limited(10, 3), limited(20, 3)) == ("10", "3", "30")


def test_a_limit_that_refuses_is_told_before_any_other() -> None:
    """Of several the last, even where another one has nothing left either."""
    statuses = limited(10, 0), limited(20, 0, over=True), limited(30, 0, over=True), limited(40, 0)
    assert tightest(*statuses) == ("30", "0", "30")


def test_a_quota_that_is_over_is_a_limit_with_nothing_left() -> None:
    quota = limited(10, 0, over=True, quota=True)
    assert tightest(limited(20, 0), quota) == ("20", "0", "30")
    assert tightest(limited(20, 0, over=True), quota) == ("20", "0", "30")
    assert tightest(limited(5, 1), quota) == ("10", "0", "30")
    assert tightest(quota, limited(20, 0, over=True), modes=Modes(quota_mode=True)) == ("10", "0", "30")


@pytest.mark.parametrize(
    "statuses",
    [
        [],
        [status(None, 0, 0)],
        [status(rule(requests=None), UINT32_MAX, 0)],
        [limited(UINT32_MAX, UINT32_MAX)],  # the reference starts its search there
    ],
)
def test_no_headers_where_no_limit_applied(statuses: list[Status]) -> None:
    assert tightest(*statuses) == ()


def test_names_are_those_that_are_asked_for() -> None:
    names = HeaderNames("x-limit", "x-remaining", "x-reset")
    assert tightest_headers(decision(limited(10, 5)), names, Modes()) == [
        Header("x-limit", "10"),
        Header("x-remaining", "5"),
        Header("x-reset", "30"),
    ]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=5), st.booleans())
def test_the_tightest_is_found_as_the_reference_finds_it(given: list[tuple[int, bool, bool]], all_quota: bool) -> None:
    """Section 3.2 of the reference: the smallest remaining, the first of them; any that refuses wins, the last."""
    statuses = [
        limited(100 + i, 0 if over else left, over=over, quota=quota) for i, (left, over, quota) in enumerate(given)
    ]
    refusing = [100 + i for i, (_, over, quota) in enumerate(given) if over and not (quota or all_quota)]
    least = min(range(len(given)), key=lambda i: statuses[i].limit_remaining, default=None)
    expected = refusing[-1] if refusing else None if least is None else 100 + least
    found = tightest(*statuses, modes=Modes(quota_mode=all_quota))
    assert found[:1] == (() if expected is None else (str(expected),))


def parsed(header: Header) -> list[tuple[Any, dict[str, Any]]]:
    """By an independent parser of RFC 9651."""
    return cast("list[tuple[Any, dict[str, Any]]]", http_sf.parse(header.value.encode("ascii"), tltype="list"))


def test_every_limit_that_applied_is_an_item() -> None:
    """draft-ietf-httpapi-ratelimit-headers: a policy and its state have one name, in the request's order."""
    policy, limit = ietf_headers(
        [
            status(rule("company", 100, Unit.HOUR), 7, 1800),
            status(None, 0, 0),
            status(rule("ip", 10, name="by address"), 0, 3, over=True),
            status(None, 2, 9, limit=RateLimit(3, Unit.SECOND, 10)),
        ]
    )
    assert (policy.name, limit.name) == ("RateLimit-Policy", "RateLimit")
    assert policy.value == '"company";q=100;w=3600, "by address";q=10;w=60, "(override)";q=3;w=10'
    assert limit.value == '"company";r=7;t=1800, "by address";r=0;t=3, "(override)";r=2;t=9'


def test_no_fields_where_no_limit_applied() -> None:
    assert ietf_headers([status(None, 0, 0), status(rule(requests=None), UINT32_MAX, 0)]) == []


@given(st.lists(st.tuples(st.text(max_size=8) | st.sampled_from(["a", "a-2", '"\\']), st.integers(0, UINT32_MAX))))
def test_fields_are_structured_fields(given: list[tuple[str, int]]) -> None:
    """Whatever rules are called: both fields can be parsed, and each item of one has its partner in the other."""
    headers = ietf_headers([status(rule(path, requests), requests) for path, requests in given])
    if not given:
        assert headers == []
        return
    policies, limits = map(parsed, headers)
    assert [parameters for _, parameters in policies] == [{"q": requests, "w": 60} for _, requests in given]
    assert [parameters for _, parameters in limits] == [{"r": requests, "t": 30} for _, requests in given]
    names = [name for name, _ in policies]
    assert names == [name for name, _ in limits]
    assert len(set(names)) == len(names)


def test_a_name_that_repeats_is_numbered() -> None:
    policy, _ = ietf_headers([status(rule(path), 1) for path in ("a", "a", "a-2", "a")])
    assert [name for name, _ in parsed(policy)] == ["a", "a-2", "a-2-2", "a-3"]
