"""Lines of logs → requests and their times."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rls.core.model import Request
from rls.engine.prepared import PreparedRequest

_REMEMBERED = 20_000
"""Requests that are remembered, so that the same one is matched once."""
_LONGEST_REMEMBERED = 2_000


class Asked:
    """A request that one line or many have.

    Attributes:
        request: The request; None where the lines have no descriptor.
        prepared: It, under each of the rule sets; empty until it is first played.
    """

    __slots__ = ("prepared", "request")

    def __init__(self, request: Request | None) -> None:
        self.request = request
        self.prepared: Sequence[PreparedRequest] = ()


class Line(NamedTuple):
    """What one line says.

    Attributes:
        at: Unix seconds.
        asked: What was asked.
        refused: Whether it was refused then; None where the log does not say.
    """

    at: float
    asked: Asked
    refused: bool | None


class Reader(ABC):
    """Reads the lines of one log.

    Attributes:
        skipped: Lines so far that a condition left out.
        bare: Lines so far that have no descriptor.
        remembered: Requests that it remembers at most.
    """

    def __init__(self) -> None:
        self.skipped = self.bare = 0
        self.remembered = _REMEMBERED
        self._known: dict[Any, Asked] = {}

    @abstractmethod
    def read(self, line: bytes) -> Line | None:
        """What *line* says; None where there is nothing to play.

        Raises:
            ValueError: It cannot be read; with the reason.
        """

    def _learn(self, key: Any, text: str, make: Callable[[], Request | None]) -> Asked:
        """Remember under *key* what *make* makes of the values whose *text* is theirs, joined."""
        if not text.isascii():
            try:
                text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                raise ValueError("a value is half of a pair of surrogates, which is no character") from None
        asked = Asked(make())
        if len(text) <= _LONGEST_REMEMBERED:
            if len(self._known) >= self.remembered:
                self._known.clear()
            self._known[key] = asked
        return asked


def json_record(line: bytes) -> dict[str, Any]:
    """The JSON object of *line*, which may stand behind a prefix, as container runtimes write it.

    Raises:
        ValueError: The line has no JSON object.
    """
    text = line.decode("utf-8", "surrogateescape")
    start = 0 if text[:1] == "{" else text.find("{")
    if start < 0:
        raise ValueError("no JSON object here")
    try:
        record, end = _raw_decode(text, start)
    except RecursionError:
        raise ValueError("JSON too deep to be read") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from None
    if end != len(text) and text[end:].strip():
        raise ValueError(f"more than a JSON object: at column {end + 1}")
    found: dict[str, Any] = record
    return found


_raw_decode = json.JSONDecoder().raw_decode
