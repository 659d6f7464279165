"""Descriptors that say no more than most do, read straight from libyaml's events.

Where a file holds 100,000 rules, nearly all of them have a `key`, a `value`, and a `rate_limit` of `unit` and
`requests_per_unit`, without mistakes. To make nodes of these, to read the nodes by the grammar, and to look for what is odd,
takes four times as long as to see that there is nothing to be seen. All else is left to `reader.py` and `compile.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from yaml import events

from rls.config.intent import is_plain
from rls.config.limits import UNITS
from rls.config.nodes import ItemReader, YamlMapping
from rls.config.scalars import NULL
from rls.core.model import Entry, RateLimit

_DESCRIPTOR = frozenset({"key", "value", "rate_limit"})
_RATE_LIMIT = frozenset({"unit", "requests_per_unit"})
_NO_ITEMS: list[Any] = []
_is_count = re.compile(r"0|[1-9][0-9]{0,8}").fullmatch


class PlainDescriptor(YamlMapping):
    """A descriptor with a rate limit, and with nothing below it. It has no items for the reader, who would find no mistake."""

    __slots__ = ("entry", "limit")

    def __init__(self, line: int, column: int, entry: Entry, limit: RateLimit) -> None:
        self.line = line
        self.column = column
        self.items = _NO_ITEMS
        self.entry = entry
        self.limit = limit


def _read(start: Any, next_event: Callable[[], Any]) -> PlainDescriptor | list[Any]:
    """See `ItemReader`."""
    taken: list[Any] = []
    texts: dict[str, str] = {}
    names = _DESCRIPTOR
    while True:
        event = next_event()
        taken.append(event)
        if event.__class__ is events.MappingEndEvent:
            if names is _DESCRIPTOR:
                break
            names = _DESCRIPTOR
            continue
        if event.__class__ is not events.ScalarEvent or event.anchor is not None:
            return taken
        name = event.value
        if name not in names or name in texts:
            return taken
        event = next_event()
        taken.append(event)
        if event.anchor is not None:
            return taken
        if name == "rate_limit":
            if event.__class__ is not events.MappingStartEvent:
                return taken
            texts[name] = ""
            names = _RATE_LIMIT
        elif event.__class__ is not events.ScalarEvent or not _is_text(event, name):
            return taken
        else:
            texts[name] = event.value
    limit = _limit(texts.get("unit", ""), texts.get("requests_per_unit", ""))
    if limit is None or "key" not in texts:
        return taken
    mark = start.start_mark
    return PlainDescriptor(mark.line + 1, mark.column + 1, Entry(texts["key"], texts.get("value", "")), limit)


def _is_text(event: Any, name: str) -> bool:
    """Whether the scalar is what *name* takes, whatever it holds, and nothing is odd about it."""
    if event.tag is not None or event.value in NULL or not is_plain(event.value):
        return False
    return name != "requests_per_unit" or event.implicit[0]  # a text in quotes is no number


@lru_cache(maxsize=4096)
def _limit(unit: str, count: str) -> RateLimit | None:
    """None where something is missing, wrong, or a number in a form that is seldom used."""
    known = UNITS.get(unit.upper())
    return RateLimit(int(count), known) if known is not None and _is_count(count) else None


PLAIN_DESCRIPTORS = ItemReader("descriptors", _read)
