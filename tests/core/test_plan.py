import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.check import OVERRIDE, Check
from rls.core.keys import KeyFormat
from rls.core.model import UINT32_MAX, RateLimit, Unit, near_limit
from rls.core.plan import CountingOptions, Plan
from rls.core.rules import Domain, Rule, RuleSet, TrieNode
from tests.tries import Step, descriptor, plan, request, rule, rule_set

COMPANY = rule("company", 10, name="company")
ACME = rule("company_acme", 100, Unit.HOUR, unit_multiplier=2)
FREE = rule("free", None, name="free")
RULES = rule_set(
    {
        (Step("company"),): COMPANY,
        (Step("company", "acme"),): ACME,
        (Step("free"),): FREE,
        (Step("path", "/v1/*", share_threshold=True),): rule("path_/v1/*", 5),
        (Step("tag", value_to_metric=True),): rule("tag", 1),
        (Step("listed"),): None,
    }
)


def planned(
    *descriptors, rules: RuleSet = RULES, counting: CountingOptions | None = None, hits_addend: int = 0
) -> Plan:
    return plan(request(*descriptors, hits_addend=hits_addend), rules, counting or CountingOptions())


def check_of(*entries: tuple[str, str], **more) -> Check:
    (check,) = planned(descriptor(*entries, **more)).checks
    return check


def test_a_rule_that_matches_is_counted() -> None:
    check = check_of(("company", "other"))
    assert check.rule is COMPANY
    assert check.limit == RateLimit(10, Unit.MINUTE, name="company")
    assert (check.amount, check.key, check.window_seconds, check.near_limit) == (
        1,
        b"r1|domain|company=other|60|",
        60,
        8,
    )
    assert (check.path, check.policy_name, check.value) == ("company", "company", "")


def test_a_window_of_several_units_is_counted_as_one() -> None:
    check = check_of(("company", "acme"))
    assert check.rule is ACME
    assert (check.window_seconds, check.key) == (7200, b"r1|domain|company=acme|7200|")


def stars(key: str, value: str) -> str:
    """Hides values of all keys but `tag`."""
    return value if key == "tag" else f"<{key}{len(value)}>"


@pytest.mark.parametrize(
    ("entries", "limit", "key", "shown"),
    [
        ((("company", "acme"),), None, b"r1|domain|company=<company4>|7200|", "company=<company4>"),
        ((("company", "x" * 500),), None, b"r1|domain|company=<company500>|60|", "company=<company500>"),
        ((("path", "/v1/a"),), None, b"r1|domain|path~/v1/*|60|", "path=<path5>"),
        ((("tag", "a"),), None, b"r1|domain|tag=a|60|", "tag=a"),
        ((("free", "a"),), None, b"", "free=<free1>"),
        ((("unheard", "of"),), None, b"", "unheard=<unheard2>"),
        ((("unheard", "of"),), RateLimit(1, Unit.MINUTE), b"r1|domain|unheard=<unheard2>|60|", "unheard=<unheard2>"),
    ],
)
def test_what_stands_for_a_value_is_counted_and_shown(entries, limit, key: bytes, shown: str) -> None:
    """Rules match the value itself; what follows knows it no more. A counter that values share keeps its name."""
    (check,) = planned(descriptor(*entries, limit=limit), counting=CountingOptions(hide=stars)).checks
    (open_check,) = planned(descriptor(*entries, limit=limit)).checks
    assert check.rule is open_check.rule
    assert (check.key, check.descriptor.text) == (key, shown)


def test_values_of_unknown_domains_are_hidden_too() -> None:
    found = plan(request(descriptor(("a", "b")), domain="?"), RULES, CountingOptions(hide=stars))
    assert found.checks[0].descriptor.text == "a=<a1>"


@pytest.mark.parametrize("entries", [[("unheard", "of")], [("listed", "x")], [("company", "x"), ("y", "z")], []])
def test_what_no_rule_matches_is_not_counted(entries: list[tuple[str, str]]) -> None:
    """It keeps its place among the checks, and nothing is sent to the backend for it."""
    found = planned(descriptor(*entries))
    assert found.checks == (Check(descriptor(*entries)),)
    assert found.counted == ()
    assert found.known


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize("domain", [True, False, None])
def test_requests_over_a_limit_get_refunds_as_their_domain_says_or_else_the_server(
    server: bool, domain: bool | None
) -> None:
    rules = RuleSet({"domain": Domain("domain", TrieNode(), domain)})
    found = planned(descriptor(("a", "x")), rules=rules, counting=CountingOptions(refund_over_limit=server))
    assert found.refund_over_limit is (server if domain is None else domain)


def test_an_unknown_domain_counts_nothing() -> None:
    """Overrides included: they hold only in domains that the rules know."""
    asked = request(descriptor(("company", "x")), descriptor(limit=RateLimit(1, Unit.DAY)), domain="elsewhere")
    found = plan(asked, RULES, CountingOptions())
    assert not found.known
    assert found.checks == tuple(Check(descriptor, index=index) for index, descriptor in enumerate(asked.descriptors))
    assert found.counted == ()


def test_an_unlimited_rule_is_not_counted() -> None:
    found = planned(descriptor(("free", "x")))
    assert found.checks[0].rule is FREE
    assert found.checks[0].unlimited
    assert found.counted == ()


def test_values_of_a_shared_wildcard_have_one_counter() -> None:
    one, other = planned(descriptor(("path", "/v1/a")), descriptor(("path", "/v1/b"))).counted
    assert one.key == other.key == b"r1|domain|path~/v1/*|60|"


def test_a_value_may_be_shown() -> None:
    check = check_of(("tag", "blue"))
    assert (check.path, check.policy_name, check.value) == ("tag", "tag", "tag_blue")


@pytest.mark.parametrize("entries", [[("company", "acme")], [("unheard", "of")], [("free", "x")], []])
def test_an_override_takes_the_place_of_all_rules(entries: list[tuple[str, str]]) -> None:
    limit = RateLimit(3, Unit.SECOND, 30)
    check = check_of(*entries, limit=limit)
    assert (check.rule, check.limit, check.window_seconds, check.near_limit) == (None, limit, 30, 2)
    assert (check.path, check.policy_name, check.unlimited) == (OVERRIDE, OVERRIDE, False)


def test_an_override_of_equal_length_counts_with_the_rule() -> None:
    """Whoever raises a limit by an override does not lose what was counted."""
    ruled = check_of(("company", "x"))
    overridden = check_of(("company", "x"), limit=RateLimit(1000, Unit.MINUTE))
    longer = check_of(("company", "x"), limit=RateLimit(1000, Unit.HOUR))
    assert ruled.key == overridden.key != longer.key


@pytest.mark.parametrize(
    ("of_request", "of_descriptor", "amount"),
    [(0, None, 1), (5, None, 5), (5, 0, 0), (0, 0, 0), (5, 3, 3), (0, UINT32_MAX, UINT32_MAX)],
)
@pytest.mark.parametrize("negative", [False, True])
def test_addends(of_request: int, of_descriptor: int | None, amount: int, negative: bool) -> None:
    """The descriptor's addend wins, a 0 included; a request's 0 means 1; giving back is a negative amount."""
    asked = descriptor(("company", "x"), hits_addend=of_descriptor, is_negative_hits=negative)
    found = planned(asked, hits_addend=of_request)
    assert found.counted[0].amount == (-amount if negative else amount)
    assert found.hits_addend == of_request


@given(st.integers(0, 200_000), st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_near_limit_is_a_share_of_the_limit_rounded_down(requests: int, ratio: float) -> None:
    counting = CountingOptions(near_limit_ratio=ratio)
    asked = descriptor(limit=RateLimit(requests, Unit.DAY))
    (check,) = planned(asked, counting=counting).counted
    assert check.near_limit == requests * round(ratio * 10) // 10


@pytest.mark.parametrize(
    ("requests", "ratio", "near"),
    [
        (90, 0.7, 63),
        (100, 0.57, 57),
        (100, 0.29, 29),
        (900, 0.13, 116),
        (0, 0.7, 0),
        (1, 0.7, 0),
        (UINT32_MAX, 0.8, 3435973888),
    ],
)
def test_near_limit_is_rounded_as_in_single_precision(requests: int, ratio: float, near: int) -> None:
    """The first three are less in double precision, the fourth is more, and the last is 3435973836."""
    assert near_limit(requests, ratio) == near


@given(st.integers(2**24, UINT32_MAX))
def test_near_limit_is_never_above_the_limit(requests: int) -> None:
    """Single precision rounds such limits, some of them up."""
    assert near_limit(requests, 1.0) <= requests


def test_keys_are_named_as_the_server_is_told() -> None:
    counting = CountingOptions(key_format=KeyFormat.COMPAT, key_prefix="mesh:")
    (check,) = planned(descriptor(("company", "x")), counting=counting).counted
    assert check.key == b"mesh:domain_company_x_"


def replacing(**replaces: tuple[str, ...]) -> RuleSet:
    """A rule `name` for each name, on the key of its name, replacing what is said."""
    return rule_set({(Step(name),): rule(name, 10, name=name, replaces=names) for name, names in replaces.items()})


def counted_of(rules: RuleSet, *keys: str) -> list[str]:
    found = planned(*(descriptor((key, "x")) for key in keys), rules=rules)
    assert [check.descriptor.entries[0].key for check in found.checks] == list(keys)
    assert [check.index for check in found.checks] == list(range(len(keys)))
    rest = [check for check in found.checks if check not in found.counted]
    matched = {one.path for one in rules.rules()}
    assert rest == [
        Check(check.descriptor, index=check.index, replaced=check.descriptor.entries[0].key in matched)
        for check in rest
    ]
    return [check.descriptor.entries[0].key for check in found.counted]


@pytest.mark.parametrize("keys", [("a", "b", "c"), ("c", "b", "a")])
def test_a_rule_takes_those_that_it_replaces_out_of_its_request(keys: tuple[str, ...]) -> None:
    """Whatever the order of the descriptors; what is replaced counts nothing, as if no rule matched it."""
    assert counted_of(replacing(a=("b",), b=(), c=()), *keys) == [key for key in keys if key != "b"]


def test_nothing_is_replaced_by_a_rule_that_does_not_match() -> None:
    assert counted_of(replacing(a=("b",), b=()), "b") == ["b"]


def test_a_replaced_rule_still_replaces() -> None:
    assert counted_of(replacing(a=("b",), b=("c",), c=()), "a", "b", "c") == ["a"]


def test_rules_that_replace_each_other_are_both_gone() -> None:
    assert counted_of(replacing(a=("b",), b=("a",)), "a", "b") == []


def test_every_rule_of_a_name_is_replaced() -> None:
    twins: dict[tuple[Step, ...], Rule] = {(Step(key),): rule(key, 1, name="same") for key in "ab"}
    rules = rule_set({**twins, (Step("c"),): rule("c", 1, replaces=["same"])})
    assert counted_of(rules, "a", "b", "c") == ["c"]


def test_a_rule_without_a_name_is_never_replaced() -> None:
    """`replaces` means names; a path is none."""
    rules = rule_set({(Step("a"),): rule("a", 1), (Step("b"),): rule("b", 1, replaces=["a"])})
    assert counted_of(rules, "a", "b") == ["a", "b"]


@pytest.mark.parametrize("replaces", [("limited",), ("limited", "free")])
def test_an_unlimited_rule_replaces_and_is_not_replaced(replaces: tuple[str, ...]) -> None:
    unlimited = rule("free", None, name="free", replaces=replaces)
    limited = rule("limited", 1, name="limited", replaces=["free"])
    rules = rule_set({(Step("free"),): unlimited, (Step("limited"),): limited})
    found = planned(descriptor(("free", "x")), descriptor(("limited", "x")), rules=rules)
    assert found.counted == ()
    assert found.checks[0].unlimited
    assert not found.checks[1].unlimited


def test_an_override_neither_replaces_nor_is_replaced() -> None:
    rules = replacing(a=("b",), b=())
    limit = RateLimit(1, Unit.DAY)
    found = planned(descriptor(("a", "x"), limit=limit), descriptor(("b", "x")), rules=rules)
    assert len(found.counted) == 2
    found = planned(descriptor(("a", "x")), descriptor(("b", "x"), limit=limit), rules=rules)
    assert len(found.counted) == 2


key_sets = st.dictionaries(st.sampled_from("abcde"), st.frozensets(st.sampled_from("abcde")), max_size=5)


@given(key_sets, st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6))
def test_replaces_leave_exactly_those_that_nobody_replaces(names: dict[str, frozenset[str]], keys: list[str]) -> None:
    matched = [key for key in keys if key in names]
    gone = {name for key in matched for name in names[key]}
    assert counted_of(replacing(**names), *keys) == [key for key in matched if key not in gone]  # type: ignore[arg-type]
