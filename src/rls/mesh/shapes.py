"""The descriptors that rules can match, as far as Envoy has to know them: which entries, in which order."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple, TypeAlias

from rls.core.rules import Domain, TrieNode


class Step(NamedTuple):
    """One entry.

    Attributes:
        key: Its key.
        value: Its value, where Envoy is to send just this one; None where the request says it.
    """

    key: str
    value: str | None = None


Shape: TypeAlias = tuple[Step, ...]


def shapes(domain: Domain, constant: Collection[str]) -> list[Shape]:
    """One for each descriptor that a rule of *domain* can match, in the order of the file; each once.

    Args:
        domain: Has the rules.
        constant: Keys whose values do not come from a request: the rules say which there are.
    """
    return list(dict.fromkeys(_below(domain.root, (), constant)))


def _below(node: TrieNode, before: Shape, constant: Collection[str]) -> Iterator[Shape]:
    children: list[tuple[str, str | None, TrieNode]] = [
        (key, value, child) for (key, value), child in node.exact.items()
    ]
    children += [(key, None, child) for key, child in node.defaults.items()]
    places = {id(child): number for number, child in enumerate(node.children())}
    for key, value, child in sorted(children, key=lambda found: _position(found[2], places)):
        shape = (*before, Step(key, value if key in constant else None))
        if child.rule is not None:
            yield shape
        yield from _below(child, shape, constant)


def _position(node: TrieNode, places: dict[int, int]) -> tuple[int, int]:
    """By its place in the file, as far as it is known."""
    return (node.place.line, node.place.column) if node.place is not None else (0, places[id(node)])
