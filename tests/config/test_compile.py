from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rls.config.compile import compile_file
from rls.core.model import RateLimit, Unit
from rls.core.rules import OnBackendError, Rule, TrieNode


def documents(text: str):
    compiled = compile_file("f", text.encode())
    assert compiled.diagnostics == ()
    return compiled.documents


def rules(*lines: str) -> dict[str, Rule]:
    """The rules of a document whose list `descriptors` has *lines*, by path."""
    (document,) = documents("domain: d\ndescriptors:\n" + "\n".join(lines))
    found = {}
    nodes = [document.root]
    while nodes:
        node = nodes.pop()
        if node.rule is not None:
            found[node.rule.path] = node.rule
        nodes += [*node.exact.values(), *node.defaults.values()]
    return found


def test_a_rule_is_what_its_descriptor_says():
    """Every key reaches the rule, or the level that it stands on."""
    (document,) = documents("""
domain: mesh
descriptors:
- key: path
  value: /api/*
  share_threshold: true
  value_to_metric: true
  descriptors:
  - key: method
    shadow_mode: true
    quota_mode: true
    detailed_metric: true
    on_backend_error: Deny
    metadata: {team: payments, tiers: [1, 2.5, yes, ~, "5"], owner: {010: x}}
    rate_limit:
      unit: Week
      unit_multiplier: 2
      requests_per_unit: 1_000
      name: writes
      replaces: [{name: reads}, {name: all}]
""")
    level = document.root.exact[("path", "/api/*")]
    assert (level.share_threshold, level.value_to_metric, level.rule) == (True, True, None)
    assert [(wildcard.text, node) for wildcard, node in document.root.wildcards["path"]] == [("/api/*", level)]
    rule = level.defaults["method"].rule
    assert rule is not None
    assert (rule.domain, rule.path) == ("mesh", "path_/api/*.method")
    assert rule.limit == RateLimit(1000, Unit.WEEK, 2, "writes")
    assert (rule.name, rule.replaces) == ("writes", {"reads", "all"})
    assert (rule.shadow_mode, rule.quota_mode, rule.detailed_metric) == (True, True, True)
    assert rule.on_backend_error is OnBackendError.DENY
    assert rule.metadata == {"team": "payments", "tiers": [1, 2.5, True, None, "5"], "owner": {"010": "x"}}
    assert str(rule.place) == "f:9:5"


@pytest.mark.parametrize(
    "value", ["010", "yes", "0x1F", "1:30", "2020-01-01", "1.10", "1e3", "-", "'null'", '"~"', "!x y"]
)
def test_values_keep_their_text(value):
    """A value is what was written, whatever YAML would make of it."""
    (document,) = documents(f"domain: d\ndescriptors: [{{key: k, value: {value}}}]")
    assert list(document.root.exact) == [("k", value.removeprefix("!x ").strip("'\""))]


@pytest.mark.parametrize("value", ["", "~", "null", "''", '""'])
def test_an_empty_value_is_any_value(value):
    """As if there were none."""
    (document,) = documents(f"domain: d\ndescriptors:\n- key: k\n  value: {value}\n")
    assert list(document.root.defaults) == ["k"]
    assert not document.root.exact


@pytest.mark.parametrize("text", ["domain: 010", "domain: yes", "domain: 5.5"])
def test_domains_keep_their_text(text):
    """Like values."""
    (document,) = documents(text)
    assert f"domain: {document.domain}" == text


def test_keys_and_values_do_not_run_into_each_other():
    """Pairs that would read the same, joined by `_`, are two rules."""
    (document,) = documents("domain: d\ndescriptors: [{key: a, value: b_c}, {key: a_b, value: c}, {key: a_b_c}]")
    assert set(document.root.exact) == {("a", "b_c"), ("a_b", "c")}
    assert set(document.root.defaults) == {"a_b_c"}


def test_unlimited_has_no_limit():
    """What it says of a limit beside is passed over, as in the reference."""
    found = rules("- {key: k, rate_limit: {unlimited: y, unit: none, requests_per_unit: 5, name: free}}")
    assert found["k"].limit is None
    assert found["k"].name == "free"


def test_an_explicit_zero_refuses_all():
    """Only a number that is missing is a mistake."""
    assert rules("- {key: k, rate_limit: {unit: SECOND, requests_per_unit: 0}}")["k"].limit == RateLimit(0, Unit.SECOND)


@pytest.mark.parametrize("value", ["", "~", '""'])
def test_a_policy_that_is_empty_is_the_default(value):
    """As if there were none."""
    assert (
        rules(f"- {{key: k, rate_limit: {{unlimited: true}}, on_backend_error: {value}}}")["k"].on_backend_error is None
    )


@pytest.mark.parametrize("unit", Unit)
def test_windows_reach_a_hundred_years(unit):
    """The longest window of each unit is taken, one more is not."""
    longest = 100 * Unit.YEAR.seconds // unit.seconds
    text = "domain: d\ndescriptors: [{{key: k, rate_limit: {{unit: {}, unit_multiplier: {}, requests_per_unit: 1}}}}]"
    assert not compile_file("f", text.format(unit.name, longest).encode()).diagnostics
    (problem,) = compile_file("f", text.format(unit.name, longest + 1).encode()).diagnostics
    assert problem.message == f"`unit_multiplier` is {longest + 1}, expected {longest} at most: 100 years"


# Repeated keys and `<<`, as the reference takes them: in their order.
@pytest.mark.parametrize(
    ("lines", "limit"),
    [
        (["rate_limit: {unit: hour, requests_per_unit: 1, requests_per_unit: 2}"], RateLimit(2, Unit.HOUR)),
        (["rate_limit: {unit: hour, requests_per_unit: 1}", "rate_limit: {requests_per_unit: 2}"], RateLimit(2, Unit.HOUR)),
        (["rate_limit: {unlimited: true}", "rate_limit:", "rate_limit: {unit: day, requests_per_unit: 1}"],
         RateLimit(1, Unit.DAY)),
        (["<<: {rate_limit: {unit: hour, requests_per_unit: 1}}", "rate_limit: {unit: day}"], RateLimit(1, Unit.DAY)),
        (["rate_limit: {unit: day}", "<<: {rate_limit: {unit: hour, requests_per_unit: 1}}"], RateLimit(1, Unit.HOUR)),
        (["rate_limit: {<<: [{unit: day}, {unit: hour, requests_per_unit: 1}]}"], RateLimit(1, Unit.DAY)),
        (["rate_limit: {<<: {<<: {unit: day, requests_per_unit: 1}, requests_per_unit: 2}}"], RateLimit(2, Unit.DAY)),
    ],
)  # fmt: skip
def test_what_comes_later_wins(lines, limit):
    """The two of a repeated `rate_limit` are merged key by key, and `<<` counts where it stands."""
    assert rules("- key: k", *(f"  {line}" for line in lines))["k"].limit == limit


def test_anchors_spare_repetition():
    """A limit that is written once, and changed in one place for one rule."""
    found = rules(
        "- key: a",
        "  rate_limit: &limit {unit: minute, requests_per_unit: 5, name: one}",
        "- key: b",
        "  rate_limit: *limit",
        "- key: c",
        "  rate_limit: {<<: *limit, name: two}",
        "- key: d",
        "  rate_limit: *limit",
    )
    assert {key: rule.limit for key, rule in found.items()} == {
        "a": RateLimit(5, Unit.MINUTE, name="one"),
        "b": RateLimit(5, Unit.MINUTE, name="one"),
        "c": RateLimit(5, Unit.MINUTE, name="two"),
        "d": RateLimit(5, Unit.MINUTE, name="one"),
    }


def test_metadata_takes_any_keys_and_merges():
    """Nothing in it is checked for belonging there."""
    found = rules(
        "- key: k",
        "  rate_limit: {unlimited: true}",
        "  metadata: {<<: [{a: 1}, {a: 2, domain: x}], Unit: {<<: {b: 1}, b: 2}, y: no}",
    )
    assert found["k"].metadata == {"a": 1, "domain": "x", "Unit": {"b": 2}, "y": False}


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfdomain: d\ndescriptors: []\n",
        "domain: d\n".encode("utf-16"),
        b"---\ndomain: d\n---\n",
        b"%YAML 1.1\n---\ndomain: d\n...\n",
        b"domain:\td\n",
        b'"domain": d\n? descriptors\n: []\n',
        b"!mesh\ndomain: !name d\ndescriptors: !list []\n",
    ],
)
def test_unusual_forms_are_taken(text):
    """Byte order marks, other encodings, directives, tags."""
    compiled = compile_file("f", text)
    assert not compiled.diagnostics
    assert [document.domain for document in compiled.documents] == ["d"]


def test_mistakes_of_one_descriptor_do_not_hide_those_of_the_next():
    """One load tells all, in nested lists too, and nothing is told twice."""
    compiled = compile_file(
        "f",
        b"""domain: d
descriptors:
- key: [a]
  value: {}
  descriptors:
  - rate_limit: {unit: minutes, requests_per_unit: x, unlimited: 3, extra: 1}
- {key: b, rate_limit: {}}
""",
    )
    assert [(problem.place.line, problem.message.split("`")[1]) for problem in sorted(compiled.diagnostics)] == [
        (3, "key"), (4, "value"), (6, "key"), (6, "minutes"), (6, "requests_per_unit"), (6, "unlimited"), (6, "extra"),
        (7, "requests_per_unit"), (7, "unit"),
    ]  # fmt: skip


_names = st.text(min_size=1, max_size=4)
_limits = st.fixed_dictionaries(
    {"unit": st.sampled_from([unit.name.lower() for unit in Unit]), "requests_per_unit": st.integers(0, 2**32 - 1)},
    optional={"unit_multiplier": st.integers(1, 90), "name": _names},
)


def _lists(children: st.SearchStrategy[list[dict[str, Any]]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    flags = ("shadow_mode", "quota_mode", "detailed_metric", "value_to_metric")
    descriptor = st.fixed_dictionaries(
        {"key": _names},
        optional={
            "value": _names,
            "rate_limit": _limits,
            "descriptors": children,
            **{flag: st.booleans() for flag in flags},
        },
    )
    return st.lists(descriptor, max_size=3, unique_by=lambda item: (item["key"], item.get("value", "")))


@given(st.recursive(_lists(st.just([])), _lists, max_leaves=8), st.booleans())
def test_what_is_dumped_is_compiled(descriptors, flow):
    """Any tree of rules, written by an independent YAML library in its own style, comes back as it was."""
    text = yaml.safe_dump({"domain": "d", "descriptors": descriptors}, default_flow_style=flow)
    (document,) = documents(text)

    def check(node: TrieNode, items: list[dict[str, Any]]) -> None:
        assert len(node.exact) + len(node.defaults) == len(items)
        stars = [(item["key"], item["value"]) for item in items if "*" in item.get("value", "")]
        wildcards = [(key, wildcard.text) for key, found in node.wildcards.items() for wildcard, _ in found]
        assert sorted(wildcards) == sorted(stars)
        for item in items:
            key, value = item["key"], item.get("value", "")
            child = node.exact[key, value] if value else node.defaults[key]
            limit = item.get("rate_limit")
            assert (child.rule is None) == (limit is None)
            if child.rule is not None and limit is not None:
                assert child.rule.limit == RateLimit(
                    limit["requests_per_unit"],
                    Unit[limit["unit"].upper()],
                    limit.get("unit_multiplier", 1),
                    limit.get("name", ""),
                )
                assert child.rule.shadow_mode is item.get("shadow_mode", False)
                assert child.rule.quota_mode is item.get("quota_mode", False)
                assert child.rule.detailed_metric is item.get("detailed_metric", False)
            assert child.value_to_metric is item.get("value_to_metric", False)
            check(child, item.get("descriptors", []))

    check(document.root, descriptors)


@given(st.text(alphabet="adk: -\n[]{}*&<'\"~#|,1yé_", max_size=60))
def test_no_text_breaks_it(text):
    """Whatever stands in a file, it comes to documents or to problems, never to both or neither."""
    compiled = compile_file(
        "f", b"domain: d\ndescriptors:\n- key: k\n  rate_limit: &a {unlimited: y}\n" + text.encode()
    )
    assert bool(compiled.documents) != bool(compiled.diagnostics)
    for problem in (*compiled.diagnostics, *compiled.warnings):
        assert problem.place.line >= 1
        assert problem.place.column >= 1
        assert "\n" not in problem.message
