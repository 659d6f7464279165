"""Access to JSON that may lack any field, and hold any other."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

Tree: TypeAlias = "dict[str, Any]"


def tree(value: Any, *way: str) -> Tree:
    """The object at *way* below *value*, or an empty one."""
    for name in way:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def trees(value: Any, *way: str) -> list[Tree]:
    """The objects in the list at *way* below *value*."""
    *outer, last = way
    found = tree(value, *outer).get(last)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def text(value: Any, *way: str) -> str:
    """The string at *way* below *value*; a number as Envoy's JSON may have one instead."""
    *outer, last = way
    found = tree(value, *outer).get(last)
    return found if isinstance(found, str) else str(found) if isinstance(found, int | float) else ""


def texts(value: Any, *way: str) -> list[str]:
    """The strings in the list at *way* below *value*."""
    *outer, last = way
    found = tree(value, *outer).get(last)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def number(value: Any, *way: str) -> int:
    """The whole number at *way* below *value*, or 0, which proto3 leaves out."""
    found = text(value, *way)
    return int(found) if re.fullmatch(r"-?[0-9]+", found) else 0


def seconds(duration: str, default: float) -> float:
    """A duration as proto3 writes it in JSON, such as `0.020s`."""
    return float(duration[:-1]) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?s", duration) else default


def typed(config: Any) -> tuple[str, Tree]:
    """The message's name without its package, and its fields, of an `Any`; a `TypedStruct` is what it holds."""
    fields = tree(config)
    kind = text(fields, "@type")
    if kind.endswith(".TypedStruct"):
        kind, fields = text(fields, "type_url"), tree(fields, "value")
    return kind.rpartition(".")[2], fields
