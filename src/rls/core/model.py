"""The words of Envoy's RateLimitService v3, as plain values (rls.proto, ratelimit.proto)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

UINT32_MAX = 0xFFFF_FFFF
FIXED_WINDOW = "fixed_window"
"""The algorithm of limits that name none."""
MAX_WINDOW_SECONDS = 100 * 31_536_000
"""A century: any longer, and a counter's expiry would leave the range of a Redis TTL."""
_FLOAT32 = struct.Struct("<f")


def to_bytes(text: str) -> bytes:
    """*text* as it was sent: a lone surrogate stands for a byte that is not UTF-8 (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


class Code(IntEnum):
    """RateLimitResponse.Code. UNKNOWN (0) is never answered: Envoy lets it pass, whatever `failure_mode_deny` says."""

    OK = 1
    OVER_LIMIT = 2


class Unit(IntEnum):
    """RateLimitResponse.RateLimit.Unit, with its numbers. A month is 30 days, a year 365, counted from the epoch."""

    SECOND = 1
    MINUTE = 2
    HOUR = 3
    DAY = 4
    MONTH = 5
    YEAR = 6
    WEEK = 7

    @property
    def seconds(self) -> int:
        """Length of one unit."""
        return _SECONDS[self]


_SECONDS = {
    Unit.SECOND: 1,
    Unit.MINUTE: 60,
    Unit.HOUR: 3600,
    Unit.DAY: 86_400,
    Unit.WEEK: 604_800,
    Unit.MONTH: 2_592_000,
    Unit.YEAR: 31_536_000,
}


class RateLimit(NamedTuple):
    """*requests_per_unit* hits (uint32) in each window of *unit_multiplier* units; 0 refuses every hit.

    *algorithm* names how they are counted; see `rls.core.algorithms`.
    """

    requests_per_unit: int
    unit: Unit
    unit_multiplier: int = 1
    name: str = ""
    algorithm: str = FIXED_WINDOW

    @property
    def window_seconds(self) -> int:
        """Length of the window."""
        return _SECONDS[self.unit] * self.unit_multiplier

    @property
    def text(self) -> str:
        """For people, as `500/minute` or `50/3 days`."""
        unit, several = self.unit.name.lower(), self.unit_multiplier
        return f"{self.requests_per_unit}/{unit if several == 1 else f'{several} {unit}s'}"


class Entry(NamedTuple):
    """One key and value of a request's descriptor. Bytes that are not UTF-8 are lone surrogates in both (PEP 383)."""

    key: str
    value: str


class Descriptor(NamedTuple):
    """One descriptor of a request.

    *limit* overrides the rules; *hits_addend* overrides the request's (0 only looks); *is_negative_hits* gives hits
    back instead of taking them.
    """

    entries: tuple[Entry, ...]
    limit: RateLimit | None = None
    hits_addend: int | None = None
    is_negative_hits: bool = False

    @property
    def text(self) -> str:
        """Its entries for people, as `key=value,key=value`."""
        return ",".join(f"{key}={value}" for key, value in self.entries)


class Request(NamedTuple):
    """RateLimitRequest: a domain and its descriptors; a *hits_addend* of 0 means 1."""

    domain: str
    descriptors: tuple[Descriptor, ...]
    hits_addend: int = 0


def near_limit(requests_per_unit: int, ratio: float) -> int:
    """The count above which hits are near the limit: the share *ratio* of *requests_per_unit*, rounded down.

    It is computed in single precision, as in envoyproxy/ratelimit, so that both count the same hits: 0.7 of 90 is 63, and
    would be 62 in double precision.
    """
    share = _float32(_float32(requests_per_unit) * _float32(ratio))
    return min(int(share), requests_per_unit)  # a limit above 2^24 may be rounded up


def _float32(number: float) -> float:
    (rounded,) = _FLOAT32.unpack(_FLOAT32.pack(number))
    return float(rounded)
