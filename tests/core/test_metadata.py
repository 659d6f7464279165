from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.core.check import Check, Status
from rls.core.decide import Decision
from rls.core.metadata import merge, request_metadata
from rls.core.model import UINT32_MAX, Code, Descriptor, RateLimit, Unit
from rls.core.plan import Plan
from rls.core.rules import Rule
from tests.tries import descriptor, rule

LIMIT = RateLimit(10, Unit.MINUTE)


def described(*statuses: Status, hits_addend: int = 0) -> Any:
    checks = tuple(replace(status.check, index=index) for index, status in enumerate(statuses))
    return request_metadata(Decision(Code.OK, statuses, Plan("domain", True, checks, checks, hits_addend)))


def status(
    found: Rule | None = None,
    asked: Descriptor | None = None,
    code: Code = Code.OK,
    limit: RateLimit | None = LIMIT,
) -> Status:
    return Status(code, Check(asked or descriptor(("k", "v")), found, limit), limit)


def test_what_was_asked_is_told() -> None:
    asked = descriptor(("company", "acme"), ("path", ""), hits_addend=0)
    assert described(status(asked=asked), status()) == {
        "domain": "domain",
        "descriptors": [{"entries": ["company=acme", "path="], "hitsAddend": 0}, {"entries": ["k=v"]}],
    }


def test_the_addend_of_the_request_is_told_where_it_gave_one() -> None:
    assert described(status(), hits_addend=UINT32_MAX)["hitsAddend"] == UINT32_MAX


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (RateLimit(5, Unit.HOUR), "requests_per_unit:5 unit:HOUR"),
        (RateLimit(0, Unit.DAY), "unit:DAY"),
        (RateLimit(5, Unit.WEEK), "requests_per_unit:5 unit:7"),  # an override's enum has no week
        (RateLimit(5, Unit.SECOND, 30), "requests_per_unit:5 unit:SECOND unit_multiplier:{value:30}"),
    ],
)
def test_an_override_is_told_in_the_text_format(limit: RateLimit, text: str) -> None:
    (told,) = described(status(asked=descriptor(limit=limit)))["descriptors"]
    assert told == {"entries": [], "limit": text}


def test_metadata_of_the_rules_that_were_passed_is_merged_in_their_order() -> None:
    first, second = rule(metadata={"tier": "gold", "deep": {"a": 1}}), rule(metadata={"tier": "x", "deep": {"b": 2}})
    assert described(status(first), status(second))["metadata"] == {"tier": "gold", "deep": {"a": 1, "b": 2}}
    assert described(status(second), status(first))["metadata"] == {"tier": "x", "deep": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    "found",
    [
        status(rule(metadata={"a": 1}), code=Code.OVER_LIMIT),
        status(rule(requests=None, metadata={"a": 1}), limit=None),
        status(rule(metadata={})),
        status(rule()),
        status(None),
    ],
    ids=["over", "unlimited", "empty", "none", "override"],
)
def test_nothing_else_has_metadata(found: Status) -> None:
    assert "metadata" not in described(found)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
metadata = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Everything in *value* that is no mapping, or an empty one, by its path."""
    if isinstance(value, dict) and value:
        return {at: leaf for key, inner in value.items() for at, leaf in leaves(inner, (*path, key)).items()}
    return {path: value}


@given(metadata, metadata)
def test_merging_changes_neither(first: dict[str, Any], second: dict[str, Any]) -> None:
    """What is merged belongs to the rules in force, which all requests share."""
    before = deepcopy((first, second))
    merged = merge(first, second)
    assert (first, second) == before
    merge(merged, {"a": {"a": 1}, "b": {"b": {"c": 1}}, "c": {"c": 1}})
    assert (first, second) == before


@given(metadata, metadata)
def test_what_came_first_stays(first: dict[str, Any], second: dict[str, Any]) -> None:
    merged = merge(first, second)
    for path, leaf in leaves(first).items():
        found: Any = merged
        for key in path:
            found = found[key]
        assert leaf == found or (leaf == {} and isinstance(found, dict))
    assert merged.keys() == first.keys() | second.keys()


@given(metadata, metadata, metadata)
def test_merging_goes_from_left_to_right(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    """A merge of merges is no different: nothing of the third gets in before the second."""
    assert merge(merge(a, b), c).keys() == merge(a, merge(b, c)).keys()
    assert merge(a, {}) == a == merge({}, a)
