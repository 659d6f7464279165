"""Findings of `rls check` as text, for GitHub, as JSON and as SARIF."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from rls import __version__
from rls.config.findings import KINDS, Finding, Severity
from rls.printable import json_line, printable, printable_line

_MAX_ANNOTATIONS = 10
"""Annotations of one level that GitHub shows for a step. It drops the rest silently."""
_GITHUB = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


class Format(StrEnum):
    """Formats of findings."""

    TEXT = "text"
    GITHUB = "github"
    JSON = "json"
    SARIF = "sarif"


def lines_of(form: Format, found: Sequence[Finding]) -> Iterable[str]:
    """The lines that *form* comes to."""
    forms: Mapping[Format, Callable[[Sequence[Finding]], Iterable[str]]] = {
        Format.TEXT: _as_text,
        Format.GITHUB: _as_github,
        Format.JSON: _as_json,
        Format.SARIF: _as_sarif,
    }
    return forms[form](found)


def _as_text(found: Sequence[Finding]) -> Iterable[str]:
    """In the order of their places."""
    return [printable_line(str(one)) for one in sorted(found)]


def _by_severity(found: Sequence[Finding]) -> Iterable[tuple[Severity, list[Finding]]]:
    for severity in Severity:
        yield severity, sorted(one for one in found if one.severity is severity)


def _as_github(found: Sequence[Finding]) -> Iterable[str]:
    """Workflow commands, which annotate the lines of a pull request. Each is one line, so no text begins another.

    Findings over GitHub's maximum are plain lines of the log.
    """
    for severity, problems in _by_severity(found):
        level = _GITHUB[severity]
        shown = len(problems) if len(problems) <= _MAX_ANNOTATIONS else _MAX_ANNOTATIONS - 1
        for (file, line, column), _, _, message in problems[:shown]:
            place = f"file={_escaped(file, ':,')},line={line},col={column}"
            yield f"::{level} {place}::{_escaped(message)}"
        if more := problems[shown:]:
            yield f"::{level}::{counted(len(more), f'more {severity}')}: the log of this step lists all"
            yield from (printable_line(f"{severity}: {one.place}: {one.message}") for one in more)


def _escaped(text: str, also: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in "%" + also else char for char in printable(text))


def _as_json(found: Sequence[Finding]) -> Iterable[str]:
    """One array, with the same texts as in the other formats."""
    array = [
        {
            "severity": str(severity),
            "code": one.code,
            "file": printable(one.place.file),
            "line": one.place.line,
            "column": one.place.column,
            "message": printable(one.message),
        }
        for severity, problems in _by_severity(found)
        for one in problems
    ]
    return [json_line(array, indent=2)]


def _as_sarif(found: Sequence[Finding]) -> Iterable[str]:
    """A log in SARIF 2.1.0, which GitHub's code scanning and others read. Its rules are our kinds of findings."""
    codes = sorted({one.code for one in found})
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "rls check",
                "version": __version__,
                "rules": [{"id": code, "shortDescription": {"text": KINDS[code]}} for code in codes],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, codes) for one in sorted(found)],
    }
    return [json_line({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)]


def _result(one: Finding, codes: Sequence[str]) -> dict[str, Any]:
    region = {"startLine": one.place.line, "startColumn": one.place.column}
    # A URI reference: bytes that are not UTF-8 are percent-encoded as they are.
    uri = quote(one.place.file.encode(errors="surrogateescape"))
    return {
        "ruleId": one.code,
        "ruleIndex": codes.index(one.code),
        "level": str(one.severity),
        "message": {"text": printable(one.message)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}],
    }


def counted(number: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
