"""An independent matcher: why each descriptor of a configuration takes a request's descriptor or not, path by path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rls.core.explain import Verdict
from rls.core.model import Entry

Node: TypeAlias = Mapping[str, Any]
"""A descriptor of the YAML."""


class Reason(NamedTuple):
    """What must be said of a descriptor: at which level, and the verdict."""

    level: int
    key: str
    value: str
    verdict: Verdict


def reasons(document: Node, entries: Sequence[Entry]) -> Iterator[tuple[tuple[Node, ...], Reason]]:
    """Each path of descriptors in *document*, and why it does not apply to *entries*; or that it is taken.

    By brute force: no path knows of another, except that of the nodes that the walk takes.
    """
    way = list(_way(document, entries))
    for path in _paths(document["descriptors"], ()):
        yield path, _reason(path, way, entries)


def rule_path(document: Node, entries: Sequence[Entry]) -> str | None:
    """The path of the rule that applies; None without one."""
    way = list(_way(document, entries))
    if len(way) != len(entries) or not way or "rate_limit" not in way[-1]:
        return None
    return ".".join(
        f"{_text(node, 'key')}_{value}" if (value := _text(node, "value")) else _text(node, "key") for node in way
    )


def _reason(path: Sequence[Node], way: Sequence[Node], entries: Sequence[Entry]) -> Reason:
    for i, node in enumerate(path):
        key, value = _text(node, "key"), _text(node, "value")
        if i < len(way) and node is way[i]:
            continue
        if i >= len(entries):
            return Reason(i + 1, key, value, Verdict.NEEDS_MORE)
        entry = entries[i]
        if key != entry.key:
            return Reason(i + 1, key, value, Verdict.OTHER_KEY)
        if not _takes(value, entry.value):
            return Reason(i + 1, key, value, Verdict.NO_MATCH if "*" in value else Verdict.OTHER_VALUE)
        return Reason(i + 1, key, value, Verdict.PASSED_OVER)
    last = path[-1]
    goes_on = len(path) < len(entries) and "rate_limit" in last
    return Reason(len(path), _text(last, "key"), _text(last, "value"), Verdict.GOES_ON if goes_on else Verdict.TAKEN)


def _way(document: Node, entries: Sequence[Entry]) -> Iterator[Node]:
    """The nodes that the walk takes, by the words of the documentation."""
    nodes = document["descriptors"]
    for entry in entries:
        of_key = [node for node in nodes if _text(node, "key") == entry.key]
        exact = [node for node in of_key if _text(node, "value") and _text(node, "value") == entry.value]
        patterns = [
            node for node in of_key if "*" in _text(node, "value") and _takes(_text(node, "value"), entry.value)
        ]
        found = exact or patterns or [node for node in of_key if not _text(node, "value")]
        if not found:
            return
        yield found[0]
        nodes = found[0].get("descriptors") or []


def _paths(nodes: Sequence[Node], above: tuple[Node, ...]) -> Iterator[tuple[Node, ...]]:
    for node in nodes:
        yield (*above, node)
        yield from _paths(node.get("descriptors") or [], (*above, node))


def _takes(value: str, wanted: str) -> bool:
    if not value:
        return True
    return re.fullmatch(".*".join(map(re.escape, value.split("*"))), wanted, re.DOTALL) is not None


def _text(node: Node, name: str) -> str:
    value = node.get(name)
    return "" if value is None else str(value)
