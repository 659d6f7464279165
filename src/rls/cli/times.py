"""Times of a server as people read them."""

from __future__ import annotations

from datetime import datetime

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def ago(time: str | None, now: str) -> str:
    """A *time* in RFC 3339 and how long before *now* it was, as `2026-11-29 02:41:05Z (3 h 12 min ago)`."""
    if not time:
        return "never"
    return f"{time[:19].replace('T', ' ')}Z ({seconds_between(time, now)} ago)"


def seconds_between(time: str | None, now: str) -> str:
    """How long *time* was before *now*, as `3 h 12 min`; "" where it is not known."""
    if not time:
        return ""
    return duration((datetime.fromisoformat(now) - datetime.fromisoformat(time)).total_seconds())


def duration(seconds: float) -> str:
    """*seconds* in two units at most, as `3 h 12 min` or `5 s`."""
    left = round(max(0.0, seconds))
    for number, (size, unit) in enumerate(_UNITS):
        if left >= size:
            smaller, name = _UNITS[number + 1] if number + 1 < len(_UNITS) else (1, "s")
            rest = left % size // smaller
            return f"{left // size} {unit} {rest} {name}" if rest else f"{left // size} {unit}"
    return f"{left} s"
