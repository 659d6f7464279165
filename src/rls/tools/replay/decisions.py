"""Decision logs, as docs/decision-log.md describes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

from rls.core.check import OVERRIDE
from rls.core.model import Descriptor, Entry, RateLimit, Request, Unit
from rls.tools.replay.records import Line, Reader, json_record
from rls.tools.replay.times import unix_seconds

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}


class DecisionReader(Reader):
    """Reads a decision log, as docs/decision-log.md describes it.

    Attributes:
        passed: Whether a line so far let a request pass.
    """

    def __init__(self, zone: tzinfo) -> None:
        super().__init__()
        self.passed = False
        self._zone = zone

    def read(self, line: bytes) -> Line | None:
        """See `Reader`."""
        record = json_record(line)
        try:
            outcome, entries, hits = record["outcome"], record["descriptor"] or (), record["hits"]
            # The time is that of the decision; the request was counted when it came.
            at = unix_seconds(record["time"], self._zone) - (record["seconds"] or 0.0)
            limit = (record["limit"], record["window"]) if record["rule"] == OVERRIDE else None
            key = (record["domain"], *entries, hits, limit)
            asked = self._known.get(key)
            if asked is None:
                domain = record["domain"]
                asked = self._learn(key, "".join((domain, *entries)), lambda: _decided(domain, entries, hits, limit))
        except (KeyError, TypeError, AttributeError):
            raise ValueError("it is no line of a decision log: a field is missing, or is something else") from None
        if asked.request is None:
            self.bare += 1
            return None
        self.passed = self.passed or outcome in {"ok", "near_limit"}
        return Line(at, asked, outcome == "over_limit")


def _decided(domain: Any, texts: Sequence[str], hits: Any, limit: Any) -> Request | None:
    entries = [Entry(unescaped(key), unescaped(value)) for key, _, value in (text.partition("=") for text in texts)]
    if not entries:
        return None
    override = None if limit is None else RateLimit(int(limit[0]), Unit.SECOND, int(limit[1]))
    amount = 1 if hits is None else int(hits)
    descriptor = Descriptor(tuple(entries), override, abs(amount), amount < 0)
    return Request(unescaped(domain), (descriptor,))


def unescaped(text: str) -> str:
    """What `printable` made *text* of."""
    return _ESCAPE.sub(_unescaped, text) if "\\" in text else text


def _unescaped(found: re.Match[str]) -> str:
    byte, short, long, other = found.groups()
    if other is not None:
        return _SHORT.get(other, other)
    if byte is not None:
        code = int(byte, 16)
        return chr(code if code < 0x80 else 0xDC00 + code)
    return chr(min(int(short or long, 16), 0x10FFFF))
