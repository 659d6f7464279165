"""Findings: what is wrong at a proxy, what that means for its traffic, and what to change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from rls.mesh.model import Chain, Proxy


class Severity(StrEnum):
    """ERROR: limits do not hold, or requests are refused. WARNING: they hold less well than they seem. NOTE: to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Place(NamedTuple):
    """Where at a proxy; fields are empty, or 0, where it is all of them."""

    listener: str = ""
    chain: str = ""
    port: int = 0
    host: str = ""

    def __str__(self) -> str:
        parts = [
            f"listener {self.listener}" if self.listener else "",
            f"chain {self.chain}" if self.chain not in {"", self.listener} else "",
            f"port {self.port}" if self.port else "",
            f"virtual host {self.host}" if self.host else "",
        ]
        return ", ".join(part for part in parts if part)


class Change(NamedTuple):
    """What to change: the *kind* of object, its *file* in this project, the *field*, and *how*."""

    kind: str
    file: str
    field: str
    how: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        code: Names its kind, for programs; docs/mesh-check.md lists all.
        message: What is wrong.
        traffic: What that means for requests.
        proxies: Titles of the proxies; empty for what concerns all of them.
        places: Where at the proxies; empty for the whole of them.
    """

    severity: Severity
    code: str
    message: str
    traffic: str
    change: Change
    proxies: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()


def place(chain: Chain, host: str = "") -> Place:
    """The place of *chain*, or of one of its virtual hosts."""
    return Place(chain.listener, chain.name, chain.port, host)


def merged(found: Iterable[Finding]) -> list[Finding]:
    """*found* without repetitions: what is equal but for its proxies and places becomes one. Errors first, else in their order."""
    kept: dict[Finding, tuple[dict[str, None], dict[Place, None]]] = {}
    for each in found:
        proxies, places = kept.setdefault(replace(each, proxies=(), places=()), ({}, {}))
        proxies.update(dict.fromkeys(each.proxies))
        places.update(dict.fromkeys(each.places))
    order = list(Severity)
    return sorted(
        (replace(each, proxies=tuple(proxies), places=tuple(places)) for each, (proxies, places) in kept.items()),
        key=lambda each: order.index(each.severity),
    )


class Found(NamedTuple):
    """What a check yields: the code of the catalogue, and what is particular to this case.

    *proxy* is the one that it is about, where a check looks at several. *traffic* replaces that of the catalogue.
    """

    code: str
    message: str
    place: Place | None = None
    proxy: Proxy | None = None
    traffic: str = ""
