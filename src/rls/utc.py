"""Times as people and machines read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal


def utc(seconds: float, precision: Literal["seconds", "milliseconds", "microseconds"] = "seconds") -> str:
    """The Unix time *seconds* in RFC 3339, as `2026-11-29T02:41:05Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
