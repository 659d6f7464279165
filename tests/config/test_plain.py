"""Descriptors in their usual form are read by a shorter way, which comes to the same as the longer one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rls.config import compile as compiling
from rls.config.compile import compile_file
from rls.config.nodes import MAX_DEPTH, YamlMapping, parse_in_steps
from rls.config.plain import PLAIN_DESCRIPTORS, PlainDescriptor
from rls.core.rules import TrieNode

LIMIT = "rate_limit: {unit: day, requests_per_unit: 5}"
USUAL = (
    f"{{key: a, {LIMIT}}}",
    f"{{key: a, value: b, {LIMIT}}}",
    f"{{{LIMIT}, value: b, key: a}}",
    f"{{'key': 'a', \"value\": \"10.0.0.1\", {LIMIT}}}",
    f"{{key: a, value: '5', {LIMIT}}}  # a note",
    "{key: a, rate_limit: {requests_per_unit: 0, unit: MINUTE}}",
    "\n    key: a\n    rate_limit:\n      unit: 'hour'\n      requests_per_unit: 999999999",
)
UNUSUAL = (
    "{key: a, value: b}",
    f"{{value: b, {LIMIT}}}",
    f"{{key: a, key: b, {LIMIT}}}",
    f"{{key: a, value: b*, {LIMIT}}}",
    f"{{key: a, value: 'a b', {LIMIT}}}",
    f"{{key: ~, {LIMIT}}}",
    f"{{key: '', {LIMIT}}}",
    f"{{key: !!str a, {LIMIT}}}",
    f"{{key: &x a, {LIMIT}}}",
    f"{{&x key: a, {LIMIT}}}",
    f"&x {{key: a, {LIMIT}}}",
    f"{{key: a, [b]: c, {LIMIT}}}",
    f"{{key: a, value: [b], {LIMIT}}}",
    f"{{key: a, shadow_mode: true, {LIMIT}}}",
    f"{{key: a, <<: {{value: b}}, {LIMIT}}}",
    f"{{key: a, {LIMIT}, {LIMIT}}}",
    f"{{key: a, {LIMIT}, descriptors: []}}",
    "{key: a, rate_limit: ~}",
    "{key: a, rate_limit: &x {unit: day, requests_per_unit: 5}}",
    "{key: a, rate_limit: {unit: day}}",
    "{key: a, rate_limit: {requests_per_unit: 5}}",
    "{key: a, rate_limit: {unit: days, requests_per_unit: 5}}",
    "{key: a, rate_limit: {unit: day, requests_per_unit: '5'}}",
    "{key: a, rate_limit: {unit: day, requests_per_unit: 05}}",
    "{key: a, rate_limit: {unit: day, requests_per_unit: 4294967296}}",
    "{key: a, rate_limit: {unit: day, requests_per_unit: 5, name: b}}",
    "{key: a, rate_limit: {unit: day, requests_per_unit: 5}, unit: day}",
    "{key: a, rate_limit: {unit: day, requests_per_unit: 5, key: b}}",
    "[key, a]",
    "",
)
WHERE = (
    "domain: d\ndescriptors:\n  - {}\n",
    "descriptors:\n  - {}\ndomain: d\n",
    "domain: d\ndescriptors:\n- key: above\n  descriptors:\n  - {}\n  - {{key: c}}\n",
)
ELSEWHERE = (
    "- {}\n",
    "{}\n",
    "domain: d\nmetadata:\n  - {}\n",
    "domain: d\ndescriptors: {}\n",
    "domain: d\ndescriptors: &l\n  - {}\n",
    "&r\ndomain: d\ndescriptors:\n  - {}\n",
    "domain: d\ndescriptors:\n- &m\n  key: a\n  descriptors:\n  - {}\n",
    "domain: d\ndescriptors:\n- key: a\n  metadata:\n    descriptors:\n    - {}\n",
    "domain: d\ndescriptors:\n-\n  - {}\n",
    "domain: d\n<<:\n  descriptors:\n  - {}\n",
    "domain: d\n? {}\n: descriptors\n",
)
TEXT = "".join(WHERE[2].format(one) + "---\n" for one in USUAL) + "x: &x {unit: day, requests_per_unit: 5}\n"


def found(text: str) -> list[PlainDescriptor]:
    """What is read by the shorter way."""
    nodes: list[Any] = [node for node in parse_in_steps("f", text.encode(), PLAIN_DESCRIPTORS) if node is not None]
    plain = []
    while nodes:
        node = nodes.pop()
        if isinstance(node, PlainDescriptor):
            plain.append(node)
        elif isinstance(node, YamlMapping):
            nodes += [part for pair in node.items for part in pair]
        else:
            nodes += getattr(node, "items", ())
    return plain


def said(node: TrieNode) -> Any:
    rule = node.rule and [getattr(node.rule, name) for name in node.rule.__slots__]
    below = [[(entry, said(child)) for entry, child in children.items()] for children in (node.exact, node.defaults)]
    return node.text, node.place, node.share_threshold, node.value_to_metric, rule, below, [*node.wildcards]


def both_ways(text: str) -> list[Any]:
    """What *text* comes to by the shorter way, and by the longer one alone."""
    ways = []
    for reader in (PLAIN_DESCRIPTORS, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compiling, "PLAIN_DESCRIPTORS", reader)
            documents, *diagnostics = compile_file("f", text.encode())
        ways.append(([(one.domain, said(one.root), *one[3:]) for one in documents], diagnostics))
    return ways


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("item", USUAL)
def test_the_usual_form_is_read_by_the_shorter_way(item: str, where: str) -> None:
    text = where.format(item)
    assert len(found(text)) == 1
    shorter, longer = both_ways(text)
    assert shorter == longer
    assert shorter[0], "it is no mistake"


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("item", UNUSUAL)
def test_all_else_is_not(item: str, where: str) -> None:
    """Whatever has mistakes, warnings, anchors or further keys."""
    text = where.format(item)
    assert not found(text)
    shorter, longer = both_ways(text)
    assert shorter == longer


@pytest.mark.parametrize("where", ELSEWHERE)
def test_only_where_nothing_else_reads_it(where: str) -> None:
    """Mappings that look like descriptors but stand elsewhere, or that an alias may repeat."""
    text = where.format(USUAL[1])
    assert not found(text)
    shorter, longer = both_ways(text)
    assert shorter == longer


@pytest.mark.parametrize("levels", range(MAX_DEPTH // 2 - 4, MAX_DEPTH // 2 + 2))
def test_the_limit_of_nesting_is_the_same(levels: int) -> None:
    above = "".join(f"{'  ' * n}- key: k\n{'  ' * n}  descriptors:\n" for n in range(levels))
    shorter, longer = both_ways(f"domain: d\ndescriptors:\n{above}{'  ' * levels}- {USUAL[0]}\n")
    assert shorter == longer


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 2), st.sampled_from("ab5 \n\t-:,{}[]&*!'\"#~<|?%")))
)
def test_a_text_with_slips_comes_to_the_same(slips: list[tuple[int, int, str]]) -> None:
    """Rules, mistakes, warnings, and where they stand."""
    text = TEXT
    for at, dropped, added in slips:
        text = text[:at] + added + text[at + dropped :]
    shorter, longer = both_ways(text)
    assert shorter == longer
