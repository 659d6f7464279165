"""Descriptors that say no more than most do, read straight from libyaml's events.

Where a file holds 100,000 rules, nearly all of them have a `key`, a `value`, and a `rate_limit` of `unit` and
`requests_per_unit`, without mistakes. To make nodes of these, to read the nodes by the grammar, and to look for what is odd,
takes six times as long as this. All else is left to `reader.py` and `compile.py`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
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
    values: dict[str, Any] = {}
    names = _DESCRIPTOR
    while True:
        event = next_event()
        taken.append(event)
        if event.__class__ is events.MappingEndEvent:
            if names is _DESCRIPTOR:
                return _descriptor(start, values) or taken
            names = _DESCRIPTOR
            continue
        if event.__class__ is not events.ScalarEvent or event.anchor is not None:
            return taken
        name = event.value
        if name not in names or name in values:
            return taken
        event = values[name] = next_event()
        taken.append(event)
        if event.anchor is not None:
            return taken
        if name == "rate_limit":
            if event.__class__ is not events.MappingStartEvent:
                return taken
            names = _RATE_LIMIT
        elif event.__class__ is not events.ScalarEvent or event.tag is not None:
            return taken


def _descriptor(start: Any, values: Mapping[str, Any]) -> PlainDescriptor | None:
    """What the scalars *values* come to; None where something is missing, wrong or odd."""
    key, value, unit, count = map(values.get, ("key", "value", "unit", "requests_per_unit"))
    if key is None or unit is None or count is None or not _is_usual(key.value):
        return None
    if value is not None and not _is_usual(value.value):
        return None
    limit = _limit(unit.value, count.value, count.implicit[0])
    if limit is None:
        return None
    entry = Entry(sys.intern(key.value), "" if value is None else value.value)
    mark = start.start_mark
    return PlainDescriptor(mark.line + 1, mark.column + 1, entry, limit)


def _is_usual(text: str) -> bool:
    return text not in NULL and is_plain(text) is not None


@lru_cache(maxsize=4096)
def _limit(unit: str, count: str, is_unquoted: bool) -> RateLimit | None:
    known = UNITS.get(unit.upper())
    return RateLimit(int(count), known) if is_unquoted and known is not None and _is_count(count) else None


PLAIN_DESCRIPTORS = ItemReader("descriptors", _read)
