"""Decision → response headers: the reference's three, and the IETF fields (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from rls.core.check import Status
from rls.core.decide import Decision, Modes, is_quota
from rls.core.model import UINT32_MAX, Code
from rls.printable import percent_encoded

# RFC 9651: a String item escapes just these two.
_SF_ESCAPES = {ord(char): "\\" + char for char in '"\\'}


class Header(NamedTuple):
    """One response header."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """Names of the reference's three headers."""

    limit: str = "RateLimit-Limit"
    remaining: str = "RateLimit-Remaining"
    reset: str = "RateLimit-Reset"


def tightest_headers(decision: Decision, names: HeaderNames, modes: Modes) -> list[Header]:
    """Limit, remaining and reset of the tightest limit: the last one that refuses, else the first with least left.

    Empty where no limit applied.
    """
    tightest: Status | None = None
    least = UINT32_MAX
    for status in decision.statuses:
        if status.limit is None:
            continue
        if status.code is Code.OVER_LIMIT and not is_quota(status.check, modes):
            tightest, least = status, 0
        elif status.limit_remaining < least:
            tightest, least = status, status.limit_remaining
    if tightest is None or tightest.limit is None:
        return []
    return [
        Header(names.limit, str(tightest.limit.requests_per_unit)),
        Header(names.remaining, str(tightest.limit_remaining)),
        Header(names.reset, str(tightest.seconds_until_reset)),
    ]


def ietf_headers(statuses: Sequence[Status]) -> list[Header]:
    """`RateLimit-Policy` and `RateLimit`, with an item for every limit that applied, in the request's order."""
    policies, limits, names = [], [], set[str]()
    for status in statuses:
        limit = status.limit
        if limit is None:
            continue
        name = _unused(percent_encoded(status.check.policy_name).translate(_SF_ESCAPES), names)
        names.add(name)
        policies.append(f'"{name}";q={limit.requests_per_unit};w={limit.window_seconds}')
        limits.append(f'"{name}";r={status.limit_remaining};t={status.seconds_until_reset}')
    if not names:
        return []
    return [Header("RateLimit-Policy", ", ".join(policies)), Header("RateLimit", ", ".join(limits))]


def _unused(name: str, names: set[str]) -> str:
    """*name*, numbered where it repeats: names link the two fields, so each must be used once."""
    if name not in names:
        return name
    return next(numbered for n in count(2) if (numbered := f"{name}-{n}") not in names)
