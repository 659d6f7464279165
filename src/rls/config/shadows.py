"""Where `shadow_mode: true` stands in files."""

from __future__ import annotations

from collections.abc import Iterator

from rls.config.nodes import Scalar, YamlMapping, YamlNode, YamlSequence, parse
from rls.config.scalars import WrongTagError, resolve
from rls.errors import ConfigError


def shadow_lines(file: str, text: bytes) -> list[int]:
    """The lines of *text* that switch shadow mode on, in their order; none where it is no YAML."""
    if b"shadow_mode" not in text:  # most files need not be parsed a second time
        return []
    try:
        return sorted({line for document in parse(file, text) for line in _lines(document)})
    except ConfigError:
        return []


def _lines(document: YamlNode) -> Iterator[int]:
    pending: list[YamlNode] = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, YamlSequence):
            pending += node.items
        elif isinstance(node, YamlMapping):
            for key, value in node.items:
                if isinstance(key, Scalar) and key.text == "shadow_mode" and _is_true(value):
                    yield value.line
                pending.append(value)


def _is_true(node: YamlNode) -> bool:
    try:
        return isinstance(node, Scalar) and resolve(node) is True
    except WrongTagError:
        return False
