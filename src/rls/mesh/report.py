"""The report of a check: for people, and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rls.mesh import describe
from rls.mesh.filters import Limited
from rls.mesh.findings import Finding, Severity
from rls.mesh.trees import Tree
from rls.printable import printable

_PLACES = 4
"""Places of one finding that the text lists."""


def lines(proxies: Sequence[Limited], found: Sequence[Finding]) -> Iterator[str]:
    """What proxies do, those together that do the same; then each finding, with an empty line between them."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for limited in proxies:
        title, *rest = describe.lines(limited)
        alike.setdefault(tuple(rest), []).append(title)
    for rest_, titles in alike.items():
        yield from titles
        yield from rest_
    for each in found:
        yield ""
        yield from _finding(each)


def _finding(each: Finding) -> Iterator[str]:
    first, *others = each.proxies or ("",)
    more = f" and {len(others)} more" if others else ""
    yield f"{each.severity} {each.code}: {first}{more}{': ' if first else ''}{each.message}"
    places = [str(place) for place in each.places if str(place)]
    for number, place in enumerate(places[:_PLACES]):
        yield f"  {'' if number else 'where':8} {place}"
    if len(places) > _PLACES:
        yield f"  {'':8} and {len(places) - _PLACES} more"
    yield f"  traffic  {each.traffic}"
    change = each.change
    target = ", ".join(part for part in (change.kind, change.file, change.field) if part)
    if target:
        yield f"  change   {target}"
    yield f"  {'do':8} {change.how}"


def summary(proxies: Sequence[Limited], found: Sequence[Finding]) -> str:
    """One line."""
    numbers = ", ".join(_counted(sum(each.severity is severity for each in found), severity) for severity in Severity)
    limiting = sum(each.limits for each in proxies)
    limit = "limits" if limiting == 1 else "limit"
    return f"{numbers}; {_counted(len(proxies), 'proxy')}, {limiting} of which {limit} requests"


def _counted(number: int, noun: str) -> str:
    plural = "proxies" if noun == "proxy" else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def as_tree(proxies: Sequence[Limited], found: Sequence[Finding]) -> Tree:
    """All of it, for programs; texts are made printable, as they are for people."""
    shown: Tree = {
        "proxies": [describe.as_tree(each) for each in proxies],
        "findings": [_finding_tree(each) for each in found],
    }
    return {name: _printable(value) for name, value in shown.items()}


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _printable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_printable(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def _finding_tree(each: Finding) -> Tree:
    return {
        "severity": str(each.severity),
        "code": each.code,
        "message": each.message,
        "traffic": each.traffic,
        "proxies": list(each.proxies),
        "places": [place._asdict() for place in each.places],
        "change": each.change._asdict(),
    }


def is_well(found: Sequence[Finding]) -> bool:
    """Whether there is nothing but notes."""
    return all(each.severity is Severity.NOTE for each in found)
