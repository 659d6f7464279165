"""What a file seems to be that is not what was expected, in plain words."""

from __future__ import annotations

import json
import re

_BEGINNINGS = (
    (b"\x1f\x8b", "compressed by gzip"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x7fELF", "a program"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)
_LOOKED_AT = 4096
"""Bytes, at the beginning."""
_YAML = re.compile(r"\s*(?:#.*\n\s*)*(?:---|- |[\w.-]+:(?:\s|$))")


def binary_kind(data: bytes) -> str:
    """What *data* seems to be where it is no text in UTF-8, such as `compressed by gzip`; "" where it may be one."""
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    return "binary, no text" if b"\0" in data[:_LOOKED_AT] else ""


def kind_of(data: bytes) -> str:
    """What *data* seems to be, which is no JSON as it should be."""
    if kind := binary_kind(data):
        return kind
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "binary, no text"
    if not text.strip():
        return "empty"
    if text.lstrip().startswith("<"):
        return "HTML or XML"
    if text.lstrip().startswith(("{", "[")):
        return _broken_json(text)
    return "YAML" if _YAML.match(text) else "text"


def _broken_json(text: str) -> str:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        is_cut = not text[error.pos :].strip()
        return (
            f"JSON that ends in line {error.lineno}, too early"
            if is_cut
            else f"JSON that is broken in line {error.lineno}"
        )
    except RecursionError:
        return "JSON that is nested too deeply"
    return "JSON"
