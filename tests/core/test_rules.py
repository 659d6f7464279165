from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.match import match
from rls.core.rules import Domain, Rule, TrieNode, Wildcard
from rls.errors import SourceLocation
from tests.tries import Step, rule, rule_set

# Few letters, so that patterns and values often meet; the others mean something elsewhere.
patterns = st.text(alphabet="ab.*[?\n", max_size=8).filter(lambda text: "*" in text)
values = st.text(alphabet="ab.*[?\n", max_size=12)


@given(patterns, values)
def test_a_wildcard_matches_as_a_regular_expression_does(pattern, value):
    """`*` is any text, the empty one included; every other character stands for itself."""
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert Wildcard.parse(pattern).matches(value) == bool(re.fullmatch(expression, value, re.DOTALL))


@given(patterns, st.lists(values, min_size=8, max_size=8))
def test_a_wildcard_matches_whatever_its_stars_stand_for(pattern, texts):
    """Put any texts in the place of its stars, and it matches."""
    filling = iter(texts)
    value = "".join(next(filling) if char == "*" else char for char in pattern)
    assert Wildcard.parse(pattern).matches(value)


# Those that the reference's own tests hold, and the ends of what a pattern can be.
@pytest.mark.parametrize(
    ("pattern", "matched", "not_matched"),
    [
        ("*", ["", "a", "a/b"], []),
        ("**", ["", "a"], []),
        ("a*", ["a", "ab", "a*"], ["", "ba", "A"]),
        ("*a", ["a", "ba"], ["", "ab"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("a*b*c", ["abc", "axbxc", "abbc"], ["ac", "abcd", "acb"]),
        ("*ab*ab*", ["abab", "xabxabx"], ["ab", "aab", "abba"]),
        ("ab*ba", ["abba", "ab.ba"], ["aba"]),
    ],
)
def test_wildcards_by_example(pattern, matched, not_matched):
    """The fixed pieces must not overlap."""
    wildcard = Wildcard.parse(pattern)
    assert all(wildcard.matches(value) for value in matched)
    assert not any(wildcard.matches(value) for value in not_matched)


def test_a_rule_has_the_same_names_everywhere():
    """Those that it lacks are left out, but for the two that it always has."""
    place = SourceLocation("mesh.yaml", 12, 3)
    rule = Rule("mesh", "company_id_acme", None, name="acme", place=place)
    assert rule.id.fields == {"domain": "mesh", "rule": "company_id_acme", "name": "acme", "place": "mesh.yaml:12"}
    assert str(rule.id) == "mesh company_id_acme (acme) at mesh.yaml:12"
    assert Rule("", "a", None).id.fields == {"domain": "", "rule": "a"}


def test_a_rule_is_itself_and_no_other():
    """Two that say the same are two: a reload must not mix them up."""
    assert Rule("d", "a", None) != Rule("d", "a", None)


def test_a_domain_lists_each_rule_once_parents_first():
    """A wildcard stands in its node twice, but is one rule."""
    parent, wild, default, deep = (Rule("d", path, None) for path in ("a_x", "a_x.b_*", "a_x.b", "a_x.b_*.c"))
    leaf = TrieNode(rule=deep)
    star = TrieNode(rule=wild, defaults={"c": leaf})
    node = TrieNode(
        exact={("b", "*"): star},
        wildcards={"b": [(Wildcard.parse("*"), star)]},
        defaults={"b": TrieNode(rule=default)},
        rule=parent,
    )
    rules = list(Domain("d", TrieNode(exact={("a", "x"): node})).rules())
    assert sorted(rule.path for rule in rules) == ["a_x", "a_x.b", "a_x.b_*", "a_x.b_*.c"]
    assert rules[0] is parent
    assert rules.index(wild) < rules.index(deep)


@pytest.mark.parametrize(
    ("rules", "entries"),
    [
        ({(Step("company_id"),): rule()}, [("company_id", "acme")]),
        ({(Step("path", "/a/*"),): rule()}, [("path", "/a/acme")]),
        ({(Step("a"), Step("b", "x")): rule()}, [("a", "acme"), ("b", "x")]),
        ({(Step("a"), Step("b")): None, (Step("c"),): rule()}, [("c", "acme")]),
        ({}, []),
    ],
)
def test_the_example_of_a_domain_leads_to_a_rule(rules, entries):
    (domain,) = rule_set(rules).domains.values()
    example = domain.example()
    assert example == entries
    assert (match(domain, tuple(example)) is not None) == bool(rules)
