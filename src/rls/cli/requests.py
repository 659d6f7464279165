"""Arguments → the request that they describe."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rls.core.model import Descriptor, Entry, Request


def request_of(domain: str, entries: Sequence[str], descriptors: Sequence[str], hits: int, where: str = "") -> Request:
    """The request that the arguments describe; *where* says in a message where entries stand.

    Raises:
        ValueError: They have no descriptor, or no entries.
    """
    if not domain:
        raise ValueError("--domain is missing: expected --domain NAME, with a `domain` of the server's rules")
    lists = [entries] if entries else []
    lists += [_split(text) for text in descriptors]
    if not lists:
        raise ValueError(f"no descriptor: expected entries such as company_id=acme{where}")
    # A descriptor's own addend of 0 only reads; the request's would mean 1.
    addend = 0 if hits == 0 else None
    return Request(domain, tuple(Descriptor(tuple(map(entry_of, parts)), hits_addend=addend) for parts in lists), hits)


def _split(text: str) -> list[str]:
    r"""The parts between commas; `\,` is a comma of a part."""
    return [part.replace(r"\,", ",") for part in re.split(r"(?<!\\),", text)]


def entry_of(text: str) -> Entry:
    """The entry that *text* is.

    Raises:
        ValueError: It is none.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"'{text}' is not an entry: expected KEY=VALUE, such as company_id=acme")
    return Entry(key, value)


def whole(name: str, text: str, least: int, most: int) -> int:
    """The whole number that *text* is.

    Raises:
        ValueError: It is none from *least* to *most*; *name* is what the message calls it.
    """
    from rls.settings.values import explained  # noqa: PLC0415

    if not (text.isascii() and text.isdecimal() and least <= int(text[:11]) <= most):
        raise ValueError(explained(name, text, f"a whole number from {least} to {most}"))
    return int(text)
