"""What somebody meant who wrote a key that the grammar does not have."""

from __future__ import annotations

from collections.abc import Collection

from rls.config.nodes import Scalar, YamlNode
from rls.config.schema import DESCRIPTOR, DOCUMENT

_LISTS_OF_RULES = frozenset({"rules", "limits", "rate_limits", "ratelimits"})
_LONGEST = 40


def meant_by_key(shape: str, key: str, node: YamlNode, beside: Collection[str]) -> str:
    """How to write what *key*, with *node* as its value and other keys *beside* it in *shape*, may mean; "" if unknown."""
    if shape == DOCUMENT and key.lower() in _LISTS_OF_RULES:
        return "expected the rules below `descriptors`"
    if shape == DESCRIPTOR and "key" not in beside and isinstance(node, Scalar):
        if max(len(key), len(node.text)) <= _LONGEST and node.text:
            return f"expected `key: {key}` and `value: {node.text}`"
        return "expected it as the text of `key`"
    return ""
