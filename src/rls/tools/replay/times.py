"""The times of logs → Unix seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COMMON = re.compile(
    r"(?P<day>\d\d?)[/ ](?P<month>[A-Z][a-z]{2})[/ ](?P<year>\d{4})[: ](?P<clock>\d\d:\d\d:\d\d(?:[.,]\d+)?) ?(?P<zone>Z|[+-]\d\d:?\d\d)?"
)
_NAMED_UTC = (" UTC", " GMT")
_FINER = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""Numbers above the first are nanoseconds, microseconds, milliseconds, and not seconds of a year after 5138."""


def zone_of(text: str) -> tzinfo:
    """The time zone *text*: a name such as `Europe/Berlin`, or an offset such as `+02:00`.

    Raises:
        ValueError: No zone has this name.
    """
    if re.fullmatch(r"[+-]\d\d:?\d\d", text):
        found = datetime.fromisoformat(f"2000-01-01T00:00:00{text}").tzinfo
        assert found is not None
        return found
    try:
        return UTC if text.upper() in {"UTC", "Z"} else ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("expected a time zone such as Europe/Berlin or +02:00") from None


def unix_seconds(value: object, zone: tzinfo = UTC) -> float:
    """The time that *value* says: Unix time as a number or text, RFC 3339, or `29/Nov/2026:05:41:43 +0100`.

    Args:
        value: As the log has it. A large number is in milliseconds, microseconds or nanoseconds.
        zone: Holds for times that name none.

    Raises:
        ValueError: It is none of these.
    """
    if value.__class__ is str:
        text: str = value
        if text[4:5] == "-":
            try:
                found = datetime.fromisoformat(text)
            except ValueError:
                found = _named_utc(text)
            return (found if found.tzinfo is not None else found.replace(tzinfo=zone)).timestamp()
        if (common := _COMMON.fullmatch(text)) is not None:
            return _common(common, zone)
        return _scaled(_number(text))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _scaled(float(value))
    raise _no_time(value)


def _named_utc(text: str) -> datetime:
    if not text.endswith(_NAMED_UTC):
        raise _no_time(text)
    try:
        return datetime.fromisoformat(text[:-4]).replace(tzinfo=UTC)
    except ValueError:
        raise _no_time(text) from None


def _common(found: re.Match[str], zone: tzinfo) -> float:
    if found["month"] not in _MONTHS:
        raise _no_time(found[0])
    month = _MONTHS.index(found["month"]) + 1
    text = f"{found['year']}-{month:02}-{int(found['day']):02}T{found['clock']}{found['zone'] or ''}"
    return unix_seconds(text, zone)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _no_time(text) from None


def _scaled(number: float) -> float:
    for above, scale in _FINER:
        if number > above:
            number /= scale
            break
    if not 0 <= number < 1e11:  # NaN too
        raise _no_time(number)
    return number


def _no_time(value: object) -> ValueError:
    return ValueError(f"{str(value)[:40]!r} is no time, expected one such as 2026-11-29T05:41:43Z")
