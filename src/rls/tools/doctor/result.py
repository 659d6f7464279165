"""What one look at one thing came to."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """GOOD: as it should be. BAD: something is to be done. UNKNOWN: not asked, or without an answer."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


class Result(NamedTuple):
    """One line of the report.

    Attributes:
        about: What was looked at, such as `grpc` or `redis rights`.
        text: What was found.
        advice: What to do where it is bad, or how to know where it is unknown; "" otherwise.
    """

    about: str
    state: State
    text: str
    advice: str = ""


def good(about: str, text: str) -> Result:
    """As it should be."""
    return Result(about, State.GOOD, text)


def bad(about: str, text: str, advice: str) -> Result:
    """Something is to be done."""
    return Result(about, State.BAD, text, advice)


def unknown(about: str, text: str, advice: str = "") -> Result:
    """Nobody knows."""
    return Result(about, State.UNKNOWN, text, advice)


def milliseconds(seconds: float) -> str:
    """`0.4 ms`, or `12 ms`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
