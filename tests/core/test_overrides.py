"""Overrides as text, and what they do to plans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.model import MAX_WINDOW_SECONDS, UINT32_MAX, Entry, RateLimit, Unit
from rls.core.overrides import Override, from_members, parse_limit, raises_by, to_members
from rls.core.plan import CountingOptions, Planner
from rls.core.pseudonyms import Pseudonyms
from rls.core.rules import RuleSet
from tests.tries import Step, descriptor, request, rule, rule_set

limits = st.builds(
    lambda requests, unit, longest: RateLimit(requests, unit, max(1, min(longest, MAX_WINDOW_SECONDS // unit.seconds))),
    st.integers(0, UINT32_MAX),
    st.sampled_from(Unit),
    st.integers(1, MAX_WINDOW_SECONDS),
)


def override(entries: tuple[Entry, ...], limit: RateLimit, reason: str = "T-1") -> Override:
    return Override("1f6a09c2", "domain", entries, limit, 1.0, 2.0, "alice", reason, "company")


@given(limits)
def test_a_limit_is_read_as_it_is_written(limit: RateLimit) -> None:
    assert parse_limit(limit.text) == limit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("5/second", RateLimit(5, Unit.SECOND)),
        (" 5 / MINUTE ", RateLimit(5, Unit.MINUTE)),
        ("5/30 seconds", RateLimit(5, Unit.SECOND, 30)),
        ("5/30seconds", RateLimit(5, Unit.SECOND, 30)),
        ("0/day", RateLimit(0, Unit.DAY)),
    ],
)
def test_limits_as_people_write_them(text: str, limit: RateLimit) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    "text", ["", "5", "5/", "/minute", "-5/minute", "5/0 minutes", "5.5/minute", "٥/minute", "5/minute/day", "5/min"]
)
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"a number from 0 to 4294967295, a slash, and one of second, minute, .*, year; such as|window of at least",
    ):
        parse_limit(text)


def test_the_largest_number_of_a_limit() -> None:
    assert parse_limit("4294967295/minute").requests_per_unit == 4294967295
    for text in ("4294967296/minute", "99999999999/minute"):
        with pytest.raises(ValueError, match=r"^at most 4294967295 requests"):
            parse_limit(text)


@given(st.integers(1, 400_000), st.sampled_from(Unit), st.integers(1, 1_000))
def test_exactly_so_many_times_is_not_more(requests: int, unit: Unit, times: int) -> None:
    base = RateLimit(requests, unit)
    assert not raises_by(RateLimit(requests * times, unit), base, float(times))
    assert raises_by(RateLimit(requests * times + 1, unit), base, float(times))
    assert not raises_by(RateLimit(requests * times, unit, 7), RateLimit(requests, unit, 7), float(times))


def test_windows_count() -> None:
    assert not raises_by(RateLimit(600, Unit.MINUTE), RateLimit(1, Unit.SECOND), 10)
    assert raises_by(RateLimit(11, Unit.SECOND), RateLimit(1, Unit.SECOND), 10)
    assert raises_by(RateLimit(1, Unit.YEAR), RateLimit(0, Unit.SECOND), 10)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.builds(Entry, texts, texts), min_size=1, max_size=3), limits, texts)
def test_an_override_is_read_as_it_is_written(entries: list[Entry], limit: RateLimit, reason: str) -> None:
    one = override(tuple(entries), limit, reason=reason)
    members = to_members(one)
    assert from_members(members | {"later": [1]}) == one
    for name in members:
        with pytest.raises(ValueError, match=r"malformed|limit such as"):
            from_members({**members, name: [[1, 2]] if name == "entries" else {}})
        with pytest.raises(ValueError, match="malformed"):
            from_members({key: value for key, value in members.items() if key != name})


@pytest.mark.parametrize(
    "until", ["Infinity", float("inf"), float("nan"), -1, 10**30, "1800000000", True, 253_402_300_800]
)
def test_a_time_that_is_no_date_is_malformed(until) -> None:
    members = to_members(override((Entry("company", "acme"),), RateLimit(5, Unit.HOUR)))
    with pytest.raises(ValueError, match="malformed"):
        from_members({**members, "until": until})


@pytest.mark.parametrize("name", ["id", "domain", "author", "reason", "rule", "entries"])
def test_half_of_a_pair_is_malformed(name: str) -> None:
    members = to_members(override((Entry("company", "acme"),), RateLimit(5, Unit.HOUR)))
    with pytest.raises(ValueError, match="malformed"):
        from_members({**members, name: [["company", "\ud800"]] if name == "entries" else "\ud800"})


def planned(rules: RuleSet, *entries: tuple[str, str], options: CountingOptions | None = None):
    plan = Planner(rules, options or CountingOptions()).plan(request(descriptor(*entries)))
    return plan.checks[0]


RULES = rule_set(
    {
        (Step("company"),): rule("company", 5, Unit.MINUTE, name="per company", shadow_mode=True),
        (Step("path", "/a*", share_threshold=True),): rule("path_/a*", 5, Unit.MINUTE),
        (Step("internal"),): rule("internal", None),
    }
)
FIFTY = RateLimit(50, Unit.MINUTE)


def overridden(*overrides: Override) -> RuleSet:
    return RuleSet(RULES.domains, overrides={"domain": {one.entries: one for one in overrides}})


def test_it_changes_the_limit_and_nothing_else() -> None:
    """The counter of the window so far counts on, and the rule is the same object."""
    acme = (Entry("company", "acme"),)
    rules = overridden(override(acme, FIFTY))
    before, after = planned(RULES, *acme), planned(rules, *acme)
    assert (after.requests_per_unit, after.near_limit) == (50, 40)
    assert after.limit == RateLimit(50, Unit.MINUTE, name="per company")
    assert (after.rule, after.key, after.rule_id) == (before.rule, before.key, before.rule_id)
    assert planned(rules, ("company", "umbrella")) == planned(RULES, ("company", "umbrella"))
    assert planned(rules, *acme, ("path", "/")) == planned(RULES, *acme, ("path", "/"))


def test_another_window_is_another_counter() -> None:
    acme = (Entry("company", "acme"),)
    found = planned(overridden(override(acme, RateLimit(9, Unit.DAY))), *acme)
    assert found.window_seconds == 86_400
    assert found.key.endswith(b"|86400|")


def test_a_value_leaves_the_counter_that_it_shares() -> None:
    one = (Entry("path", "/a/b"),)
    assert planned(RULES, *one).key == b"r1|domain|path~/a*|60|"
    assert planned(overridden(override(one, FIFTY)), *one).key == b"r1|domain|path=/a/b|60|"


def test_an_unlimited_rule_gets_a_limit_and_no_rule_gets_none() -> None:
    internal, unknown = (Entry("internal", "x"),), (Entry("unknown", "x"),)
    rules = overridden(override(internal, FIFTY), override(unknown, FIFTY))
    found = planned(rules, *internal)
    assert (found.requests_per_unit, found.unlimited) == (50, False)
    assert planned(rules, ("internal", "y")).unlimited
    assert planned(rules, *unknown).limit is None


def test_a_limit_that_the_request_brings_wins() -> None:
    acme = (Entry("company", "acme"),)
    own = descriptor(*acme, limit=RateLimit(7, Unit.HOUR))
    (check,) = Planner(overridden(override(acme, FIFTY)), CountingOptions()).plan(request(own)).checks
    assert check.requests_per_unit == 7


def test_values_that_are_hidden_are_hidden_in_overrides() -> None:
    hide = Pseudonyms(b"secret-of-this-test").hide
    digest = (Entry("company", hide("company", "acme")),)
    options = CountingOptions(hide=hide)
    rules = overridden(override(digest, FIFTY))
    assert planned(rules, ("company", "acme"), options=options).requests_per_unit == 50
    assert planned(rules, ("company", "other"), options=options).requests_per_unit == 5
