"""Lines that may come a thousand times a second, logged seldom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable

SECONDS = 10.0
"""Time between two lines of one kind, where nothing else is said."""
_MOST_KINDS = 256


class Seldom:
    """Says which lines to log: of each kind one, and the next *seconds* later at the earliest.

    Args:
        seconds: Between two lines of one kind.
        clock: Seconds.
    """

    def __init__(self, seconds: float = SECONDS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last: dict[Hashable, tuple[float, int]] = {}

    def due(self, kind: Hashable) -> int | None:
        """How many lines of *kind* were left out since the last one; None where this one is to be left out, too."""
        now = self._clock()
        at, left_out = self._last.get(kind, (float("-inf"), 0))
        if now - at < self._seconds:
            self._last[kind] = at, left_out + 1
            return None
        if len(self._last) >= _MOST_KINDS:
            self._last.clear()
        self._last[kind] = now, 0
        return left_out


class SeldomFilter(logging.Filter):
    """Leaves out what is logged through the standard library again and again: the same message with the same error."""

    def __init__(self, seldom: Seldom) -> None:
        super().__init__()
        self._seldom = seldom

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`. The line that follows on others says how many were left out."""
        error = record.exc_info[1] if record.exc_info else None
        left_out = self._seldom.due((record.name, str(record.msg), type(error)))
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more since the last one)", ()
        return left_out is not None
