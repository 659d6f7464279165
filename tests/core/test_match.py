from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rls.core.match import match
from rls.core.model import Entry, RateLimit, Unit
from rls.core.rules import Domain, Rule, TrieNode, Wildcard


@dataclass
class Item:
    """A descriptor of the configuration, as it is written."""

    key: str
    value: str = ""
    limited: bool = False
    items: list[Item] = field(default_factory=list)
    detailed_metric: bool = False
    value_to_metric: bool = False
    share_threshold: bool = False

    @property
    def text(self) -> str:
        return f"{self.key}_{self.value}" if self.value else self.key


def domain_of(items: list[Item]) -> Domain:
    root = TrieNode()
    _fill(root, items, "")
    return Domain("d", root)


def _fill(node: TrieNode, items: list[Item], path: str) -> None:
    for item in items:
        below = f"{path}.{item.text}" if path else item.text
        child = TrieNode(text=item.text, share_threshold=item.share_threshold, value_to_metric=item.value_to_metric)
        if item.limited:
            child.rule = Rule("d", below, RateLimit(1, Unit.SECOND), detailed_metric=item.detailed_metric)
        if item.value:
            node.exact[item.key, item.value] = child
            if "*" in item.value:
                node.wildcards.setdefault(item.key, []).append((Wildcard.parse(item.value), child))
        else:
            node.defaults[item.key] = child
        _fill(child, item.items, below)


def expected_path(items: list[Item], entries: tuple[Entry, ...]) -> str | None:
    """The path of the rule that applies, by the words of the reference: one rule after another, no dictionaries."""
    path = []
    limited = False
    for entry in entries:
        of_key = [item for item in items if item.key == entry.key]
        found = (
            [item for item in of_key if item.value and item.value == entry.value]
            or [item for item in of_key if "*" in item.value and _regex(item.value).fullmatch(entry.value)]
            or [item for item in of_key if not item.value]
        )
        if not found:
            return None
        items, limited = found[0].items, found[0].limited
        path.append(found[0].text)
    return ".".join(path) if limited else None


def _regex(value: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, value.split("*"))), re.DOTALL)


keys = st.sampled_from(["a", "b", "a_b"])
texts = st.text(alphabet="xy*_", max_size=3)


def lists(below: st.SearchStrategy[list[Item]]) -> st.SearchStrategy[list[Item]]:
    items = st.builds(Item, keys, texts, st.booleans(), below)
    return st.lists(items, max_size=6, unique_by=lambda item: (item.key, item.value))


trees = lists(lists(lists(st.just([]))))
requests = st.lists(st.builds(Entry, keys, texts), max_size=4).map(tuple)


@given(trees, st.lists(requests, min_size=1, max_size=8))
@example(
    [Item("a", "x", limited=True), Item("a", "*", limited=True, items=[Item("b", limited=True)])],
    [(Entry("a", "x"), Entry("b", ""))],
)
def test_the_rule_is_the_one_that_the_reference_describes(items, requests):
    """Exact values before wildcards, in their order, before the key alone; no way back up; the last entry's rule."""
    domain = domain_of(items)
    for entries in requests:
        found = match(domain, entries)
        assert (None if found is None else found.rule.path) == expected_path(items, entries)


def one(items: list[Item], *pairs: tuple[str, str]):
    found = match(domain_of(items), tuple(Entry(*pair) for pair in pairs))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("pairs", "path"),
    [
        ([("k", "x")], "k_x"),
        ([("k", "xy")], "k_x*"),
        ([("k", "yx")], "k_*x"),
        ([("k", "xx")], "k_x*"),  # the first in the file
        ([("k", "z")], "k"),
        ([("k", "")], "k"),
        ([("k", "x*")], "k_x*"),  # written as the pattern is: an exact match
        ([("k", "x"), ("l", "1")], None),  # the exact value has nothing below, and there is no way back
        ([("k", "z"), ("l", "1")], "k.l"),
        ([("k", "z"), ("l", "1"), ("m", "1")], None),  # longer than the tree
        ([("l", "1")], None),
        ([("K", "x")], None),
        ([], None),
    ],
)  # fmt: skip
def test_precedence_by_example(pairs, path):
    """Each sentence of the documentation, once."""
    items = [
        Item("k", limited=True, items=[Item("l", limited=True)]),
        Item("k", "x*", limited=True),
        Item("k", "*x", limited=True),
        Item("k", "x", limited=True),
    ]
    found = match(domain_of(items), tuple(Entry(*pair) for pair in pairs))
    assert (None if found is None else found.rule.path) == path


def test_keys_and_values_do_not_run_into_each_other():
    """Pairs that would read the same, joined by `_`, are different, and a wildcard stays within the value."""
    domain = domain_of([Item("a", "b_c", limited=True), Item("p", "*", limited=True)])
    assert match(domain, (Entry("a_b", "c"),)) is None
    assert match(domain, (Entry("p_q", "x"),)) is None


def test_only_a_wildcard_that_matched_is_shared():
    """The counter of a shared wildcard is named by its text; an exact match has its own, but for that very text."""
    items = [
        Item("k", "x*", share_threshold=True, items=[Item("l", limited=True), Item("l", "y*", limited=True)]),
        Item("k", "xx", items=[Item("l", limited=True)]),
    ]
    assert one(items, ("k", "xy"), ("l", "1")).shared == ("x*", None)
    assert one(items, ("k", "xy"), ("l", "yy")).shared == ("x*", None), "without the flag, each value has its own"
    assert one(items, ("k", "xx"), ("l", "1")).shared == (None, None)
    assert one(items, ("k", "x*"), ("l", "1")).shared == ("x*", None)
    assert one(items, ("k", "x*"), ("l", "y*")).shared == ("x*", None), "without the flag, each value has its own"


def test_no_value_is_shown_unless_a_rule_asks_for_it():
    found = one([Item("k", "x*", items=[Item("l", limited=True)])], ("k", "xy"), ("l", "1"))
    assert (found.rule.path, found.value) == ("k_x*.l", "")


@pytest.mark.parametrize(
    ("item", "value", "shown"),
    [
        (Item("k"), "v", "top.k_v"),
        (Item("k"), "", "top.k"),
        (Item("k", "x*"), "xy", "top.k_xy"),
        (Item("k", "x"), "x", ""),  # a configured value is in the path anyway
        (Item("k", "x*", share_threshold=True), "xy", ""),
    ],
)
def test_value_to_metric_shows_the_value(item, value, shown):
    """At its own level only, where a default or a wildcard matched; a shared counter has one series."""
    item.value_to_metric = item.limited = True
    found = one([Item("top", items=[item])], ("top", "secret"), ("k", value))
    assert found.value == shown
    assert found.rule.path == f"top.{item.text}"


@pytest.mark.parametrize(
    ("item", "value", "shown"),
    [
        (Item("k"), "v", "top_t.k_v"),
        (Item("k"), "", "top_t.k_"),
        (Item("k", "x*"), "xy", "top_t.k_xy"),
        (Item("k", "x*", share_threshold=True), "xy", "top_t.k_x*"),
    ],
)
def test_detailed_metric_shows_all_keys_and_values(item, value, shown):
    """Of all levels, where it stands on the rule; but a shared counter has one series."""
    item.detailed_metric = item.limited = True
    found = one([Item("top", items=[item])], ("top", "t"), ("k", value))
    assert found.value == shown


def test_detailed_metric_above_the_rule_does_nothing():
    """It belongs to the rule whose metric it is."""
    found = one(
        [Item("top", detailed_metric=True, limited=True, items=[Item("k", limited=True)])], ("top", "t"), ("k", "v")
    )
    assert (found.rule.path, found.value) == ("top.k", "")


def test_values_are_shown_as_they_may_be():
    """`hide` gets each value that is shown, with its key; an empty one hides nothing."""
    domain = domain_of([Item("top", items=[Item("k", limited=True, detailed_metric=True)])])
    found = match(domain, (Entry("top", "t"), Entry("k", "")), lambda key, value: f"<{key} {len(value)}>")
    assert found is not None
    assert found.value == "top_<top 1>.k_"
