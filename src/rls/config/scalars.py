"""What plain YAML scalars mean, as the reference's reader (yaml.v2 2.4.0) has it: neither YAML 1.1 nor 1.2.

`y` and `n` are booleans, `017` and `0o17` are octal, `1_000` is a number, `1:30` and dates are text.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import TypeAlias

from rls.config.nodes import STR_TAG, Scalar

_TAG = "tag:yaml.org,2002:"
NULL = frozenset(["", "~", "null", "Null", "NULL"])
BOOL = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
}
_SPECIAL_FLOAT = {
    **dict.fromkeys([".nan", ".NaN", ".NAN"], float("nan")),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], float("inf")),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], float("-inf")),
}
_INT = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|([1-9][0-9]*|0))")
_FLOAT = re.compile(r"[+-]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][+-]?[0-9]+)?")
_NUMBER_BEGINS = frozenset("+-.0123456789")
_BASES = (16, 2, 8, 10)
_LONGEST_INT = 100
"""Digits of what is tried as an integer; anything near it is a float."""

Value: TypeAlias = bool | int | float | str | None


class WrongTagError(ValueError):
    """A scalar is not what its explicit tag says."""


def resolve(scalar: Scalar) -> Value:
    """The value of *scalar*, by its form where it is plain, by its tag where it has one.

    Raises:
        WrongTagError: It does not have the form that its tag asks for; the error's text is a predicate.
    """
    text, tag = scalar.text, scalar.tag
    if tag == STR_TAG:
        return text
    if tag is None:
        return _plain(text)
    if not tag.startswith(_TAG):
        return text  # a tag of the writer's own: text
    kind = tag.removeprefix(_TAG)
    if kind == "binary":
        return _binary(text)
    value = _plain(text)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = {"null": type(None), "bool": bool, "int": int, "float": float}.get(kind)
    if wanted is not None and type(value) is not wanted:
        raise WrongTagError(f"is tagged `!!{kind}` but holds `{text}`")
    return value


def as_text(scalar: Scalar) -> str:
    """The text of *scalar* as it is written; "" where it is null.

    Raises:
        WrongTagError: As in `resolve`.
    """
    text, tag = scalar.text, scalar.tag
    if tag is None:
        return "" if text in NULL else text
    if tag == STR_TAG:
        return text
    value = resolve(scalar)
    if value is None:
        return ""
    return value if isinstance(value, str) else text


def _plain(text: str) -> Value:
    if text in NULL:
        return None
    if text in BOOL:
        return BOOL[text]
    if text[0] not in _NUMBER_BEGINS:
        return text
    if text in _SPECIAL_FLOAT:
        return _SPECIAL_FLOAT[text]
    if text[0] == ".":
        return float(text) if _FLOAT.fullmatch(text) else text
    digits = text.replace("_", "")
    found = _INT.fullmatch(digits) if len(digits) <= _LONGEST_INT else None
    if found is not None:
        sign, *forms = found.groups()
        value = next(int(form, base) for form, base in zip(forms, _BASES, strict=True) if form is not None)
        value = -value if sign == "-" else value
        return value if -(2**63) <= value < 2**64 else float(value)
    if not _FLOAT.fullmatch(digits):
        return text
    number = float(digits)
    return text if math.isinf(number) else number  # what is out of a double's range stays text, as in the reference


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise WrongTagError(f"is tagged `!!binary` but holds `{text}`") from None
