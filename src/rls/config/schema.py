"""The grammar of the rules' YAML: every key, where it belongs, what it takes. The one place where it is written down.

`reader.py` reads by it, and the JSON Schema for editors is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rls.config.algorithms import ALGORITHMS
from rls.core.model import FIXED_WINDOW, UINT32_MAX, Unit
from rls.core.rules import OnBackendError

SCHEMA_URL = "https://json-schema.org/draft/2020-12/schema"


class FieldType(Enum):
    """What a key takes; the text says it in errors."""

    TEXT = "text"
    FLAG = "true or false"
    COUNT = "a whole number"
    FREE = "a mapping of your own keys"
    SHAPE = "a mapping"
    LIST = "a list"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One key of a shape.

    Attributes:
        kind: What it takes.
        doc: What it is for, in one line of Markdown; editors show it.
        shape: What it holds, where it is a shape or a list of them.
        minimum: The smallest number that it takes, where it is a count.
        needed: Whether there must be one.
        words: The texts that it takes, in any case; any text where empty.
        replaced_by: The key that replaces this one, which is an old name and gives a warning; "" for any other key.
    """

    kind: FieldType
    doc: str
    shape: str = ""
    minimum: int = 0
    needed: bool = False
    words: tuple[str, ...] = ()
    replaced_by: str = ""


@dataclass(frozen=True, slots=True)
class ObjectType:
    """A mapping of the grammar: *inside* says in errors where a key of it stands."""

    inside: str
    doc: str
    keys: Mapping[str, FieldSpec]


DOCUMENT, DESCRIPTOR, RATE_LIMIT, REPLACED = "document", "descriptor", "rate_limit", "replaced"

SHAPES: Mapping[str, ObjectType] = {
    DOCUMENT: ObjectType(
        "at the top of the document",
        "Rate limits of one domain. A file may hold several documents; those of one domain are merged.",
        {
            "domain": FieldSpec(
                FieldType.TEXT, "Namespace of the rules; `domain` in Envoy's rate limit filter.", needed=True
            ),
            "descriptors": FieldSpec(
                FieldType.LIST, "Rules for the first entry of a request's descriptor.", DESCRIPTOR
            ),
            "refund_over_limit": FieldSpec(
                FieldType.FLAG,
                "Refund an over-limit request's hits on the limits that it did not exceed. "
                "Default: `RLS_REFUND_OVER_LIMIT`.",
            ),
            "charge_refused": FieldSpec(
                FieldType.FLAG,
                "Old name of `refund_over_limit`, which means the opposite.",
                replaced_by="refund_over_limit",
            ),
        },
    ),
    DESCRIPTOR: ObjectType(
        "in a descriptor",
        "One entry of a request's descriptor, and the limit that applies to it.",
        {
            "key": FieldSpec(FieldType.TEXT, "Key of the entry.", needed=True),
            "value": FieldSpec(
                FieldType.TEXT,
                "Value of the entry; `*` stands for any text. Without it, every value that no other rule of this list "
                "matches, each with its own counter.",
            ),
            "rate_limit": FieldSpec(FieldType.SHAPE, "Limit of a request's descriptor that ends here.", RATE_LIMIT),
            "descriptors": FieldSpec(FieldType.LIST, "Rules for the entry that follows this one.", DESCRIPTOR),
            "shadow_mode": FieldSpec(FieldType.FLAG, "Count and report, but never limit."),
            "quota_mode": FieldSpec(
                FieldType.FLAG, "Limit a request only when all of its descriptors in quota mode are over limit."
            ),
            "detailed_metric": FieldSpec(FieldType.FLAG, "Put the request's keys and values into the metric label."),
            "value_to_metric": FieldSpec(FieldType.FLAG, "Put the value that matched here into the metric label."),
            "share_threshold": FieldSpec(
                FieldType.FLAG, "One counter for all values that the `*` of this value matches."
            ),
            "on_backend_error": FieldSpec(
                FieldType.TEXT,
                "What decides while the backend is unavailable. Default: `RLS_ON_BACKEND_ERROR`.",
                words=tuple(OnBackendError),
            ),
            "metadata": FieldSpec(FieldType.FREE, "Free-form values for the response's `dynamic_metadata`."),
        },
    ),
    RATE_LIMIT: ObjectType(
        "inside `rate_limit`",
        "How many requests pass in each window.",
        {
            "unit": FieldSpec(
                FieldType.TEXT,
                "Unit of the window.",
                words=tuple(unit.name.lower() for unit in sorted(Unit, key=lambda unit: unit.seconds)),
            ),
            "unit_multiplier": FieldSpec(FieldType.COUNT, "Length of the window in units. Default: 1.", minimum=1),
            "requests_per_unit": FieldSpec(FieldType.COUNT, "Requests in each window; 0 limits every request."),
            "unlimited": FieldSpec(FieldType.FLAG, "Let everything pass, uncounted. Without `unit`."),
            "algorithm": FieldSpec(
                FieldType.TEXT, f"How requests are counted. Default: `{FIXED_WINDOW}`.", words=tuple(ALGORITHMS)
            ),
            "name": FieldSpec(FieldType.TEXT, "What `replaces`, logs and answers call this limit."),
            "replaces": FieldSpec(
                FieldType.LIST, "Limits that do not apply to a request that this one applies to.", REPLACED
            ),
        },
    ),
    REPLACED: ObjectType(
        "in an item of `replaces`",
        "A limit, by its name.",
        {"name": FieldSpec(FieldType.TEXT, "`rate_limit.name` of the limit that does not apply.", needed=True)},
    ),
}


def json_schema() -> dict[str, Any]:
    """The grammar as JSON Schema, for editors. It takes what YAML makes of unquoted numbers and booleans for text."""
    return {
        "$schema": SCHEMA_URL,
        "title": "Rules of the Istio Rate Limiter",
        "$ref": f"#/$defs/{DOCUMENT}",
        "$defs": {name: _shape_schema(name, shape) for name, shape in SHAPES.items()},
    }


def _shape_schema(name: str, shape: ObjectType) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "description": shape.doc,
        "type": "object",
        "additionalProperties": False,
        "properties": {word: _documented(key) for word, key in shape.keys.items()},
    }
    needed = [word for word, key in shape.keys.items() if key.needed]
    if needed:
        schema["required"] = needed
    if name == RATE_LIMIT:
        schema["anyOf"] = [
            {"required": ["unit", "requests_per_unit"], "properties": {"unlimited": {"enum": [False, None]}}},
            {"required": ["unlimited"], "properties": {"unlimited": {"const": True}}},
        ]
    return schema


def _documented(key: FieldSpec) -> dict[str, Any]:
    deprecated = {"deprecated": True} if key.replaced_by else {}
    return {"description": key.doc, **deprecated, **_key_schema(key)}


def _key_schema(key: FieldSpec) -> dict[str, Any]:
    match key.kind:
        case FieldType.TEXT if key.words:
            return {"anyOf": [{"enum": list(key.words)}, {"type": "string", "pattern": _any_case(key.words)}]}
        case FieldType.TEXT if key.needed:
            return {"type": ["string", "number", "boolean"], "minLength": 1}
        case FieldType.TEXT:
            return {"type": ["string", "number", "boolean", "null"]}
        case FieldType.FLAG:
            return {"type": ["boolean", "null"]}
        case FieldType.COUNT:
            return {"type": "integer", "minimum": key.minimum, "maximum": UINT32_MAX}
        case FieldType.FREE:
            return {"type": ["object", "null"]}
        case FieldType.LIST:
            return {"type": ["array", "null"], "items": {"$ref": f"#/$defs/{key.shape}"}}
        case _:
            return {"anyOf": [{"$ref": f"#/$defs/{key.shape}"}, {"type": "null"}]}


def _any_case(words: tuple[str, ...]) -> str:
    """A pattern for *words* in upper, lower or mixed case; ECMAScript's dialect has no switch for it."""
    return f"^({'|'.join(''.join(map(_either_case, word)) for word in words)})$"


def _either_case(char: str) -> str:
    return f"[{char}{char.upper()}]" if char.isalpha() else char
