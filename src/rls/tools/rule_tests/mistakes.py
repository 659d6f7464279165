"""Mistakes in a test file, and where its keys stand."""

from __future__ import annotations

from typing import Any

from rls.config.nodes import Scalar, YamlNode, YamlSequence
from rls.errors import Diagnostic, SourceLocation

_SHOWN = 40


class Located(dict[str, Any]):
    """A mapping, and where it and each of its keys stand."""

    __slots__ = ("place", "places")

    def __init__(self, place: SourceLocation) -> None:
        super().__init__()
        self.place = place
        self.places: dict[str, SourceLocation] = {}

    def where(self, key: str) -> SourceLocation:
        """Where *key* stands, or the mapping where it has none."""
        return self.places.get(key, self.place)


class Mistakes:
    """Gathers the mistakes of one *file*."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Diagnostic] = []

    def place(self, node: YamlNode) -> SourceLocation:
        """Where *node* stands."""
        return SourceLocation(self.file, node.line, node.column)

    def add(self, place: SourceLocation, message: str) -> None:
        """One more."""
        self.found.append(Diagnostic(place, message))

    def wrong(self, node: YamlNode, expected: str) -> None:
        """*node* is not what was *expected*."""
        self.add(self.place(node), f"{_shown(node)}, expected {expected}")


def _shown(node: YamlNode) -> str:
    if isinstance(node, Scalar):
        return f"`{node.text}`" if len(node.text) <= _SHOWN else f"`{node.text[:_SHOWN]}…`"
    return "a list" if isinstance(node, YamlSequence) else "a mapping"
