import pytest

from rls.core.check import Check
from rls.core.rules import Rule, RuleSet
from rls.observe.rule_counters import CountersByRule, escaped
from rls.observe.rule_lines import rule_lines
from tests.tries import Step, descriptor, rule, rule_set

NOW = 1_000.0


def valued_check(rule: Rule, value: str) -> Check:
    return Check(descriptor(), rule, rule.limit, 1, value=value)


def lines(counters: CountersByRule, family: str = "hits") -> list[str]:
    text = b"".join(rule_lines(counters, NOW, is_openmetrics=False)).decode()
    return [line for line in text.splitlines() if line.startswith(f"rls_{family}_total")]


def test_a_rule_is_there_with_0_before_its_first_hit() -> None:
    counters = CountersByRule()
    counters.load(rule_set({(Step("a"),): rule("a"), (Step("b"),): rule("b", shadow_mode=True)}))
    assert lines(counters) == [
        'rls_hits_total{domain="domain",rule="a"} 0',
        'rls_hits_total{domain="domain",rule="b"} 0',
    ]
    assert lines(counters, "shadow_mode") == ['rls_shadow_mode_total{domain="domain",rule="b"} 0']


def test_an_unlimited_rule_has_only_what_it_let_pass() -> None:
    counters = CountersByRule()
    counters.load(rule_set({(Step("a"),): rule("a", None)}))
    assert lines(counters, "hits") == []
    assert lines(counters, "unlimited") == ['rls_unlimited_total{domain="domain",rule="a"} 0']


def test_a_reload_keeps_the_numbers_of_rules_that_stay_and_drops_the_others() -> None:
    counters = CountersByRule()
    counters.load(rule_set({(Step("a"),): rule("a"), (Step("b"),): rule("b")}))
    for found in counters.by_rule.values():
        found.other_hits += 5
    after = rule("a", 99)
    counters.load(rule_set({(Step("a"),): after, (Step("c"),): rule("c")}))
    assert lines(counters) == [
        'rls_hits_total{domain="domain",rule="a"} 5',
        'rls_hits_total{domain="domain",rule="c"} 0',
    ]
    assert counters.by_rule[after].hits == 5


def test_rules_with_one_label_share_their_numbers() -> None:
    """Keys with dots or underscores can make two paths equal; one label must not be told twice."""
    counters = CountersByRule()
    counters.load(rule_set({(Step("a_b"),): rule("a_b"), (Step("a", "b"),): rule("a_b")}))
    assert lines(counters) == ['rls_hits_total{domain="domain",rule="a_b"} 0']


def test_a_value_never_makes_the_series_of_a_rule() -> None:
    """Prometheus takes no page that has a series twice, so one client's value would hide all metrics."""
    plain, detailed = rule("a_b"), rule("a")
    counters = CountersByRule()
    counters.load(rule_set({(Step("a", "b"),): plain, (Step("a"),): detailed}))
    counters.by_rule[plain].other_hits += 2
    counters.find("domain", valued_check(detailed, "a_b")).other_hits += 3
    assert lines(counters) == [
        'rls_hits_total{domain="domain",rule="a_b"} 2',
        'rls_hits_total{domain="domain",rule="a"} 0',
        'rls_hits_total{domain="domain",rule="a",value="a_b"} 3',
    ]


def test_values_of_two_rules_have_two_series() -> None:
    one, other = rule("a", detailed_metric=True), rule("a_b", detailed_metric=True)
    counters = CountersByRule()
    counters.load(rule_set({(Step("a"),): one, (Step("a_b"),): other}))
    counters.find("domain", valued_check(one, "a_b_c")).other_hits += 2
    counters.find("domain", valued_check(other, "a_b_c")).other_hits += 3
    assert lines(counters) == [
        'rls_hits_total{domain="domain",rule="a",value="a_b_c"} 2',
        'rls_hits_total{domain="domain",rule="a_b",value="a_b_c"} 3',
    ]


def test_values_of_requests_are_bounded() -> None:
    """The first values have a label each, all others share one."""
    valued = rule("a", detailed_metric=True)
    counters = CountersByRule(values_per_rule=2)
    counters.load(rule_set({(Step("a"),): valued}))
    for number in range(10):
        counters.find("domain", valued_check(valued, f"a_{number}")).other_hits += 1
    counters.find("domain", valued_check(valued, "a_1")).other_hits += 1
    assert lines(counters) == [
        'rls_hits_total{domain="domain",rule="a",value="a_0"} 1',
        'rls_hits_total{domain="domain",rule="a",value="a_1"} 2',
        'rls_hits_total{domain="domain",rule="a",value="_other"} 8',
    ]


def test_values_go_with_their_rule() -> None:
    valued = rule("a", detailed_metric=True)
    counters = CountersByRule()
    counters.load(rule_set({(Step("a"),): valued}))
    counters.find("domain", valued_check(valued, "a_1")).other_hits += 1
    counters.load(RuleSet())
    assert lines(counters) == []


def test_values_are_escaped() -> None:
    """As everywhere, and then as Prometheus asks for it."""
    assert escaped('a\\b"c\nd') == r"a\\\\b\"c\\nd"


def test_two_values_never_share_a_series() -> None:
    """A byte that is not UTF-8, a control character, and the texts that read like their escapes."""
    valued = rule("a", detailed_metric=True)
    counters = CountersByRule()
    counters.load(rule_set({(Step("a"),): valued}))
    values = [
        "\udcff",
        r"\xff",
        r"\\xff",
        "\x1b",
        r"\x1b",
        "\n",
        r"\n",
        "\u202e",
        r"\u202e",
        "##[x]",
        r"\x23#[x]",
        "\\",
    ]
    for value in values:
        counters.find("domain", valued_check(valued, f"a_{value}")).other_hits += 1
    found = lines(counters)
    assert len(set(found)) == len(values)
    assert all(line.endswith(" 1") for line in found)


def test_long_values_that_are_not_utf_8_have_their_own_series() -> None:
    valued = rule("a", detailed_metric=True)
    counters = CountersByRule()
    counters.load(rule_set({(Step("a"),): valued}))
    for end in ("\udcfe", "\udcff"):
        counters.find("domain", valued_check(valued, "\udcff" * 1000 + end)).other_hits += 1
    assert len(set(lines(counters))) == 2


def test_a_long_value_is_short_in_its_label_and_like_no_other() -> None:
    """A scrape holds the page of all labels in memory."""
    valued = rule("a", detailed_metric=True)
    counters = CountersByRule()
    counters.load(rule_set({(Step("a"),): valued}))
    for end in "xyx":
        counters.find("domain", valued_check(valued, "a_" + "é" * 1_000_000 + end)).other_hits += 1
    found = lines(counters)
    assert [line[-2:] for line in found] == [" 2", " 1"]
    assert all(len(line) < 350 for line in found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b]0;t\x07", r"a\\x1b]0;t\\x07"),
        ("a\r\x00", r"a\\r\\x00"),
        ("\x85\u202e", r"\\u0085\\u202e"),
        ("Zürich 東京", "Zürich 東京"),
    ],
)
def test_labels_hold_nothing_that_a_terminal_obeys(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_very_many_rules_appear_with_their_first_hit(monkeypatch) -> None:
    monkeypatch.setattr("rls.observe.rule_counters.LONGEST_ZEROS", 2)
    counters = CountersByRule()
    rules = [rule(f"a_{number}") for number in "012"]
    counters.load(rule_set({(Step("a", number),): one for number, one in zip("012", rules, strict=True)}))
    assert lines(counters) == []
    counters.find("domain", valued_check(rules[1], "")).other_hits += 1
    assert lines(counters) == ['rls_hits_total{domain="domain",rule="a_1"} 1']
    assert list(counters.by_rule) == [rules[1]], "no mapping of all rules"


def test_very_many_rules_keep_their_numbers_and_get_their_new_limits(monkeypatch) -> None:
    monkeypatch.setattr("rls.observe.rule_counters.LONGEST_ZEROS", 1)
    counters = CountersByRule()
    before = {name: rule(name, 5) for name in "abc"}
    counters.load(rule_set({(Step(name),): one for name, one in before.items()}))
    for one in before.values():
        counters.find("domain", valued_check(one, "")).other_hits += 1
    after = {name: rule(name, 7) for name in ("a", "b", "d")}
    rules = rule_set({(Step(name),): one for name, one in after.items()})
    for _ in counters.prepare(rules):
        counters.find("domain", valued_check(before["b"], "")).other_hits += 1
    counters.load(rules)
    counters.find("domain", valued_check(after["d"], "")).other_hits += 1
    numbers = {name: counters.find("domain", valued_check(one, "")) for name, one in after.items()}
    assert numbers["a"].hits == numbers["d"].hits == 1
    assert numbers["b"].hits > 1
    assert [found.rule for found in counters.by_path.values()] == [after["a"], after["b"], after["d"]]


def test_many_rules_and_values_come_in_small_pieces() -> None:
    """Checks are answered between pieces: whatever there is, none holds them up for long."""
    counters = CountersByRule()
    counters.load(rule_set({(Step("a", f"{number}"),): rule(f"a_{number}") for number in range(500)}))
    for found, _ in zip(list(counters.by_rule), range(50), strict=False):
        for number in range(30):
            counters.find("domain", valued_check(found, f"x_{number}")).other_hits += 1
    pieces = list(rule_lines(counters, NOW, is_openmetrics=True))
    assert max(piece.count(b"\n") for piece in pieces) <= 200
    assert sum(piece.count(b"rls_hits_total{") for piece in pieces) == 500 + 50 * 30
