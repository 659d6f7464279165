"""Overrides that people set for a time: another limit for exactly these entries. Values and text, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from rls.core.model import MAX_WINDOW_SECONDS, UINT32_MAX, Descriptor, Entry, RateLimit, Unit

Entries: TypeAlias = tuple[Entry, ...]
_LIMIT = re.compile(r"(\d{1,40})\s*/\s*(?:(\d{1,10})\s*)?(second|minute|hour|day|week|month|year)s?", re.ASCII)


class Override(NamedTuple):
    """One override.

    It holds for descriptors with exactly these entries that a rule matches, in place of that rule's limit. All else that the
    rule says stays. Where the window is as long as the rule's, hits of the current window count on.

    Attributes:
        id: Names it, as `1f6a09c2`.
        domain: Of the rules.
        entries: Of the descriptor. Values that are hidden are digests.
        limit: The limit that holds.
        since: When it was set, in Unix seconds.
        until: When it ends.
        author: Who set it.
        reason: Why.
        rule: Path of the rule that matched when it was set, for people.
    """

    id: str
    domain: str
    entries: Entries
    limit: RateLimit
    since: float
    until: float
    author: str
    reason: str
    rule: str

    @property
    def entries_text(self) -> str:
        """Its entries, as `key=value,key=value`."""
        return Descriptor(self.entries).text

    def __str__(self) -> str:
        """As `mesh company_id=acme: 5000/minute`."""
        return f"{self.domain} {self.entries_text}: {self.limit.text}"


_LAST_SECOND = 253_402_300_799
"""The last of the year 9999."""

Overrides: TypeAlias = Mapping[str, Mapping[Entries, Override]]
"""By domain and entries."""


def parse_limit(text: str) -> RateLimit:
    """The limit that *text* says; see `RateLimit.text`.

    Raises:
        ValueError: It says none; the text of the error is what was expected.
    """
    found = _LIMIT.fullmatch(text.strip().lower())
    if found is None:
        units = ", ".join(unit.name.lower() for unit in sorted(Unit, key=lambda unit: unit.seconds))
        raise ValueError(
            f"a number from 0 to {UINT32_MAX}, a slash, and one of {units}; such as 500/minute or 50/3 days"
        )
    requests, several, unit = int(found[1]), int(found[2] or 1), Unit[found[3].upper()]
    if requests > UINT32_MAX:
        raise ValueError(f"at most {UINT32_MAX} requests, such as 500/minute")
    if not 1 <= several * unit.seconds <= MAX_WINDOW_SECONDS:
        raise ValueError("a window of at least a second and at most a century")
    return RateLimit(requests, unit, several)


def raises_by(limit: RateLimit, base: RateLimit, times: float) -> bool:
    """Whether *limit* lets more than so many *times* the requests of *base* pass, over time."""
    # Products of whole numbers: quotients would be rounded.
    return limit.requests_per_unit * base.window_seconds > times * base.requests_per_unit * limit.window_seconds


def to_members(override: Override) -> dict[str, Any]:
    """*override* as members of a JSON object."""
    return {
        "id": override.id,
        "domain": override.domain,
        "entries": [[key, value] for key, value in override.entries],
        "limit": override.limit.text,
        "since": override.since,
        "until": override.until,
        "author": override.author,
        "reason": override.reason,
        "rule": override.rule,
    }


def from_members(members: Mapping[str, Any]) -> Override:
    """What `to_members` made; members that are not known are ignored.

    Raises:
        ValueError: It is something else.
    """
    try:
        id_, domain, author, reason, rule = [
            _text(members[name]) for name in ("id", "domain", "author", "reason", "rule")
        ]
        entries = tuple(Entry(_text(key), _text(value)) for key, value in members["entries"])
        limit = parse_limit(members["limit"])
        since, until = _seconds(members["since"]), _seconds(members["until"])
        return Override(id_, domain, entries, limit, since, until, author, reason, rule)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"an override is malformed: {error!r}") from error


def _seconds(value: object) -> float:
    """Unix seconds that can be shown as a date."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise TypeError(f"{value!r} is no time")
    return float(value)


def _text(value: object) -> str:
    """A text without halves of pairs, which could not be written anywhere."""
    if not isinstance(value, str) or any("\ud800" <= char <= "\udfff" for char in value):
        raise TypeError(f"{value!r} is no text")
    return value
