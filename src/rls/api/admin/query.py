"""The parameters of a request, checked: what is not understood is an error that says what was expected."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from starlette.requests import Request

from rls.printable import printable

E = TypeVar("E", bound=StrEnum)

_SHOWN = 100
_PART = re.compile(r"([0-9]{1,9})([smhd])")
LONGEST_SECONDS = 31 * 86_400
"""How long an override may hold: what is meant to stay belongs into the rules."""
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class WrongRequest(Exception):
    """A request that cannot be answered.

    Attributes:
        expected: What would have been understood.
        status: Of HTTP.
    """

    def __init__(self, text: str, expected: str, status: int = 400) -> None:
        super().__init__(text)
        self.expected = expected
        self.status = status


class Query:
    """The parameters of *request*, which may be some of *known*.

    Raises:
        WrongRequest: There is another one, or one is given twice; `entry` may be.
    """

    def __init__(self, request: Request, known: Collection[str]) -> None:
        self._request = request
        for name in request.query_params:
            expected = f"some of: {', '.join(sorted(known))}" if known else "no parameters"
            if name not in known:
                raise WrongRequest(f"unknown parameter {_shown(name)}", expected)
            if name != "entry" and len(request.query_params.getlist(name)) > 1:
                raise WrongRequest(f"{name} is given twice", "each parameter once")

    def text(self, name: str) -> str:
        """The value of *name*; "" where it is not given."""
        value: str = self._request.query_params.get(name, "")
        return value

    def texts(self, name: str) -> list[str]:
        """All values of *name*."""
        values: list[str] = self._request.query_params.getlist(name)
        return values

    def entries(self) -> list[str]:
        """The filters `entry`.

        Raises:
            WrongRequest: One is no entry, so that nothing would have it.
        """
        for text in self.texts("entry"):
            if text.find("=") < 1:
                raise WrongRequest(f"entry={_shown(text)}", "KEY=VALUE, such as company_id=acme")
        return self.texts("entry")

    def number(self, name: str, default: int, most: int, least: int = 1) -> int:
        """A whole number from *least* to *most*.

        Raises:
            WrongRequest: It is something else.
        """
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
            raise WrongRequest(f"{name}={_shown(text)}", f"a whole number from {least} to {most}")
        return int(text)

    def choice(self, name: str, default: E) -> E:
        """One of the values of the enum of *default*.

        Raises:
            WrongRequest: It is something else.
        """
        text = self.text(name)
        kinds = type(default)
        if text and text not in list(kinds):
            raise WrongRequest(f"{name}={_shown(text)}", f"one of: {', '.join(kinds)}")
        return kinds(text) if text else default

    def since(self, name: str, now: float) -> float:
        """A time in Unix seconds: given as so long before *now*, as in `90s`, `5m`, `2h` or `1d`, or as RFC 3339; 0 by default.

        Raises:
            WrongRequest: It is something else.
        """
        text = self.text(name)
        if not text:
            return 0.0
        with suppress(ValueError):
            return now - seconds_of(text)
        with suppress(ValueError):
            return time_of(text.replace(" ", "+"))  # a plus sign in a URL is a blank
        expected = "a duration as 90s, 5m, 2h or 1d, or a time as 2026-01-31T12:00:00Z"
        raise WrongRequest(f"{name}={_shown(text)}", expected)

    def milliseconds(self, name: str) -> float | None:
        """A time in Unix milliseconds, as Grafana gives it, in seconds; None where it is not given.

        Raises:
            WrongRequest: It is something else.
        """
        text = self.text(name)
        if not text:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) < 16):
            raise WrongRequest(f"{name}={_shown(text)}", "Unix milliseconds")
        return int(text) / 1000


def _shown(text: str) -> str:
    shown = printable(text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}…"


def seconds_of(text: str) -> int:
    """Seconds from `90s`, `30m`, `2h`, `3d` or `1h30m`.

    Raises:
        ValueError: It is something else.
    """
    parts = _PART.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        raise ValueError(text)
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def time_of(text: str) -> float:
    """Unix seconds of a time in RFC 3339.

    Raises:
        ValueError: It is none, or has no zone.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found.timestamp()


def end_of(length: str, end: str, now: float, names: tuple[str, str]) -> float:
    """The Unix seconds at which an override ends that holds for a *length*, or that has an *end*; one of them is "".

    Args:
        length: As in `seconds_of`.
        end: As in `time_of`.
        now: Unix seconds.
        names: How messages call the two, with what stands before a value.

    Raises:
        WrongRequest: It is given twice or not at all, it is no time, or it is too long.
    """
    expected = f"{names[0]}30m, 2h or 3d, or {names[1]}2026-01-31T12:00:00Z; at most {LONGEST_SECONDS // 86_400} days"
    if bool(length) == bool(end):
        one, other = (name.rstrip(": ") for name in names)
        raise WrongRequest(f"both {one} and {other}" if length else f"neither {one} nor {other}", expected)
    try:
        found = now + seconds_of(length) if length else time_of(end)
    except ValueError:
        raise WrongRequest(f"{printable(length or end)} is no time", expected) from None
    if not now < found <= now + LONGEST_SECONDS:
        raise WrongRequest(f"it would hold for {round(found - now)} s", expected)
    return found
