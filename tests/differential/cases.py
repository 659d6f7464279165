"""Random configurations, and requests that are likely to meet their rules.

Values are drawn from few, so that rules match, wildcards overlap and counters are hit again. Keys are chosen so that no
`key_value` can be read in two ways: what envoyproxy/ratelimit makes of those that can is not what `rls` promises. Nor does
a case have both metadata and flags that put a request's values into metric labels: there the reference forgets metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import yaml
from hypothesis import strategies as st

from rls.core.model import UINT32_MAX, Unit

Descriptor: TypeAlias = dict[str, Any]
Draw: TypeAlias = st.DrawFn

DOMAINS = ("mesh", "edge")
KEYS = ("company_id", "path", "plan")
VALUES = ("", "a", "b", "ab", "a_b", "aab", "a/b", "abab", "1.5", "ü", "A", "10.0.0.1", "x:y|z")
PATTERNS = ("*", "a*", "*b", "a*b", "a*a", "*a*", "a**b", "a*/*", "a_*")
CASES = 5
"""At most so many are asked together."""
NAMES = ("gold", "silver", "lead")
UNITS = tuple(unit.name.lower() for unit in Unit)


@dataclass(frozen=True)
class Case:
    """Documents of a configuration, one for each domain, and the steps of a scenario."""

    documents: tuple[dict[str, Any], ...]
    steps: tuple[dict[str, Any], ...]

    def in_domains(self, suffix: str) -> Case:
        """The same in domains that nobody has counted in yet."""
        documents = tuple({**document, "domain": document["domain"] + suffix} for document in self.documents)
        steps = tuple({**step, "domain": step["domain"] and step["domain"] + suffix} for step in self.steps)
        return Case(documents, steps)

    def files(self) -> dict[str, str]:
        """Text by file name; a file for each domain."""
        return {
            f"{number}.yaml": yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
            for number, document in enumerate(self.documents)
        }

    def beside(self, other: Case) -> Case:
        """This and then *other*, which must not have domains in common."""
        return Case(self.documents + other.documents, self.steps + other.steps)


@st.composite
def cases(draw: Draw) -> Case:
    """A configuration, and one to twelve requests out of a few, so that some are asked again."""
    extras = draw(st.sampled_from([("detailed_metric", "value_to_metric"), ("metadata",)]))
    documents = tuple(
        {"domain": domain, "descriptors": draw(siblings(extras))}
        for domain in draw(st.sampled_from([DOMAINS[:1], DOMAINS]))
    )
    requests = draw(st.lists(request(documents), min_size=1, max_size=4))
    order = draw(st.lists(st.sampled_from(range(len(requests))), min_size=1, max_size=12))
    return Case(documents, tuple(requests[i] for i in order))


def many_cases() -> st.SearchStrategy[Case]:
    """Several cases in one, for a server that is slow to take new rules."""

    def joined(some: list[Case]) -> Case:
        return reduce(Case.beside, (case.in_domains(f"-{number}") for number, case in enumerate(some)))

    return st.lists(cases(), min_size=1, max_size=CASES).map(joined)


def rarely(draw: Draw, times: int) -> bool:
    """Once in so many *times*, and never in a case that is shrunk, unless it matters."""
    return draw(st.integers(1, times)) == times


@st.composite
def siblings(draw: Draw, extras: tuple[str, ...], depth: int = 0) -> list[Descriptor]:
    """Descriptors of one list: each key and value once."""
    values = st.one_of(st.none(), st.sampled_from(VALUES[1:]), st.sampled_from(PATTERNS))
    pairs = draw(
        st.lists(st.tuples(st.sampled_from(KEYS), values), min_size=1 - bool(depth), max_size=5 - depth, unique=True)
    )
    return [draw(descriptor(key, value, extras, depth)) for key, value in pairs]


@st.composite
def descriptor(draw: Draw, key: str, value: str | None, extras: tuple[str, ...], depth: int) -> Descriptor:
    """One descriptor with what may stand in it, flags that have no effect included."""
    node: Descriptor = {"key": key}
    if value is not None:
        node["value"] = value
    if not rarely(draw, 4):
        node["rate_limit"] = draw(rate_limit())
    for extra in ("shadow_mode", "quota_mode", *extras):
        if rarely(draw, 5):
            node[extra] = draw(metadata() if extra == "metadata" else st.sampled_from([True, True, False]))
    if value is not None and "*" in value and draw(st.booleans()):
        node["share_threshold"] = True
    if depth < 3 and rarely(draw, 2):
        node["descriptors"] = draw(siblings(extras, depth + 1))
    return node


@st.composite
def rate_limit(draw: Draw) -> dict[str, Any]:
    """A rate limit that is soon used up, or an unlimited one."""
    limit: dict[str, Any] = {}
    if rarely(draw, 8):
        limit["unlimited"] = True
    else:
        limit["unit"] = draw(st.sampled_from(UNITS).map(str.swapcase) | st.sampled_from(UNITS))
        limit["requests_per_unit"] = draw(st.integers(0, 5) | st.sampled_from([10, 1000, UINT32_MAX]))
    name = draw(st.none() | st.sampled_from(NAMES))
    if name is not None:
        limit["name"] = name
    replaces = draw(st.lists(st.sampled_from(NAMES), max_size=2)) if rarely(draw, 4) else []
    if replaces := [replaced for replaced in replaces if replaced != name]:
        limit["replaces"] = [{"name": replaced} for replaced in replaces]
    return limit


def metadata() -> st.SearchStrategy[dict[str, Any]]:
    """Free-form metadata."""
    scalars = st.sampled_from(["text", "", 7, 2.5, -1, True, False, None])
    values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2), max_leaves=3)
    nested = st.dictionaries(st.sampled_from("pq"), values, max_size=2)
    return st.dictionaries(st.sampled_from("abcd"), values | nested, max_size=3)


@st.composite
def request(draw: Draw, documents: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """A step that asks; most of its descriptors follow a rule's path."""
    document = draw(st.sampled_from(documents))
    odd = draw(st.integers(0, 40))
    step: dict[str, Any] = {"domain": {39: "unknown", 40: ""}.get(odd, document["domain"])}
    paths = [*paths_of(document["descriptors"])]
    step["ask"] = draw(st.lists(asked(paths), min_size=odd != 38, max_size=4))
    if rarely(draw, 3):
        step["hits_addend"] = draw(st.integers(0, 6) | st.sampled_from([1000, UINT32_MAX]))
    return step


@st.composite
def asked(draw: Draw, paths: list[list[tuple[str, str | None]]]) -> Descriptor:
    """A descriptor of a request, its entries along a path of the rules or at random."""
    anything = st.tuples(st.sampled_from((*KEYS, "other", "")), st.sampled_from(VALUES + PATTERNS))
    entries = [(key, draw(matching(value))) for key, value in draw(st.sampled_from(paths))] if paths else []
    change = 15 - draw(st.integers(0, 15))
    if change == 0:
        entries.append(draw(anything))
    elif change == 1:
        entries = entries[:-1]
    elif change == 2:
        entries = draw(st.lists(anything, max_size=4))
    elif change == 3:
        entries = draw(st.permutations(entries))
    descriptor: Descriptor = {"entries": [list(entry) for entry in entries]}
    if rarely(draw, 6):
        per_unit = draw(st.integers(0, 5) | st.sampled_from([10, UINT32_MAX]))
        descriptor["limit"] = f"{per_unit}/{draw(st.sampled_from(UNITS))}"
    if rarely(draw, 4):
        descriptor["hits_addend"] = draw(st.integers(0, 5) | st.sampled_from([UINT32_MAX]))
    return descriptor


def matching(value: str | None) -> st.SearchStrategy[str]:
    """Values that a rule's *value* matches, mostly; a wildcard's own text among them."""
    anything = st.sampled_from(VALUES)
    if value is None:
        return anything
    if "*" not in value:
        return st.sampled_from([value, value, value]) | anything
    pieces = value.split("*")
    filled = st.lists(anything, min_size=len(pieces) - 1, max_size=len(pieces) - 1).map(
        lambda fillings: "".join(piece + filling for piece, filling in zip(pieces, [*fillings, ""], strict=True))
    )
    return filled | st.just(value) | anything


def paths_of(descriptors: list[Descriptor]) -> Iterator[list[tuple[str, str | None]]]:
    """Every path of keys and values that ends at a rate limit."""
    for node in descriptors:
        step = (node["key"], node.get("value"))
        if "rate_limit" in node:
            yield [step]
        for path in paths_of(node.get("descriptors", [])):
            yield [step, *path]
